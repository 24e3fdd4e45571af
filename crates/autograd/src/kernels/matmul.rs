//! Matrix products of any strides, on one thread, by the `gemm` crate.
//!
//! Not here: gradients; a transposed operand is a view with its strides swapped.

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::{Float, filled, for_float, host_slice, on_host, tensor};
use crate::error::{Error, Result};

/// A matrix in a slice: element `(i, j)` is at `start + i * row + j * col`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) start: usize,
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl<'a, T> Mat<'a, T> {
    /// Row-major with `width` columns in a row of the slice.
    pub(crate) fn rows(data: &'a [T], start: usize, width: usize) -> Self {
        Self {
            data,
            start,
            row: width,
            col: 1,
        }
    }

    /// The transposed view.
    pub(crate) fn t(self) -> Self {
        Self {
            row: self.col,
            col: self.row,
            ..self
        }
    }
}

/// `dst = a b` for a row-major `dst` that need not be initialised.
///
/// # Shapes
/// as [`gemm`]
pub(crate) fn gemm_into<T: Float>(
    (m, n, k): (usize, usize, usize),
    dst: &mut [MaybeUninit<T>],
    a: Mat<'_, T>,
    b: Mat<'_, T>,
) {
    assert!(dst.len() == m * n);
    if k == 0 {
        dst.fill(MaybeUninit::new(T::default()));
        return;
    }
    // SAFETY: without accumulation the product only writes to `dst`, and writes all of it; `MaybeUninit<T>` is laid
    // out as `T`.
    #[expect(unsafe_code, reason = "the output of a product is not zeroed first")]
    let dst = unsafe { std::slice::from_raw_parts_mut(dst.as_mut_ptr().cast::<T>(), dst.len()) };
    gemm((m, n, k), (dst, 0, n), false, T::of(1.0), a, b);
}

/// `dst = scale * a b`, or `dst += scale * a b`, for a row-major block of `dst` whose rows are `dst_row` apart.
///
/// # Shapes
/// `a`: `(m, k)`, `b`: `(k, n)`, `dst`: `(m, n)`
pub(crate) fn gemm<T: Float>(
    (m, n, k): (usize, usize, usize),
    (dst, dst_start, dst_row): (&mut [T], usize, usize),
    accumulate: bool,
    scale: T,
    a: Mat<'_, T>,
    b: Mat<'_, T>,
) {
    if m == 0 || n == 0 {
        return;
    }
    let last = |start: usize, rows: usize, row: usize, cols: usize, col: usize| {
        start + rows.saturating_sub(1) * row + cols.saturating_sub(1) * col
    };
    assert!(last(dst_start, m, dst_row, n, 1) < dst.len() && dst_row >= n);
    assert!(k == 0 || last(a.start, m, a.row, k, a.col) < a.data.len());
    assert!(k == 0 || last(b.start, k, b.row, n, b.col) < b.data.len());
    // SAFETY: the assertions above bound every address that the strides can reach, for the three operands, and
    // `dst` is borrowed mutably, so it overlaps neither `a` nor `b`.
    #[expect(unsafe_code, reason = "the gemm crate takes pointers and strides")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr().add(dst_start),
            1,
            dst_row as isize,
            accumulate,
            a.data.as_ptr().wrapping_add(a.start),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr().wrapping_add(b.start),
            b.col as isize,
            b.row as isize,
            T::of(1.0),
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// The product over the last two axes; leading axes are equal.
///
/// # Shapes
/// `a`: `(.., m, k)`, `b`: `(.., k, n)`, result: `(.., m, n)`
pub(crate) fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (da, db) = (a.dims(), b.dims());
    let rank = da.len();
    if rank < 2
        || rank != db.len()
        || da[..rank - 2] != db[..rank - 2]
        || da[rank - 1] != db[rank - 2]
    {
        return Err(Error::Shape {
            op: "matmul",
            expected: "(.., m, k) and (.., k, n)".into(),
            found: format!("{da:?} and {db:?}"),
        });
    }
    if !on_host(a) || a.dtype() != b.dtype() {
        return Ok(a.contiguous()?.matmul(&b.contiguous()?)?);
    }
    for_float!(a, T => strided::<T>(a, b))
}

fn strided<T: Float>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let rank = a.rank();
    let (m, k, n) = (a.dims()[rank - 2], a.dims()[rank - 1], b.dims()[rank - 1]);
    let leading = &a.dims()[..rank - 2];
    let (sa, la) = a.storage_and_layout();
    let (sb, lb) = b.storage_and_layout();
    let (xa, xb) = (host_slice::<T>(&sa)?, host_slice::<T>(&sb)?);
    let view = |data, layout: &candle_core::Layout, batch: usize| {
        let strides = layout.stride();
        let mut start = layout.start_offset();
        let mut rest = batch;
        for (axis, &dim) in leading.iter().enumerate().rev() {
            start += rest % dim * strides[axis];
            rest /= dim;
        }
        Mat {
            data,
            start,
            row: strides[rank - 2],
            col: strides[rank - 1],
        }
    };
    let n_batches: usize = leading.iter().product();
    let out = filled(n_batches * m * n, |out| {
        for (batch, out) in out.chunks_exact_mut((m * n).max(1)).enumerate() {
            gemm_into((m, n, k), out, view(xa, la, batch), view(xb, lb, batch));
        }
    });
    let dims: Vec<usize> = leading.iter().copied().chain([m, n]).collect();
    tensor(out, &dims)
}

/// `x w^T + bias`.
///
/// # Shapes
/// `x`: `(rows, in)`, `w`: `(out, in)`, `bias`: `(out)`, result: `(rows, out)`
pub(crate) fn linear<T: Float>(x: &[T], w: &[T], bias: &[T], n_in: usize) -> Vec<T> {
    let n_out = bias.len();
    let rows = x.len() / n_in;
    let mut out = Vec::with_capacity(rows * n_out);
    for _ in 0..rows {
        out.extend_from_slice(bias);
    }
    let (x, w) = (Mat::rows(x, 0, n_in), Mat::rows(w, 0, n_in).t());
    gemm(
        (rows, n_out, n_in),
        (&mut out, 0, n_out),
        true,
        T::of(1.0),
        x,
        w,
    );
    out
}
