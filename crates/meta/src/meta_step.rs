//! The meta-loss, the mean of the tasks' query losses after adapting, and its gradient, with tasks side by side.
//!
//! Not here: what a task is, and the optimizer.

use metashot_autograd::{
    Params, Patterns, Value,
    ops::{scale, sum_in_order},
};

use crate::{
    error::{Error, LossError, Result},
    inner_loop::{InnerLoop, Prepared, TaskGradient, task_gradient},
    workers::Workers,
};

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
/// Each task runs on one thread, with the help of those that have none left to start. Gradients are added in the order of
/// the tasks, so the bits do not depend on which thread was first. A thread that is ahead waits before it starts a task too
/// far from those that are added: memory grows with the number of threads, not of tasks.
///
/// # Errors
/// [`Error::Task`] with what the first failing task failed with, as [`task_gradient`]; [`Error::Setting`] without tasks.
pub fn meta_gradient<T: Sync, E: Into<LossError>>(
    slow: &Params,
    tasks: &[T],
    prepare: impl Fn(&T, &Params<Value>) -> Result<Prepared, E> + Sync,
    support: impl Fn(&T, &Params<Value>) -> Result<Value, E> + Sync,
    query: impl Fn(&T, &Params<Value>) -> Result<Value, E> + Sync,
    (inner, train): (&InnerLoop, &Patterns),
    workers: &Workers,
) -> Result<MetaGradient> {
    let gradient = |index: usize| {
        let task = &tasks[index];
        task_gradient(
            slow,
            |p| prepare(task, p),
            |p| support(task, p),
            |p| query(task, p),
            inner,
            train,
        )
        .map_err(|source| Error::Task {
            task: index as u64,
            source: Box::new(source),
        })
    };
    let mut sum = Sum::default();
    workers.in_order(tasks.len(), gradient, |tasks| sum.add(&tasks))?;
    if tasks.is_empty() {
        return Err(Error::Setting {
            setting: "tasks_per_step",
            wanted: "at least 1",
            found: "0".into(),
        });
    }
    let factor = 1.0 / tasks.len() as f64;
    Ok(MetaGradient {
        loss: sum.loss * factor,
        start_loss: sum.start_loss * factor,
        gradient: workers.install(|| scaled(&sum.gradient, factor))?,
        lr_gradient: sum.lr_gradient * factor,
    })
}

/// The sum over the tasks so far.
#[derive(Default)]
struct Sum {
    loss: f64,
    start_loss: f64,
    lr_gradient: f64,
    gradient: Params,
}

impl Sum {
    /// Adds some tasks in their order.
    fn add(&mut self, tasks: &[TaskGradient]) -> Result<()> {
        for task in tasks {
            self.loss += task.query_loss;
            self.start_loss += start_loss(task);
            self.lr_gradient += task.lr_gradient;
        }
        let sums = tasks[0].gradient.names().map(|name| {
            let mut addends = Vec::with_capacity(tasks.len() + 1);
            addends.extend(self.gradient.get(name).ok());
            for task in tasks {
                addends.push(task.gradient.get(name)?);
            }
            Ok((name.to_owned(), sum_in_order(&addends)?))
        });
        self.gradient = sums.collect::<Result<Params>>()?;
        Ok(())
    }
}

fn start_loss(task: &TaskGradient) -> f64 {
    task.support_losses.first().copied().unwrap_or(f64::NAN)
}

/// Every parameter times a number.
pub(crate) fn scaled(params: &Params, factor: f64) -> Result<Params> {
    params.try_map(|_, tensor| Ok(scale(tensor, factor)?))
}
