//! The meta-loss, the mean of the tasks' query losses after adapting, and its gradient, with tasks side by side.
//!
//! Not here: what a task is, and the optimizer.

use metashot_autograd::{Params, Patterns, Value, ops::RunningSum};

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
/// Each task runs whole on one thread. Gradients are added in the order of the tasks, so the bits do not depend on
/// which thread was first. A thread that is ahead waits before it starts a task too far from those that are added:
/// memory grows with the number of threads, not of tasks.
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
    let mut sum: Option<Sum> = None;
    workers.in_order(tasks.len(), gradient, |task| {
        match &mut sum {
            None => sum = Some(Sum::new(&task)?),
            Some(sum) => sum.add(&task)?,
        }
        Ok(())
    })?;
    let sum = sum.ok_or_else(|| Error::Setting {
        setting: "tasks_per_step",
        wanted: "at least 1",
        found: "0".into(),
    })?;
    sum.mean(tasks.len())
}

/// The sum of the tasks' gradients, written in place.
struct Sum {
    loss: f64,
    start_loss: f64,
    lr_gradient: f64,
    gradient: Params<RunningSum>,
}

impl Sum {
    fn new(task: &TaskGradient) -> Result<Self> {
        Ok(Self {
            loss: task.query_loss,
            start_loss: start_loss(task),
            lr_gradient: task.lr_gradient,
            gradient: task.gradient.try_map(|_, tensor| RunningSum::new(tensor))?,
        })
    }

    fn add(&mut self, task: &TaskGradient) -> Result<()> {
        self.loss += task.query_loss;
        self.start_loss += start_loss(task);
        self.lr_gradient += task.lr_gradient;
        for (name, sum) in self.gradient.iter_mut() {
            sum.add(task.gradient.get(name)?)?;
        }
        Ok(())
    }

    fn mean(self, n_tasks: usize) -> Result<MetaGradient> {
        let scale = 1.0 / n_tasks as f64;
        let sum = self.gradient.into_iter();
        let sum = sum.map(|(name, sum)| (name, sum.into_tensor())).collect();
        Ok(MetaGradient {
            loss: self.loss * scale,
            start_loss: self.start_loss * scale,
            gradient: scaled(&sum, scale)?,
            lr_gradient: self.lr_gradient * scale,
        })
    }
}

fn start_loss(task: &TaskGradient) -> f64 {
    task.support_losses.first().copied().unwrap_or(f64::NAN)
}

/// Every parameter times a number.
pub(crate) fn scaled(params: &Params, scale: f64) -> Result<Params> {
    params.try_map(|_, tensor| {
        Ok(Value::constant(tensor.clone())
            .affine(scale, 0.0)?
            .into_tensor())
    })
}
