//! What optimizers do with whole parameters, one pass each.
//!
//! Not here: other devices and types, which compose candle's operations (`ops::vector`).

use std::mem::MaybeUninit;

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Float, filled, for_float, tensor, vectorized, with_slices};
use crate::{error::Result, ops::AdamStep};

/// Elements in a piece: a few of them fit into a core's cache, and a piece is long beside what it costs to hand out.
const PIECE: usize = 1 << 15;

/// `x + scale * y`, on the calling thread.
pub(crate) fn add_scaled(x: &Tensor, scale: f64, y: &Tensor) -> Result<Tensor> {
    for_float!(x, T => {
        let scale = T::of(scale);
        let out = with_slices([x, y], |[x, y]: [&[T]; 2]| {
            filled(x.len(), |out| vectorized!(for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
                out.write(x + scale * y);
            }))
        })?;
        tensor(out, x.dims())
    })
}

/// Whether no element is infinite or NaN, on the calling thread.
pub(crate) fn all_finite<T: Float>(x: &[T]) -> bool {
    // Zero times a number is zero unless the number is not finite, and NaN stays in a sum.
    const LANES: usize = 32;
    let zero = T::default();
    let mut lanes = [zero; LANES];
    let (x, rest) = x.as_chunks::<LANES>();
    vectorized!(for x in x {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * zero;
        }
    });
    lanes
        .into_iter()
        .chain(rest.iter().map(|&x| x * zero))
        .all(|x| x == zero)
}

/// `factor * x`.
pub(crate) fn scale<T: Float>(x: &[T], factor: f64) -> Vec<T> {
    let factor = T::of(factor);
    filled(x.len(), |out| {
        out.par_chunks_mut(PIECE)
            .zip(x.par_chunks(PIECE))
            .for_each(|(out, x)| {
                vectorized!(for (out, &x) in out.iter_mut().zip(x) {
                    out.write(factor * x);
                });
            });
    })
}

/// The sum of the squares, piece by piece.
pub(crate) fn sum_of_squares<T: Float>(x: &[T]) -> f64 {
    let pieces: Vec<f64> = x
        .par_chunks(PIECE)
        .map(|x| vectorized!(super::reduce::wide_dot(x, x)))
        .collect();
    pieces.iter().sum()
}

/// The sum of slices of one length, from the first to the last.
pub(crate) fn sum_in_order<T: Float>(slices: &[&[T]]) -> Vec<T> {
    filled(slices[0].len(), |out| {
        let pieces = out.par_chunks_mut(PIECE).enumerate();
        pieces.for_each(|(piece, out)| sum_piece(slices, piece * PIECE, out));
    })
}

/// The sum of slices of one length, and of `rows` that are added to each stretch of their length, on the calling thread.
pub(crate) fn add_all<T: Float>(slices: &[&[T]], rows: &[&[T]]) -> Vec<T> {
    // Shorter pieces stay in the first cache from one operand to the next.
    const SHORT: usize = 1 << 11;
    let width = rows.first().map_or(1, |row| row.len().max(1));
    let short = SHORT.next_multiple_of(width);
    filled(slices[0].len(), |out| {
        for (piece, out) in out.chunks_mut(short).enumerate() {
            let start = piece * short;
            match slices {
                [only] => {
                    out.write_copy_of_slice(&only[start..][..out.len()]);
                }
                _ => sum_piece(slices, start, out),
            }
            for row in rows {
                vectorized!(for stretch in out.chunks_exact_mut(width) {
                    for (sum, &x) in stretch.iter_mut().zip(*row) {
                        // SAFETY: the lines above wrote all of `out`.
                        #[expect(
                            unsafe_code,
                            reason = "the compiler cannot see that it is written"
                        )]
                        let before = unsafe { sum.assume_init() };
                        sum.write(before + x);
                    }
                });
            }
        }
    })
}

/// The elements from `start` on of the sum of two slices or more.
fn sum_piece<T: Float>(slices: &[&[T]], start: usize, out: &mut [MaybeUninit<T>]) {
    let n = out.len();
    let [a, b, rest @ ..] = slices else {
        unreachable!("a sum has two operands or more")
    };
    let (a, b) = (&a[start..][..n], &b[start..][..n]);
    vectorized!(match rest {
        [] => {
            for i in 0..n {
                out[i].write(a[i] + b[i]);
            }
        }
        [c] => {
            let c = &c[start..][..n];
            for i in 0..n {
                out[i].write((a[i] + b[i]) + c[i]);
            }
        }
        [c, d, rest @ ..] => {
            let (c, d) = (&c[start..][..n], &d[start..][..n]);
            for i in 0..n {
                let mut sum = ((a[i] + b[i]) + c[i]) + d[i];
                for x in rest {
                    sum += x[start + i];
                }
                out[i].write(sum);
            }
        }
    });
}

/// The parameter and its two moments after [`AdamStep`].
pub(crate) fn adam<T: Float>(step: &AdamStep, [p, g, m, v]: [&[T]; 4]) -> [Vec<T>; 3] {
    let (beta1, rest1) = (T::of(step.beta1), T::of(1.0 - step.beta1));
    let (beta2, rest2) = (T::of(step.beta2), T::of(1.0 - step.beta2));
    let (eps, rate, keep) = (T::of(step.eps), T::of(step.rate), T::of(step.keep));
    let correction = T::of(1.0 / step.correction);
    let (mut m_next, mut v_next) = (Vec::new(), Vec::new());
    let p_next = filled(p.len(), |p_next| {
        m_next = filled(p.len(), |m_next| {
            v_next = filled(p.len(), |v_next| {
                let outs = p_next
                    .par_chunks_mut(PIECE)
                    .zip(m_next.par_chunks_mut(PIECE))
                    .zip(v_next.par_chunks_mut(PIECE));
                outs.enumerate()
                    .for_each(|(piece, ((p_next, m_next), v_next))| {
                        let n = p_next.len();
                        let [p, g, m, v] = [p, g, m, v].map(|x| &x[piece * PIECE..][..n]);
                        let (m_next, v_next) = (&mut m_next[..n], &mut v_next[..n]);
                        vectorized!(for i in 0..n {
                            let first = beta1 * m[i] + rest1 * g[i];
                            let second = beta2 * v[i] + rest2 * (g[i] * g[i]);
                            let size = (second * correction).sqrt_() + eps;
                            p_next[i].write(keep * p[i] - rate * first / size);
                            m_next[i].write(first);
                            v_next[i].write(second);
                        });
                    });
            });
        });
    });
    [p_next, m_next, v_next]
}
