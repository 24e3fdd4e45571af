//! `f32` products of matrices of any strides, by register tiles.
//!
//! A right operand of many steps is copied panel by panel to where a tile reads it, with its columns side by side: by the
//! first tile that reads it, if they lie so already. The left one is read in place; if neighbouring columns of it lie apart,
//! the tiles of the first panel leave it side by side for those of the others. An element is summed in an order that depends
//! on the number of steps alone, not on how many rows or columns there are. Not here: products with few columns or steps,
//! which the `gemm` crate does better (`matmul`).

use std::{cell::Cell, mem::MaybeUninit};

use pulp::{Simd, WithSimd};

use super::{
    Float, filled,
    matmul::{Mat, Product, Start},
    out::Out,
    share::{n_threads, share},
    tile::{self, Apart, Aside, Evenly, Left, Places, ROWS, Right, SideBySide, To, VECTORS},
};

/// Steps in a run, at most: a panel of so many stays in the second-level cache.
const RUN: usize = 512;

/// With fewer steps a right operand whose columns lie side by side is not copied.
const LEAST_STEPS: usize = 64;

/// The least columns and steps. How many rows there are does not count: a row has the same bits beside any others.
const LEAST: usize = 2;

/// The least rows, columns and steps where neighbouring columns of the left operand lie apart, unless its rows are neighbours
/// and one panel reads them.
const LEAST_TO_COPY: usize = 64;

/// Computes the product if tiles are good for it and this machine has them, and says whether it did.
pub(super) fn tiled(job: &Product<'_, f32>, dst: &mut Out<'_, f32>) -> bool {
    let (m, n, k) = job.shape;
    let good = if job.a.col == 1 || (job.a.row == 1 && n <= PANEL) {
        n.min(k) >= LEAST
    } else {
        m.min(n).min(k) >= LEAST_TO_COPY
    };
    let good = good && has_tiles();
    if good {
        let job = job.with(Columns::Strided(job.b));
        pulp::Arch::new().dispatch(Tiled { job, dst });
    }
    good
}

/// Whether this machine has tiles that are good for products.
pub(crate) fn has_tiles() -> bool {
    struct Lanes;

    impl WithSimd for Lanes {
        type Output = usize;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }

    // With AVX2, whose registers hold smaller tiles, the `gemm` crate was 3 to 6 % faster.
    pulp::Arch::new().dispatch(Lanes) == LANES
}

/// `x w^T + bias` by a weight that [`in_panels`] laid out.
///
/// # Shapes
/// `x`: `(rows, in)`, `panels`: `(panels, in, 64)`, `bias`: `(out)`, result: `(rows, out)`
///
/// # Panics
/// Where the machine has no tiles for it, the input is empty, or there are fewer panels.
pub(crate) fn linear_in_panels(x: &[f32], panels: &[f32], bias: &[f32], n_in: usize) -> Vec<f32> {
    assert!(has_tiles() && n_in > 0);
    let (rows, n_out) = (x.len() / n_in, bias.len());
    if rows == 0 || n_out == 0 {
        return Vec::new();
    }
    let job = Product {
        shape: (rows, n_out, n_in),
        start: Start::Rows(bias, 0),
        scale: 1.0,
        a: Mat::rows(x, 0, n_in),
        b: Columns::InPanels(panels),
        dst_row: n_out,
    };
    filled(rows * n_out, |out| {
        // SAFETY: a product that starts with a row writes all of its output before it reads any.
        #[expect(unsafe_code, reason = "the output of a product is not zeroed first")]
        let mut out = unsafe { Out::new(out) };
        let dst = &mut out;
        pulp::Arch::new().dispatch(Tiled { job, dst });
    })
}

/// The rows of a weight as products read them: [`PANEL`] at a time, side by side, missing ones 0.
///
/// # Shapes
/// `weight`: `(out, in)`, result: `(panels, in, 64)`
pub(crate) fn in_panels(weight: &[f32], n_in: usize) -> Vec<f32> {
    let n_out = weight.len() / n_in.max(1);
    filled(n_out.next_multiple_of(PANEL) * n_in, |out| {
        let size = (PANEL * n_in).max(1);
        for (lines, out) in weight.chunks(size).zip(out.chunks_exact_mut(size)) {
            side_by_side(lines, (n_in, 1), (lines.len() / n_in, n_in), PANEL, out);
        }
    })
}

/// The right operand of a product by tiles.
#[derive(Clone, Copy)]
enum Columns<'a> {
    /// Anywhere.
    Strided(Mat<'a, f32>),
    /// As [`in_panels`] lays them out.
    InPanels(&'a [f32]),
}

type Job<'a> = Product<'a, f32, Columns<'a>>;

struct Tiled<'a, 'd, 'o> {
    job: Job<'a>,
    dst: &'d mut Out<'o, f32>,
}

