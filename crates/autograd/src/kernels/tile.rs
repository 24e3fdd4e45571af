//! The register tile of `f32` products: a few rows times a few vectors of columns stay in registers over a run of steps.
//!
//! The left operand is addressed in two parts: element `(i, k)` is `a[rows[i] + steps.at(k)]`, which serves a matrix and a
//! padded picture alike. Not here: which tiles there are (`indirect`, `product`).

use pulp::Simd;

use super::matmul::Start;

/// Rows of a tile: with four vectors of columns, 24 of 32 registers hold sums.
pub(super) const ROWS: usize = 6;

/// Columns of the widest tile.
const WIDEST: usize = 64;

/// A row-major operand: its elements from the tile's first on, and the distance between its rows.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) width: usize,
}

/// Where the steps of a left operand lie.
pub(super) trait Steps: Copy {
    fn count(self) -> usize;

    /// The distance of step `k` from the start of its row.
    fn at(self, k: usize) -> usize;

    /// The largest of these distances, if there is one.
    fn furthest(self) -> Option<usize>;
}

/// Anywhere.
impl Steps for &[usize] {
    #[inline(always)]
    fn count(self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn at(self, k: usize) -> usize {
        self[k]
    }

    fn furthest(self) -> Option<usize> {
        self.iter().copied().max()
    }
}

/// So many, one after another: then an address is a pointer and an offset, and nothing has to be looked up or added.
#[derive(Clone, Copy)]
pub(super) struct Evenly<const APART: usize>(pub(super) usize);

impl<const APART: usize> Steps for Evenly<APART> {
    #[inline(always)]
    fn count(self) -> usize {
        self.0
    }

    #[inline(always)]
    fn at(self, k: usize) -> usize {
        k * APART
    }

    fn furthest(self) -> Option<usize> {
        Some(self.0.checked_sub(1)? * APART)
    }
}

/// `out = start + A b` for a panel of columns, tile by tile.
///
/// # Shapes
/// - `A`: `(rows, steps)`
/// - `b`: `(steps, VECTORS * lanes)`, all of whose columns can be read
/// - `out`: `(rows, n_columns)` with the distance between its rows, `n_columns` at most those of `b`
#[inline(always)]
pub(super) fn panel<S: Simd, const VECTORS: usize>(
    simd: S,
    (a, rows, steps): (&[f32], &[usize], impl Steps),
    b: Rows<'_>,
    n_columns: usize,
    start: Start<'_, f32>,
    (out, out_width): (&mut [f32], usize),
) {
    let width = VECTORS * S::F32_LANES;
    if let (Some(&row), Some(step)) = (rows.iter().max(), steps.furthest()) {
        assert!(
            row + step < a.len(),
            "rows and steps reach beyond the left operand"
        );
    }
    let mut bias = [0f32; WIDEST];
    let start = match start {
        Start::Row(row) => {
            bias[..n_columns].copy_from_slice(&row[..n_columns]);
            Start::Row(&bias)
        }
        other => other,
    };
    for (number, rows) in rows.chunks(ROWS).enumerate() {
        let out = &mut out[number * ROWS * out_width..];
        if let Ok(rows) = rows.try_into()
            && n_columns == width
        {
            // SAFETY: asserted above.
            #[expect(unsafe_code, reason = "checked for all tiles at once")]
            unsafe {
                tile::<S, _, VECTORS>(simd, (a, rows, steps), b, start, (out, out_width));
            }
            continue;
        }
        // At an edge, a whole tile on the side, whose further rows repeat one.
        let mut side = [0f32; ROWS * WIDEST];
        let mut padded = [rows[0]; ROWS];
        padded[..rows.len()].copy_from_slice(rows);
        // Otherwise nothing may have been written to the output yet.
        if matches!(start, Start::Output) {
            for row in 0..rows.len() {
                side[row * width..][..n_columns]
                    .copy_from_slice(&out[row * out_width..][..n_columns]);
            }
        }
        // SAFETY: asserted above; the padding repeats a row.
        #[expect(unsafe_code, reason = "checked for all tiles at once")]
        unsafe {
            tile::<S, _, VECTORS>(simd, (a, &padded, steps), b, start, (&mut side, width));
        }
        for row in 0..rows.len() {
            out[row * out_width..][..n_columns].copy_from_slice(&side[row * width..][..n_columns]);
        }
    }
}

/// `out = start + A b` for a tile whose rows and columns are all there; `out` comes with the distance between its rows.
///
/// # Safety
/// Every row plus every step is inside `a`.
#[inline(always)]
#[expect(unsafe_code, reason = "bounds checks here cost a third of the speed")]
unsafe fn tile<S: Simd, T: Steps, const VECTORS: usize>(
    simd: S,
    (a, rows, steps): (&[f32], &[usize; ROWS], T),
    b: Rows<'_>,
    start: Start<'_, f32>,
    (out, out_width): (&mut [f32], usize),
) {
    let lanes = S::F32_LANES;
    let columns = VECTORS * lanes;
    assert!(out.len() >= (ROWS - 1) * out_width + columns);
    let n_steps = steps.count();
    assert!(n_steps == 0 || b.data.len() >= (n_steps - 1) * b.width + columns);
    // SAFETY: the assertions bound what is read of `b` and `out` and written to `out`, and the one below what is read of
    // a starting row; the caller has seen to `a`.
    unsafe {
        let vector_at = |start: *const f32, vector: usize| {
            start.add(vector * lanes).cast::<S::f32s>().read_unaligned()
        };
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        let (from, width) = match start {
            Start::Zero => (None, 0),
            Start::Output => (Some(out.as_ptr()), out_width),
            Start::Row(row) => {
                assert!(row.len() >= columns);
                (Some(row.as_ptr()), 0)
            }
        };
        if let Some(from) = from {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = vector_at(from.add(row * width), vector);
                }
            }
        }
        let rows = rows.map(|row| a.as_ptr().wrapping_add(row));
        for k in 0..n_steps {
            let step = steps.at(k);
            let b_row = b.data.as_ptr().add(k * b.width);
            let mut vectors = [simd.splat_f32s(0.0); VECTORS];
            for (vector, value) in vectors.iter_mut().enumerate() {
                *value = vector_at(b_row, vector);
            }
            for row in 0..ROWS {
                let factor = simd.splat_f32s(*rows[row].add(step));
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
