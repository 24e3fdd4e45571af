//! What `pretrain` and `finetune` have in common around their training: settings, a model to start from, the model they
//! leave.
//!
//! Deliberately not here: the training loop (`fit`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use metashot_autograd::Params;
use metashot_data::text::Tokenizer;
use metashot_meta::{OuterLoop, TrainState};
use metashot_models::{
    BertConfig,
    checkpoint::{load_bert, save_bert},
};

use super::session::{free_directory, shown};
use crate::{
    args::RunArgs,
    run_dir::{Earlier, RunDir, config_path, load_state},
};

/// The TOML text of a run's settings, and what to call it: those of the run to go on with, those of a recipe, or none.
pub(super) fn settings(run: &RunArgs) -> Result<(String, String)> {
    let (file, what) = match (&run.out, &run.recipe) {
        (Some(out), _) if run.resume => (config_path(out), "there is no run to go on with"),
        (_, Some(recipe)) => (recipe.clone(), "there is no such recipe"),
        (_, None) => return Ok((String::new(), "the defaults".into())),
    };
    let text = fs::read_to_string(&file)
        .with_context(|| format!("failed to read {}", shown(&file)))
        .context(what)?;
    Ok((text, file.display().to_string()))
}

/// The run directory that was asked for, or the next free one.
pub(super) fn root(run: &RunArgs, name: &str) -> PathBuf {
    run.out
        .clone()
        .unwrap_or_else(|| free_directory(run.recipe.as_deref(), name))
}

/// Where the run to go on with stands, if one is and came so far.
pub(super) fn saved(run: &RunArgs, root: &Path) -> Result<Option<TrainState>> {
    if run.resume {
        load_state(root)
    } else {
        Ok(None)
    }
}

/// The run directory, and the state to train from: `saved`, or a new run's with the weights of `start`.
pub(super) fn begin(
    run: &RunArgs,
    (root, config): (&Path, &str),
    outer: &OuterLoop,
    saved: Option<TrainState>,
    start: impl FnOnce() -> Result<Params>,
) -> Result<(RunDir, TrainState)> {
    if let Some(state) = saved {
        return Ok((RunDir::resume(root, state.step)?, state));
    }
    let state = TrainState::new(start()?, outer)?;
    // What stopped before its first checkpoint begins again.
    let earlier = if run.overwrite || run.resume {
        Earlier::Overwrite
    } else {
        Earlier::Refuse
    };
    Ok((RunDir::create(root, config, earlier)?, state))
}

/// The encoder of a directory, which must go with its tokenizer and read sentences of `max_tokens`.
pub(super) fn encoder(
    directory: &Path,
    tokenizer: &Tokenizer,
    max_tokens: usize,
    device: &Device,
) -> Result<(BertConfig, Params)> {
    let (config, params) = load_bert(directory, DType::F32, device)?;
    ensure!(
        tokenizer.vocab_size() <= config.vocab_size,
        "the tokenizer of {} has {} tokens, its model has embeddings for {}",
        shown(directory),
        tokenizer.vocab_size(),
        config.vocab_size
    );
    ensure!(
        max_tokens <= config.max_position_embeddings,
        "`max_tokens` is {max_tokens}, the model of {} has {} positions",
        shown(directory),
        config.max_position_embeddings
    );
    Ok((config, params))
}

/// Writes a model, in half precision or not, and returns its weights as they will be read: half precision is not free.
pub(super) fn save_model(
    root: &Path,
    config: &BertConfig,
    params: &Params,
    float16: bool,
) -> Result<Params> {
    let dtype = if float16 { DType::F16 } else { DType::F32 };
    let params = params.to_dtype(dtype)?;
    save_bert(root, config, &params)?;
    Ok(params.to_dtype(DType::F32)?)
}