impl WithSimd for Tiled<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Compiled for these vectors alone.
        if S::F32_LANES == LANES {
            runs(simd, &self.job, self.dst);
        }
    }
}

/// The product, run of steps after run of steps.
fn runs<S: Simd>(simd: S, job: &Job<'_>, out: &Out<'_, f32>) {
    let Product {
        shape: (m, n, k),
        a,
        ..
    } = *job;
    // Of about one length.
    let run = k.div_ceil(k.div_ceil(RUN));
    let mut tiles = Vec::new();
    for first in (0..k).step_by(run) {
        let n_steps = run.min(k - first);
        let data = &a.data[a.start + first * a.col..];
        let rows = Apart {
            count: m,
            apart: a.row,
        };
        let run = Run { job, first, out };
        if a.col == 1 {
            let a = Left::new(data, rows, Evenly::<1>(n_steps));
            run.panels(simd, 0, a);
            continue;
        }
        let steps = Apart {
            count: n_steps,
            apart: a.col,
        };
        let a = Left::new(data, rows, steps);
        if n <= PANEL {
            run.panels(simd, 0, a);
            continue;
        }
        tiles.resize(m.next_multiple_of(ROWS) * n_steps, MaybeUninit::uninit());
        run.first_panel(simd, a, &mut tiles);
        // SAFETY: the tiles of the first panel, which are those of all rows, wrote to all of it.
        #[expect(unsafe_code, reason = "a copy is not zeroed first")]
        let tiles = unsafe { tiles.assume_init_ref() };
        let rows = SideBySide { count: m, n_steps };
        let a = Left::new(tiles, rows, Evenly::<ROWS>(n_steps));
        run.panels(simd, 1, a);
    }
}

/// A run of steps, from the first of them on.
#[derive(Clone, Copy)]
struct Run<'a, 'o> {
    job: &'a Job<'a>,
    first: usize,
    out: &'a Out<'o, f32>,
}

impl Run<'_, '_> {
    /// The first panel, whose rows threads share; leaves all of the left operand in `tiles`.
    fn first_panel<S: Simd>(
        self,
        simd: S,
        a: Left<'_, Apart, Apart>,
        tiles: &mut [MaybeUninit<f32>],
    ) {
        let (m, n_steps) = (a.n_rows(), a.n_steps());
        let n_tiles = m.div_ceil(ROWS);
        // SAFETY: nothing is read of it.
        #[expect(unsafe_code, reason = "a copy is not zeroed first")]
        let tiles = unsafe { Out::new(tiles) };
        // A part for each thread: all of them copy the right operand.
        share(0..n_tiles, n_tiles.div_ceil(n_threads()), &|part| {
            let rows = part.start * ROWS..m.min(part.end * ROWS);
            // SAFETY: the tiles are this part's.
            #[expect(unsafe_code, reason = "threads write to different tiles")]
            let mut tiles = unsafe { tiles.after(rows.start * n_steps) };
            let tiles = tiles.first(part.len() * ROWS * n_steps);
            self.panel(simd, (rows.start, 0), a.some(rows), Some(tiles));
        });
    }

    /// All panels of columns from that one on, which threads share.
    fn panels<S: Simd, R: Places, T: Places>(self, simd: S, first: usize, a: Left<'_, R, T>) {
        let n_panels = self.job.shape.1.div_ceil(PANEL);
        share(first..n_panels, 1, &|panels| {
            self.panel(simd, (0, panels.start * PANEL), a, None);
        });
    }

    /// A panel of columns, or some rows of one, from that row and column on; leaves the left operand in `aside`.
    fn panel<S: Simd, R: Places, T: Places>(
        self,
        simd: S,
        from: (usize, usize),
        a: Left<'_, R, T>,
        aside: Option<&mut [MaybeUninit<f32>]>,
    ) {
        simd.vectorize(
            #[inline(always)]
            || panel(simd, self, from, a, aside),
        );
    }
}

