//! What optimizers do with whole parameters, one pass each.
//!
//! Not here: other devices and types, which compose candle's operations (`ops::vector`).

use candle_core::Tensor;

use super::{Float, for_float, tensor, vectorized, with_slices};
use crate::{error::Result, ops::AdamStep};

/// `x + scale * y`.
pub(crate) fn add_scaled(x: &Tensor, scale: f64, y: &Tensor) -> Result<Tensor> {
    for_float!(x, T => {
        let scale = T::of(scale);
        let out = with_slices([x, y], |[x, y]: [&[T]; 2]| {
            vectorized!(x.iter().zip(y).map(#[inline(always)] |(&x, &y)| x + scale * y).collect::<Vec<T>>())
        })?;
        tensor(out, x.dims())
    })
}

/// `sum += x`.
pub(crate) fn add_to<T: Float>(sum: &mut [T], x: &[T]) {
    vectorized!(for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += x;
    });
}

/// The parameter and its two moments after [`AdamStep`].
pub(crate) fn adam<T: Float>(step: &AdamStep, [p, g, m, v]: [&[T]; 4]) -> [Vec<T>; 3] {
    let (beta1, rest1) = (T::of(step.beta1), T::of(1.0 - step.beta1));
    let (beta2, rest2) = (T::of(step.beta2), T::of(1.0 - step.beta2));
    let (eps, rate, keep) = (T::of(step.eps), T::of(step.rate), T::of(step.keep));
    let correction = T::of(1.0 / step.correction);
    let n = p.len();
    let mut out = [(); 3].map(|()| vec![T::default(); n]);
    let [p_next, m_next, v_next] = &mut out;
    vectorized!({
        let (g, m, v) = (&g[..n], &m[..n], &v[..n]);
        for i in 0..n {
            let first = beta1 * m[i] + rest1 * g[i];
            let second = beta2 * v[i] + rest2 * (g[i] * g[i]);
            let size = (second * correction).sqrt_() + eps;
            p_next[i] = keep * p[i] - rate * first / size;
            m_next[i] = first;
            v_next[i] = second;
        }
    });
    out
}
