//! A matrix product whose left operand is addressed through two tables: element `(i, k)` is `a[rows[i] + steps[k]]`.
//!
//! With the right tables a padded picture is its own matrix of patches, so the three forms of convolution are this
//! product with nothing unfolded in memory. Not here: building the tables (`conv`).

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

use super::{
    Float, filled,
    matmul::Start,
    out::Out,
    share::{n_threads, share},
    tile::{self, Aside, Left, ROWS, Right, To, VECTORS},
    vectorized,
};

/// `start + A b`.
///
/// # Shapes
/// - `A`: `(rows, steps)`, through the tables
/// - `b`: `(steps, width)`, row-major
/// - `start`: `(width)`, for every row; zeros where there is none
/// - result: `(rows, width)`, row-major
#[derive(Clone, Copy)]
pub(crate) struct Indirect<'a, T> {
    pub(crate) a: &'a [T],
    pub(crate) rows: &'a [usize],
    pub(crate) steps: &'a [usize],
    pub(crate) b: &'a [T],
    pub(crate) start: Option<&'a [T]>,
    pub(crate) width: usize,
}

impl<T: Float> Indirect<'_, T> {
    /// Computes it.
    pub(crate) fn compute(self) -> Vec<T> {
        assert_eq!(self.b.len(), self.steps.len() * self.width);
        assert!(self.start.is_none_or(|start| start.len() == self.width));
        filled(self.rows.len() * self.width, |out| {
            if self.steps.is_empty() {
                self.begin(out);
            } else {
                T::indirect(self, out);
            }
        })
    }

    /// Writes what the sums start from.
    fn begin(self, out: &mut [MaybeUninit<T>]) -> &mut [T] {
        for row in out.chunks_exact_mut(self.width.max(1)) {
            match self.start {
                Some(start) => {
                    row.write_copy_of_slice(start);
                }
                None => row.fill(MaybeUninit::new(T::default())),
            }
        }
        // SAFETY: the output is made of such rows.
        #[expect(unsafe_code, reason = "the compiler cannot see that it is written")]
        unsafe {
            out.assume_init_mut()
        }
    }
}

/// The product by plain loops, for element types without a kernel of their own and machines without vector units.
pub(super) fn plain<T: Float>(job: Indirect<'_, T>, out: &mut [MaybeUninit<T>]) {
    let out = job.begin(out);
    vectorized!(
        for (out, &row) in out.chunks_exact_mut(job.width).zip(job.rows) {
            for (b, &step) in job.b.chunks_exact(job.width).zip(job.steps) {
                let a = job.a[row + step];
                for (out, &b) in out.iter_mut().zip(b) {
                    *out += a * b;
                }
            }
        }
    );
}

/// The product by register tiles: `ROWS` rows times a few vectors of columns stay in registers over a run of steps. Threads
/// share the rows.
pub(super) fn tiled(job: Indirect<'_, f32>, out: &mut [MaybeUninit<f32>]) {
    // SAFETY: the first run of steps reads nothing of the output, and writes to all of it.
    #[expect(unsafe_code, reason = "the output of a product is not zeroed first")]
    let out = unsafe { Out::new(out) };
    let n_rows = job.rows.len();
    let most = n_rows.div_ceil(n_threads()).max(LEAST_ROWS);
    share(0..n_rows, most.next_multiple_of(ROWS), &|rows| {
        let job = Indirect {
            rows: &job.rows[rows.clone()],
            ..job
        };
        // SAFETY: these rows are this part's alone.
        #[expect(unsafe_code, reason = "threads write to different rows of one output")]
        let out = unsafe { out.after(rows.start * job.width) };
        pulp::Arch::new().dispatch(Tiled { job, out });
    });
}

/// The least rows that are worth a thread.
const LEAST_ROWS: usize = 32 * ROWS;

struct Tiled<'a, 'o> {
    job: Indirect<'a, f32>,
    out: Out<'o, f32>,
}

/// How many elements of `b` a run of steps may hold, so that it stays in the first-level cache.
const RUN: usize = 6 * 1024;

impl WithSimd for Tiled<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { job, mut out } = self;
        // AVX-512 and NEON have 32 vector registers, AVX2 has 16.
        match S::F32_LANES {
            1 => plain(job, out.first(job.rows.len() * job.width)),
            8 => tiles(simd, job, &out, VECTORS / 2),
            _ => tiles(simd, job, &out, VECTORS),
        }
    }
}

#[inline(always)]
fn tiles<S: Simd>(simd: S, job: Indirect<'_, f32>, out: &Out<'_, f32>, vectors: usize) {
    let panel = vectors * S::F32_LANES;
    let run = (RUN / panel).max(1);
    for first in (0..job.steps.len()).step_by(run) {
        let steps = &job.steps[first..(first + run).min(job.steps.len())];
        let a = Left::new(job.a, job.rows, steps);
        for column in (0..job.width).step_by(panel) {
            let start = match job.start {
                _ if first > 0 => Start::Output,
                Some(start) => Start::Rows(&start[column..], 0),
                None => Start::Zero,
            };
            let b = Right {
                data: &job.b[first * job.width + column..],
                width: job.width,
            };
            let to = To {
                // SAFETY: panels and runs follow one another.
                #[expect(unsafe_code, reason = "a panel is some columns of the rows")]
                out: unsafe { out.after(column) },
                width: job.width,
                start,
                scale: 1.0,
            };
            let n_columns = panel.min(job.width - column);
            tile::panel(simd, a, b, n_columns, &to, Aside::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Scalar128b, Scalar256b, Scalar512b};

    use super::*;

    /// Compares tiles of some vectors with plain loops, whatever the machine has.
    fn check(tiled: impl Fn(Tiled<'_, '_>)) {
        let numbers = |n: usize| -> Vec<f32> { (0..n).map(|i| (i * 37 % 101) as f32).collect() };
        for (n_rows, n_steps, width) in [(1, 1, 1), (6, 4, 16), (7, 9, 37), (13, 700, 70)] {
            let rows: Vec<usize> = (0..n_rows).map(|row| row * 5 % 11).collect();
            let steps: Vec<usize> = (0..n_steps).map(|step| step * 3).collect();
            let (a, b, start) = (
                numbers(12 + 3 * n_steps),
                numbers(n_steps * width),
                numbers(width),
            );
            for start in [None, Some(&start[..])] {
                let job = Indirect {
                    a: &a,
                    rows: &rows,
                    steps: &steps,
                    b: &b,
                    start,
                    width,
                };
                let expected = filled(n_rows * width, |out| plain(job, out));
                let mut out = vec![f32::NAN; n_rows * width];
                tiled(Tiled {
                    job,
                    out: Out::from(&mut out[..]),
                });
                for (out, expected) in out.iter().zip(&expected) {
                    assert!((out - expected).abs() <= 1e-5 * expected.abs());
                }
            }
        }
    }

    #[test]
    fn tiles_of_all_widths() {
        check(|tiled| tiled.with_simd(Scalar128b));
        check(|tiled| tiled.with_simd(Scalar256b));
        check(|tiled| tiled.with_simd(Scalar512b));
        #[cfg(target_arch = "x86_64")]
        {
            // Also where a machine has wider vectors.
            if let Some(simd) = pulp::x86::V3::try_new() {
                check(|tiled| simd.vectorize(|| tiled.with_simd(simd)));
            }
        }
        check(|tiled| pulp::Arch::new().dispatch(tiled));
    }
}
