//! Matrix products of any strides: by a kernel of ours where it is good, else by the `gemm` crate, on one thread.
//!
//! Not here: the kernel (`product`); gradients; a transposed operand is a view with its strides swapped.

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::{
    Float, filled, first_row, for_float, host_slice, on_host, out::Out, repeats_a_row, tensor,
    with_slices,
};
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

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a, T> {
    /// Nothing: the output need not be initialised.
    Zero,
    /// What is in the output.
    Output,
    /// These rows, so far apart: for each row the same if it is 0.
    Rows(&'a [T], usize),
}

/// `dst = start + scale * a b` for a row-major block of `dst` whose rows are `dst_row` apart.
///
/// # Shapes
/// `shape` is `(m, n, k)`; `a`: `(m, k)`, `b`: `(k, n)`, `dst`: `(m, n)`
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, T, B = Mat<'a, T>> {
    pub(crate) shape: (usize, usize, usize),
    pub(crate) start: Start<'a, T>,
    pub(crate) scale: T,
    pub(crate) a: Mat<'a, T>,
    pub(crate) b: B,
    pub(crate) dst_row: usize,
}

impl<'a, T: Copy> Product<'a, T> {
    /// The same with another kind of right operand.
    pub(super) fn with<B>(&self, b: B) -> Product<'a, T, B> {
        let Self {
            shape,
            start,
            scale,
            a,
            dst_row,
            ..
        } = *self;
        Product {
            shape,
            start,
            scale,
            a,
            b,
            dst_row,
        }
    }
}

impl<T: Float> Product<'_, T> {
    /// Computes it into memory that starts with the block, and writes to all of that.
    pub(crate) fn write_to(&self, dst: &mut Out<'_, T>) {
        let (m, n, k) = self.shape;
        if m == 0 || n == 0 {
            return;
        }
        if T::product(self, dst) {
            return;
        }
        if k == 0 || matches!(self.start, Start::Rows(..)) {
            for row in 0..m {
                // SAFETY: used for this row alone, and gone after it.
                #[expect(unsafe_code, reason = "the output may not be initialised")]
                let mut dst = unsafe { dst.after(row * self.dst_row) };
                let dst = dst.first(n);
                match self.start {
                    Start::Zero => dst.fill(MaybeUninit::new(T::default())),
                    Start::Output => {}
                    Start::Rows(rows, apart) => {
                        dst.write_copy_of_slice(&rows[row * apart..][..n]);
                    }
                }
            }
        }
        if k == 0 {
            return;
        }
        let last = |start: usize, rows: usize, row: usize, cols: usize, col: usize| {
            start + rows.saturating_sub(1) * row + cols.saturating_sub(1) * col
        };
        let (a, b) = (self.a, self.b);
        assert!(last(0, m, self.dst_row, n, 1) < dst.len() && self.dst_row >= n);
        assert!(last(a.start, m, a.row, k, a.col) < a.data.len());
        assert!(last(b.start, k, b.row, n, b.col) < b.data.len());
        // SAFETY: the assertions above bound every address that the strides can reach, for the three operands, and `dst` is
        // ours alone, so it overlaps neither `a` nor `b`.
        #[expect(unsafe_code, reason = "the gemm crate takes pointers and strides")]
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                dst.as_mut_ptr(),
                1,
                self.dst_row as isize,
                !matches!(self.start, Start::Zero),
                a.data.as_ptr().wrapping_add(a.start),
                a.col as isize,
                a.row as isize,
                b.data.as_ptr().wrapping_add(b.start),
                b.col as isize,
                b.row as isize,
                T::of(1.0),
                self.scale,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    /// All of a row-major output.
    ///
    /// # Panics
    /// When the output is of another size, or the product starts with what is in it.
    pub(crate) fn write_all_of(&self, out: &mut [MaybeUninit<T>]) {
        let (m, n, _) = self.shape;
        assert!(out.len() == m * n && self.dst_row == n && !matches!(self.start, Start::Output));
        // SAFETY: a product that does not start with what is in its output reads nothing of it before it has written to it.
        #[expect(unsafe_code, reason = "the output of a product is not zeroed first")]
        let mut out = unsafe { Out::new(out) };
        self.write_to(&mut out);
    }
}

/// The product over the last two axes, added to `start` if there is one; leading axes are equal.
///
/// # Shapes
/// `a`: `(.., m, k)`, `b`: `(.., k, n)`, `start` and result: `(.., m, n)`
pub(crate) fn matmul(a: &Tensor, b: &Tensor, start: Option<&Tensor>) -> Result<Tensor> {
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
    let hosted = on_host(a) && a.dtype() == b.dtype();
    if let Some(start) = start {
        let fits =
            start.dims()[..rank - 1] == da[..rank - 1] && start.dims()[rank - 1] == db[rank - 1];
        if !hosted || start.dtype() != a.dtype() || !fits {
            return Ok((start + matmul(a, b, None)?)?);
        }
    }
    if !hosted {
        return Ok(packed(a)?.matmul(&packed(b)?)?);
    }
    for_float!(a, T => match start {
        None => strided::<T>(a, b, None),
        Some(start) if repeats_a_row(start) => {
            with_slices([&first_row(start)?], |[row]| strided::<T>(a, b, Some((row, 0))))?
        }
        Some(start) => {
            let width = start.dims()[rank - 1];
            with_slices([start], |[start]| strided::<T>(a, b, Some((start, width))))?
        }
    })
}

/// A stack of matrices as candle's products take it: each dense, row by row or column by column, one after another.
fn packed(x: &Tensor) -> Result<Tensor> {
    let rank = x.rank();
    let columns_first = x.transpose(rank - 2, rank - 1)?;
    Ok(if columns_first.is_contiguous() {
        x.clone()
    } else {
        x.contiguous()?
    })
}

/// `start` has its rows so far apart: the same for each row, and each matrix, if that is 0.
fn strided<T: Float>(a: &Tensor, b: &Tensor, start: Option<(&[T], usize)>) -> Result<Tensor> {
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
            Product {
                shape: (m, n, k),
                start: match start {
                    None => Start::Zero,
                    Some((rows, apart)) => Start::Rows(&rows[batch * m * apart..], apart),
                },
                scale: T::of(1.0),
                a: view(xa, la, batch),
                b: view(xb, lb, batch),
                dst_row: n,
            }
            .write_all_of(out);
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
    filled(rows * n_out, |out| {
        Product {
            shape: (rows, n_out, n_in),
            start: Start::Rows(bias, 0),
            scale: T::of(1.0),
            a: Mat::rows(x, 0, n_in),
            b: Mat::rows(w, 0, n_in).t(),
            dst_row: n_out,
        }
        .write_all_of(out);
    })
}