/// See [`Run::panel`].
#[inline(always)]
fn panel<S: Simd, R: Places, T: Places>(
    simd: S,
    Run { job, first, out }: Run<'_, '_>,
    (row, column): (usize, usize),
    a: Left<'_, R, T>,
    aside: Option<&mut [MaybeUninit<f32>]>,
) {
    let Product {
        shape: (_, n, k),
        b,
        dst_row,
        ..
    } = *job;
    let (n_steps, n_columns) = (a.n_steps(), PANEL.min(n - column));
    let to = To {
        // SAFETY: of a run there is one panel with these rows and columns, and runs follow one another.
        #[expect(unsafe_code, reason = "threads write to different columns of one row")]
        out: unsafe { out.after(row * dst_row + column) },
        width: dst_row,
        start: match job.start {
            _ if first > 0 => Start::Output,
            Start::Rows(rows, apart) => Start::Rows(&rows[row * apart + column..], apart),
            other => other,
        },
        scale: job.scale,
    };
    let mut aside = Aside {
        left: aside,
        right: None,
    };
    let mut room = ROOM.take();
    let right = match b {
        Columns::InPanels(panels) => Right {
            data: &panels[column * k..][first * PANEL..k * PANEL],
            width: PANEL,
        },
        Columns::Strided(b) => {
            let from = &b.data[b.start + first * b.row + column * b.col..];
            if b.col == 1 {
                if a.n_rows() > ROWS && n_steps >= LEAST_STEPS {
                    aside.right = Some(on_a_boundary(&mut room));
                }
                Right {
                    data: from,
                    width: b.row,
                }
            } else {
                packed(from, (b.col, b.row), (n_columns, n_steps), &mut room)
            }
        }
    };
    tile::panel(simd, a, right, n_columns, &to, aside);
    ROOM.set(room);
}

/// Columns of a panel, the last of a product's aside.
pub(crate) const PANEL: usize = VECTORS * LANES;

/// Numbers in a vector of the tiles that are good for products.
const LANES: usize = 16;

thread_local! {
    /// Room for a panel, kept for the next product of the thread.
    static ROOM: Cell<Vec<MaybeUninit<f32>>> = const { Cell::new(Vec::new()) };
}

/// Room for a panel on a boundary of cache lines, which no vector then lies across.
fn on_a_boundary(room: &mut Vec<MaybeUninit<f32>>) -> &mut [MaybeUninit<f32>] {
    room.resize(RUN * PANEL + BLOCK, MaybeUninit::uninit());
    let boundary = room.as_ptr().align_offset(BLOCK * size_of::<f32>());
    &mut room[boundary..]
}

/// Some columns of a right operand, copied to where a tile reads them.
#[inline(always)]
fn packed<'a>(
    from: &[f32],
    strides: (usize, usize),
    (n_columns, n_steps): (usize, usize),
    room: &'a mut Vec<MaybeUninit<f32>>,
) -> Right<'a> {
    let width = n_columns.next_multiple_of(BLOCK);
    let side = &mut on_a_boundary(room)[..n_steps * width];
    side_by_side(from, strides, (n_columns, n_steps), width, side);
    // SAFETY: all of it was written to.
    #[expect(
        unsafe_code,
        reason = "memory that is overwritten as a whole is not zeroed first"
    )]
    let data = unsafe { side.assume_init_ref() };
    Right { data, width }
}

/// Copies lines to stand side by side: element `(line, step)` goes to `step * width + line`, and 0 where a line is missing.
///
/// `strides` are those of a line and of a step.
#[inline(always)]
pub(super) fn side_by_side<T: Float>(
    from: &[T],
    (line, step): (usize, usize),
    (n_lines, n_steps): (usize, usize),
    width: usize,
    out: &mut [MaybeUninit<T>],
) {
    for first_line in (0..width).step_by(BLOCK) {
        for first_step in (0..n_steps).step_by(BLOCK) {
            let (lines, steps) = (
                BLOCK.min(width - first_line),
                BLOCK.min(n_steps - first_step),
            );
            let there = lines.min(n_lines.saturating_sub(first_line));
            let from = &from[(first_line * line + first_step * step).min(from.len())..];
            let out = &mut out[first_step * width + first_line..];
            let turned = step == 1
                && lines == BLOCK
                && T::turn_block(from, line, (there, steps), width, out);
            if turned {
                continue;
            }
            for step_number in 0..steps {
                for (number, slot) in out[step_number * width..][..lines].iter_mut().enumerate() {
                    let x = (number < there).then(|| from[number * line + step_number * step]);
                    slot.write(x.unwrap_or_default());
                }
            }
        }
    }
}

/// Lines and steps of a block that is transposed at once.
const BLOCK: usize = 16;

