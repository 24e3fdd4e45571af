//! What is drawn of a run: read from the files that it leaves, finished or not.
//!
//! Deliberately not here: drawing.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value as Json;

use super::chart::Point;
use crate::{
    report::{Figure, Measured, named},
    run_dir::{METRICS, RESULTS},
};

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
    #[serde(flatten)]
    measured: Measured,
    pub(super) rows: Vec<Row>,
}

/// What a learner reached.
#[derive(Deserialize)]
pub(super) struct Row {
    learner: String,
    setting: Option<String>,
    #[serde(flatten)]
    pub(super) figure: Figure,
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
        let results = match read(directory, RESULTS)? {
            None => None,
            Some(text) => {
                learners(&text).with_context(|| format!("`{name}/{RESULTS}` holds no results"))?
            }
        };
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
        let Measured {
            metric,
            episodes,
            n_episodes,
            episodes_hash,
        } = &self.measured;
        let hash = episodes_hash.as_ref();
        let hash = hash.map_or(String::new(), |hash| format!(" ({})", hash.short()));
        format!(
            "{metric}, {episodes}, {n_episodes} test episodes{hash}: figures with their 95 % intervals"
        )
    }
}

impl Row {
    /// The learner with its setting.
    pub(super) fn name(&self) -> String {
        named(&self.learner, self.setting.as_deref())
    }
}

/// The results of learners; none in those of `finetune` and `pretrain`, which are read better than looked at.
fn learners(text: &str) -> serde_json::Result<Option<Results>> {
    let results: Json = serde_json::from_str(text)?;
    if results.get("rows").is_none() {
        return Ok(None);
    }
    serde_json::from_value(results).map(Some)
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
