//! Sums over all axes but the last, which is how a bias gets its gradient.
//!
//! Not here: other reductions, which are not hot and run on candle.

use candle_core::Tensor;

use super::{Float, for_float, tensor, vectorized, with_slices};
use crate::error::Result;

/// The sum over all axes but the last, of length `width`.
pub(crate) fn columns(x: &Tensor) -> Result<Tensor> {
    let width = x.dims().last().copied().unwrap_or(1);
    for_float!(x, T => {
        let sums = with_slices([x], |[x]| vectorized!(sums::<T>(x, width)))?;
        tensor(sums, &[width])
    })
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
