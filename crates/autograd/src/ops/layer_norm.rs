//! Layer normalisation, fused with its weight and bias.
//!
//! Not here: the normalisation over a batch (`block`).

use candle_core::Tensor;

use super::{
    fused::{Fused, apply},
    host_constants,
    task_axis::{n_tasks, over_rows},
};
use crate::{
    error::{Error, Result},
    kernels::{Float, for_float, layer_norm as kernel, tensor, with_optional_slices, with_slices},
    value::Value,
};

/// `y = (x - mean) / sqrt(variance + eps) * weight + bias` over the last axis, with the biased variance.
///
/// # Shapes
/// - `x` and result: `(rows, features)`
/// - `weight`, `bias`: `(features)`, or `(tasks, features)` for rows that lie task after task
///
/// # Source
/// Ba, Kiros and Hinton 2016, "Layer normalization", equations 3 and 4.
///
/// # Errors
/// When the shapes do not fit.
pub fn layer_norm(x: &Value, weight: &Value, bias: &Value, eps: f64) -> Result<Value> {
    let fits = |param: &Value, n: usize| matches!(*param.dims(), [m] | [_, m] if m == n);
    match *x.dims() {
        [_, n] if fits(weight, n) && fits(bias, n) => {
            match n_tasks("layer_norm", &[(weight, 1), (bias, 1)])? {
                None => apply(LayerNorm { eps }, &[x, weight, bias]),
                Some(n_tasks) => of_tasks(x, weight, bias, (eps, n_tasks)),
            }
        }
        _ => Err(Error::Shape {
            op: "layer_norm",
            expected: "input (rows, features), weight and bias (features)".into(),
            found: format!("{:?}, {:?} and {:?}", x.dims(), weight.dims(), bias.dims()),
        }),
    }
}

/// [`layer_norm`] of a sum: where nobody wants a gradient, with no tensor between the two.
///
/// # Shapes
/// As [`layer_norm`], `x` and `y` alike.
///
/// # Errors
/// When the shapes do not fit.
pub fn layer_norm_of_sum(
    [x, y]: [&Value; 2],
    weight: &Value,
    bias: &Value,
    eps: f64,
) -> Result<Value> {
    let inputs = [x, y, weight, bias];
    match (x.dims(), weight.dims(), bias.dims()) {
        ([_, n], [w], [b])
            if host_constants(&inputs) && y.dims() == x.dims() && [w, b] == [n, n] =>
        {
            for_float!(x, T => {
                let out = with_slices(inputs.map(Value::tensor), |[x, y, w, b]| {
                    kernel::forward_of_sum::<T>(x, y, w, b, T::of(eps))
                })?;
                Ok(Value::constant(tensor(out, x.dims())?))
            })
        }
        _ => layer_norm(&x.add(y)?, weight, bias, eps),
    }
}

/// [`layer_norm`] where the weight, the bias or both are the tasks' own.
fn of_tasks(
    x: &Value,
    weight: &Value,
    bias: &Value,
    (eps, n_tasks): (f64, usize),
) -> Result<Value> {
    let one = Tensor::ones(x.dims()[1], x.dtype(), x.device())?;
    let (zero, one) = (Value::constant(one.zeros_like()?), Value::constant(one));
    apply(LayerNorm { eps }, &[x, &one, &zero])?
        .by_task(n_tasks)?
        .mul(&over_rows(weight, 3)?)?
        .add(&over_rows(bias, 3)?)?
        .reshape(x.dims())
}

#[derive(Clone)]
pub(crate) struct LayerNorm {
    pub(crate) eps: f64,
}

impl Fused for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn composed(&self, inputs: &[Value]) -> Result<Value> {
        let [x, weight, bias] = inputs else {
            unreachable!("layer norm has three inputs")
        };
        let centred = x.sub(&x.mean_keepdim(&[1])?)?;
        let deviation = centred
            .mul(&centred)?
            .mean_keepdim(&[1])?
            .affine(1.0, self.eps)?
            .sqrt()?;
        centred.div(&deviation)?.mul(weight)?.add(bias)
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let &[x, w, b] = inputs else {
            unreachable!("layer norm has three inputs")
        };
        for_float!(x, T => {
            let y = with_slices([x, w, b], |[x, w, b]| {
                kernel::forward::<T>(x, w, b, T::of(self.eps))
            })?;
            Ok((tensor(y, x.dims())?, Vec::new()))
        })
    }

    fn backward(
        &self,
        inputs: &[&Tensor],
        _kept: &[Tensor],
        grad: &Tensor,
        begun: &dyn Fn(usize) -> Option<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let &[x, w, _] = inputs else {
            unreachable!("layer norm has three inputs")
        };
        for_float!(x, T => {
            let (gx, gw, gb) = with_slices([x, w, grad], |[x, w, g]| {
                with_optional_slices([begun(0).as_ref()], |[begun]| {
                    kernel::backward::<T>((x, w, g), T::of(self.eps), begun)
                })
            })??;
            Ok(vec![tensor(gx, x.dims())?, tensor(gw, w.dims())?, tensor(gb, w.dims())?])
        })
    }

    fn backward_twice(
        &self,
        inputs: &[&Tensor],
        _kept: &[Tensor],
        grad: &Tensor,
        cotangents: &[Option<&Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let &[x, w, _] = inputs else {
            unreachable!("layer norm has three inputs")
        };
        let zeros = [x.zeros_like()?, w.zeros_like()?];
        let [hx, hw, hb] =
            [(0, 0), (1, 1), (2, 1)].map(|(at, like)| cotangents[at].unwrap_or(&zeros[like]));
        for_float!(x, T => {
            let (dx, dw, dg) = with_slices([x, w, grad, hx, hw, hb], |[x, w, g, hx, hw, hb]| {
                kernel::backward_twice::<T>((x, w, g), (hx, hw, hb), T::of(self.eps))
            })?;
            Ok(vec![Some(tensor(dx, x.dims())?), Some(tensor(dw, w.dims())?), None, Some(tensor(dg, x.dims())?)])
        })
    }
}
