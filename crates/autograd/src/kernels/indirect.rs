//! A matrix product whose left operand is addressed through two tables: element `(i, k)` is `a[rows[i] + steps[k]]`.
//!
//! With the right tables a padded picture is its own matrix of patches, so the three forms of convolution are this
//! product with nothing unfolded in memory. Not here: building the tables (`conv`).

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

use super::{
    Float, filled,
    matmul::Start,
    tile::{self, Rows},
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
                return;
            }
            // SAFETY: the kernels write to an element before they read it, and write to all of them if there is a step;
            // `MaybeUninit<T>` is laid out as `T`.
            #[expect(unsafe_code, reason = "the output of a product is not zeroed first")]
            let out =
                unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<T>(), out.len()) };
            T::indirect(self, out);
        })
    }

    /// Writes what the sums start from.
    fn begin(self, out: &mut [MaybeUninit<T>]) {
        for out in out.chunks_exact_mut(self.width.max(1)) {
            match self.start {
                Some(start) => {
                    out.write_copy_of_slice(start);
                }
                None => out.fill(MaybeUninit::new(T::default())),
            }
        }
    }
}

/// The product by plain loops, for element types without a kernel of their own and machines without vector units.
pub(super) fn plain<T: Float>(job: Indirect<'_, T>, out: &mut [T]) {
    vectorized!(
        for (out, &row) in out.chunks_exact_mut(job.width).zip(job.rows) {
            match job.start {
                Some(start) => out.copy_from_slice(start),
                None => out.fill(T::default()),
            }
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
            let start = match job.start {
                _ if first > 0 => Start::Output,
                Some(start) => Start::Row(&start[column..]),
                None => Start::Zero,
            };
            let b = Rows {
                data: b,
                width: job.width,
            };
            let a = (job.a, job.rows, steps);
            if n_columns < panel {
                edge(simd, a, b, n_columns, start, out);
            } else {
                tile::panel::<S, VECTORS>(simd, a, b, n_columns, start, (out, job.width));
            }
        }
    }
}

/// The columns that do not fill a panel, one row and vector at a time; rows of `out` are as far apart as those of `b`.
#[inline(always)]
fn edge<S: Simd>(
    simd: S,
    (a, rows, steps): (&[f32], &[usize], &[usize]),
    b: Rows<'_>,
    n_columns: usize,
    start: Start<'_, f32>,
    out: &mut [f32],
) {
    for (row, &first) in rows.iter().enumerate() {
        for column in (0..n_columns).step_by(S::F32_LANES) {
            let len = S::F32_LANES.min(n_columns - column);
            let at = row * b.width + column;
            let mut sum = match start {
                Start::Zero => simd.splat_f32s(0.0),
                Start::Output => simd.partial_load_f32s(&out[at..at + len]),
                Start::Row(start) => simd.partial_load_f32s(&start[column..column + len]),
            };
            for (k, &step) in steps.iter().enumerate() {
                let factor = simd.splat_f32s(a[first + step]);
                let from = k * b.width + column;
                let vector = simd.partial_load_f32s(&b.data[from..from + len]);
                sum = simd.mul_add_e_f32s(factor, vector, sum);
            }
            simd.partial_store_f32s(&mut out[at..at + len], sum);
        }
    }
}