/// Transposes a block in registers, in four rounds that each double how many lines' elements lie together; returns whether
/// this machine can. Lines are `line` apart, steps of the output `width`; lines that are missing become 0.
#[inline(always)]
pub(super) fn by_shuffles(
    from: &[f32],
    line: usize,
    (n_lines, n_steps): (usize, usize),
    width: usize,
    out: &mut [MaybeUninit<f32>],
) -> bool {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V4::try_new() {
        use std::arch::x86_64::{__m512, _mm512_maskz_loadu_ps};
        assert!(n_lines <= BLOCK && 0 < n_steps && n_steps <= BLOCK);
        assert!(n_lines == 0 || from.len() >= (n_lines - 1) * line + n_steps);
        assert!(out.len() >= (n_steps - 1) * width + BLOCK);
        let f = simd.avx512f;
        let there = u16::MAX >> (BLOCK - n_steps);
        let mut lines = [f._mm512_setzero_ps(); BLOCK];
        for (number, vector) in lines.iter_mut().enumerate() {
            if number < n_lines {
                // SAFETY: asserted above.
                #[expect(unsafe_code, reason = "16 checks cost more than 16 loads")]
                unsafe {
                    let from = from.as_ptr().add(number * line);
                    *vector = _mm512_maskz_loadu_ps(there, from);
                    tile::fetch(from.wrapping_add(2 * BLOCK));
                }
            }
        }
        // A quarter of a vector has two columns of two lines,
        let mut pairs = lines;
        for i in (0..BLOCK).step_by(2) {
            pairs[i] = f._mm512_unpacklo_ps(lines[i], lines[i + 1]);
            pairs[i + 1] = f._mm512_unpackhi_ps(lines[i], lines[i + 1]);
        }
        // one column of four lines.
        let mut fours = pairs;
        for i in (0..BLOCK).step_by(4) {
            for half in 0..2 {
                let (a, b) = (pairs[i + half], pairs[i + half + 2]);
                fours[i + 2 * half] = f._mm512_shuffle_ps::<0b01_00_01_00>(a, b);
                fours[i + 2 * half + 1] = f._mm512_shuffle_ps::<0b11_10_11_10>(a, b);
            }
        }
        // A vector has two columns of eight lines,
        let mut eights = fours;
        for i in (0..BLOCK).step_by(8) {
            for column in 0..4 {
                let (a, b) = (fours[i + column], fours[i + column + 4]);
                eights[i + column] = f._mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                eights[i + column + 4] = f._mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
            }
        }
        // one of sixteen.
        for i in 0..8 {
            let (a, b) = (eights[i], eights[i + 8]);
            let columns = [
                f._mm512_shuffle_f32x4::<0b10_00_10_00>(a, b),
                f._mm512_shuffle_f32x4::<0b11_01_11_01>(a, b),
            ];
            for (half, column) in columns.into_iter().enumerate() {
                let step = 8 * half + i;
                if step < n_steps {
                    // SAFETY: asserted above.
                    #[expect(unsafe_code, reason = "16 checks cost more than 16 stores")]
                    unsafe {
                        let out = out.as_mut_ptr().add(step * width);
                        out.cast::<__m512>().write_unaligned(column);
                    }
                }
            }
        }
        return true;
    }
    false
}

#[cfg(test)]
mod tests {
    use pulp::Scalar512b;

    use super::*;

