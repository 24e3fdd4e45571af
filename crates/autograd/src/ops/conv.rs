//! Convolution, channels last, and its two companions.
//!
//! Convolution is bilinear, and so are the gradients to its input and to its weight; each of the three has the
//! other two as gradients, so they are closed under differentiation. Not here: strides and dilation, which no model
//! here uses.

use candle_core::Tensor;

use super::{
    only,
    task_axis::{n_tasks, over_rows},
};
use crate::{
    error::{Error, Result},
    kernels::{conv as kernel, on_host},
    value::{Op, Rule, Value},
};

/// Cross-correlation with stride 1 and zeros around the picture, so that the result has its size.
///
/// # Shapes
/// - `x`: `(batch, height, width, in)`
/// - `weight`: `(kernel height, kernel width, in, out)`, both kernel sizes odd; with a leading axis `tasks` for pictures
///   that lie task after task
/// - `bias`: `(out)`, or `(tasks, out)`
/// - result: `(batch, height, width, out)`
///
/// # Errors
/// When the shapes do not fit.
pub fn conv2d(x: &Value, weight: &Value, bias: &Value) -> Result<Value> {
    let fits = matches!((x.dims(), weight.dims(), bias.dims()), ([_, _, _, c], [.., kh, kw, w_in, w_out], [.., out])
        if c == w_in && out == w_out && kh % 2 == 1 && kw % 2 == 1)
        && weight.dims().len() <= 5
        && bias.dims().len() <= 2;
    if !fits {
        return Err(Error::Shape {
            op: "conv2d",
            expected: "input (batch, height, width, in), weight (odd, odd, in, out) and bias (out)"
                .into(),
            found: format!("{:?}, {:?} and {:?}", x.dims(), weight.dims(), bias.dims()),
        });
    }
    let n_tasks = n_tasks("conv2d", &[(weight, 4), (bias, 1)])?;
    let same = x.dtype() == weight.dtype() && x.dtype() == bias.dtype();
    if n_tasks.is_some() || !same || !on_host(x.tensor()) {
        return composed(x, weight, bias, n_tasks.unwrap_or(1));
    }
    let tensor = kernel::forward(x.tensor(), weight.tensor(), Some(bias.tensor()))?;
    Ok(Value::from_op(tensor, &[x, weight, bias], || {
        Box::new(Conv {
            x: x.clone(),
            weight: weight.clone(),
        })
    }))
}

/// [`conv2d`] by plain operations, as one product of all patches: where no kernel can run, and where the weight, the bias
/// or both are the tasks' own.
fn composed(x: &Value, weight: &Value, bias: &Value, n_tasks: usize) -> Result<Value> {
    let (&[batch, height, width, _], &[.., kh, kw, n_in, n_out]) = (x.dims(), weight.dims()) else {
        unreachable!("`conv2d` has looked at the shapes")
    };
    let (patches, n_taps) = (patches(x, (kh, kw))?, kh * kw * n_in);
    let product = if weight.dims().len() == 5 {
        let weight = weight.reshape(&[n_tasks, n_taps, n_out])?;
        patches.by_task(n_tasks)?.matmul(&weight)?
    } else {
        let weight = weight.reshape(&[n_taps, n_out])?;
        patches.matmul(&weight)?.by_task(n_tasks)?
    };
    product
        .add(&over_rows(bias, 3)?)?
        .reshape(&[batch, height, width, n_out])
}

/// What the kernel sees at each pixel.
///
/// # Shapes
/// - result: `(batch * height * width, kernel height * kernel width * in)`
fn patches(x: &Value, (kh, kw): (usize, usize)) -> Result<Value> {
    let &[batch, height, width, n_in] = x.dims() else {
        unreachable!("`conv2d` has looked at the shapes")
    };
    let padded = x
        .pad_zeros(1, kh / 2, kh / 2)?
        .pad_zeros(2, kw / 2, kw / 2)?;
    let mut taps = Vec::with_capacity(kh * kw);
    for row in 0..kh {
        let lines = padded.narrow(1, row, height)?;
        for column in 0..kw {
            taps.push(lines.narrow(2, column, width)?);
        }
    }
    Value::cat(&taps, 3)?.reshape(&[batch * height * width, kh * kw * n_in])
}

/// `x * w`, with or without a bias, which only its own gradient sees.
struct Conv {
    x: Value,
    weight: Value,
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        let mut gradients = vec![
            rule.when_wanted(0, || to_input(grad, &rule.saved(&self.weight)))?,
            rule.when_wanted(1, || {
                to_weight(&rule.saved(&self.x), grad, self.weight.dims())
            })?,
        ];
        if rule.n_parents() > 2 {
            gradients.push(rule.when_wanted(2, || grad.sum_to(&[grad.dims()[3]]))?);
        }
        Ok(gradients)
    }
}

fn plain(x: &Value, weight: &Value) -> Result<Value> {
    let tensor = kernel::forward(x.tensor(), weight.tensor(), None)?;
    Ok(Value::from_op(tensor, &[x, weight], || {
        Box::new(Conv {
            x: x.clone(),
            weight: weight.clone(),
        })
    }))
}

/// The gradient to the input: `<to_input(g, w), h> = <g, h * w>`.
struct ToInput {
    grad: Value,
    weight: Value,
}

impl Op for ToInput {
    fn name(&self) -> &'static str {
        "conv2d_to_input"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let h = only(grads);
        Ok(vec![
            rule.when_wanted(0, || plain(h, &rule.saved(&self.weight)))?,
            rule.when_wanted(1, || {
                to_weight(h, &rule.saved(&self.grad), self.weight.dims())
            })?,
        ])
    }
}

fn to_input(grad: &Value, weight: &Value) -> Result<Value> {
    let tensor = kernel::to_input(grad.tensor(), weight.tensor())?;
    Ok(Value::from_op(tensor, &[grad, weight], || {
        Box::new(ToInput {
            grad: grad.clone(),
            weight: weight.clone(),
        })
    }))
}

/// The gradient to the weight: `<to_weight(x, g), v> = <g, x * v>`.
struct ToWeight {
    x: Value,
    grad: Value,
}

impl Op for ToWeight {
    fn name(&self) -> &'static str {
        "conv2d_to_weight"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let v = only(grads);
        Ok(vec![
            rule.when_wanted(0, || to_input(&rule.saved(&self.grad), v))?,
            rule.when_wanted(1, || plain(&rule.saved(&self.x), v))?,
        ])
    }
}

fn to_weight(x: &Value, grad: &Value, dims: &[usize]) -> Result<Value> {
    let tensor: Tensor = kernel::to_weight(x.tensor(), grad.tensor(), (dims[0], dims[1]))?;
    Ok(Value::from_op(tensor, &[x, grad], || {
        Box::new(ToWeight {
            x: x.clone(),
            grad: grad.clone(),
        })
    }))
}
