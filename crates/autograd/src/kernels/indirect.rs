//! A matrix product whose left operand is addressed through two tables: element `(i, k)` is `a[rows[i] + steps[k]]`.
//!
//! With the right tables a padded picture is its own matrix of patches, so the three forms of convolution are this
//! product with nothing unfolded in memory. Not here: building the tables (`conv`).

use pulp::{Simd, WithSimd};

use super::{
    Float,
    matmul::Start,
    tile::{self, Rows},
    vectorized,
};

/// `out += A b`.
///
/// # Shapes
/// - `A`: `(rows, steps)`, through the tables
/// - `b`: `(steps, width)`, row-major
/// - `out`: `(rows, width)`, row-major
#[derive(Clone, Copy)]
pub(crate) struct Indirect<'a, T> {
    pub(crate) a: &'a [T],
    pub(crate) rows: &'a [usize],
    pub(crate) steps: &'a [usize],
    pub(crate) b: &'a [T],
    pub(crate) width: usize,
}

impl<T: Float> Indirect<'_, T> {
    /// Adds the product to `out`.
    pub(crate) fn add_to(self, out: &mut [T]) {
        assert_eq!(self.b.len(), self.steps.len() * self.width);
        assert_eq!(out.len(), self.rows.len() * self.width);
        T::indirect(self, out);
    }
}

/// The product by plain loops, for element types without a kernel of their own and machines without vector units.
pub(super) fn plain<T: Float>(job: Indirect<'_, T>, out: &mut [T]) {
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

/// The product by register tiles: `ROWS` rows times a few vectors of columns stay in registers over a run of steps.
pub(super) fn tiled(job: Indirect<'_, f32>, out: &mut [f32]) {
    pulp::Arch::new().dispatch(Tiled { job, out });
}

struct Tiled<'a, 'o> {
    job: Indirect<'a, f32>,
    out: &'o mut [f32],
}

/// How many elements of `b` a run of steps may hold, so that it stays in the first-level cache.
const RUN: usize = 6 * 1024;

impl WithSimd for Tiled<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // AVX-512 and NEON have 32 vector registers, AVX2 has 16.
        match S::F32_LANES {
            1 => plain(self.job, self.out),
            8 => tiles::<S, 2>(simd, self.job, self.out),
            _ => tiles::<S, 4>(simd, self.job, self.out),
        }
    }
}

#[inline(always)]
fn tiles<S: Simd, const VECTORS: usize>(simd: S, job: Indirect<'_, f32>, out: &mut [f32]) {
    let panel = VECTORS * S::F32_LANES;
    let run = (RUN / panel).max(1);
    for column in (0..job.width).step_by(panel) {
        let n_columns = panel.min(job.width - column);
        for first in (0..job.steps.len()).step_by(run) {
            let steps = &job.steps[first..(first + run).min(job.steps.len())];
            let b = &job.b[first * job.width + column..];
            let out = &mut out[column..];
            if n_columns < panel {
                edge(simd, job.a, job.rows, steps, b, job.width, n_columns, out);
            } else {
                let b = Rows {
                    data: b,
                    width: job.width,
                };
                tile::panel::<S, VECTORS>(
                    simd,
                    (job.a, job.rows, steps),
                    b,
                    panel,
                    Start::Output,
                    (out, job.width),
                );
            }
        }
    }
}

/// The columns that do not fill a panel, one row and vector at a time.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the coordinates of a panel")]
fn edge<S: Simd>(
    simd: S,
    a: &[f32],
    rows: &[usize],
    steps: &[usize],
    b: &[f32],
    width: usize,
    n_columns: usize,
    out: &mut [f32],
) {
    for (row, &start) in rows.iter().enumerate() {
        for column in (0..n_columns).step_by(S::F32_LANES) {
            let len = S::F32_LANES.min(n_columns - column);
            let at = row * width + column;
            let mut sum = simd.partial_load_f32s(&out[at..at + len]);
            for (k, &step) in steps.iter().enumerate() {
                let factor = simd.splat_f32s(a[start + step]);
                let from = k * width + column;
                sum =
                    simd.mul_add_e_f32s(factor, simd.partial_load_f32s(&b[from..from + len]), sum);
            }
            simd.partial_store_f32s(&mut out[at..at + len], sum);
        }
    }
}
