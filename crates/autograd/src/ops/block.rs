//! Batch normalisation, relu and max pooling of a convolutional block, fused.
//!
//! Not here: the convolution before it (`conv`).

use candle_core::{D, Tensor};

use super::{
    fused::{Fused, apply},
    task_axis::{n_tasks, over_rows},
};
use crate::{
    error::{Error, Result},
    kernels::{
        Float,
        block::{self as kernel, Moments, Shape},
        for_float, tensor, vectorized, with_bytes, with_slices,
    },
    value::Value,
};

/// Batch normalisation with the statistics of `x` itself, then relu, then a 2x2 max pool with stride 2 where the
/// picture is at least that large; an odd last line or column is dropped.
///
/// At a tie, and where relu cuts off, the sub-gradient is that of the first largest value, and 0.
///
/// # Shapes
/// - `x`: `(batch, height, width, channels)`
/// - `gamma`, `beta`: `(channels)`, or `(tasks, channels)` for pictures that lie task after task, with statistics for each
///   task
/// - result: `(batch, height / 2, width / 2, channels)`, or as `x` where it is not pooled
///
/// # Source
/// Ioffe and Szegedy 2015, "Batch normalization", algorithm 1, transductive as in Finn et al. 2017 (MAML);
/// the block is that of Vinyals et al. 2016, "Matching networks", section 4.1.
///
/// # Errors
/// When the shapes do not fit.
pub fn norm_relu_pool(x: &Value, gamma: &Value, beta: &Value, eps: f64) -> Result<Value> {
    let fits = |param: &Value, c: usize| matches!(*param.dims(), [n] | [_, n] if n == c);
    match *x.dims() {
        [_, _, _, c] if fits(gamma, c) && fits(beta, c) => {
            match n_tasks("norm_relu_pool", &[(gamma, 1), (beta, 1)])? {
                None => apply(NormReluPool { eps }, &[x, gamma, beta]),
                Some(n_tasks) => NormReluPool { eps }.of_tasks(x, gamma, beta, n_tasks),
            }
        }
        _ => Err(Error::Shape {
            op: "norm_relu_pool",
            expected: "input (batch, height, width, channels), gamma and beta (channels)".into(),
            found: format!("{:?}, {:?} and {:?}", x.dims(), gamma.dims(), beta.dims()),
        }),
    }
}

#[derive(Clone)]
pub(crate) struct NormReluPool {
    pub(crate) eps: f64,
}

fn shape(x: &Tensor) -> Result<Shape> {
    let (batch, height, width, channels) = x.dims4()?;
    Ok(Shape {
        batch,
        height,
        width,
        channels,
        window: if height > 1 && width > 1 { 2 } else { 1 },
    })
}

impl NormReluPool {
    /// The block by plain operations, with statistics for each task.
    fn of_tasks(&self, x: &Value, gamma: &Value, beta: &Value, n_tasks: usize) -> Result<Value> {
        let axes = [1, 2, 3];
        let shares = x.by_task(n_tasks)?;
        let centred = shares.sub(&shares.mean_keepdim(&axes)?)?;
        let deviation = centred
            .mul(&centred)?
            .mean_keepdim(&axes)?
            .affine(1.0, self.eps)?
            .sqrt()?;
        let active = centred
            .div(&deviation)?
            .mul(&over_rows(gamma, 5)?)?
            .add(&over_rows(beta, 5)?)?
            .relu()?
            .reshape(x.dims())?;
        let Shape { window, .. } = shape(x.tensor())?;
        if window == 1 {
            return Ok(active);
        }
        let [batch, height, width, channels] = shape(x.tensor())?.pooled();
        let windows = active
            .narrow(1, 0, height * 2)?
            .narrow(2, 0, width * 2)?
            .reshape(&[batch, height, 2, width, 2, channels])?
            .permute(&[0, 1, 3, 5, 2, 4])?
            .reshape(&[batch, height, width, channels, 4])?;
        let largest = windows.tensor().argmax_keepdim(D::Minus1)?;
        let places = Tensor::arange(0u32, 4, x.device())?;
        let mask = largest.broadcast_eq(&places)?.to_dtype(x.dtype())?;
        windows
            .mul(&Value::constant(mask))?
            .sum_keepdim(&[4])?
            .reshape(&[batch, height, width, channels])
    }
}

impl Fused for NormReluPool {
    const NAME: &'static str = "norm_relu_pool";

    fn composed(&self, inputs: &[Value]) -> Result<Value> {
        let [x, gamma, beta] = inputs else {
            unreachable!("a block has three inputs")
        };
        self.of_tasks(x, gamma, beta, 1)
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let &[x, gamma, beta] = inputs else {
            unreachable!("a block has three inputs")
        };
        let shape = shape(x)?;
        for_float!(x, T => {
            let (y, moments, place) = with_slices([x, gamma, beta], |[x, gamma, beta]| {
                vectorized!(kernel::forward::<T>(x, gamma, beta, shape, T::of(self.eps)))
            })?;
            let channels = [shape.channels];
            let kept = vec![
                tensor(moments.mean, &channels)?,
                tensor(moments.r, &channels)?,
                Tensor::from_vec(place, &shape.pooled(), x.device())?,
            ];
            Ok((tensor(y, &shape.pooled())?, kept))
        })
    }

    fn backward(
        &self,
        inputs: &[&Tensor],
        kept: &[Tensor],
        grad: &Tensor,
        _begun: &dyn Fn(usize) -> Option<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let &[x, gamma, _] = inputs else {
            unreachable!("a block has three inputs")
        };
        let shape = shape(x)?;
        for_float!(x, T => {
            let (gx, g_gamma, g_beta) = with_bytes(&kept[2], |place| {
                with_slices([x, gamma, grad, &kept[0], &kept[1]], |[x, gamma, g, mean, r]| {
                    let moments = Moments { mean: mean.to_vec(), r: r.to_vec() };
                    vectorized!(kernel::backward::<T>(x, gamma, g, &moments, place, shape))
                })
            })?;
            let dims = gamma.dims();
            Ok(vec![tensor(gx, x.dims())?, tensor(g_gamma, dims)?, tensor(g_beta, dims)?])
        })
    }

    fn backward_twice(
        &self,
        inputs: &[&Tensor],
        kept: &[Tensor],
        grad: &Tensor,
        cotangents: &[Option<&Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let &[x, gamma, _] = inputs else {
            unreachable!("a block has three inputs")
        };
        let shape = shape(x)?;
        let zeros = [x.zeros_like()?, gamma.zeros_like()?];
        let [hx, h_gamma, h_beta] =
            [(0, 0), (1, 1), (2, 1)].map(|(at, like)| cotangents[at].unwrap_or(&zeros[like]));
        for_float!(x, T => {
            let (dx, d_gamma, dg) = with_bytes(&kept[2], |place| {
                let tensors = [x, gamma, grad, hx, h_gamma, h_beta, &kept[0], &kept[1]];
                with_slices(tensors, |[x, gamma, g, hx, h_gamma, h_beta, mean, r]| {
                    let moments = Moments { mean: mean.to_vec(), r: r.to_vec() };
                    let (at, h) = ((x, gamma, g), (hx, h_gamma, h_beta));
                    vectorized!(kernel::backward_twice::<T>(at, h, &moments, place, shape))
                })
            })?;
            let dg = tensor(dg, grad.dims())?;
            Ok(vec![Some(tensor(dx, x.dims())?), Some(tensor(d_gamma, gamma.dims())?), None, Some(dg)])
        })
    }
}
