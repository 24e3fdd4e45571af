//! Checks of gradients against central differences, for tests of operations, models and losses.
//!
//! Use `f64`: in `f32` the differences themselves are wrong in the fourth digit. Not here: checks of whole
//! meta-gradients, which `metashot-meta` builds on these.

use candle_core::Tensor;

use crate::{
    error::Result,
    grad::{grad_or_none, pull_back},
    kernels,
    value::{Order, Value},
};

/// The largest relative error of the gradient of `f` at `inputs`, over a few directions.
///
/// For each input alone and for all together, the directional derivative is compared with the central difference
/// of `f` along a fixed pseudo-random direction: `|exact - difference| / max(|exact|, |difference|, 1e-3)`, at the
/// best of several step sizes.
///
/// # Shapes
/// `f` maps values of the shapes of `inputs` to a scalar; `inputs` are `f64`.
///
/// # Errors
/// When `f` fails or a differentiation does.
pub fn first_order(inputs: &[Tensor], f: impl Fn(&[Value]) -> Result<Value>) -> Result<f64> {
    worst(inputs, &f, |variables| {
        let loss = f(variables)?;
        gradients(&loss, variables)
    })
}

/// The largest relative error of the Hessian-vector products of `f` at `inputs`, over a few directions.
///
/// The function that is differenced is `<gradient of f, v>` for a fixed pseudo-random `v`; otherwise as
/// [`first_order`].
///
/// # Errors
/// As [`first_order`].
pub fn second_order(inputs: &[Tensor], f: impl Fn(&[Value]) -> Result<Value>) -> Result<f64> {
    let projected = |values: &[Value]| {
        let loss = f(values)?;
        let variables: Vec<&Value> = values.iter().collect();
        let mut total: Option<Value> = None;
        for (index, gradient) in grad_or_none(&loss, &variables, Order::Higher)?
            .into_iter()
            .enumerate()
        {
            let Some(gradient) = gradient else { continue };
            let v = Value::constant(direction(gradient.tensor(), index + 100)?);
            let term = gradient.mul(&v)?.sum_all()?;
            total = Some(match total {
                None => term,
                Some(total) => total.add(&term)?,
            });
        }
        match total {
            Some(total) => Ok(total),
            None => loss.affine(0.0, 0.0),
        }
    };
    first_order(inputs, projected)
}

/// Runs `f` with every operation composed of candle's own, on the calling thread: what runs on a GPU, on a CPU.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::{Value, check::composed};
///
/// let x = Value::constant(Tensor::new(&[1f64, 2.0, 6.0], &Device::Cpu)?);
/// let difference = x.softmax()?.sub(&composed(|| x.softmax())?)?;
/// assert!(difference.mul(&difference)?.sum_all()?.to_f64()? < 1e-24);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn composed<R>(f: impl FnOnce() -> R) -> R {
    kernels::without(f)
}

fn gradients(loss: &Value, variables: &[Value]) -> Result<Vec<Tensor>> {
    let seed = Value::constant(loss.tensor().ones_like()?);
    let inputs: Vec<&Value> = variables.iter().collect();
    pull_back(vec![(loss.clone(), seed)], &inputs, Order::First)?
        .into_iter()
        .zip(variables)
        .map(|(gradient, variable)| match gradient {
            Some(gradient) => Ok(gradient.into_tensor()),
            None => Ok(variable.tensor().zeros_like()?),
        })
        .collect()
}

fn worst(
    inputs: &[Tensor],
    f: &impl Fn(&[Value]) -> Result<Value>,
    exact: impl Fn(&[Value]) -> Result<Vec<Tensor>>,
) -> Result<f64> {
    let variables: Vec<Value> = inputs.iter().cloned().map(Value::variable).collect();
    let gradients = exact(&variables)?;
    let directions: Vec<Tensor> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| direction(input, index))
        .collect::<Result<_>>()?;
    let mut worst = 0f64;
    // Each input alone, then all of them.
    for only in (0..inputs.len()).map(Some).chain([None]) {
        let moves = |index: usize| only.is_none_or(|only| only == index);
        let mut derivative = 0.0;
        for (index, gradient) in gradients
            .iter()
            .enumerate()
            .filter(|(index, _)| moves(*index))
        {
            derivative += (gradient * &directions[index])?
                .sum_all()?
                .to_scalar::<f64>()?;
        }
        let at = |step: f64| -> Result<f64> {
            let moved = inputs.iter().enumerate().map(|(index, input)| {
                let tensor = if moves(index) {
                    (input + (&directions[index] * step)?)?
                } else {
                    input.clone()
                };
                Ok(Value::variable(tensor))
            });
            f(&moved.collect::<Result<Vec<_>>>()?)?.to_f64()
        };
        let mut best = f64::INFINITY;
        for step in [1e-3, 1e-4, 1e-5, 1e-6] {
            let difference = (at(step)? - at(-step)?) / (2.0 * step);
            let size = derivative.abs().max(difference.abs()).max(1e-3);
            // A NaN must not look like agreement.
            let error = (derivative - difference).abs() / size;
            best = if error < best { error } else { best };
        }
        worst = worst.max(best);
    }
    Ok(worst)
}

/// A fixed direction of the shape of `like`: a low-discrepancy sequence in -1..1, another for each `salt`.
fn direction(like: &Tensor, salt: usize) -> Result<Tensor> {
    let numbers = (0..like.elem_count()).map(|i| {
        let x = (i as f64 + 1.0) * 0.618_033_988_749_894_9
            + (salt as f64 + 1.0) * 0.414_213_562_373_095;
        x.fract() * 2.0 - 1.0
    });
    Ok(Tensor::from_iter(numbers, like.device())?.reshape(like.dims())?)
}
