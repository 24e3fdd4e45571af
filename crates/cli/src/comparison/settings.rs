//! Runs by their settings, and whether settings were measured on the same episodes.
//!
//! Deliberately not here: scores.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::Run;

/// Runs that differ in their seed alone.
pub(super) struct Setting<'a> {
    /// A letter for the tables.
    pub(super) name: String,
    pub(super) runs: Vec<&'a Run>,
}

/// The settings of runs, in their order.
///
/// # Errors
/// Two runs with the same settings and the same seed.
pub(super) fn group(runs: &[Run]) -> Result<Vec<Setting<'_>>> {
    let mut settings: Vec<Setting<'_>> = Vec::new();
    for run in runs {
        let same = settings
            .iter_mut()
            .find(|setting| setting.runs[0].settings == run.settings);
        let Some(setting) = same else {
            settings.push(Setting {
                name: letters(settings.len()),
                runs: vec![run],
            });
            continue;
        };
        if let Some(other) = setting.runs.iter().find(|other| other.seed == run.seed) {
            bail!(
                "`{}` and `{}` have the same settings and the same seed, {}: each would count twice",
                other.path,
                run.path,
                run.seed
            );
        }
        setting.runs.push(run);
    }
    Ok(settings)
}

/// `A` to `Z`, then `AA` and so on.
fn letters(number: usize) -> String {
    let last = char::from(b'A' + (number % 26) as u8);
    match number / 26 {
        0 => last.to_string(),
        more => letters(more - 1) + &last.to_string(),
    }
}

impl Setting<'_> {
    /// The learners that some run has, each once.
    pub(super) fn learners(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for learner in self.runs.iter().flat_map(|run| &run.learners) {
            if !names.contains(&learner.learner.as_str()) {
                names.push(&learner.learner);
            }
        }
        names
    }

    /// Whether a run of it was measured on the episodes of another.
    pub(super) fn has_episodes(&self, of: &Run) -> bool {
        self.runs.iter().any(|run| run.episodes == of.episodes)
    }

    pub(super) fn seeds(&self) -> BTreeSet<u64> {
        self.runs.iter().map(|run| run.seed).collect()
    }
}

/// An error unless two settings were measured on some of the same episodes.
pub(super) fn ensure_common(first: &Setting<'_>, other: &Setting<'_>) -> Result<()> {
    if first.runs.iter().any(|run| other.has_episodes(run)) {
        return Ok(());
    }
    let (a, b) = (first.runs[0], other.runs[0]);
    let counts = [a, b].map(|run| run.n_episodes.to_string());
    let mut reasons: Vec<String> = [
        ("metric", &a.metric, &b.metric),
        ("shape of episodes", &a.shape, &b.shape),
        ("number of episodes", &counts[0], &counts[1]),
    ]
    .into_iter()
    .filter(|(_, a, b)| a != b)
    .map(|(what, a, b)| format!("the {what} ({a} and {b})"))
    .collect();
    if first.seeds().is_disjoint(&other.seeds()) {
        reasons.push(format!(
            "the seed ({} and {}; each draws episodes of its own)",
            listed(first.seeds()),
            listed(other.seeds())
        ));
    }
    let settings = a.differing(b).into_iter();
    let settings = settings.filter(|(key, ..)| is_of_episodes(key));
    reasons.extend(settings.map(|(key, a, b)| format!("`{key}` ({a} and {b})")));
    if reasons.is_empty() {
        // The same settings and data, and yet other episodes.
        reasons.push("the content of their episodes".to_owned());
    }
    bail!(
        "`{}` and `{}` were not measured on the same episodes: they differ in {}; measure both on frozen ones, or with \
         the same seeds",
        a.path,
        b.path,
        reasons.join(", ")
    )
}

/// Whether a setting may say which episodes there are.
fn is_of_episodes(key: &str) -> bool {
    let tables = ["episodes.", "ner.", "sentences.", "pictures.", "SHA-256"];
    let keys = ["evaluation.episodes", "evaluation.test_episodes"];
    tables.iter().any(|table| key.starts_with(table)) || keys.contains(&key)
}

pub(super) fn listed<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}
