//! Sums over all axes but the last, which is how a bias gets its gradient, and inner products.
//!
//! Not here: other reductions, which are not hot and run on candle.

use candle_core::Tensor;

use super::{Float, for_float, share::of_rows, tensor, vectorized, with_slices};
use crate::error::Result;

/// The sum over all axes but the last, of length `width`.
pub(crate) fn columns(x: &Tensor) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(1);
    for_float!(x, T => {
        let sums = with_slices([x], |[x]| {
            in_order(of_rows(x, width, |x| vectorized!(sums::<T>(x, width))), width)
        })?;
        tensor(sums, &[width])
    })
}

/// The sum of the sums of pieces, from first to last.
pub(super) fn in_order<T: Float>(pieces: Vec<Vec<T>>, width: usize) -> Vec<T> {
    let mut pieces = pieces.into_iter();
    let mut sums = pieces.next().unwrap_or_else(|| vec![T::default(); width]);
    for piece in pieces {
        for (sum, x) in sums.iter_mut().zip(piece) {
            *sum += x;
        }
    }
    sums
}

/// The sums of the columns. Rows are added in fours, to read and write the sums less often.
#[inline(always)]
pub(super) fn sums<T: Float>(x: &[T], width: usize) -> Vec<T> {
    let mut sums = vec![T::default(); width];
    let fours = x.chunks_exact(4 * width);
    for row in fours.remainder().chunks_exact(width) {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
    for rows in fours {
        let (ab, cd) = rows.split_at(2 * width);
        let ((a, b), (c, d)) = (ab.split_at(width), cd.split_at(width));
        let sums = &mut sums[..width];
        for i in 0..width {
            sums[i] += (a[i] + b[i]) + (c[i] + d[i]);
        }
    }
    sums
}

/// The inner product, summed in `f64` in a fixed order.
pub(crate) fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    for_float!(a, T => with_slices([a, b], |[a, b]: [&[T]; 2]| vectorized!(wide_dot(a, b))))
}

#[inline(always)]
pub(super) fn wide_dot<T: Float>(a: &[T], b: &[T]) -> f64 {
    const LANES: usize = 16;
    let mut lanes = [0f64; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane].to_f64() * b[lane].to_f64();
        }
    }
    let rest: f64 = a_rest
        .iter()
        .zip(b_rest)
        .map(|(a, b)| a.to_f64() * b.to_f64())
        .sum();
    lanes.iter().sum::<f64>() + rest
}
