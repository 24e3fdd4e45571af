//! The final table: which learners, from which starts, on the test episodes.
//!
//! Deliberately not here: how a table is written (`report`).

use anyhow::{Context, Result};
use metashot_autograd::Params;
use metashot_meta::Workers;

use super::{Episodes, HeadStart, Learner, choose, evaluate};
use crate::{
    cases::{Case, Split},
    progress::say,
    recipe::{LearnerKind, Recipe},
    report::{Results, Row},
};

/// Compares the meta-learned start with the baselines on the test episodes.
///
/// # Errors
/// When a learner fails.
pub(crate) fn compare<C: Case>(
    case: &C,
    recipe: &Recipe,
    workers: &Workers,
    (start, learned): (&Params, &Params),
    train_minutes: Option<f64>,
) -> Result<Results> {
    let n_episodes = recipe.evaluation.test_episodes as u64;
    let episodes = case.test_episodes(recipe.seed, n_episodes)?;
    let mut table = Table {
        case,
        recipe,
        n_episodes: episodes.count,
        workers,
        rows: Vec::new(),
    };
    table.learned(learned)?;
    table.baselines("", start)?;
    for (name, start) in &case.other_starts(recipe.seed)? {
        table.baselines(&format!("{name}, "), start)?;
    }
    let shape = &recipe.episodes;
    let (metric, shots) = if recipe.ner.is_some() {
        let shots = format!("{}~{}", shape.k_shot, 2 * shape.k_shot);
        ("micro F1", shots)
    } else {
        ("accuracy", shape.k_shot.to_string())
    };
    Ok(Results {
        metric,
        episodes: episodes
            .shape
            .unwrap_or_else(|| format!("{}-way {shots}-shot", shape.n_way)),
        episodes_hash: episodes.hash,
        n_episodes: episodes.count as usize,
        seed: recipe.seed,
        version: env!("CARGO_PKG_VERSION"),
        threads: workers.n_threads(),
        train_minutes,
        rows: table.rows,
    }
    .with_differences())
}

/// The results of each learner so far.
struct Table<'a, C> {
    case: &'a C,
    recipe: &'a Recipe,
    n_episodes: u64,
    workers: &'a Workers,
    rows: Vec<Row>,
}

impl<C: Case> Table<'_, C> {
    /// The meta-learned start: as it was meant to be used, and as an embedding alone.
    fn learned(&mut self, learned: &Params) -> Result<()> {
        if self.wants(LearnerKind::MetaLearned) {
            let learner = Learner::of(self.recipe);
            let frozen = learner.frozen(self.case, learned);
            let start = (learned, frozen.as_ref());
            self.add("meta-learned", &learner, start)?;
            self.structured("", (&learner, "meta-learned"), start)?;
        }
        let frozen = self.case.frozen(learned, &[]);
        let start = (learned, frozen.as_ref());
        // Without a head of its own there is nothing to do without.
        let has_head = HeadStart::of(self.recipe) == HeadStart::Learned;
        if has_head && self.wants(LearnerKind::NoAdaptation) {
            self.add("meta-learned, no adaptation", &Learner::none(), start)?;
        }
        // Prototypes alone are what such a start does already.
        let is_network = !has_head && Learner::of(self.recipe).changing().is_none();
        self.embedding("meta-learned, ", start, is_network)
    }

    /// A start that was not meta-learned: fine-tuned, and as an embedding alone.
    fn baselines(&mut self, prefix: &str, start: &Params) -> Result<()> {
        if self.wants(LearnerKind::FineTuning) {
            let choice = choose::fine_tuning(self.case, start, self.recipe, self.workers)?;
            let frozen = choice.learner.frozen(self.case, start);
            self.chosen(prefix, &choice, (start, frozen.as_ref()))?;
        }
        let frozen = self.case.frozen(start, &[]);
        self.embedding(prefix, (start, frozen.as_ref()), false)
    }

    /// The learners that use a start as an embedding, without changing it.
    fn embedding(
        &mut self,
        prefix: &str,
        start: (&Params, Option<&C::Frozen>),
        has_prototypes: bool,
    ) -> Result<()> {
        if !has_prototypes && self.wants(LearnerKind::Prototypes) {
            self.add(
                &format!("{prefix}prototypes"),
                &Learner::prototypes(),
                start,
            )?;
        }
        if self.wants(LearnerKind::Nearest) {
            let name = format!("{prefix}nearest neighbours");
            self.add(&name, &Learner::nearest(), start)?;
        }
        let nearest = (&Learner::nearest(), "nearest neighbours");
        self.structured(prefix, nearest, start)
    }

    /// A learner with the best sequences, where rows are one.
    fn structured(
        &mut self,
        prefix: &str,
        learner: (&Learner, &str),
        start: (&Params, Option<&C::Frozen>),
    ) -> Result<()> {
        if self.case.transitions().is_some() && self.wants(LearnerKind::Structured) {
            let choice = choose::structured(self.case, learner, start, self.recipe, self.workers)?;
            self.chosen(prefix, &choice, start)?;
        }
        Ok(())
    }

    fn chosen(
        &mut self,
        prefix: &str,
        choice: &choose::Choice,
        start: (&Params, Option<&C::Frozen>),
    ) -> Result<()> {
        let name = format!("{prefix}{}", choice.name);
        say(&format!(
            "chosen on the validation classes: {name}, {} ({:.2})",
            choice.setting,
            choice.score * 100.0
        ));
        self.test(&name, Some(&choice.setting), &choice.learner, start)
    }

    fn add(
        &mut self,
        name: &str,
        learner: &Learner,
        start: (&Params, Option<&C::Frozen>),
    ) -> Result<()> {
        self.test(name, None, learner, start)
    }

    fn test(
        &mut self,
        name: &str,
        setting: Option<&str>,
        learner: &Learner,
        start: (&Params, Option<&C::Frozen>),
    ) -> Result<()> {
        let episodes = Episodes {
            split: Split::Test,
            count: self.n_episodes,
            seed: self.recipe.seed,
        };
        let scores = evaluate(
            self.case,
            learner,
            start,
            episodes,
            self.workers,
            Some("testing"),
        )
        .with_context(|| format!("the test of `{name}` failed"))?;
        let row = Row::new(name, setting, scores, self.recipe.seed);
        self.rows.push(row);
        Ok(())
    }

    fn wants(&self, kind: LearnerKind) -> bool {
        self.recipe.evaluation.learners.contains(&kind)
    }
}
