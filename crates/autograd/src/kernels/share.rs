//! Parts of a kernel that threads with nothing else to do may take over.
//!
//! Tasks keep all threads busy until there are fewer of them than threads: at the end of an update, or where there is one task
//! alone. A kernel offers its parts to the threads of the rayon pool that it runs on, and those that are idle come for them;
//! where none is, to offer them costs next to nothing. Not here: what a part is. No element may depend on who computes it.

use std::{mem::MaybeUninit, ops::Range, sync::OnceLock};

use rayon::prelude::*;

use super::{Float, filled_all};

/// Calls `f` for parts of a range, of at most so many numbers each: from first to last, if nobody comes for one.
pub(super) fn share(numbers: Range<usize>, most: usize, f: &(impl Fn(Range<usize>) + Sync)) {
    if numbers.len() <= most {
        if !numbers.is_empty() {
            f(numbers);
        }
        return;
    }
    let middle = numbers.start.midpoint(numbers.end);
    let (before, after) = (numbers.start..middle, middle..numbers.end);
    if n_threads() > 1 {
        rayon::join(|| share(before, most, f), || share(after, most, f));
    } else {
        share(before, most, f);
        share(after, most, f);
    }
}

/// How many threads there may be for a kernel: those of its pool, or the calling one where it runs on none.
pub(super) fn n_threads() -> usize {
    // A thread that is on no pool would be lent the global one, with all cores, whatever its owner says.
    if rayon::current_thread_index().is_some() {
        rayon::current_num_threads()
    } else {
        1
    }
}

/// Elements in a piece: a few of them fit into a core's cache, and a piece is long beside what it costs to hand out.
const PIECE: usize = 1 << 15;

/// Elements in a piece of whole rows.
fn piece_of_rows(width: usize) -> usize {
    let width = width.max(1);
    (PIECE / width).max(1) * width
}

/// Calls `f` for each piece of an output, with the place of its first element.
pub(super) fn in_pieces<T: Send>(out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync + Send) {
    in_rows(out, 1, f);
}

/// [`in_pieces`] of whole rows.
pub(super) fn in_rows<T: Send>(
    out: &mut [T],
    width: usize,
    f: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let size = piece_of_rows(width);
    if n_threads() > 1 {
        let pieces = out.par_chunks_mut(size).enumerate();
        pieces.for_each(|(piece, out)| f(piece * size, out));
    } else {
        for (piece, out) in out.chunks_mut(size).enumerate() {
            f(piece * size, out);
        }
    }
}

/// Outputs of one length whose pieces `f` writes together, given the place of their first elements.
pub(super) fn outputs<T: Float, const N: usize>(
    len: usize,
    f: impl Fn(usize, [&mut [MaybeUninit<T>]; N]) + Sync,
) -> [Vec<T>; N] {
    let (outputs, _) = outputs_of_rows(len, 1, f);
    outputs
}

/// [`outputs`] in pieces of whole rows, with what `f` returns for each, in order.
pub(super) fn outputs_of_rows<T: Float, R: Send + Sync, const N: usize>(
    len: usize,
    width: usize,
    f: impl Fn(usize, [&mut [MaybeUninit<T>]; N]) -> R + Sync,
) -> ([Vec<T>; N], Vec<R>) {
    let size = piece_of_rows(width);
    let mut results = Vec::new();
    results.resize_with(len.div_ceil(size), OnceLock::new);
    let outputs = filled_all(len, |outs| {
        share(0..results.len(), 1, &|piece| {
            let first = piece.start * size;
            // SAFETY: a piece is written by one thread.
            #[expect(unsafe_code, reason = "threads write to different pieces")]
            let mut pieces = outs.each_ref().map(|out| unsafe { out.after(first) });
            let n = size.min(len - first);
            let result = f(first, pieces.each_mut().map(|piece| piece.first(n)));
            results[piece.start].get_or_init(|| result);
        });
    });
    let results = results.into_iter().filter_map(OnceLock::into_inner);
    (outputs, results.collect())
}

/// What `f` makes of each piece of a slice, in order.
pub(super) fn of_pieces<T: Sync, R: Send>(x: &[T], f: impl Fn(&[T]) -> R + Sync + Send) -> Vec<R> {
    of_rows(x, 1, f)
}

