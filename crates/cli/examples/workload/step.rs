//! A meta-step as it is timed: the meta-gradient, with the tasks side by side or as one batch, and the optimizer's update.
//!
//! Deliberately not here: what a task is.

use anyhow::Result;
use metashot_autograd::{Params, Patterns, Value};
use metashot_meta::{
    AdamW, AdamWState, InnerLoop, LossError, Prepared, Workers, batched_meta_gradient,
    meta_gradient,
};

/// Tasks of a meta-step: each alone, or one that is made of all, with losses that are sums over them.
pub(crate) enum Step<'a, T> {
    Each(&'a [T]),
    Batch(&'a T, usize),
}

/// What trains: the start and the optimizer.
pub(crate) struct Training<'a> {
    workers: Workers,
    adamw: AdamW,
    lr: f64,
    settings: (&'a InnerLoop, &'a Patterns),
    params: Params,
    state: Option<AdamWState>,
}

impl<'a> Training<'a> {
    pub(crate) fn new(
        params: Params,
        (adamw, lr): (AdamW, f64),
        settings: (&'a InnerLoop, &'a Patterns),
        n_threads: usize,
    ) -> Result<Self> {
        Ok(Self {
            workers: Workers::new(n_threads)?,
            state: Some(adamw.init(&params.split(settings.1)?.0)?),
            adamw,
            lr,
            settings,
            params,
        })
    }

    /// A meta-step; returns the meta-loss.
    pub(crate) fn step<T: Sync>(
        &mut self,
        tasks: &Step<'_, T>,
        prepare: impl Fn(&T, &Params<Value>) -> Result<Prepared, LossError> + Sync,
        support: impl Fn(&T, &Params<Value>) -> Result<Value, LossError> + Sync,
        query: impl Fn(&T, &Params<Value>) -> Result<Value, LossError> + Sync,
    ) -> Result<f64> {
        let (params, settings) = (&self.params, self.settings);
        let meta = match *tasks {
            Step::Each(tasks) => {
                let workers = &self.workers;
                meta_gradient(params, tasks, prepare, support, query, settings, workers)?
            }
            Step::Batch(all, n_tasks) => batched_meta_gradient(
                params,
                n_tasks,
                |p| prepare(all, p),
                |p| support(all, p),
                |p| query(all, p),
                settings,
            )?,
        };
        if let Some(before) = self.state.take() {
            let update = || self.adamw.update(self.lr, params, &meta.gradient, before);
            let (updated, after) = self.workers.install(update)?;
            (self.params, self.state) = (updated, Some(after));
        }
        Ok(meta.loss)
    }
}
