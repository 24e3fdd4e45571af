//! Large `f32` products of matrices of any strides, by register tiles.
//!
//! The right operand is copied panel by panel to where a tile reads it, with its columns side by side; the left one is
//! read in place, unless neighbouring columns of it lie apart. An element is summed in an order that depends on the
//! number of steps alone, not on how many rows or columns there are. Not here: small products, which the `gemm` crate
//! does better (`matmul`).

use std::mem::MaybeUninit;

use pulp::{Simd, WithSimd};

use super::{
    filled,
    matmul::{Product, Start},
    tile::{self, Evenly, ROWS, Rows},
};

/// The least rows, columns and steps.
const LEAST: usize = 64;

/// Steps in a run, at most: a panel of so many stays in the second-level cache.
const RUN: usize = 512;

/// Computes the product if tiles are good for it and this machine has them, and says whether it did.
pub(super) fn tiled(job: &Product<'_, f32>, dst: &mut [f32]) -> bool {
    let (m, n, k) = job.shape;
    m.min(n).min(k) >= LEAST
        && job.scale.to_bits() == 1f32.to_bits()
        && pulp::Arch::new().dispatch(Tiled { job, dst })
}

/// Elements of a cache line.
const LINE: usize = 16;

struct Tiled<'a, 'd> {
    job: &'a Product<'a, f32>,
    dst: &'d mut [f32],
}

impl WithSimd for Tiled<'_, '_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        // With AVX2, whose registers hold smaller tiles, the `gemm` crate was 3 to 6 % faster.
        let good = S::F32_LANES == 16;
        if good {
            panels::<S, 4>(simd, self.job, self.dst);
        }
        good
    }
}

#[inline(always)]
fn panels<S: Simd, const VECTORS: usize>(simd: S, job: &Product<'_, f32>, dst: &mut [f32]) {
    let Product {
        shape: (m, n, k),
        a,
        b,
        dst_row,
        ..
    } = *job;
    let panel = VECTORS * S::F32_LANES;
    // Runs of about one length.
    let run = k.div_ceil(k.div_ceil(RUN));
    // On a boundary of cache lines, which no vector then lies across.
    let mut side = vec![0f32; run * panel + LINE];
    let boundary = side.as_ptr().align_offset(LINE * size_of::<f32>());
    let side = &mut side[boundary..][..run * panel];
    for first in (0..k).step_by(run) {
        let n_steps = run.min(k - first);
        let beside = (a.col != 1).then(|| {
            filled(m.next_multiple_of(ROWS) * n_steps, |out| {
                let data = &a.data[a.start + first * a.col..];
                for (tile, out) in out.chunks_exact_mut(ROWS * n_steps).enumerate() {
                    let lines = ROWS.min(m - tile * ROWS);
                    let data = &data[tile * ROWS * a.row..];
                    side_by_side(data, (a.row, a.col), (lines, n_steps), ROWS, out);
                }
            })
        });
        let rows: Vec<usize> = match &beside {
            None => (0..m).map(|i| i * a.row).collect(),
            Some(_) => (0..m)
                .map(|i| i / ROWS * ROWS * n_steps + i % ROWS)
                .collect(),
        };
        for column in (0..n).step_by(panel) {
            let n_columns = panel.min(n - column);
            let from = &b.data[b.start + first * b.row + column * b.col..];
            let side = &mut side[..n_steps * panel];
            side_by_side(from, (b.col, b.row), (n_columns, n_steps), panel, side);
            let start = match job.start {
                _ if first > 0 => Start::Output,
                Start::Row(row) => Start::Row(&row[column..]),
                other => other,
            };
            let b = Rows {
                data: side,
                width: panel,
            };
            let out = (&mut dst[column..], dst_row);
            match &beside {
                None => {
                    let a = (&a.data[a.start + first..], &rows[..], Evenly::<1>(n_steps));
                    tile::panel::<S, VECTORS>(simd, a, b, n_columns, start, out);
                }
                Some(tiles) => {
                    let a = (&tiles[..], &rows[..], Evenly::<ROWS>(n_steps));
                    tile::panel::<S, VECTORS>(simd, a, b, n_columns, start, out);
                }
            }
        }
    }
}

