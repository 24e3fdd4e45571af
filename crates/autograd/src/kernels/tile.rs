//! The register tile of `f32` products: a few rows times a few vectors of columns stay in registers over a run of steps.
//!
//! The left operand is addressed in two parts: element `(i, k)` is `a[rows.at(i) + steps.at(k)]`, which serves a matrix
//! and a padded picture alike. Not here: which tiles there are (`indirect`, `product`).

use pulp::{MemMask, Simd};

use super::matmul::Start;

/// Rows of a tile: with four vectors of columns, 24 of 32 registers hold sums.
pub(super) const ROWS: usize = 6;

/// Vectors of columns in the widest tile.
pub(super) const VECTORS: usize = 4;

/// Where the rows or the steps of a left operand lie.
pub(super) trait Places: Copy {
    fn count(self) -> usize;

    /// The place of one of them, for a number below [`Places::count`].
    fn at(self, number: usize) -> usize;

    /// The largest of these, if there is one: the last, unless they are in no order.
    fn furthest(self) -> Option<usize> {
        Some(self.at(self.count().checked_sub(1)?))
    }
}

/// Anywhere.
impl Places for &[usize] {
    #[inline(always)]
    fn count(self) -> usize {
        self.len()
    }

    #[inline(always)]
    fn at(self, number: usize) -> usize {
        self[number]
    }

    fn furthest(self) -> Option<usize> {
        self.iter().copied().max()
    }
}

/// So many, one after another: then an address is a pointer and an offset, and nothing has to be looked up or added.
#[derive(Clone, Copy)]
pub(super) struct Evenly<const APART: usize>(pub(super) usize);

impl<const APART: usize> Places for Evenly<APART> {
    #[inline(always)]
    fn count(self) -> usize {
        self.0
    }

    #[inline(always)]
    fn at(self, number: usize) -> usize {
        number * APART
    }
}

/// The rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Apart {
    pub(super) count: usize,
    pub(super) apart: usize,
}

impl Places for Apart {
    #[inline(always)]
    fn count(self) -> usize {
        self.count
    }

    #[inline(always)]
    fn at(self, number: usize) -> usize {
        number * self.apart
    }
}

/// Rows that stand side by side, those of a tile together, tile after tile.
#[derive(Clone, Copy)]
pub(super) struct SideBySide {
    pub(super) count: usize,
    pub(super) n_steps: usize,
}

impl Places for SideBySide {
    #[inline(always)]
    fn count(self) -> usize {
        self.count
    }

    #[inline(always)]
    fn at(self, number: usize) -> usize {
        number / ROWS * ROWS * self.n_steps + number % ROWS
    }
}

/// A left operand whose rows and steps are all inside its data.
#[derive(Clone, Copy)]
pub(super) struct Left<'a, R, T> {
    data: &'a [f32],
    rows: R,
    steps: T,
}

impl<'a, R: Places, T: Places> Left<'a, R, T> {
    /// # Panics
    /// When a row and a step lead out of the data.
    pub(super) fn new(data: &'a [f32], rows: R, steps: T) -> Self {
        if let (Some(row), Some(step)) = (rows.furthest(), steps.furthest()) {
            assert!(
                row + step < data.len(),
                "rows and steps reach beyond the left operand"
            );
        }
        Self { data, rows, steps }
    }

    pub(super) fn n_steps(&self) -> usize {
        self.steps.count()
    }
}

/// A row-major operand: its elements from the tile's first on, and the distance between its rows.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    pub(super) data: &'a [f32],
    pub(super) width: usize,
}

/// Where a product goes: to `start + scale * a b`, in rows that are so far apart.
pub(super) struct To<'a, 'o> {
    pub(super) out: &'o mut [f32],
    pub(super) width: usize,
    pub(super) start: Start<'a, f32>,
    pub(super) scale: f32,
}

/// A panel of columns of a product, tile by tile.
///
/// The order of an element's sum depends on the number of steps alone.
///
/// # Shapes
/// - `a`: `(rows, steps)`
/// - `b`: `(steps, n_columns)`, of 1 to [`VECTORS`] vectors, or 2 where there are 16 registers
/// - output: `(rows, n_columns)`
#[inline(always)]
pub(super) fn panel<S: Simd, R: Places, T: Places>(
    simd: S,
    a: Left<'_, R, T>,
    b: Right<'_>,
    n_columns: usize,
    to: To<'_, '_>,
) {
    match n_columns.div_ceil(S::F32_LANES) {
        1 => tiles::<S, R, T, 1>(simd, a, b, n_columns, to),
        2 => tiles::<S, R, T, 2>(simd, a, b, n_columns, to),
        3 if S::F32_LANES != 8 => tiles::<S, R, T, 3>(simd, a, b, n_columns, to),
        4 if S::F32_LANES != 8 => tiles::<S, R, T, 4>(simd, a, b, n_columns, to),
        _ => panic!("no tile has {n_columns} columns"),
    }
}