    /// Numbers that look random, from a row and a column.
    fn numbers(n: usize, salt: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 1009.0 - 0.5)
            .collect()
    }

    type Compute = fn(&Product<'_, f32>, &mut Out<'_, f32>) -> bool;

    /// By vectors of 16 numbers that every machine has, and Miri.
    fn plainly(job: &Product<'_, f32>, dst: &mut Out<'_, f32>) -> bool {
        runs(Scalar512b, &job.with(Columns::Strided(job.b)), dst);
        true
    }

    /// Compares with the definition in `f64`; the rows of the output lie further apart than they are wide.
    fn check(
        compute: Compute,
        (m, n, k): (usize, usize, usize),
        transposed: [bool; 2],
        (start, scale): (usize, f32),
    ) {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let mat = |data, rows, columns, transposed: bool| {
            if transposed {
                Mat::rows(data, 0, rows).t()
            } else {
                Mat::rows(data, 0, columns)
            }
        };
        let (mat_a, mat_b) = (mat(&a, m, k, transposed[0]), mat(&b, k, n, transposed[1]));
        let dst_row = n + 3;
        let rows_apart = n + 1;
        let rows = numbers(m * rows_apart, 3);
        let before = numbers(m * dst_row, 4);
        let job = Product {
            shape: (m, n, k),
            start: match start {
                0 => Start::Zero,
                1 => Start::Output,
                2 => Start::Rows(&rows, 0),
                _ => Start::Rows(&rows, rows_apart),
            },
            scale,
            a: mat_a,
            b: mat_b,
            dst_row,
        };
        let mut dst = before.clone();
        if !compute(&job, &mut Out::from(&mut dst[..])) {
            return;
        }
        let at = |mat: Mat<'_, f32>, i, j| f64::from(mat.data[i * mat.row + j * mat.col]);
        for i in 0..m {
            for j in 0..dst_row {
                let (found, old) = (dst[i * dst_row + j], before[i * dst_row + j]);
                if j >= n {
                    let same = found.to_bits() == old.to_bits();
                    assert!(same, "({i}, {j}) lies between the rows");
                    continue;
                }
                let first = match start {
                    0 => 0.0,
                    1 => old.into(),
                    2 => rows[j].into(),
                    _ => rows[i * rows_apart + j].into(),
                };
                let sum: f64 = (0..k).map(|s| at(mat_a, i, s) * at(mat_b, s, j)).sum();
                let sum = sum * f64::from(scale);
                assert!(
                    (f64::from(found) - first - sum).abs() < 1e-5 * (10.0 + sum.abs()),
                    "({i}, {j}) of {m} x {n} x {k}, {transposed:?}, start {start}"
                );
            }
        }
    }

    fn check_all(compute: Compute, shapes: &[(usize, usize, usize)]) {
        for &shape in shapes {
            for transposed in [[false, false], [false, true], [true, false], [true, true]] {
                for start in [(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (0, 0.3), (1, -2.0)] {
                    check(compute, shape, transposed, start);
                }
            }
        }
    }

    const SMALL: [(usize, usize, usize); 7] = [
        (1, 1, 1),
        (6, 16, 2),
        (7, 17, 3),
        (25, 32, 25),
        (13, 66, 34),
        (5, 11, 70),
        (8, 70, 65),
    ];

    #[test]
    fn small_products() {
        check_all(plainly, &SMALL);
        check_all(tiled, &SMALL);
    }

    #[test]
    #[cfg_attr(miri, ignore = "too many numbers")]
    fn large_products() {
        let shapes = [(64, 64, 64), (66, 128, 512), (67, 70, 513), (71, 193, 1100)];
        check_all(tiled, &shapes);
        check_all(plainly, &shapes[..2]);
    }

    #[test]
    fn panels_give_the_same_bits() {
        let shapes = if cfg!(miri) {
            &SMALL[..]
        } else {
            &[(7, 17, 3), (13, 66, 34), (9, 128, 70), (7, 70, 1100)]
        };
        for &(m, n, k) in shapes {
            let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
            let panels = in_panels(&b, k);
            let job = Product {
                shape: (m, n, k),
                start: Start::Zero,
                scale: 1.0,
                a: Mat::rows(&a, 0, k),
                b: Mat::rows(&b, 0, k).t(),
                dst_row: n,
            };
            let of = |b: Columns<'_>| {
                let mut dst = vec![0.0; m * n];
                runs(Scalar512b, &job.with(b), &Out::from(&mut dst[..]));
                dst
            };
            let expected = of(Columns::Strided(job.b));
            assert_eq!(of(Columns::InPanels(&panels)), expected, "{m} x {n} x {k}");
        }
    }

    #[test]
    fn an_element_depends_on_its_row_and_column_alone() {
        let (m, n, k) = if cfg!(miri) {
            (13, 70, 9)
        } else {
            (100, 130, 600)
        };
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        for compute in [plainly, tiled] {
            let of = |rows: usize, columns: usize| {
                let mut dst = vec![0.0; rows * columns];
                let job = Product {
                    shape: (rows, columns, k),
                    start: Start::Zero,
                    scale: 1.0,
                    a: Mat::rows(&a, 0, k),
                    b: Mat::rows(&b, 0, n),
                    dst_row: columns,
                };
                compute(&job, &mut Out::from(&mut dst[..])).then_some(dst)
            };
            let (rows, columns) = (m - 5, n / 2 + 3);
            if let (Some(all), Some(part)) = (of(m, n), of(rows, columns)) {
                for i in 0..rows {
                    assert_eq!(part[i * columns..][..columns], all[i * n..][..columns]);
                }
            }
        }
    }

    #[test]
    fn a_left_operand_that_is_too_short_is_not_read() {
        let (a, b) = (numbers(7 * 3 - 1, 1), numbers(3 * 5, 2));
        let panic = std::panic::catch_unwind(|| {
            let job = Product {
                shape: (7, 5, 3),
                start: Start::Zero,
                scale: 1.0,
                a: Mat::rows(&a, 0, 3),
                b: Mat::rows(&b, 0, 5),
                dst_row: 5,
            };
            plainly(&job, &mut Out::from(&mut [0.0; 35][..]));
        });
        let message = *panic.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(message, "rows and steps reach beyond the left operand");
    }
}