/// [`of_pieces`] of whole rows.
pub(super) fn of_rows<T: Sync, R: Send>(
    x: &[T],
    width: usize,
    f: impl Fn(&[T]) -> R + Sync + Send,
) -> Vec<R> {
    let size = piece_of_rows(width);
    if n_threads() > 1 {
        x.par_chunks(size).map(f).collect()
    } else {
        x.chunks(size).map(f).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Condvar, Mutex},
        time::Duration,
    };

    use super::*;

    fn pool(threads: usize) -> rayon::ThreadPool {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        builder.build().unwrap()
    }

    #[test]
    fn an_idle_thread_takes_a_part() {
        let (arrived, changed) = (Mutex::new(0), Condvar::new());
        let met = Mutex::new(0);
        pool(2).install(|| {
            share(0..2, 1, &|_| {
                let mut arrived = arrived.lock().unwrap();
                *arrived += 1;
                changed.notify_all();
                // The first part only goes on when the other one runs beside it.
                let wait = Duration::from_mins(1);
                let both = changed.wait_timeout_while(arrived, wait, |arrived| *arrived < 2);
                *met.lock().unwrap() += i32::from(!both.unwrap().1.timed_out());
            });
        });
        assert_eq!(met.into_inner().unwrap(), 2);
    }

    #[test]
    fn one_thread_does_all_in_order() {
        let parts = || {
            let seen = Mutex::new(Vec::new());
            share(3..10, 2, &|part| seen.lock().unwrap().extend(part));
            seen.into_inner().unwrap()
        };
        let in_order: Vec<usize> = (3..10).collect();
        assert_eq!(parts(), in_order);
        assert_eq!(pool(1).install(parts), in_order);
        let mut shared = pool(3).install(parts);
        shared.sort_unstable();
        assert_eq!(shared, in_order);
    }

    #[test]
    fn outputs_are_written_as_a_whole() {
        let len = 2 * PIECE + 5;
        let fill = || {
            outputs(len, |first, [a, b]: [&mut [MaybeUninit<f32>]; 2]| {
                for (at, (a, b)) in a.iter_mut().zip(b).enumerate() {
                    let number = (first + at) as f32;
                    a.write(number);
                    b.write(-number);
                }
            })
        };
        let numbers: Vec<f32> = (0..len).map(|number| number as f32).collect();
        let negative: Vec<f32> = numbers.iter().map(|number| -number).collect();
        for [a, b] in [fill(), pool(3).install(fill)] {
            assert!(a == numbers && b == negative);
        }
    }

    #[test]
    fn rows_stay_whole_and_results_in_order() {
        let width = 3 * PIECE / 8;
        let len = 5 * width;
        let numbers: Vec<f32> = (0..len).map(|number| number as f32).collect();
        let doubled: Vec<f32> = numbers.iter().map(|number| number + number).collect();
        let run = || {
            let ([copy], first) = outputs_of_rows(len, width, |first, [out]| {
                assert_eq!((first % width, out.len() % width), (0, 0));
                out.write_copy_of_slice(&numbers[first..][..out.len()]);
                first
            });
            let mut twice = numbers.clone();
            in_rows(&mut twice, width, |first, piece| {
                assert_eq!((first % width, piece.len() % width), (0, 0));
                for (at, x) in piece.iter_mut().enumerate() {
                    *x += numbers[first + at];
                }
            });
            let last = of_rows(&numbers, width, |piece| piece[piece.len() - 1]);
            (copy, first, twice, last)
        };
        for (copy, first, twice, last) in [run(), pool(3).install(run)] {
            assert_eq!(copy, numbers);
            assert_eq!(first, [0, 2 * width, 4 * width]);
            assert_eq!(twice, doubled);
            let ends = [2, 4, 5].map(|rows| numbers[rows * width - 1]);
            assert_eq!(last, ends);
        }
        // A row that is longer than a piece is one.
        let pieces = of_rows(&numbers, PIECE + 1, <[f32]>::len);
        assert_eq!(pieces[0], PIECE + 1);
        assert_eq!(pieces.iter().sum::<usize>(), len);
    }
}
