//! A run as it is compared: its settings, and the scores of its episodes.
//!
//! Deliberately not here: more than one run.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use metashot_data::ContentHash;
use serde_json::{Map, Value as Json};

use crate::{
    episode_scores::{self, LearnerScores, SCORES},
    manifest::Manifest,
    report::Measured,
    run_dir::RESULTS,
    score::{Score, Totals},
};

/// A run that was measured.
pub(crate) struct Run {
    /// Its directory, as it was named.
    pub(super) path: String,
    pub(super) seed: u64,
    pub(super) metric: String,
    /// The shape of its episodes.
    pub(super) shape: String,
    pub(super) n_episodes: usize,
    /// The hash of their content, where they have one.
    pub(super) hash: Option<ContentHash>,
    /// What stands for the content of its episodes.
    pub(super) episodes: String,
    /// Whatever may change a result but the seed, by the names of settings and files.
    pub(super) settings: BTreeMap<String, String>,
    pub(super) learners: Vec<LearnerScores>,
}

impl Run {
    /// Reads the directory of a run, or of an evaluation.
    ///
    /// # Errors
    /// Files that are missing, damaged, or do not go together.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let shown = directory.display();
        ensure!(directory.is_dir(), "there is no directory `{shown}`");
        ensure!(
            directory.join(SCORES).exists(),
            "`{shown}` has no `{SCORES}`: `metashot train` leaves it at its end, and `metashot eval RUN --out DIR` makes \
             one for an earlier run"
        );
        let path = directory.join(RESULTS);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read `{}`", path.display()))?;
        let measured: Measured = serde_json::from_str(&text)
            .with_context(|| format!("`{}` holds no results of episodes", path.display()))?;
        let manifest = Manifest::read(directory)?;
        let seed = manifest
            .seed
            .with_context(|| format!("the manifest of `{shown}` has no seed"))?;
        let learners = episode_scores::read(directory)?;
        ensure!(
            learners[0].scores.len() == measured.n_episodes,
            "`{shown}` does not go together: `{RESULTS}` has {} episodes, `{SCORES}` {}",
            measured.n_episodes,
            learners[0].scores.len()
        );
        let mut settings = BTreeMap::new();
        flatten("", &manifest.settings, &mut settings);
        // The number of threads changes no bit.
        for key in ["seed", "threads"] {
            settings.remove(key);
        }
        settings.insert("version".to_owned(), manifest.version.clone());
        for file in manifest.data.iter().chain(&manifest.start) {
            settings.insert(format!("SHA-256 of {}", file.name), file.sha256.short());
        }
        let episodes = match measured.episodes_hash {
            Some(hash) => hash.to_string(),
            // Without a hash, it is the data, the shape and the seed that say which they are.
            None => format!(
                "{} {} {} {:?}",
                seed, measured.episodes, measured.n_episodes, manifest.data
            ),
        };
        Ok(Self {
            path: shown.to_string(),
            seed,
            metric: measured.metric,
            shape: measured.episodes,
            n_episodes: measured.n_episodes,
            hash: measured.episodes_hash,
            episodes,
            settings,
            learners,
        })
    }

    /// The scores of a learner.
    pub(super) fn scores(&self, learner: &str) -> Option<&LearnerScores> {
        self.learners.iter().find(|found| found.learner == learner)
    }

    /// What the episodes of a learner come to.
    pub(super) fn overall(&self, learner: &str) -> Option<f64> {
        Some(Totals::new(&self.scores(learner)?.scores).overall_of_all())
    }

    pub(super) fn hash_shown(&self) -> String {
        self.hash
            .map_or_else(|| "-".to_owned(), |hash| hash.short())
    }

    pub(super) fn has_entities(&self) -> bool {
        let first = self.learners.first().and_then(|found| found.scores.first());
        matches!(first, Some(Score::Entities(_)))
    }

    /// What differs from another run: the name, the value here and the one there.
    pub(super) fn differing<'a>(&'a self, other: &'a Self) -> Vec<(&'a str, &'a str, &'a str)> {
        let names = self.settings.keys().chain(other.settings.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let value = |run: &'a Self, name: &String| {
            let value = run.settings.get(name);
            value.map_or("nothing", String::as_str)
        };
        names
            .into_iter()
            .map(|name| (name.as_str(), value(self, name), value(other, name)))
            .filter(|(_, ours, theirs)| ours != theirs)
            .collect()
    }
}

/// The settings of tables within tables, by names with dots.
fn flatten(prefix: &str, table: &Map<String, Json>, into: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        match value {
            Json::Object(table) => flatten(&format!("{name}."), table, into),
            other => {
                into.insert(name, other.to_string());
            }
        }
    }
}
