//! Elementwise arithmetic.
//!
//! Candle's own runs on a pool of spinning threads, which fight with the tasks that already use every core. Not
//! here: broadcasts other than of trailing axes, which are rare and stay with candle.

use std::mem::MaybeUninit;

use candle_core::Tensor;

use super::{
    Float, filled, for_float, on_host,
    share::{in_pieces, in_rows},
    tensor, vectorized, with_slices,
};
use crate::error::Result;

/// An operation of two numbers.
#[derive(Clone, Copy)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
}

/// `a op b`, broadcasting.
pub(crate) fn binary(a: &Tensor, b: &Tensor, op: Binary) -> Result<Tensor> {
    let trailing = |whole: &Tensor, part: &Tensor| {
        let part = part.dims();
        let part = &part[part.iter().take_while(|&&dim| dim == 1).count()..];
        part.len() <= whole.rank() && whole.dims().ends_with(part)
    };
    let same_kind = on_host(a) && on_host(b) && a.dtype() == b.dtype();
    let dims = if same_kind && a.rank() >= b.rank() && trailing(a, b) {
        a.dims()
    } else if same_kind && b.rank() >= a.rank() && trailing(b, a) {
        b.dims()
    } else {
        return Ok(match op {
            Binary::Add => a.broadcast_add(b)?,
            Binary::Sub => a.broadcast_sub(b)?,
            Binary::Mul => a.broadcast_mul(b)?,
            Binary::Div => a.broadcast_div(b)?,
        });
    };
    for_float!(a, T => {
        let out = with_slices([a, b], |[a, b]: [&[T]; 2]| {
            // Nothing times something is nothing: an empty operand makes an empty result.
            let n = if a.is_empty() || b.is_empty() { 0 } else { a.len().max(b.len()) };
            let shorter = a.len().min(b.len());
            let width = if shorter == n { 1 } else { shorter };
            filled(n, |out| in_rows(out, width, |first, out| {
                let [a, b] = [a, b].map(|x| if x.len() == n { &x[first..][..out.len()] } else { x });
                vectorized!(match op {
                    Binary::Add => zip(a, b, out, #[inline(always)] |x, y| x + y),
                    Binary::Sub => zip(a, b, out, #[inline(always)] |x, y| x - y),
                    Binary::Mul => zip(a, b, out, #[inline(always)] |x, y| x * y),
                    Binary::Div => zip(a, b, out, #[inline(always)] |x, y| x / y),
                });
            }))
        })?;
        tensor(out, dims)
    })
}

/// `mul x + add`.
pub(crate) fn affine(x: &Tensor, mul: f64, add: f64) -> Result<Tensor> {
    if !on_host(x) {
        return Ok(x.affine(mul, add)?);
    }
    for_float!(x, T => {
        let (mul, add) = (T::of(mul), T::of(add));
        let out = with_slices([x], |[x]: [&[T]; 1]| {
            filled(x.len(), |out| in_pieces(out, |first, out| {
                vectorized!(for (out, &x) in out.iter_mut().zip(&x[first..]) {
                    out.write(mul * x + add);
                });
            }))
        })?;
        tensor(out, x.dims())
    })
}

/// The shorter operand is repeated along the longer one.
#[inline(always)]
fn zip<T: Float>(a: &[T], b: &[T], out: &mut [MaybeUninit<T>], f: impl Fn(T, T) -> T + Copy) {
    if out.is_empty() {
        return;
    }
    if b.len() == 1 {
        let y = b[0];
        for (out, &x) in out.iter_mut().zip(a) {
            out.write(f(x, y));
        }
    } else if a.len() >= b.len() {
        for (out, a) in out.chunks_exact_mut(b.len()).zip(a.chunks_exact(b.len())) {
            for ((out, &x), &y) in out.iter_mut().zip(a).zip(b) {
                out.write(f(x, y));
            }
        }
    } else {
        for (out, b) in out.chunks_exact_mut(a.len()).zip(b.chunks_exact(a.len())) {
            for ((out, &x), &y) in out.iter_mut().zip(a).zip(b) {
                out.write(f(x, y));
            }
        }
    }
}
