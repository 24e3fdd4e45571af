//! The linear layer.
//!
//! Not here: where its weights come from.

use candle_core::{DType, Tensor};

use super::{
    host_constants, only,
    task_axis::{n_tasks, over_rows},
};
use crate::{
    error::{Error, Result},
    kernels::{self, Float, for_float, on_host, product, with_slices},
    value::{Kept, Op, Rule, Value},
};

struct Linear {
    input: Kept,
    weight: Value,
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        Ok(vec![
            rule.when_wanted(0, || {
                grad.matmul_onto(&rule.saved(&self.weight), rule.begun(0))
            })?,
            rule.when_wanted(1, || {
                grad.transposed_matmul_onto(&rule.restored(&self.input)?, rule.begun(1))
            })?,
            rule.when_wanted(2, || grad.sum_to(&[grad.dims()[1]]))?,
        ])
    }
}

/// The weight of a linear layer.
#[derive(Clone, Copy)]
pub enum Weight<'a> {
    /// Row by row: `(out, in)`, or `(tasks, out, in)` for inputs that lie task after task.
    Rows(&'a Value),
    /// `(panels, in, 64)`, as [`panels`] lays it out.
    Panels(&'a Value),
}

impl<'a> From<&'a Value> for Weight<'a> {
    fn from(rows: &'a Value) -> Self {
        Self::Rows(rows)
    }
}

/// A weight as products read it, 64 of its rows side by side and missing ones 0, or `None` where products have no use for
/// that: with another element type than `f32`, on another device than a CPU, or on one without AVX-512.
///
/// Worth it for a weight that many inputs are read with, as a product lays it out so each time otherwise.
///
/// # Shapes
/// - `weight`: `(out, in)`
/// - result: `(panels, in, 64)`
///
/// # Errors
/// When the weight is no matrix.
pub fn panels(weight: &Tensor) -> Result<Option<Tensor>> {
    let (n_out, n_in) = weight.dims2()?;
    if !on_host(weight) || weight.dtype() != DType::F32 || !product::has_tiles() {
        return Ok(None);
    }
    let panels = with_slices([weight], |[weight]| product::in_panels(weight, n_in))?;
    let dims = [n_out.div_ceil(product::PANEL), n_in, product::PANEL];
    Ok(Some(kernels::tensor(panels, &dims)?))
}

/// `y = x w^T + bias`.
///
/// # Shapes
/// - `x`: `(rows, in)`
/// - `weight`: as [`Weight`] says, of `(out, in)` in all
/// - `bias`: `(out)`, or `(tasks, out)`
/// - result: `(rows, out)`
///
/// # Errors
/// When the shapes do not fit.
pub fn linear<'a>(x: &Value, weight: impl Into<Weight<'a>>, bias: &Value) -> Result<Value> {
    let weight = match weight.into() {
        Weight::Rows(weight) => weight,
        Weight::Panels(panels) => {
            return match by_panels(x, panels, bias, Activation::None)? {
                Some(y) => Ok(y),
                None => linear(x, &rows(panels, bias)?, bias),
            };
        }
    };
    if let Some(n_tasks) = fitting(x, weight, bias)? {
        return of_tasks(x, weight, bias, n_tasks);
    }
    let tensor = if on_host(x.tensor()) {
        by_kernel(x, weight, bias, Activation::None)?
    } else {
        x.tensor()
            .matmul(&weight.tensor().t()?)?
            .broadcast_add(bias.tensor())?
    };
    Ok(Value::from_op(tensor, &[x, weight, bias], || {
        Box::new(Linear {
            input: x.kept(),
            weight: weight.clone(),
        })
    }))
}

/// An error unless the shapes fit; else how many tasks have parameters of their own, if they do.
fn fitting(x: &Value, weight: &Value, bias: &Value) -> Result<Option<usize>> {
    let fits = matches!((x.dims(), weight.dims(), bias.dims()),
        ([_, n_in], [.., n_out, w_in], [.., b_out]) if n_in == w_in && n_out == b_out)
        && weight.dims().len() <= 3
        && bias.dims().len() <= 2;
    if !fits {
        return Err(Error::Shape {
            op: "linear",
            expected: "input (rows, in), weight (out, in) and bias (out)".into(),
            found: format!("{:?}, {:?} and {:?}", x.dims(), weight.dims(), bias.dims()),
        });
    }
    n_tasks("linear", &[(weight, 2), (bias, 1)])
}

