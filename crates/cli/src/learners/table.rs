//! The final table: which learners, from which starts, on the test episodes.
//!
//! Deliberately not here: how a table is written (`report`).

use anyhow::{Context, Result};
use metashot_autograd::Params;
use metashot_meta::Workers;

use super::{Decoding, Episodes, HeadStart, Learner, choose, evaluate};
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
        let whole = self.case.frozen(learned, &[]);
        let embedding = (learned, whole.as_ref());
        let learner = Learner::of(self.recipe);
        let changing = learner.changing();
        if self.wants(LearnerKind::MetaLearned) {
            // What changes nothing shares what embeddings are computed once.
            let frozen = |changing| self.case.frozen(learned, &[changing]);
            let part = changing.as_ref().and_then(frozen);
            let frozen = match changing {
                Some(_) => part.as_ref(),
                None => whole.as_ref(),
            };
            self.both("meta-learned", &learner, (learned, frozen), true)?;
        }
        // Without a head of its own there is nothing to do without.
        let has_head = HeadStart::of(self.recipe) == HeadStart::Learned;
        if has_head && self.wants(LearnerKind::NoAdaptation) {
            let name = "meta-learned, no adaptation";
            self.one(name, &Learner::none(), embedding)?;
        }
        // Prototypes alone are what such a start does already.
        let is_network = !has_head && changing.is_none();
        self.embedding("meta-learned, ", embedding, is_network)
    }

    /// A start that was not meta-learned: fine-tuned, and as an embedding alone.
    fn baselines(&mut self, prefix: &str, start: &Params) -> Result<()> {
        if self.wants(LearnerKind::FineTuning) {
            let (head, name) = choose::fine_tuning_head(self.recipe);
            let name = format!("{prefix}{name}");
            let choice = choose::fine_tuning(self.case, start, head, self.recipe, self.workers)?;
            say_chosen(&name, &choice);
            let learner = &choice.candidate;
            let changing = learner.changing();
            let frozen = self.case.frozen(start, changing.as_ref().as_slice());
            let start = (start, frozen.as_ref());
            let reading = Reading {
                name,
                setting: Some(choice.setting),
                decoding: Decoding::Each,
            };
            self.test(learner, start, &[reading])?;
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
            let name = format!("{prefix}prototypes");
            self.one(&name, &Learner::prototypes(), start)?;
        }
        let name = format!("{prefix}nearest neighbours");
        let by_row = self.wants(LearnerKind::Nearest);
        self.both(&name, &Learner::Nearest, start, by_row)
    }

    /// A learner read off row by row.
    fn one(
        &mut self,
        name: &str,
        learner: &Learner,
        start: (&Params, Option<&C::Frozen>),
    ) -> Result<()> {
        self.test(learner, start, &[Reading::by_row(name)])
    }

    /// A learner read off row by row if that is wanted, and as the best sequences where rows are one.
    fn both(
        &mut self,
        name: &str,
        learner: &Learner,
        start: (&Params, Option<&C::Frozen>),
        by_row: bool,
    ) -> Result<()> {
        let mut readings = Vec::new();
        if by_row {
            readings.push(Reading::by_row(name));
        }
        if self.case.transitions().is_some() && self.wants(LearnerKind::Structured) {
            let name = format!("{name}, Viterbi");
            let choice = choose::sequence(self.case, learner, start, self.recipe, self.workers)
                .with_context(|| format!("the validation of `{name}` failed"))?;
            say_chosen(&name, &choice);
            readings.push(Reading {
                name,
                setting: Some(choice.setting),
                decoding: choice.candidate,
            });
        }
        self.test(learner, start, &readings)
    }

    /// Learns every test task once and adds a row for each reading.
    fn test(
        &mut self,
        learner: &Learner,
        start: (&Params, Option<&C::Frozen>),
        readings: &[Reading],
    ) -> Result<()> {
        let Some(first) = readings.first() else {
            return Ok(());
        };
        let episodes = Episodes {
            split: Split::Test,
            count: self.n_episodes,
            seed: self.recipe.seed,
        };
        let decodings: Vec<Decoding> = readings.iter().map(|reading| reading.decoding).collect();
        let learner = (learner, &decodings[..]);
        let progress = Some("testing");
        let scores = evaluate(self.case, learner, start, episodes, self.workers, progress)
            .with_context(|| format!("the test of `{}` failed", first.name))?;
        for (reading, scores) in readings.iter().zip(scores) {
            let setting = reading.setting.as_deref();
            let row = Row::new(&reading.name, setting, scores, self.recipe.seed);
            self.rows.push(row);
        }
        Ok(())
    }

    fn wants(&self, kind: LearnerKind) -> bool {
        self.recipe.evaluation.learners.contains(&kind)
    }
}

/// A row to come: how a learner's logits are read off, and what that is called.
struct Reading {
    name: String,
    /// What was chosen on the validation classes.
    setting: Option<String>,
    decoding: Decoding,
}

impl Reading {
    fn by_row(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            setting: None,
            decoding: Decoding::Each,
        }
    }
}

fn say_chosen<T>(name: &str, choice: &choose::Choice<T>) {
    say(&format!(
        "chosen on the validation classes: {name}, {} ({:.2})",
        choice.setting,
        choice.score * 100.0
    ));
}
