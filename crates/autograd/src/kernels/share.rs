//! Parts of a kernel that threads with nothing else to do may take over.
//!
//! Tasks keep all threads busy until there are fewer of them than threads: at the end of an update, or where there is one task
//! alone. A kernel offers its parts to the threads of the rayon pool that it runs on, and those that are idle come for them;
//! where none is, to offer them costs next to nothing. Not here: what a part is. No element may depend on who computes it.

use std::{mem::MaybeUninit, ops::Range};

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

/// Calls `f` for each piece of an output, with the place of its first element.
pub(super) fn in_pieces<T: Send>(out: &mut [T], f: impl Fn(usize, &mut [T]) + Sync + Send) {
    if n_threads() > 1 {
        let pieces = out.par_chunks_mut(PIECE).enumerate();
        pieces.for_each(|(piece, out)| f(piece * PIECE, out));
    } else {
        for (piece, out) in out.chunks_mut(PIECE).enumerate() {
            f(piece * PIECE, out);
        }
    }
}

/// Outputs of one length whose pieces `f` writes together, given the place of their first elements.
pub(super) fn outputs<T: Float, const N: usize>(
    len: usize,
    f: impl Fn(usize, [&mut [MaybeUninit<T>]; N]) + Sync,
) -> [Vec<T>; N] {
    filled_all(len, |outs| {
        share(0..len.div_ceil(PIECE), 1, &|piece| {
            let first = piece.start * PIECE;
            // SAFETY: a piece is written by one thread.
            #[expect(unsafe_code, reason = "threads write to different pieces")]
            let mut pieces = outs.each_ref().map(|out| unsafe { out.after(first) });
            let n = PIECE.min(len - first);
            f(first, pieces.each_mut().map(|piece| piece.first(n)));
        });
    })
}

/// What `f` makes of each piece of a slice, in order.
pub(super) fn of_pieces<T: Sync, R: Send>(x: &[T], f: impl Fn(&[T]) -> R + Sync + Send) -> Vec<R> {
    if n_threads() > 1 {
        x.par_chunks(PIECE).map(f).collect()
    } else {
        x.chunks(PIECE).map(f).collect()
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
}
