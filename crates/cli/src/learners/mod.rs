//! The meta-learned start and the baselines, on the very same episodes.
//!
//! Deliberately not here: their mathematics, which is in `metashot-meta`.

use anyhow::{Context, Result};
use metashot_autograd::{Order, Params, Patterns, Value};
use metashot_meta::{InnerLoop, Memory, Workers, adapt};

use crate::{
    cases::{Case, Half, Split},
    progress::Progress,
    recipe::{MetaOrder, Recipe},
    score::{Score, summarize},
};

/// How a task is learned from a start.
#[derive(Clone, Debug)]
pub(crate) enum Learner {
    /// Gradient descent on the support set.
    Descend(InnerLoop),
    /// The nearest class mean of the start's embeddings.
    Prototypes,
}

impl Learner {
    /// The start as it is.
    pub(crate) fn none() -> Self {
        Self::Descend(InnerLoop::none())
    }

    /// Fine-tuning of all parameters.
    pub(crate) fn fine_tune(lr: f64, steps: usize) -> Self {
        Self::Descend(InnerLoop {
            steps,
            lr,
            adapt: Patterns::all(),
            order: Order::First,
            memory: Memory::Flat,
        })
    }

    /// Adapts to a task and scores the query set.
    ///
    /// # Errors
    /// When the loss is not finite or the model does not fit its input.
    pub(crate) fn run<C: Case>(&self, case: &C, start: &Params, task: &C::Task) -> Result<Score> {
        match self {
            Self::Prototypes => case.score_prototypes(task, start),
            Self::Descend(inner) if inner.steps == 0 => case.score(task, start),
            Self::Descend(inner) => {
                let support = |params: &Params<Value>| case.loss(task, Half::Support, params);
                let prepare = |params: &Params<Value>| case.prepare(task, params, &inner.adapt);
                case.score(task, &adapt(start, prepare, support, inner)?.fast)
            }
        }
    }
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

/// The learner that the meta-learned start is used with.
pub(crate) fn meta_learner(recipe: &Recipe) -> Learner {
    Learner::Descend(InnerLoop {
        steps: recipe.inner.test_steps,
        order: Order::First,
        ..training_loop(recipe)
    })
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

/// The scores of a learner, in the order of the episodes.
///
/// # Errors
/// The first episode's error, with its number.
pub(crate) fn evaluate<C: Case>(
    case: &C,
    learner: &Learner,
    start: &Params,
    episodes: Episodes,
    workers: &Workers,
    progress: Option<&'static str>,
) -> Result<Vec<Score>> {
    let seed = episode_seed(episodes.seed, episodes.split);
    let mut progress = progress.map(|what| Progress::new(what, 0, episodes.count));
    let mut scores = Vec::with_capacity(episodes.count as usize);
    // A few episodes a thread at a time, so that there is progress to show.
    let at_once = 4 * workers.n_threads() as u64;
    while (scores.len() as u64) < episodes.count {
        let first = scores.len() as u64;
        let count = at_once.min(episodes.count - first);
        scores.extend(workers.map(count, |offset| {
            let index = first + offset;
            let score = || learner.run(case, start, &case.task(episodes.split, seed, index)?);
            score().with_context(|| format!("episode {index} failed"))
        })?);
        if let Some(progress) = &mut progress {
            progress.step(scores.len() as u64, String::new);
        }
    }
    Ok(scores)
}

/// The learning rate and the number of steps with which fine-tuning does best on the validation classes.
///
/// # Errors
/// When no setting gives finite losses.
pub(crate) fn choose_fine_tuning<C: Case>(
    case: &C,
    start: &Params,
    recipe: &Recipe,
    workers: &Workers,
) -> Result<(f64, usize, f64)> {
    let episodes = Episodes {
        split: Split::Validation,
        count: recipe.evaluation.validation_episodes as u64,
        seed: recipe.seed,
    };
    let mut best = None;
    for &lr in &recipe.evaluation.finetune_lr {
        for &steps in &recipe.evaluation.finetune_steps {
            // A rate that diverges loses; it is no reason to stop.
            let Ok(scores) = evaluate(
                case,
                &Learner::fine_tune(lr, steps),
                start,
                episodes,
                workers,
                None,
            ) else {
                continue;
            };
            let score = summarize(&scores, recipe.seed).value;
            if best.is_none_or(|(_, _, best)| score > best) {
                best = Some((lr, steps, score));
            }
        }
    }
    best.context(
        "fine-tuning diverges with every rate of `evaluation.finetune_lr`; give it smaller ones",
    )
}
