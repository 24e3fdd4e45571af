//! The meta-loss, the mean of the tasks' query losses after adapting, and its gradient, with tasks side by side.
//!
//! Not here: what a task is, and the optimizer.

use metashot_autograd::{Params, Patterns, Value};
use rayon::prelude::*;

use crate::{
    error::{Error, LossError, Result},
    inner_loop::{InnerLoop, task_gradient},
};

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

    /// Calls `f` for `0..count` side by side and returns what it returned in that order, or the first error in it.
    ///
    /// # Errors
    /// What `f` failed with.
    pub fn map<R: Send, E: Send>(
        &self,
        count: u64,
        f: impl Fn(u64) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E> {
        let f = &f;
        let outcomes: Vec<Result<R, E>> = self
            .pool
            .install(|| (0..count).into_par_iter().map(f).collect());
        outcomes.into_iter().collect()
    }
}

/// The meta-loss and its gradient.
#[derive(Clone, Debug)]
pub struct MetaGradient {
    /// The mean of the query losses.
    pub loss: f64,
    /// The mean of the support losses before the first inner step; NaN without one.
    pub start_loss: f64,
    /// The gradient of `loss` with respect to each trained parameter.
    pub gradient: Params,
    /// Its derivative with respect to the inner learning rate.
    pub lr_gradient: f64,
}

/// The meta-loss over `tasks` and its gradient.
///
/// Each task runs whole on one thread. Gradients are added in the order of the tasks, a few at a time, so neither the
/// bits nor the memory depend on which thread was first; memory grows with the number of threads, not of tasks.
///
/// # Errors
/// [`Error::Task`] with what the first failing task failed with, as [`task_gradient`]; [`Error::Setting`] without tasks.
pub fn meta_gradient<T: Sync, E: Into<LossError>>(
    slow: &Params,
    tasks: &[T],
    support: impl Fn(&T, &Params<Value>) -> Result<Value, E> + Sync,
    query: impl Fn(&T, &Params<Value>) -> Result<Value, E> + Sync,
    (inner, train): (&InnerLoop, &Patterns),
    workers: &Workers,
) -> Result<MetaGradient> {
    let mut sum: Option<MetaGradient> = None;
    let at_once = workers.n_threads();
    for (chunk, tasks) in tasks.chunks(at_once).enumerate() {
        let gradients = workers.map(tasks.len() as u64, |index| {
            let task = &tasks[index as usize];
            task_gradient(slow, |p| support(task, p), |p| query(task, p), inner, train).map_err(
                |source| Error::Task {
                    task: (chunk * at_once) as u64 + index,
                    source: Box::new(source),
                },
            )
        })?;
        for task in gradients {
            let start_loss = task.support_losses.first().copied().unwrap_or(f64::NAN);
            sum = Some(match sum {
                None => MetaGradient {
                    loss: task.query_loss,
                    start_loss,
                    gradient: task.gradient,
                    lr_gradient: task.lr_gradient,
                },
                Some(sum) => MetaGradient {
                    loss: sum.loss + task.query_loss,
                    start_loss: sum.start_loss + start_loss,
                    gradient: add(&sum.gradient, &task.gradient)?,
                    lr_gradient: sum.lr_gradient + task.lr_gradient,
                },
            });
        }
    }
    let sum = sum.ok_or_else(|| Error::Setting {
        setting: "tasks_per_step",
        wanted: "at least 1",
        found: "0".into(),
    })?;
    let scale = 1.0 / tasks.len() as f64;
    Ok(MetaGradient {
        loss: sum.loss * scale,
        start_loss: sum.start_loss * scale,
        gradient: scaled(&sum.gradient, scale)?,
        lr_gradient: sum.lr_gradient * scale,
    })
}

fn add(a: &Params, b: &Params) -> Result<Params> {
    a.zip_with(b, |a, b| {
        Ok(Value::constant(a.clone())
            .add(&Value::constant(b.clone()))?
            .into_tensor())
    })
}

/// Every parameter times a number.
pub(crate) fn scaled(params: &Params, scale: f64) -> Result<Params> {
    params.try_map(|_, tensor| {
        Ok(Value::constant(tensor.clone())
            .affine(scale, 0.0)?
            .into_tensor())
    })
}
