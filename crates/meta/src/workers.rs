//! A pool of threads for independent tasks, whose results come back in the order of the tasks.
//!
//! Not here: what a task is. Kernels give parts of their work to threads of the pool that have nothing to do
//! (`metashot_autograd`), so a task that runs alone, here or in [`Workers::install`], has all of them.

use std::{
    collections::BTreeMap,
    iter,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::error::{Error, Result};

/// A pool of threads for independent tasks. Its size never changes a result.
///
/// ```
/// use metashot_meta::{LossError, Workers};
///
/// let workers = Workers::new(2)?;
/// let squares = workers.map(4, |index| Ok::<_, LossError>(index * index))?;
/// assert_eq!(squares, [0, 1, 4, 9]);
/// # Ok::<(), LossError>(())
/// ```
pub struct Workers {
    pool: rayon::ThreadPool,
}

/// Graphs of graphs are freed and walked without recursion; this is room for everything else.
const STACK_BYTES: usize = 8 << 20;

impl Workers {
    /// Starts `threads` threads; 0 stands for one a core.
    ///
    /// # Errors
    /// [`Error::Threads`].
    pub fn new(threads: usize) -> Result<Self> {
        let builder = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .stack_size(STACK_BYTES);
        let pool = builder
            .build()
            .map_err(|source| Error::Threads { threads, source })?;
        Ok(Self { pool })
    }

    /// How many threads there are.
    pub fn n_threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Calls `f` on the pool: what it does side by side stays within its threads.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Calls `f` for `0..count` side by side and returns what it returned in that order, or the first error in it.
    ///
    /// # Errors
    /// What `f` failed with.
    pub fn map<R: Send, E: Send>(
        &self,
        count: u64,
        f: impl Fn(u64) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        // Not as jobs of the pool, which a thread that waits for a part of its task could begin in the middle of that.
        let next = AtomicU64::new(0);
        let numbers = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&n| n < count);
        let outcomes = self.pool.broadcast(|_| {
            let calls = iter::from_fn(numbers).map(|index| (index, f(index)));
            calls.collect::<Vec<_>>()
        });
        let mut outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
        outcomes.sort_unstable_by_key(|&(index, _)| index);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Calls `f` for `0..count` side by side and hands what it returned to `take` in that order: a few results at a
    /// time, as many as there are threads, and fewer at the end.
    ///
    /// No call starts further than three a thread from the first whose result was not taken yet, so what waits to be
    /// taken is bounded. What `take` splits over the pool finds the threads idle that have nothing left to start.
    ///
    /// # Errors
    /// The first error in that order; nothing is started or taken after it.
    pub fn in_order<R: Send, E: Send>(
        &self,
        count: usize,
        f: impl Fn(usize) -> Result<R, E> + Sync,
        take: impl FnMut(Vec<R>) -> Result<(), E> + Send,
    ) -> Result<(), E> {
        let at_once = self.n_threads();
        let queue = Mutex::new(Queue {
            count,
            at_once,
            started: 0,
            taken: 0,
            waiting: BTreeMap::new(),
            failed: BTreeMap::new(),
            take,
        });
        let moved = Condvar::new();
        self.pool.broadcast(|_| {
            let mut state = queue.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                while state.is_open() && state.started >= state.taken + 3 * at_once {
                    state = moved.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if !state.is_open() {
                    return;
                }
                let index = state.started;
                state.started += 1;
                drop(state);
                // A thread that died without a word would leave the others waiting for its result.
                let outcome = catch_unwind(AssertUnwindSafe(|| f(index)));
                state = queue.lock().unwrap_or_else(PoisonError::into_inner);
                match outcome {
                    Ok(Ok(result)) => {
                        state.waiting.insert(index, result);
                        state.hand_over();
                    }
                    Ok(Err(error)) => {
                        state.failed.insert(index, Failure::Error(error));
                    }
                    Err(panic) => {
                        state.failed.insert(index, Failure::Panic(panic));
                    }
                }
                moved.notify_all();
            }
        });
        let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
        match queue.failed.into_values().next() {
            None => Ok(()),
            Some(Failure::Error(error)) => Err(error),
            Some(Failure::Panic(panic)) => resume_unwind(panic),
        }
    }
}

/// Where [`Workers::in_order`] stands.
struct Queue<R, E, T> {
    count: usize,
    at_once: usize,
    started: usize,
    taken: usize,
    waiting: BTreeMap<usize, R>,
    failed: BTreeMap<usize, Failure<E>>,
    take: T,
}

enum Failure<E> {
    Error(E),
    Panic(Box<dyn std::any::Any + Send>),
}

impl<R, E, T: FnMut(Vec<R>) -> Result<(), E>> Queue<R, E, T> {
    /// Whether there is something left to start.
    fn is_open(&self) -> bool {
        self.started < self.count && self.failed.is_empty()
    }

    /// Hands over the results that are next in order, once there are enough of them.
    fn hand_over(&mut self) {
        let next = (self.taken + self.at_once).min(self.count);
        let complete = (self.taken..next).all(|index| self.waiting.contains_key(&index));
        if !complete || next == self.taken || !self.failed.is_empty() {
            return;
        }
        let results = (self.taken..next).filter_map(|index| self.waiting.remove(&index));
        if let Err(error) = (self.take)(results.collect()) {
            self.failed.insert(self.taken, Failure::Error(error));
        }
        self.taken = next;
        self.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    fn pause(millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
    }

    #[test]
    fn map_returns_in_order_what_each_call_returned_or_the_first_error() {
        for threads in [1, 4] {
            let workers = Workers::new(threads).unwrap();
            let slow_fourths = |index: u64| {
                pause(if index.is_multiple_of(4) { 5 } else { 0 });
                if index >= 30 { Err(index) } else { Ok(index) }
            };
            let expected: Vec<u64> = (0..30).collect();
            assert_eq!(workers.map(30, slow_fourths), Ok(expected));
            assert_eq!(workers.map(40, slow_fourths), Err(30));
            assert_eq!(workers.map(0, slow_fourths), Ok(Vec::new()));
        }
    }

    #[test]
    fn results_are_taken_in_order_however_long_each_took() {
        let workers = Workers::new(4).unwrap();
        let mut taken = Vec::new();
        let slow_first = |index| {
            pause(if index == 0 { 20 } else { 1 });
            Ok::<_, ()>(index)
        };
        let take = |results: Vec<usize>| {
            taken.extend(results);
            Ok(())
        };
        workers.in_order(30, slow_first, take).unwrap();
        assert_eq!(taken, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn no_thread_runs_further_ahead_than_three_results_each() {
        let workers = Workers::new(3).unwrap();
        let (started, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let slow_first = |index| {
            let before = started.fetch_add(1, Ordering::SeqCst);
            assert!(before < taken.load(Ordering::SeqCst) + 9);
            pause(if index % 9 == 0 { 10 } else { 0 });
            Ok::<_, ()>(())
        };
        let take = |results: Vec<()>| {
            taken.fetch_add(results.len(), Ordering::SeqCst);
            Ok(())
        };
        workers.in_order(50, slow_first, take).unwrap();
        assert_eq!(taken.into_inner(), 50);
    }

    #[test]
    fn the_first_failure_in_order_is_reported() {
        let workers = Workers::new(4).unwrap();
        let fails = |index: usize| {
            pause(if index == 3 { 10 } else { 0 });
            if index >= 3 { Err(index) } else { Ok(index) }
        };
        assert_eq!(workers.in_order(20, fails, |_| Ok(())), Err(3));
        let full = |results: Vec<usize>| {
            if results.contains(&5) {
                return Err(99);
            }
            Ok(())
        };
        assert_eq!(workers.in_order(20, Ok, full), Err(99));
    }

    #[test]
    fn a_panic_stops_all_threads_and_comes_through() {
        let workers = Workers::new(3).unwrap();
        let dies = |index: usize| {
            assert!(index != 2, "task 2 died");
            Ok::<_, ()>(())
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| workers.in_order(9, dies, |_| Ok(()))));
        let message = outcome.unwrap_err();
        assert_eq!(message.downcast_ref::<&str>(), Some(&"task 2 died"));
    }
}
