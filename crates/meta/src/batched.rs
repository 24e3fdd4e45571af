//! The meta-loss over tasks that run as one: every operation works on all of them, each with fast weights of its own.
//!
//! On a CPU tasks run side by side instead (`meta_step`). Not here: what makes one batch of many tasks, which knows
//! their examples.

use metashot_autograd::{Params, Patterns, Value};

use crate::{
    error::{Error, LossError, Result},
    inner_loop::{InnerLoop, Prepared, task_gradient},
    meta_step::{MetaGradient, scaled},
};

/// The meta-loss over a batch of tasks and its gradient, as [`meta_gradient`](crate::meta_gradient) has it but for
/// rounding, in one pass for all tasks.
///
/// The gradient of a sum of losses with respect to one task's weights is that of the task's own loss, so one inner loop
/// on weights with a leading task axis is all of theirs: see [`metashot_autograd::ops`] for the operations that read
/// such weights. What adapts gets that axis here; what does not is shared by all tasks.
///
/// - `prepare` is as for [`task_gradient`]. What it returns in place of a parameter that adapts must have the task axis.
/// - `support` and `query` are sums over the tasks of each task's loss.
///
/// Memory grows with the number of tasks, as nothing of one is done before another.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::{Order, Params, Patterns, Value};
/// use metashot_meta::{InnerLoop, LossError, Memory, batched_meta_gradient, unprepared};
///
/// // Two tasks with the losses (w - 1)^2 and (w - 3)^2.
/// let targets = Value::constant(Tensor::new(&[1f64, 3.0], &Device::Cpu)?);
/// let loss = |p: &Params<Value>| {
///     let d = p.get("w")?.sub(&targets)?;
///     d.mul(&d)?.sum_all()
/// };
/// let mut slow = Params::new();
/// slow.insert("w", Tensor::new(0f64, &Device::Cpu)?);
/// let inner =
///     InnerLoop { steps: 1, lr: 0.25, adapt: Patterns::all(), order: Order::Higher, memory: Memory::Flat };
/// let meta = batched_meta_gradient(&slow, 2, unprepared, loss, loss, (&inner, &Patterns::all()))?;
/// // A step of 0.25 goes half of the way, so the mean of (w / 2 - t / 2)^2 is left.
/// assert_eq!(meta.loss, (0.25 + 2.25) / 2.0);
/// assert_eq!(meta.gradient.get("w")?.to_scalar::<f64>()?, (-0.5 - 1.5) / 2.0);
/// # Ok::<(), LossError>(())
/// ```
///
/// # Errors
/// As [`task_gradient`]; [`Error::Setting`] without tasks.
pub fn batched_meta_gradient<E: Into<LossError>>(
    slow: &Params,
    n_tasks: usize,
    prepare: impl Fn(&Params<Value>) -> Result<Prepared, E>,
    support: impl Fn(&Params<Value>) -> Result<Value, E>,
    query: impl Fn(&Params<Value>) -> Result<Value, E>,
    (inner, train): (&InnerLoop, &Patterns),
) -> Result<MetaGradient> {
    Error::unless(n_tasks > 0, "tasks_per_step", "at least 1", &n_tasks)?;
    let prepare = |slow: &Params<Value>| -> Result<Prepared, LossError> {
        let mut prepared = prepare(slow).map_err(Into::into)?;
        if inner.steps > 0 {
            for (name, value) in slow.iter() {
                if inner.adapt.matches(name) && !prepared.start.contains(name) {
                    prepared.start.insert(name, value.for_each_task(n_tasks)?);
                }
            }
        }
        Ok(prepared)
    };
    let as_one = |loss: Result<Value, E>| loss.map_err(Into::into);
    let tasks = task_gradient(
        slow,
        prepare,
        |p| as_one(support(p)),
        |p| as_one(query(p)),
        inner,
        train,
    )?;
    let factor = 1.0 / n_tasks as f64;
    let start_loss = tasks.support_losses.first().copied().unwrap_or(f64::NAN);
    Ok(MetaGradient {
        loss: tasks.query_loss * factor,
        start_loss: start_loss * factor,
        gradient: scaled(&tasks.gradient, factor)?,
        lr_gradient: tasks.lr_gradient * factor,
    })
}