#[inline(always)]
fn tiles<S: Simd, R: Places, T: Places, const VECTORS: usize>(
    simd: S,
    a: Left<'_, R, T>,
    b: Right<'_>,
    n_columns: usize,
    to: To<'_, '_>,
) {
    let To {
        out,
        width,
        start,
        scale,
    } = to;
    let lanes = S::F32_LANES;
    let n_last = n_columns - (VECTORS - 1) * lanes;
    let (n_rows, n_steps) = (a.rows.count(), a.steps.count());
    assert!(0 < n_last && n_last <= lanes);
    assert!(n_steps == 0 || b.data.len() >= (n_steps - 1) * b.width + n_columns);
    assert!(n_rows == 0 || out.len() >= (n_rows - 1) * width + n_columns);
    if let Start::Row(row) = start {
        assert!(row.len() >= n_columns);
    }
    let last = simd.mask_between_m32s(0, n_last as u32);
    for first in (0..n_rows).step_by(ROWS) {
        let rows = first..n_rows.min(first + ROWS);
        let (start, out) = ((start, scale), (&mut *out, width));
        // SAFETY: the rows are some of `a`, whose places are inside its data, and not more than `ROWS`; the assertions
        // above bound what is read of `b` and of a starting row, and what is read of `out` and written to it.
        #[expect(unsafe_code, reason = "bounds checks here cost a third of the speed")]
        unsafe {
            if n_last == lanes && rows.len() == ROWS {
                tile::<S, R, T, VECTORS, true>(simd, a, b, rows, last, start, out);
            } else {
                tile::<S, R, T, VECTORS, false>(simd, a, b, rows, last, start, out);
            }
        }
    }
}

/// One tile: `ROWS` rows and whole vectors (`WHOLE`), or else fewer rows or, of the last vector, the lanes of the mask.
///
/// # Safety
/// There are 1 to `ROWS` of these rows in `a`, and exactly so many of a whole tile; `b` has all steps, `out` all rows and a
/// starting row all columns.
#[inline(always)]
#[expect(unsafe_code, reason = "bounds checks here cost a third of the speed")]
unsafe fn tile<S: Simd, R: Places, T: Places, const VECTORS: usize, const WHOLE: bool>(
    simd: S,
    a: Left<'_, R, T>,
    b: Right<'_>,
    rows: std::ops::Range<usize>,
    last: MemMask<S::m32s>,
    (start, scale): (Start<'_, f32>, f32),
    (out, out_width): (&mut [f32], usize),
) {
    // What the caller promises, looked at again where tests run.
    let n_columns = if WHOLE {
        VECTORS * S::F32_LANES
    } else {
        (VECTORS - 1) * S::F32_LANES + 1
    };
    let n_steps = a.steps.count();
    for row in rows.clone() {
        debug_assert!(row < a.rows.count());
        debug_assert!(row * out_width + n_columns <= out.len());
        for k in 0..n_steps {
            debug_assert!(a.rows.at(row) + a.steps.at(k) < a.data.len());
            debug_assert!(k * b.width + n_columns <= b.data.len());
        }
    }
    let out = out.as_mut_ptr();
    // SAFETY: by the caller.
    unsafe {
        let at = |start: *const f32, vector: usize| {
            let from = start.add(vector * S::F32_LANES);
            if WHOLE || vector < VECTORS - 1 {
                from.cast::<S::f32s>().read_unaligned()
            } else {
                simd.mask_load_ptr_f32s(last, from)
            }
        };
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        // Missing rows repeat the last one, and what comes of them is dropped.
        let mut a_rows = [a.data.as_ptr(); ROWS];
        for (number, row) in a_rows.iter_mut().enumerate() {
            let mut number = rows.start + number;
            if !WHOLE {
                number = number.min(rows.end - 1);
            }
            *row = row.wrapping_add(a.rows.at(number));
        }
        for k in 0..n_steps {
            let step = a.steps.at(k);
            let b_row = b.data.as_ptr().add(k * b.width);
            let mut vectors = [simd.splat_f32s(0.0); VECTORS];
            for (vector, value) in vectors.iter_mut().enumerate() {
                *value = at(b_row, vector);
            }
            for row in 0..ROWS {
                let factor = simd.splat_f32s(*a_rows[row].add(step));
                for vector in 0..VECTORS {
                    sums[row][vector] =
                        simd.mul_add_e_f32s(factor, vectors[vector], sums[row][vector]);
                }
            }
        }
        let scale = simd.splat_f32s(scale);
        let from = match start {
            Start::Zero => None,
            Start::Output => Some((out.cast_const(), out_width)),
            Start::Row(row) => Some((row.as_ptr(), 0)),
        };
        // Loops with a fixed number of turns: only then do the sums never leave the registers.
        for (number, sums) in sums.iter().enumerate() {
            let row = rows.start + number;
            if WHOLE || row < rows.end {
                for (vector, &sum) in sums.iter().enumerate() {
                    let value = match from {
                        None => simd.mul_f32s(sum, scale),
                        Some((from, width)) => {
                            simd.mul_add_e_f32s(sum, scale, at(from.add(row * width), vector))
                        }
                    };
                    let out = out.add(row * out_width + vector * S::F32_LANES);
                    if WHOLE || vector < VECTORS - 1 {
                        out.cast::<S::f32s>().write_unaligned(value);
                    } else {
                        simd.mask_store_ptr_f32s(last, out, value);
                    }
                }
            }
        }
    }
}
