//! Settings of baselines that are chosen on the validation classes.
//!
//! Deliberately not here: the grids, which are part of a recipe.

use anyhow::{Context, Result};
use metashot_autograd::{Params, Patterns};
use metashot_meta::Workers;

use super::{Decoding, Episodes, HeadStart, Learner, evaluate};
use crate::{
    cases::Case,
    descent::Descent,
    recipe::Recipe,
    score::{Score, Totals},
};

/// The candidate that does best on the validation classes, and what to call it.
pub(super) struct Choice<T> {
    pub(super) candidate: T,
    pub(super) setting: String,
    /// Its score there.
    pub(super) score: f64,
}

impl<T> Choice<T> {
    /// The better of two, the first of equals.
    fn or_better(self, other: Self) -> Self {
        if other.score > self.score {
            other
        } else {
            self
        }
    }
}

/// Where the head of fine-tuning starts, and what fine-tuning is called by that.
pub(super) fn fine_tuning_head(recipe: &Recipe) -> (HeadStart, &'static str) {
    let head = HeadStart::new(recipe.evaluation.finetune_head, recipe);
    let name = match head {
        HeadStart::Learned => "fine-tuning",
        HeadStart::Prototypes(_) => "fine-tuning from prototypes",
    };
    (head, name)
}

/// Fine-tuning with the learning rate and the number of steps that do best.
///
/// # Errors
/// When no setting gives finite losses.
pub(super) fn fine_tuning<C: Case>(
    case: &C,
    start: &Params,
    head: HeadStart,
    recipe: &Recipe,
    workers: &Workers,
) -> Result<Choice<Learner>> {
    let settings = &recipe.evaluation;
    let adapt = Patterns::new(settings.finetune_adapt.clone());
    start
        .split(&adapt)
        .context("`evaluation.finetune_adapt` does not fit the model")?;
    let frozen = case.frozen(start, &[&adapt]);
    let grid = settings.finetune_lr.iter().flat_map(|&lr| {
        let steps = settings.finetune_steps.iter();
        steps.map(move |&steps| (lr, steps))
    });
    let tried = grid.filter_map(|(lr, steps)| {
        let descent = Descent {
            optimizer: settings.finetune_optimizer,
            steps,
            lr,
            adapt: settings.finetune_adapt.clone(),
        };
        let learner = Learner::Descend(descent, head);
        let start = (start, frozen.as_ref());
        // A rate that diverges loses; it is no reason to stop.
        let scores = validate(case, (&learner, &[Decoding::Each]), start, recipe, workers).ok()?;
        Some(Choice {
            candidate: learner,
            setting: format!("{steps} steps of {lr}"),
            score: scores[0],
        })
    });
    tried.reduce(Choice::or_better).context(
        "fine-tuning diverges with every rate of `evaluation.finetune_lr`; give it smaller ones",
    )
}

/// The best sequences by a learner's logits, with the weight of steps that does best.
///
/// # Errors
/// When the learner fails, or there is no weight to choose from.
pub(super) fn sequence<C: Case>(
    case: &C,
    learner: &Learner,
    start: (&Params, Option<&C::Frozen>),
    recipe: &Recipe,
    workers: &Workers,
) -> Result<Choice<Decoding>> {
    let taus = &recipe.evaluation.viterbi_tau;
    let decodings: Vec<Decoding> = taus.iter().copied().map(Decoding::Sequence).collect();
    let scores = validate(case, (learner, &decodings), start, recipe, workers)?;
    let tried = taus.iter().zip(decodings).zip(scores);
    tried
        .map(|((tau, candidate), score)| Choice {
            candidate,
            setting: format!("tau {tau}"),
            score,
        })
        .reduce(Choice::or_better)
        .context("`evaluation.viterbi_tau` names no weight to choose from")
}

/// The scores on the validation classes, one for each decoding.
fn validate<C: Case>(
    case: &C,
    learner: (&Learner, &[Decoding]),
    start: (&Params, Option<&C::Frozen>),
    recipe: &Recipe,
    workers: &Workers,
) -> Result<Vec<f64>> {
    let episodes = Episodes::validation(recipe);
    let scores = evaluate(case, learner, start, episodes, workers, None)?;
    let overall = |scores: &Vec<Score>| Totals::new(scores).overall_of_all();
    Ok(scores.iter().map(overall).collect())
}
