//! A matrix product whose left operand is addressed through two tables: element `(i, k)` is `a[rows[i] + steps[k]]`.
//!
//! With the right tables a padded picture is its own matrix of patches, so the three forms of convolution are this
//! product with nothing unfolded in memory. Not here: building the tables (`conv`).

use pulp::{Simd, WithSimd};

use super::{Float, vectorized};

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
        let reach = |table: &[usize]| table.iter().copied().max();
        let (Some(row), Some(step)) = (reach(self.rows), reach(self.steps)) else {
            return;
        };
        assert!(
            row + step < self.a.len(),
            "the tables reach beyond the left operand"
        );
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

/// Rows of a tile: with four vectors of columns, 24 of 32 registers hold sums.
const ROWS: usize = 6;

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
            for (tile, rows) in job.rows.chunks(ROWS).enumerate() {
                let out = &mut out[tile * ROWS * job.width + column..];
                if n_columns < panel {
                    edge_tile(simd, job.a, rows, steps, b, job.width, n_columns, out);
                } else if let Ok(rows) = rows.try_into() {
                    full_tile::<S, VECTORS>(
                        simd,
                        job.a,
                        rows,
                        steps,
                        (b, job.width),
                        (out, job.width),
                    );
                } else {
                    last_rows::<S, VECTORS>(
                        simd,
                        job.a,
                        rows,
                        steps,
                        (b, job.width),
                        (out, job.width),
                    );
                }
            }
        }
    }
}

/// One tile whose rows and columns are all there; `b` and `out` come with the distance between their rows.
#[inline(always)]
fn full_tile<S: Simd, const VECTORS: usize>(
    simd: S,
    a: &[f32],
    rows: &[usize; ROWS],
    steps: &[usize],
    (b, b_width): (&[f32], usize),
    (out, out_width): (&mut [f32], usize),
) {
    let lanes = S::F32_LANES;
    assert!(out.len() >= (ROWS - 1) * out_width + VECTORS * lanes);
    assert!(b.len() >= (steps.len() - 1) * b_width + VECTORS * lanes);
    // SAFETY: the assertions above bound what is read of `b` and `out` and written to `out`; `Indirect::add_to` has
    // checked that every row plus every step is inside `a`.
    #[expect(
        unsafe_code,
        reason = "bounds checks here cost a third of the kernel's speed"
    )]
    unsafe {
        let vector_at = |start: *const f32, vector: usize| {
            start.add(vector * lanes).cast::<S::f32s>().read_unaligned()
        };
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = vector_at(out.as_ptr().add(row * out_width), vector);
            }
        }
        for (k, &step) in steps.iter().enumerate() {
            let b_row = b.as_ptr().add(k * b_width);
            let mut vectors = [simd.splat_f32s(0.0); VECTORS];
            for (vector, value) in vectors.iter_mut().enumerate() {
                *value = vector_at(b_row, vector);
            }
            for row in 0..ROWS {
                let factor = simd.splat_f32s(*a.get_unchecked(rows[row] + step));
                for vector in 0..VECTORS {
                    sums[row][vector] =
                        simd.mul_add_e_f32s(factor, vectors[vector], sums[row][vector]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, &sum) in sums.iter().enumerate() {
                let at = out.as_mut_ptr().add(row * out_width + vector * lanes);
                at.cast::<S::f32s>().write_unaligned(sum);
            }
        }
    }
}

/// The last tile of a panel, with fewer rows: a whole tile on the side, whose further rows repeat one.
#[inline(always)]
fn last_rows<S: Simd, const VECTORS: usize>(
    simd: S,
    a: &[f32],
    rows: &[usize],
    steps: &[usize],
    b: (&[f32], usize),
    (out, out_width): (&mut [f32], usize),
) {
    const WIDEST: usize = 64;
    let panel = VECTORS * S::F32_LANES;
    let mut side = [0f32; ROWS * WIDEST];
    let mut padded = [rows[0]; ROWS];
    padded[..rows.len()].copy_from_slice(rows);
    for row in 0..rows.len() {
        side[row * panel..][..panel].copy_from_slice(&out[row * out_width..][..panel]);
    }
    full_tile::<S, VECTORS>(simd, a, &padded, steps, b, (&mut side, panel));
    for row in 0..rows.len() {
        out[row * out_width..][..panel].copy_from_slice(&side[row * panel..][..panel]);
    }
}

/// A tile at the right or lower edge, one row and vector at a time.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the coordinates of one tile")]
fn edge_tile<S: Simd>(
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
