//! Softmax and its logarithm over rows.
//!
//! Not here: attention, which has its own (`attention`).

use candle_core::{D, Tensor};

use super::{Float, for_float, layer_norm::sum, on_host, tensor, vectorized, with_slices};
use crate::error::Result;

/// Which of the two functions of a row.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Softmax,
    LogSoftmax,
}

/// Softmax over the last axis, or its logarithm.
pub(crate) fn softmax(x: &Tensor, kind: Kind) -> Result<Tensor> {
    if on_host(x) {
        let width = x.dims().last().copied().unwrap_or(1);
        return for_float!(x, T => {
            let out = with_slices([x], |[x]: [&[T]; 1]| {
                let mut out = x.to_vec();
                vectorized!(match kind {
                    Kind::Softmax => rows(&mut out, width),
                    Kind::LogSoftmax => log_rows(&mut out, width),
                });
                out
            })?;
            tensor(out, x.dims())
        });
    }
    let shifted = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?;
    let exp = shifted.exp()?;
    let total = exp.sum_keepdim(D::Minus1)?;
    Ok(match kind {
        Kind::Softmax => exp.broadcast_div(&total)?,
        Kind::LogSoftmax => shifted.broadcast_sub(&total.log()?)?,
    })
}

/// Softmax of each row of `width`, in place.
///
/// The exponentials are taken of all rows at once, so that short rows fill the vectors too.
#[inline(always)]
pub(crate) fn rows<T: Float>(xs: &mut [T], width: usize) {
    for row in xs.chunks_exact_mut(width) {
        let max = maximum(row);
        for x in row {
            *x -= max;
        }
    }
    for x in xs.iter_mut() {
        *x = x.exp_();
    }
    for row in xs.chunks_exact_mut(width) {
        let scale = T::of(1.0) / sum(row);
        for x in row {
            *x *= scale;
        }
    }
}

#[inline(always)]
fn log_rows<T: Float>(xs: &mut [T], width: usize) {
    for row in xs.chunks_exact_mut(width) {
        let max = maximum(row);
        let total: T = row.iter().map(|&x| (x - max).exp_()).sum();
        let shift = max + T::of(total.to_f64().ln());
        for x in row.iter_mut() {
            *x -= shift;
        }
    }
}

#[inline(always)]
fn maximum<T: Float>(row: &[T]) -> T {
    const LANES: usize = 16;
    // A comparison with NaN is false: the row's NaN then shows up in its sum, as it should.
    let larger = |max: T, x: T| if x > max { x } else { max };
    let mut lanes = [T::of(f64::NEG_INFINITY); LANES];
    let (row, rest) = row.as_chunks::<LANES>();
    for row in row {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], row[lane]);
        }
    }
    lanes
        .into_iter()
        .chain(rest.iter().copied())
        .fold(T::of(f64::NEG_INFINITY), larger)
}
