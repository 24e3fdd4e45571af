//! How a task is learned from a start: every learner on the very same episodes.
//!
//! Deliberately not here: their mathematics, which is in `metashot-meta`, and which of them a table has (`table`).

mod choose;
mod table;

use anyhow::{Context, Result, ensure};
use candle_core::Tensor;
use metashot_autograd::{
    Order, Params, Patterns, Value,
    ops::{all_finite, cross_entropy_by_task, linear},
};
use metashot_meta::{InnerLoop, Memory, Prepared, Workers, nearest_neighbor_logits};

pub(crate) use table::compare;

use crate::{
    cases::{Case, Half, Labels, Split},
    descent::{Descent, Optimizer},
    heads::{head_names, prototypes_head},
    progress::Progress,
    recipe::{Head, MetaOrder, Recipe},
    score::Score,
};

/// How a task is learned from a start: where its logits come from.
#[derive(Clone, Debug)]
pub(crate) enum Learner {
    /// Descent on the support set, by no step or more, with a head to start from.
    Descend(Descent, HeadStart),
    /// Distances to the nearest neighbours in the support set.
    Nearest,
}

/// How predictions are read off logits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decoding {
    /// Each row has its best label.
    Each,
    /// The rows have the best sequence by their logits and the steps of the training classes to this power.
    Sequence(f64),
}

/// Where the head of a task starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum HeadStart {
    /// It is part of the start.
    Learned,
    /// The support set's prototypes, with this factor on distances.
    Prototypes(f64),
}

impl HeadStart {
    /// That of a recipe's meta-learned start.
    pub(crate) fn of(recipe: &Recipe) -> Self {
        Self::new(recipe.inner.head, recipe)
    }

    /// One or the other.
    fn new(head: Head, recipe: &Recipe) -> Self {
        match head {
            Head::Learned => Self::Learned,
            Head::Prototypes => Self::Prototypes(recipe.inner.prototype_scale),
        }
    }

    /// The part of a start that is learned: without a head where each task makes its own.
    pub(crate) fn slow<C: Case>(self, start: &Params) -> Params {
        let mut slow = start.clone();
        if let Self::Prototypes(_) = self {
            for name in head_names(C::HEAD) {
                slow.remove(&name);
            }
        }
        slow
    }

    /// What a task computes once, ahead of an inner loop in which `adapt` adapts, its head among it.
    ///
    /// # Errors
    /// When the model does not fit its input.
    pub(crate) fn prepare<C: Case>(
        self,
        case: &C,
        task: &C::Task,
        params: &Params<Value>,
        adapt: &Patterns,
    ) -> Result<Prepared> {
        let mut prepared = case.prepare(task, params, adapt)?;
        let head = match self {
            Self::Learned => case.fit_head(task, params)?.unwrap_or_default(),
            Self::Prototypes(scale) => {
                let params = params.overlaid(&prepared.start).overlaid(&prepared.fixed);
                let support = case.embed(task, Half::Support, &params)?;
                let rows = case.rows(task, Labels::Learned);
                prototypes_head(C::HEAD, &support, (&rows, case.n_tasks(task)), scale)?
            }
        };
        prepared.start = prepared.start.overlaid(&head);
        Ok(prepared)
    }
}

/// The logits of one half of a task.
fn logits<C: Case>(case: &C, task: &C::Task, half: Half, params: &Params<Value>) -> Result<Value> {
    let embedded = case.embed(task, half, params)?;
    let [weight, bias] = head_names(C::HEAD);
    Ok(linear(&embedded, params.get(&weight)?, params.get(&bias)?)?)
}

/// The loss on one half of a task, with what was prepared for it among the parameters; of a batch the sum of its tasks'.
///
/// # Errors
/// When the model does not fit its input.
pub(crate) fn loss<C: Case>(
    case: &C,
    task: &C::Task,
    half: Half,
    params: &Params<Value>,
) -> Result<Value> {
    let logits = logits(case, task, half, params)?;
    let (targets, n_tasks) = (case.targets(task, half), case.n_tasks(task));
    Ok(cross_entropy_by_task(&logits, targets, n_tasks)?)
}

impl Learner {
    /// The start as it is.
    pub(crate) fn none() -> Self {
        Self::Descend(Descent::none(), HeadStart::Learned)
    }

    /// The nearest class mean of the start's embeddings.
    pub(crate) fn prototypes() -> Self {
        Self::Descend(Descent::none(), HeadStart::Prototypes(1.0))
    }

    /// The learner that a recipe's meta-learned start is used with.
    pub(crate) fn of(recipe: &Recipe) -> Self {
        let descent = Descent {
            optimizer: Optimizer::Sgd,
            steps: recipe.inner.test_steps,
            lr: recipe.inner.lr,
            adapt: recipe.inner.adapt.clone(),
        };
        Self::Descend(descent, HeadStart::of(recipe))
    }

