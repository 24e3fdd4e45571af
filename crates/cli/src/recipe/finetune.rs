//! Every setting of `metashot finetune`.
//!
//! Deliberately not here: what is done with them.

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use toml::Value;

use super::{
    DeviceKind, Orphan, Scheme,
    layers::{RunFlags, count, resolve},
    training::Training,
};

/// Every setting of `metashot finetune`. What a file leaves out has the value of [`Finetune::default`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Finetune {
    /// Seeds the head, the held-out sentences, the batches and the bootstrap.
    pub seed: u64,
    /// Where tensors live.
    pub device: DeviceKind,
    /// Parts of a batch that are worked on side by side; 0 takes every core. The results do not depend on it.
    pub threads: usize,
    /// Two-column BIO file to train on: all of its entity types.
    pub train: String,
    /// Two-column BIO file to validate on; empty for `held_out` of the training sentences.
    pub validation: String,
    /// The share of the training sentences that is validated on, where `validation` names no file.
    pub held_out: f64,
    /// Two-column BIO file for the report at the end; empty for a report on the validation sentences.
    pub test: String,
    /// Entity types, drawn by the seed, that nothing is learned of: their sentences are left out. As many of
    /// `ner.validation_types` with the same seed are the same types, so that `train` can go on from the result.
    #[serde(default)]
    pub hold_out_types: usize,
    /// A directory in Hugging Face layout, or the name of a hub model.
    pub backbone: String,
    /// Tokens the model reads at once, special tokens included; longer sentences are read in parts.
    pub max_tokens: usize,
    /// How entities become token labels.
    pub scheme: Scheme,
    /// What an `I-` tag that continues no entity means.
    pub orphan: Orphan,
    /// Whether the model is written in half precision.
    pub float16: bool,
    /// Times that every sentence is trained on; each ends with a validation and a checkpoint.
    pub epochs: usize,
    /// How the weights are updated.
    pub training: Training,
}

impl Default for Finetune {
    /// Rates and epochs are those of the embedded model; for one of base size Devlin et al. 2019, appendix A.3, take a
    /// learning rate of 2e-5 to 5e-5 and 2 to 4 epochs.
    fn default() -> Self {
        Self {
            seed: 0,
            device: DeviceKind::Cpu,
            threads: 0,
            train: String::new(),
            validation: String::new(),
            held_out: 0.1,
            test: String::new(),
            hold_out_types: 0,
            backbone: "embedded:bert".into(),
            max_tokens: 128,
            scheme: Scheme::Bio,
            orphan: Orphan::Reject,
            float16: false,
            epochs: 20,
            training: Training {
                batch_size: 16,
                lr: 5e-4,
                warmup: 0.1,
                lr_floor: 0.0,
                weight_decay: 0.01,
                clip_norm: 1.0,
                patience: 4,
            },
        }
    }
}

/// Flags that change one setting each.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings (each overrides the recipe)")]
pub struct FinetuneFlags {
    /// Two-column BIO file to validate on; without one, training sentences are held out
    #[arg(long, value_name = "FILE")]
    pub validation: Option<String>,
    /// Two-column BIO file for the report at the end
    #[arg(long, value_name = "FILE")]
    pub test: Option<String>,
    /// Entity types to leave out, drawn by the seed as `train` draws `ner.validation_types`
    #[arg(long, value_name = "N")]
    pub hold_out_types: Option<usize>,
    /// Model to start from: a directory in Hugging Face layout, or the name of a hub model
    #[arg(long, value_name = "DIR|ORG/NAME")]
    pub backbone: Option<String>,
    /// How entities become token labels
    #[arg(long, value_enum)]
    pub scheme: Option<Scheme>,
    /// What an `I-` tag that continues no entity means
    #[arg(long, value_enum)]
    pub orphan: Option<Orphan>,
    /// Tokens the model reads at once
    #[arg(long)]
    pub max_tokens: Option<usize>,
    /// Times that every sentence is trained on
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Epochs in a row without a better score after which training stops; 0 for never
    #[arg(long)]
    pub patience: Option<usize>,
    /// Sentences of one update
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Learning rate after the warm-up
    #[arg(long)]
    pub lr: Option<f64>,
    /// Write the model in half precision
    #[arg(long)]
    pub float16: bool,
}

impl Finetune {
    /// Resolves settings from TOML text, the file that was named, and flags.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong type or out of range.
    pub fn resolve(
        text: &str,
        name: &str,
        (train, run, flags): (Option<&String>, &RunFlags, &FinetuneFlags),
    ) -> Result<Self> {
        let settings = [
            ("train", train.cloned().map(Value::String)),
            ("validation", flags.validation.clone().map(Value::String)),
            ("test", flags.test.clone().map(Value::String)),
            ("hold_out_types", count(flags.hold_out_types)),
            ("backbone", flags.backbone.clone().map(Value::String)),
            ("scheme", flags.scheme.map(Value::try_from).transpose()?),
            ("orphan", flags.orphan.map(Value::try_from).transpose()?),
            ("max_tokens", count(flags.max_tokens)),
            ("epochs", count(flags.epochs)),
            ("training.patience", count(flags.patience)),
            ("training.batch_size", count(flags.batch_size)),
            ("training.lr", flags.lr.map(Value::Float)),
            ("float16", flags.float16.then_some(Value::Boolean(true))),
        ];
        let settings: Self = resolve((text, name), settings, run)?;
        settings
            .validate()
            .with_context(|| format!("`{name}` with these flags cannot run"))?;
        Ok(settings)
    }

    fn validate(&self) -> Result<()> {
        ensure!(
            !self.train.is_empty(),
            "there is nothing to train on; name a file: `metashot finetune FILE`"
        );
        ensure!(self.epochs > 0, "`epochs` must be at least 1, found 0");
        ensure!(
            self.max_tokens >= 8,
            "`max_tokens` must be at least 8, found {}",
            self.max_tokens
        );
        ensure!(
            self.held_out > 0.0 && self.held_out < 1.0,
            "`held_out` must be between 0 and 1, found `{}`",
            self.held_out
        );
        self.training.validate()
    }
}
