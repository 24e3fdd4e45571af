//! What optimizers do with whole parameters, one pass each.
//!
//! Not here: other devices and types, which compose candle's operations (`ops::vector`).

use std::{
    mem::MaybeUninit,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    Float, filled,
    share::{in_pieces, in_rows, of_pieces, outputs},
    vectorized,
};
use crate::ops::AdamStep;

/// `x - lr * g`, and whether no element of `g` is infinite or NaN.
pub(crate) fn descend<T: Float>(x: &[T], lr: f64, g: &[T]) -> (Vec<T>, bool) {
    let lr = T::of(lr);
    let finite = AtomicBool::new(true);
    let out = filled(x.len(), |out| {
        in_pieces(out, |first, out| {
            let n = out.len();
            let mut sums = NotFinite::default();
            let (x, g) = (&x[first..][..n], &g[first..][..n]);
            vectorized!({
                let (outs, out) = out.as_chunks_mut::<LANES>();
                let ((xs, x), (gs, g)) = (x.as_chunks::<LANES>(), g.as_chunks::<LANES>());
                for ((out, x), g) in outs.iter_mut().zip(xs).zip(gs) {
                    sums.see(g);
                    for lane in 0..LANES {
                        out[lane].write(x[lane] - lr * g[lane]);
                    }
                }
                for ((out, &x), &g) in out.iter_mut().zip(x).zip(g) {
                    sums.see_one(g);
                    out.write(x - lr * g);
                }
            });
            if sums.any() {
                finite.store(false, Ordering::Relaxed);
            }
        });
    });
    (out, finite.into_inner())
}

/// Whether no element is infinite or NaN.
pub(crate) fn all_finite<T: Float>(x: &[T]) -> bool {
    let pieces = of_pieces(x, |x| {
        let mut sums = NotFinite::default();
        vectorized!({
            let (xs, rest) = x.as_chunks::<LANES>();
            for x in xs {
                sums.see(x);
            }
            for &x in rest {
                sums.see_one(x);
            }
        });
        !sums.any()
    });
    pieces.into_iter().all(|finite| finite)
}

/// Zero times a number is zero unless the number is not finite, and NaN stays in a sum.
struct NotFinite<T>([T; LANES]);

const LANES: usize = 64;

impl<T: Float> Default for NotFinite<T> {
    fn default() -> Self {
        Self([T::default(); LANES])
    }
}

impl<T: Float> NotFinite<T> {
    #[inline(always)]
    fn see(&mut self, x: &[T; LANES]) {
        for (sum, &x) in self.0.iter_mut().zip(x) {
            *sum += x * T::default();
        }
    }

    #[inline(always)]
    fn see_one(&mut self, x: T) {
        self.0[0] += x * T::default();
    }

    fn any(&self) -> bool {
        self.0.iter().any(|&sum| sum != T::default())
    }
}

/// `factor * x`.
pub(crate) fn scale<T: Float>(x: &[T], factor: f64) -> Vec<T> {
    let factor = T::of(factor);
    filled(x.len(), |out| {
        in_pieces(out, |first, out| {
            vectorized!(for (out, &x) in out.iter_mut().zip(&x[first..]) {
                out.write(factor * x);
            });
        });
    })
}

/// The sum of the squares, piece by piece.
pub(crate) fn sum_of_squares<T: Float>(x: &[T]) -> f64 {
    let pieces = of_pieces(x, |x| vectorized!(super::reduce::wide_dot(x, x)));
    pieces.iter().sum()
}

/// The sum of slices of one length, from the first to the last.
pub(crate) fn sum_in_order<T: Float>(slices: &[&[T]]) -> Vec<T> {
    filled(slices[0].len(), |out| {
        in_pieces(out, |first, out| sum_piece(slices, first, out));
    })
}

/// The sum of slices of one length, and of `rows` that are added to each stretch of their length.
pub(crate) fn add_all<T: Float>(slices: &[&[T]], rows: &[&[T]]) -> Vec<T> {
    // Shorter pieces stay in the first cache from one operand to the next.
    const SHORT: usize = 1 << 11;
    let width = rows.first().map_or(1, |row| row.len().max(1));
    let short = SHORT.next_multiple_of(width);
    filled(slices[0].len(), |out| {
        in_rows(out, width, |first, out| {
            for (piece, out) in out.chunks_mut(short).enumerate() {
                let start = first + piece * short;
                match slices {
                    [only] => {
                        out.write_copy_of_slice(&only[start..][..out.len()]);
                    }
                    _ => sum_piece(slices, start, out),
                }
                // SAFETY: the lines above wrote all of it.
                #[expect(unsafe_code, reason = "the compiler cannot see that it is written")]
                let sums = unsafe { out.assume_init_mut() };
                for row in rows {
                    vectorized!(for stretch in sums.chunks_exact_mut(width) {
                        for (sum, &x) in stretch.iter_mut().zip(*row) {
                            *sum += x;
                        }
                    });
                }
            }
        });
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
    outputs(p.len(), |first, [p_next, m_next, v_next]| {
        let n = p_next.len();
        let [p, g, m, v] = [p, g, m, v].map(|x| &x[first..][..n]);
        let (m_next, v_next) = (&mut m_next[..n], &mut v_next[..n]);
        vectorized!(for i in 0..n {
            let first = beta1 * m[i] + rest1 * g[i];
            let second = beta2 * v[i] + rest2 * (g[i] * g[i]);
            let size = (second * correction).sqrt_() + eps;
            p_next[i].write(keep * p[i] - rate * first / size);
            m_next[i].write(first);
            v_next[i].write(second);
        });
    })
}