    /// What adapting to a task changes.
    fn changing(&self) -> Option<Patterns> {
        match self {
            Self::Descend(descent, _) if descent.steps > 0 => Some(descent.patterns()),
            _ => None,
        }
    }

    /// Adapts to a task and scores the query set by each of some decodings.
    ///
    /// # Errors
    /// When a number is not finite or the model does not fit its input.
    pub(crate) fn run<C: Case>(
        &self,
        case: &C,
        start: &Params,
        task: &C::Task,
        decodings: &[Decoding],
    ) -> Result<Vec<Score>> {
        let (logits, labels) = match self {
            Self::Descend(descent, head) => {
                let (start, adapt) = (head.slow::<C>(start), descent.patterns());
                let prepare = |p: &Params<Value>| head.prepare(case, task, p, &adapt);
                let support = |p: &Params<Value>| loss(case, task, Half::Support, p);
                let fast = descent.run(&start, prepare, support)?.fast.constants();
                let logits = logits(case, task, Half::Query, &fast)?.into_tensor();
                (logits, Labels::Learned)
            }
            Self::Nearest => (nearest(case, start, task)?, Labels::Classes),
        };
        ensure!(
            all_finite([&logits])?,
            "the logits are not finite: adapting diverged; a smaller rate may help"
        );
        let scores = decodings.iter().map(|decoding| match decoding {
            Decoding::Each => case.score(task, &logits, labels),
            Decoding::Sequence(tau) => case.score_sequence(task, &logits, labels, *tau),
        });
        scores.collect()
    }
}

/// Minus the squared distance of each query row to the nearest support row of each class.
fn nearest<C: Case>(case: &C, start: &Params, task: &C::Task) -> Result<Tensor> {
    let params = start.constants();
    let prepared = case.prepare(task, &params, &Patterns::default())?;
    let params = params.overlaid(&prepared.start).overlaid(&prepared.fixed);
    let [support, query] = [Half::Support, Half::Query].map(|half| case.embed(task, half, &params));
    let rows = case.rows(task, Labels::Classes);
    Ok(nearest_neighbor_logits(&query?, &support?, &rows)?)
}

/// The inner loop of meta-training.
pub(crate) fn training_loop(recipe: &Recipe) -> InnerLoop {
    let order = match recipe.inner.order {
        MetaOrder::Exact => Order::Higher,
        MetaOrder::First => Order::First,
    };
    let inner = &recipe.inner;
    InnerLoop {
        steps: inner.steps,
        lr: inner.lr,
        adapt: Patterns::new(inner.adapt.clone()),
        order,
        memory: Memory::Flat,
    }
}

/// The seed of a split's episodes: another one for each split.
pub(crate) fn episode_seed(seed: u64, split: Split) -> u64 {
    let salt = match split {
        Split::Train => 1,
        Split::Validation => 2,
        Split::Test => 3,
    };
    // An odd multiplier keeps different seeds different.
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(salt)
}

/// Which episodes a learner is measured on.
#[derive(Clone, Copy)]
pub(crate) struct Episodes {
    /// Their classes.
    pub split: Split,
    /// How many; the first of the seed.
    pub count: u64,
    /// The seed of the run.
    pub seed: u64,
}

impl Episodes {
    /// Those that settings are chosen on.
    pub(crate) fn validation(recipe: &Recipe) -> Self {
        Self {
            split: Split::Validation,
            count: recipe.evaluation.validation_episodes as u64,
            seed: recipe.seed,
        }
    }
}

/// The scores of a learner by each of some decodings, in the order of the episodes. `frozen` is what the start computes
/// once, if that is known; it must not reach what the learner changes.
///
/// # Errors
/// The first episode's error, with its number.
pub(crate) fn evaluate<C: Case>(
    case: &C,
    (learner, decodings): (&Learner, &[Decoding]),
    (start, frozen): (&Params, Option<&C::Frozen>),
    episodes: Episodes,
    workers: &Workers,
    progress: Option<&'static str>,
) -> Result<Vec<Vec<Score>>> {
    let seed = episode_seed(episodes.seed, episodes.split);
    let mut progress = progress.map(|what| Progress::new(what, 0, episodes.count));
    let mut scores = vec![Vec::with_capacity(episodes.count as usize); decodings.len()];
    // A few episodes a thread at a time, so that there is progress to show.
    let at_once = 4 * workers.n_threads() as u64;
    let mut first = 0;
    while first < episodes.count {
        let count = at_once.min(episodes.count - first);
        let some = workers.map(count, |offset| {
            let index = first + offset;
            let score = || {
                let task = case.task(episodes.split, seed, index, frozen)?;
                learner.run(case, start, &task, decodings)
            };
            score().with_context(|| format!("episode {index} failed"))
        })?;
        for episode in some {
            for (scores, score) in scores.iter_mut().zip(episode) {
                scores.push(score);
            }
        }
        first += count;
        if let Some(progress) = &mut progress {
            progress.step(first, String::new);
        }
    }
    Ok(scores)
}
