//! The run directory: settings, metrics, checkpoints and results, each written whole or not at all.
//!
//! Deliberately not here: what the numbers mean.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use metashot_autograd::Params;
use metashot_meta::{AdamWState, TrainState};
use metashot_models::{
    checkpoint::{Metadata, load_params, save_params},
    replace_file,
};
use serde::Serialize;
use serde_json::Value as Json;

use crate::{episode_scores::SCORES, hub::MODEL_FILES, manifest::MANIFEST};

/// A run directory.
pub(crate) struct RunDir {
    root: PathBuf,
    metrics: File,
}

const CONFIG: &str = "config.toml";
/// The name of the file with a line for each update and each validation.
pub(crate) const METRICS: &str = "metrics.jsonl";
const STATE: &str = "state.safetensors";
const BEST: &str = "best.safetensors";
/// The name of the file with the results.
pub(crate) const RESULTS: &str = "results.json";

/// What a directory may hold of an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Earlier {
    /// It must not be there.
    Refuse,
    /// It is replaced.
    Overwrite,
}

impl RunDir {
    /// Starts a run: makes the directory and writes its settings, which are TOML.
    ///
    /// # Errors
    /// When there is an earlier run that must not be replaced, or nothing can be written.
    pub(crate) fn create(root: &Path, config: &str, earlier: Earlier) -> Result<Self> {
        if root.join(CONFIG).exists() {
            if earlier == Earlier::Refuse {
                bail!(
                    "`{}` holds an earlier run; go on with it by `--resume`, replace it by `--overwrite`, or name \
                     another directory by `--out`",
                    root.display()
                );
            }
            let ours = [METRICS, STATE, BEST, RESULTS, SCORES, MANIFEST];
            for name in ours.iter().chain(&MODEL_FILES) {
                remove(&root.join(name))?;
            }
        }
        fs::create_dir_all(root)
            .with_context(|| format!("failed to make the run directory `{}`", root.display()))?;
        replace_file(&root.join(CONFIG), |file| file.write_all(config.as_bytes()))?;
        Self::open(root)
    }

    /// Opens a run to go on with it: the metrics of steps that will be done again are dropped.
    ///
    /// # Errors
    /// When there is no run, or its files cannot be read.
    pub(crate) fn resume(root: &Path, step: u64) -> Result<Self> {
        let path = root.join(METRICS);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read `{}`", path.display()))?;
        let done = |line: &&str| {
            let entry: Option<Json> = serde_json::from_str(line).ok();
            entry
                .and_then(|entry| entry.get("step")?.as_u64())
                .is_some_and(|of| of < step)
        };
        let kept: String = text
            .lines()
            .filter(done)
            .flat_map(|line| [line, "\n"])
            .collect();
        replace_file(&path, |file| file.write_all(kept.as_bytes()))?;
        Self::open(root)
    }

    fn open(root: &Path) -> Result<Self> {
        let path = root.join(METRICS);
        let metrics = OpenOptions::new().create(true).append(true).open(&path);
        let metrics = metrics.with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(Self {
            root: root.to_owned(),
            metrics,
        })
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Adds a line to the metrics.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn log(&mut self, entry: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        self.metrics
            .write_all(line.as_bytes())
            .with_context(|| format!("failed to write `{}`", self.root.join(METRICS).display()))
    }

    /// Writes where training stands, and the best start so far.
    ///
    /// # Errors
    /// When it cannot be written; what was there before is then still there.
    pub(crate) fn save(&self, state: &TrainState) -> Result<()> {
        let metadata: Metadata = [
            ("step".to_owned(), state.step.to_string()),
            (
                "optimizer_step".to_owned(),
                state.optimizer.step.to_string(),
            ),
            // The bits, not the digits: a resumed run compares with the very same number.
            (
                "best_score_bits".to_owned(),
                state.best_score.to_bits().to_string(),
            ),
            ("stale".to_owned(), state.stale.to_string()),
        ]
        .into();
        let parts = [
            ("params", &state.params),
            ("best", &state.best),
            ("m", &state.optimizer.m),
            ("v", &state.optimizer.v),
        ];
        let all = parts
            .into_iter()
            .flat_map(|(part, params)| {
                params
                    .iter()
                    .map(move |(name, tensor)| (format!("{part}/{name}"), tensor.clone()))
            })
            .collect();
        save_params(&self.root.join(STATE), &all, &metadata)?;
        save_params(&self.root.join(BEST), &state.best, &Metadata::new())?;
        Ok(())
    }

    /// Writes the results.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) fn save_results(&self, results: &impl Serialize) -> Result<()> {
        save_results(&self.root, results)
    }
}

/// Writes results into a directory.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn save_results(root: &Path, results: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(results)? + "\n";
    Ok(replace_file(&root.join(RESULTS), |file| {
        file.write_all(text.as_bytes())
    })?)
}

/// The settings of a run.
pub(crate) fn config_path(root: &Path) -> PathBuf {
    root.join(CONFIG)
}

/// Whether a directory is a run of `train`: settings, and no model in Hugging Face's layout, which `pretrain` and
/// `finetune` leave beside theirs.
pub(crate) fn is_run(root: &Path) -> bool {
    config_path(root).exists() && !root.join("config.json").exists()
}

/// Where the best start of a run is.
pub(crate) fn best_path(root: &Path) -> PathBuf {
    root.join(BEST)
}

/// The best start of a run.
///
/// # Errors
/// When there is none or it cannot be read.
pub(crate) fn load_best(root: &Path) -> Result<Params> {
    Ok(load_params(&best_path(root))?.0)
}

/// Where a run stands, if it came as far as a first checkpoint.
///
/// # Errors
/// When the checkpoint cannot be read.
pub(crate) fn load_state(root: &Path) -> Result<Option<TrainState>> {
    let path = root.join(STATE);
    if !path.exists() {
        return Ok(None);
    }
    let (all, metadata) = load_params(&path)?;
    let number = |key: &str| -> Result<u64> {
        let text = metadata
            .get(key)
            .with_context(|| format!("`{}` has no `{key}`", path.display()))?;
        text.parse()
            .with_context(|| format!("`{}`: `{key}` is no number: `{text}`", path.display()))
    };
    let part = |part: &str| -> Params {
        let named = |(name, tensor): (&str, &candle_core::Tensor)| {
            let name = name.strip_prefix(part)?.strip_prefix('/')?;
            Some((name.to_owned(), tensor.clone()))
        };
        all.iter().filter_map(named).collect()
    };
    Ok(Some(TrainState {
        step: number("step")?,
        params: part("params"),
        optimizer: AdamWState {
            step: number("optimizer_step")?,
            m: part("m"),
            v: part("v"),
        },
        best_score: f64::from_bits(number("best_score_bits")?),
        best: part("best"),
        stale: number("stale")?,
    }))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
