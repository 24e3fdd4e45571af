//! What is drawn of a run: read from the files that it leaves, finished or not.
//!
//! Deliberately not here: drawing.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::chart::Point;
use crate::run_dir::{METRICS, RESULTS};

/// A run as it is drawn.
pub(crate) struct Run {
    /// Its directory, as it was named.
    pub(super) name: String,
    /// The loss of each update.
    pub(super) losses: Vec<Point>,
    /// The score of each validation.
    pub(super) validation: Vec<Point>,
    /// What its learners reached, where they were measured.
    pub(super) results: Option<Results>,
}

/// What is read of `results.json`.
#[derive(Deserialize)]
pub(super) struct Results {
    metric: String,
    episodes: String,
    n_episodes: usize,
    #[serde(default)]
    episodes_hash: Option<String>,
    pub(super) rows: Vec<Row>,
}

/// A learner's figure with its 95 % interval, between 0 and 1.
#[derive(Deserialize)]
pub(super) struct Row {
    learner: String,
    setting: Option<String>,
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A line of the metrics.
#[derive(Deserialize)]
struct Entry {
    step: f64,
    loss: Option<f64>,
    validation: Option<f64>,
}

impl Run {
    /// Reads the directory of a run, or of an evaluation.
    ///
    /// # Errors
    /// A directory without metrics and without results, or files that are damaged.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let name = directory.display().to_string();
        ensure!(directory.is_dir(), "there is no directory `{name}`");
        let (mut losses, mut validation) = (Vec::new(), Vec::new());
        let metrics = read(directory, METRICS)?.unwrap_or_default();
        // A line without an end is being written.
        let whole = metrics.rfind('\n').map_or("", |end| &metrics[..end]);
        for (number, line) in whole.lines().enumerate() {
            let entry: Entry = serde_json::from_str(line)
                .with_context(|| format!("line {} of `{name}/{METRICS}`", number + 1))?;
            losses.extend(entry.loss.map(|loss| (entry.step, loss)));
            validation.extend(entry.validation.map(|score| (entry.step, score)));
        }
        // The results of `finetune` are a report, which is read better than looked at.
        let results = read(directory, RESULTS)?.and_then(|text| serde_json::from_str(&text).ok());
        ensure!(
            !losses.is_empty() || results.is_some(),
            "`{name}` has neither `{METRICS}` nor a `{RESULTS}` of learners: there is nothing to draw; name a directory \
             that `train`, `pretrain`, `finetune` or `eval --out` has left"
        );
        Ok(Self {
            name,
            losses,
            validation,
            results,
        })
    }
}

impl Results {
    /// What was measured, on which episodes.
    pub(super) fn title(&self) -> String {
        let hash = self.episodes_hash.as_ref();
        let hash = hash.map_or(String::new(), |hash| {
            format!(" ({})", hash.get(..12).unwrap_or(hash))
        });
        format!(
            "{}, {}, {} test episodes{hash}: figures with their 95 % intervals",
            self.metric, self.episodes, self.n_episodes
        )
    }
}

impl Row {
    /// The learner with its setting.
    pub(super) fn name(&self) -> String {
        match &self.setting {
            Some(setting) => format!("{}, {setting}", self.learner),
            None => self.learner.clone(),
        }
    }
}

/// The text of a file of a run, if it is there.
fn read(directory: &Path, name: &str) -> Result<Option<String>> {
    let path = directory.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path)
        .with_context(|| format!("failed to read `{}`", path.display()))?;
    Ok(Some(text))
}
