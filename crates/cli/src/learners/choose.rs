//! Settings of baselines that are chosen on the validation classes.
//!
//! Deliberately not here: the grids, which are part of a recipe.

use anyhow::{Context, Result};
use metashot_autograd::{Params, Patterns};
use metashot_meta::Workers;

use super::{Episodes, HeadStart, Learner, evaluate};
use crate::{cases::Case, descent::Descent, recipe::Recipe, score::Totals};

/// A learner with the setting that does best on the validation classes, and what to call the two.
pub(super) struct Choice {
    pub(super) learner: Learner,
    pub(super) name: String,
    pub(super) setting: String,
    /// Its score there.
    pub(super) score: f64,
}

/// Fine-tuning with the learning rate and the number of steps that do best.
///
/// # Errors
/// When no setting gives finite losses.
pub(super) fn fine_tuning<C: Case>(
    case: &C,
    start: &Params,
    recipe: &Recipe,
    workers: &Workers,
) -> Result<Choice> {
    let adapt = Patterns::new(recipe.evaluation.finetune_adapt.clone());
    start
        .split(&adapt)
        .context("`evaluation.finetune_adapt` does not fit the model")?;
    let frozen = case.frozen(start, &[&adapt]);
    let head = HeadStart::new(recipe.evaluation.finetune_head, recipe);
    let name = match head {
        HeadStart::Learned => "fine-tuning",
        HeadStart::Prototypes(_) => "fine-tuning from prototypes",
    };
    let grid = recipe.evaluation.finetune_lr.iter().flat_map(|&lr| {
        let steps = recipe.evaluation.finetune_steps.iter();
        steps.map(move |&steps| (lr, steps))
    });
    let candidates = grid.map(|(lr, steps)| {
        let descent = Descent {
            optimizer: recipe.evaluation.finetune_optimizer,
            steps,
            lr,
            adapt: recipe.evaluation.finetune_adapt.clone(),
        };
        (
            Learner::fine_tune(descent, head),
            format!("{steps} steps of {lr}"),
        )
    });
    let start = (start, frozen.as_ref());
    best(case, start, name, candidates, recipe, workers).context(
        "fine-tuning diverges with every rate of `evaluation.finetune_lr`; give it smaller ones",
    )
}

/// The best sequences by a learner's logits, with the weight of steps that does best.
///
/// # Errors
/// When no setting gives finite numbers.
pub(super) fn structured<C: Case>(
    case: &C,
    (learner, name): (&Learner, &str),
    start: (&Params, Option<&C::Frozen>),
    recipe: &Recipe,
    workers: &Workers,
) -> Result<Choice> {
    let candidates = recipe
        .evaluation
        .viterbi_tau
        .iter()
        .map(|&tau| (learner.with_steps(tau), format!("tau {tau}")));
    let named = format!("{name}, Viterbi");
    best(case, start, &named, candidates, recipe, workers)
        .with_context(|| format!("{name} with Viterbi fail with every `evaluation.viterbi_tau`"))
}

/// The candidate with the best score, the first of equals; `None` if all fail.
fn best<C: Case>(
    case: &C,
    start: (&Params, Option<&C::Frozen>),
    name: &str,
    candidates: impl Iterator<Item = (Learner, String)>,
    recipe: &Recipe,
    workers: &Workers,
) -> Option<Choice> {
    let episodes = Episodes::validation(recipe);
    let mut best: Option<Choice> = None;
    for (learner, setting) in candidates {
        // A rate that diverges loses; it is no reason to stop.
        let Ok(scores) = evaluate(case, &learner, start, episodes, workers, None) else {
            continue;
        };
        let score = Totals::new(&scores).overall_of_all();
        if best.as_ref().is_none_or(|best| score > best.score) {
            best = Some(Choice {
                learner,
                name: name.to_owned(),
                setting,
                score,
            });
        }
    }
    best
}
