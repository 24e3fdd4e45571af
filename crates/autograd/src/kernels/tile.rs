//! The register tile of `f32` products: a few rows times a few vectors of columns stay in registers over a run of steps.
//!
//! The left operand is addressed in two parts: element `(i, k)` is `a[rows.at(i) + steps.at(k)]`, which serves a matrix
//! and a padded picture alike. Not here: which tiles there are (`indirect`, `product`).

use std::mem::MaybeUninit;

use pulp::{MemMask, Simd};

use super::{matmul::Start, out::Out};

/// Rows of a tile: with four vectors of columns, 24 of 32 registers hold sums.
pub(super) const ROWS: usize = 6;

/// Vectors of columns in the widest tile.
pub(super) const VECTORS: usize = 4;

/// Where the rows or the steps of a left operand lie.
pub(super) trait Places: Copy + Sync {
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

    pub(super) fn n_rows(&self) -> usize {
        self.rows.count()
    }

    pub(super) fn n_steps(&self) -> usize {
        self.steps.count()
    }
}

impl<T: Places> Left<'_, Apart, T> {
    /// Some of the rows.
    ///
    /// # Panics
    /// When there are fewer.
    pub(super) fn some(self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.end <= self.rows.count);
        Self {
            data: &self.data[rows.start * self.rows.apart..],
            rows: Apart {
                count: rows.len(),
                ..self.rows
            },
            ..self
        }
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
    pub(super) out: Out<'o, f32>,
    pub(super) width: usize,
    pub(super) start: Start<'a, f32>,
    pub(super) scale: f32,
}

/// Where tiles leave what they read, for those that read it after them.
///
/// A tile waits for memory beside its multiplications, which a copy that is made beforehand does not.
#[derive(Default)]
pub(super) struct Aside<'c> {
    /// The left operand as [`SideBySide`] has it, rows that are missing with any numbers: `(tiles, steps, ROWS)`.
    pub(super) left: Option<&'c mut [MaybeUninit<f32>]>,
    /// The right operand, of which only the first tile then reads the original: `(steps, whole vectors)`.
    pub(super) right: Option<&'c mut [MaybeUninit<f32>]>,
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
    to: &To<'_, '_>,
    aside: Aside<'_>,
) {
    match n_columns.div_ceil(S::F32_LANES) {
        1 => tiles::<S, R, T, 1>(simd, a, b, n_columns, to, aside),
        2 => tiles::<S, R, T, 2>(simd, a, b, n_columns, to, aside),
        3 if S::F32_LANES != 8 => tiles::<S, R, T, 3>(simd, a, b, n_columns, to, aside),
        4 if S::F32_LANES != 8 => tiles::<S, R, T, 4>(simd, a, b, n_columns, to, aside),
        _ => panic!("no tile has {n_columns} columns"),
    }
}

#[inline(always)]
fn tiles<'c, S: Simd, R: Places, T: Places, const VECTORS: usize>(
    simd: S,
    a: Left<'_, R, T>,
    mut b: Right<'c>,
    n_columns: usize,
    to: &To<'_, '_>,
    aside: Aside<'c>,
) {
    let To {
        ref out,
        width,
        start,
        ..
    } = *to;
    let lanes = S::F32_LANES;
    let n_last = n_columns - (VECTORS - 1) * lanes;
    let (n_rows, n_steps) = (a.rows.count(), a.steps.count());
    assert!(0 < n_last && n_last <= lanes);
    assert!(n_steps == 0 || b.data.len() >= (n_steps - 1) * b.width + n_columns);
    assert!(n_rows == 0 || out.len() >= (n_rows - 1) * width + n_columns);
    if let Start::Rows(rows, apart) = start {
        assert!(rows.len() >= n_rows.saturating_sub(1) * apart + n_columns);
    }
    // Made anew of its bits, a mask is a part of an instruction and not the address of a function.
    let last = MemMask::new(simd.mask_between_m32s(0, n_last as u32).mask());
    let Aside { left, right } = aside;
    let mut left = left.map(|left| left.chunks_exact_mut(ROWS * n_steps));
    let mut right = right.map(|right| &mut right[..n_steps * VECTORS * lanes]);
    for first in (0..n_rows).step_by(ROWS) {
        let rows = first..n_rows.min(first + ROWS);
        let left = left.as_mut().map(|left| {
            let tile = left.next().expect("room for each tile");
            tile.as_mut_ptr().cast()
        });
        let mut copy = right.take();
        let aside = (left, copy.as_mut().map(|copy| copy.as_mut_ptr().cast()));
        // SAFETY: the rows are some of `a`, whose places are inside its data, and not more than the tile has; the assertions
        // above bound what is read of `b` and of starting rows, and what is read of `out` and written to it; the places
        // aside are as long as a tile and a panel.
        #[expect(unsafe_code, reason = "bounds checks here cost a third of the speed")]
        unsafe {
            match rows.len() {
                ROWS if n_last == lanes => {
                    tile::<S, R, T, VECTORS, ROWS, true>(simd, a, b, rows, last, to, aside);
                }
                1 | 2 if aside.0.is_none() => {
                    tile::<S, R, T, VECTORS, 2, false>(simd, a, b, rows, last, to, aside);
                }
                3 | 4 if aside.0.is_none() => {
                    tile::<S, R, T, VECTORS, 4, false>(simd, a, b, rows, last, to, aside);
                }
                _ => tile::<S, R, T, VECTORS, ROWS, false>(simd, a, b, rows, last, to, aside),
            }
        }
        if let Some(copy) = copy {
            // SAFETY: the tile has written to all of it.
            #[expect(unsafe_code, reason = "a copy is not zeroed first")]
            let data = unsafe { copy.assume_init_ref() };
            b = Right {
                data,
                width: VECTORS * lanes,
            };
        }
    }
}