/// [`Value::gelu`] of [`linear`]: where nobody wants a gradient, with no tensor between the two.
///
/// # Shapes
/// As [`linear`].
///
/// # Errors
/// When the shapes do not fit.
pub fn linear_gelu<'a>(x: &Value, weight: impl Into<Weight<'a>>, bias: &Value) -> Result<Value> {
    let weight = weight.into();
    let at_once = match weight {
        Weight::Panels(panels) => by_panels(x, panels, bias, Activation::Gelu)?,
        Weight::Rows(weight)
            if fitting(x, weight, bias)?.is_none() && host_constants(&[x, weight, bias]) =>
        {
            let tensor = by_kernel(x, weight, bias, Activation::Gelu)?;
            Some(Value::constant(tensor))
        }
        Weight::Rows(_) => None,
    };
    match at_once {
        Some(y) => Ok(y),
        None => linear(x, weight, bias)?.gelu(),
    }
}

/// What is done with the numbers of a product before anything else sees them.
#[derive(Clone, Copy, PartialEq)]
enum Activation {
    None,
    Gelu,
}

impl Activation {
    fn apply<T: Float>(self, xs: &mut [T]) {
        if self == Self::Gelu {
            kernels::gelu::in_place(xs);
        }
    }
}

fn by_kernel(x: &Value, weight: &Value, bias: &Value, activation: Activation) -> Result<Tensor> {
    let (n_in, dims) = (x.dims()[1], [x.dims()[0], bias.dims()[0]]);
    for_float!(x, T => {
        let mut out = with_slices([x.tensor(), weight.tensor(), bias.tensor()], |[x, w, b]| {
            kernels::matmul::linear::<T>(x, w, b, n_in)
        })?;
        activation.apply(&mut out);
        kernels::tensor(out, &dims)
    })
}

/// The layer by a weight in panels, where nobody wants a gradient and tiles can read it.
///
/// # Errors
/// When the shapes do not fit.
fn by_panels(
    x: &Value,
    panels: &Value,
    bias: &Value,
    activation: Activation,
) -> Result<Option<Value>> {
    let fits = matches!((x.dims(), panels.dims(), bias.dims()),
        ([_, n_in], [n_panels, w_in, product::PANEL], [n_out])
            if n_in == w_in && *n_panels == n_out.div_ceil(product::PANEL));
    if !fits {
        return Err(Error::Shape {
            op: "linear",
            expected: "input (rows, in), weight (panels, in, 64) and bias (out)".into(),
            found: format!("{:?}, {:?} and {:?}", x.dims(), panels.dims(), bias.dims()),
        });
    }
    let (n_in, dims) = (x.dims()[1], [x.dims()[0], bias.dims()[0]]);
    let good = host_constants(&[x, panels, bias])
        && x.dtype() == DType::F32
        && n_in > 0
        && product::has_tiles();
    if !good {
        return Ok(None);
    }
    let tensors = [x, panels, bias].map(Value::tensor);
    let mut y = with_slices(tensors, |[x, panels, bias]| {
        product::linear_in_panels(x, panels, bias, n_in)
    })?;
    activation.apply(&mut y);
    Ok(Some(Value::constant(kernels::tensor(y, &dims)?)))
}

/// The rows of a weight that lies in panels.
fn rows(panels: &Value, bias: &Value) -> Result<Value> {
    let &[n_panels, n_in, width] = panels.dims() else {
        unreachable!("the shapes fit")
    };
    panels
        .t()?
        .reshape(&[n_panels * width, n_in])?
        .narrow(0, 0, bias.dims()[0])
}

/// [`linear`] where the weight, the bias or both are the tasks' own.
fn of_tasks(x: &Value, weight: &Value, bias: &Value, n_tasks: usize) -> Result<Value> {
    let product = if weight.dims().len() == 3 {
        x.by_task(n_tasks)?.matmul(&weight.t()?)?
    } else {
        x.matmul(&weight.t()?)?.by_task(n_tasks)?
    };
    let n_out = product.dims()[2];
    product
        .add(&over_rows(bias, 3)?)?
        .reshape(&[x.dims()[0], n_out])
}