/// Copies lines to stand side by side: element `(line, step)` goes to `step * width + line`, and 0 where a line is missing.
///
/// `strides` are those of a line and of a step.
#[inline(always)]
fn side_by_side(
    from: &[f32],
    (line, step): (usize, usize),
    (n_lines, n_steps): (usize, usize),
    width: usize,
    out: &mut [impl Slot],
) {
    const BLOCK: usize = 16;
    if line == 1 {
        for (number, out) in out.chunks_exact_mut(width).enumerate() {
            let from = &from[number * step..][..n_lines];
            let (out, missing) = out.split_at_mut(n_lines);
            for (slot, &x) in out.iter_mut().zip(from) {
                slot.put(x);
            }
            for slot in missing {
                slot.put(0.0);
            }
        }
        return;
    }
    for first_line in (0..width).step_by(BLOCK) {
        for first_step in (0..n_steps).step_by(BLOCK) {
            let (lines, steps) = (
                BLOCK.min(width - first_line),
                BLOCK.min(n_steps - first_step),
            );
            let there = lines.min(n_lines.saturating_sub(first_line));
            let mut block = [[0f32; BLOCK]; BLOCK];
            for (number, block) in block.iter_mut().enumerate().take(there) {
                let from = &from[(first_line + number) * line + first_step * step..];
                if step == 1 && steps == BLOCK {
                    block.copy_from_slice(&from[..BLOCK]);
                } else {
                    for (number, x) in block.iter_mut().enumerate().take(steps) {
                        *x = from[number * step];
                    }
                }
            }
            for number in 0..steps {
                let out = &mut out[(first_step + number) * width + first_line..][..lines];
                for (slot, block) in out.iter_mut().zip(&block) {
                    slot.put(block[number]);
                }
            }
        }
    }
}

/// An element that is written, whether it was before or not.
trait Slot {
    fn put(&mut self, x: f32);
}

impl Slot for f32 {
    #[inline(always)]
    fn put(&mut self, x: f32) {
        *self = x;
    }
}

impl Slot for MaybeUninit<f32> {
    #[inline(always)]
    fn put(&mut self, x: f32) {
        self.write(x);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

    use super::{super::matmul::Mat, *};

    /// Numbers that look random, from a row and a column.
    fn numbers(n: usize, salt: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 1009.0 - 0.5)
            .collect()
    }

    /// Compares with the definition in `f64`; returns whether the kernel ran.
    fn check((m, n, k): (usize, usize, usize), transposed: [bool; 2], start: usize) -> bool {
        let (a, b, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
        let mat = |data, rows, columns, transposed: bool| {
            if transposed {
                Mat::rows(data, 0, rows).t()
            } else {
                Mat::rows(data, 0, columns)
            }
        };
        let (mat_a, mat_b) = (mat(&a, m, k, transposed[0]), mat(&b, k, n, transposed[1]));
        // The rows of the output lie further apart than they are wide.
        let dst_row = n + 3;
        let before = numbers(m * dst_row, 4);
        let job = Product {
            shape: (m, n, k),
            start: [Start::Zero, Start::Output, Start::Row(&bias)][start],
            scale: 1.0,
            a: mat_a,
            b: mat_b,
            dst_row,
        };
        let mut dst = before.clone();
        if !tiled(&job, &mut dst) {
            return false;
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
                let first = [0.0, f64::from(old), f64::from(bias[j])][start];
                let sum: f64 = (0..k).map(|s| at(mat_a, i, s) * at(mat_b, s, j)).sum();
                assert!(
                    (f64::from(found) - first - sum).abs() < 1e-5 * (10.0 + sum.abs()),
                    "({i}, {j}) of {m} x {n} x {k}, {transposed:?}, start {start}"
                );
            }
        }
        true
    }

    #[test]
    fn tiles_compute_the_product() {
        for shape in [(64, 64, 64), (66, 128, 512), (67, 70, 513), (71, 193, 1100)] {
            for transposed in [[false, false], [false, true], [true, false], [true, true]] {
                for start in 0..3 {
                    if !check(shape, transposed, start) {
                        eprintln!("skipped: this machine has no AVX-512");
                        return;
                    }
                }
            }
        }
    }

    #[test]
    fn an_element_depends_on_its_row_and_column_alone() {
        let (m, n, k) = (100, 130, 600);
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
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
            tiled(&job, &mut dst).then_some(dst)
        };
        let (Some(all), Some(part)) = (of(m, n), of(65, 77)) else {
            eprintln!("skipped: this machine has no AVX-512");
            return;
        };
        for i in 0..65 {
            assert_eq!(part[i * 77..][..77], all[i * n..][..77]);
        }
    }
}