/// One tile: `HEIGHT` rows and whole vectors (`WHOLE`), or else fewer rows or, of the last vector, the lanes of the mask.
///
/// # Safety
/// There are 1 to `HEIGHT` of these rows in `a`, and exactly so many of a whole tile; `b` has all steps, the output all rows
/// and starting rows all columns; there is room for [`ROWS`] rows (`left`), which is then `HEIGHT`, and whole vectors
/// (`right`) of every step.
#[inline(always)]
#[expect(unsafe_code, reason = "bounds checks here cost a third of the speed")]
unsafe fn tile<
    S: Simd,
    R: Places,
    T: Places,
    const VECTORS: usize,
    const HEIGHT: usize,
    const WHOLE: bool,
>(
    simd: S,
    a: Left<'_, R, T>,
    b: Right<'_>,
    rows: std::ops::Range<usize>,
    last: MemMask<S::m32s>,
    to: &To<'_, '_>,
    (left, right): (Option<*mut f32>, Option<*mut f32>),
) {
    let To {
        ref out,
        width: out_width,
        start,
        scale,
    } = *to;
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
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; HEIGHT];
        // Missing rows repeat the last one, and what comes of them is dropped.
        let mut a_rows = [a.data.as_ptr(); HEIGHT];
        for (number, row) in a_rows.iter_mut().enumerate() {
            let mut number = rows.start + number;
            if !WHOLE {
                number = number.min(rows.end - 1);
            }
            *row = row.wrapping_add(a.rows.at(number));
        }
        for row in rows.clone() {
            for vector in 0..VECTORS {
                let vector = vector * S::F32_LANES;
                fetch(out.wrapping_add(row * out_width + vector));
                if let Start::Rows(rows, apart) = start {
                    fetch(rows.as_ptr().wrapping_add(row * apart + vector));
                }
            }
        }
        for k in 0..n_steps {
            let step = a.steps.at(k);
            let b_row = b.data.as_ptr().add(k * b.width);
            let mut vectors = [simd.splat_f32s(0.0); VECTORS];
            for (vector, value) in vectors.iter_mut().enumerate() {
                *value = at(b_row, vector);
                if let Some(right) = right {
                    let right = right.add((k * VECTORS + vector) * S::F32_LANES);
                    right.cast::<S::f32s>().write_unaligned(*value);
                    fetch(b_row.wrapping_add(AHEAD * b.width + vector * S::F32_LANES));
                }
            }
            if left.is_some() {
                let ahead = a.steps.at((k + AHEAD).min(n_steps - 1));
                fetch(a_rows[0].wrapping_add(ahead));
            }
            for row in 0..HEIGHT {
                let factor = *a_rows[row].add(step);
                if let Some(left) = left {
                    left.add(k * ROWS + row).write(factor);
                }
                let factor = simd.splat_f32s(factor);
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
            Start::Rows(rows, apart) => Some((rows.as_ptr(), apart)),
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

/// How many steps before it is read what a tile copies is fetched.
const AHEAD: usize = 16;

/// Asks for memory that is soon read or written to, for the second-level cache, whose queue is longer than the first's; any
/// address will do.
#[inline(always)]
pub(super) fn fetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint, which reads nothing and for which no address is wrong.
        #[expect(unsafe_code, reason = "the intrinsic takes a pointer")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(place.cast());
        }
    }
}
