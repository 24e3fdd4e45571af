//! The linear layer.
//!
//! Not here: where its weights come from.

use candle_core::Tensor;

use super::{
    host_constants, only,
    task_axis::{n_tasks, over_rows},
};
use crate::{
    error::{Error, Result},
    kernels::{self, for_float, on_host, vectorized, with_slices},
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
            rule.when_wanted(0, || grad.matmul(&rule.saved(&self.weight)))?,
            rule.when_wanted(1, || grad.transposed_matmul(&rule.restored(&self.input)?))?,
            rule.when_wanted(2, || grad.sum_to(&[grad.dims()[1]]))?,
        ])
    }
}

/// `y = x w^T + bias`.
///
/// # Shapes
/// - `x`: `(rows, in)`
/// - `weight`: `(out, in)`, or `(tasks, out, in)` for rows that lie task after task
/// - `bias`: `(out)`, or `(tasks, out)`
/// - result: `(rows, out)`
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Value, weight: &Value, bias: &Value) -> Result<Value> {
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
pub fn linear_gelu(x: &Value, weight: &Value, bias: &Value) -> Result<Value> {
    if fitting(x, weight, bias)?.is_none() && host_constants(&[x, weight, bias]) {
        let tensor = by_kernel(x, weight, bias, Activation::Gelu)?;
        return Ok(Value::constant(tensor));
    }
    linear(x, weight, bias)?.gelu()
}

/// What is done with the numbers of a product before anything else sees them.
#[derive(Clone, Copy, PartialEq)]
enum Activation {
    None,
    Gelu,
}

fn by_kernel(x: &Value, weight: &Value, bias: &Value, activation: Activation) -> Result<Tensor> {
    let (n_in, dims) = (x.dims()[1], [x.dims()[0], bias.dims()[0]]);
    for_float!(x, T => {
        let mut out = with_slices([x.tensor(), weight.tensor(), bias.tensor()], |[x, w, b]| {
            kernels::matmul::linear::<T>(x, w, b, n_in)
        })?;
        if activation == Activation::Gelu {
            vectorized!(kernels::gelu::in_place::<T>(&mut out));
        }
        kernels::tensor(out, &dims)
    })
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
