//! Every setting of `metashot pretrain`.
//!
//! Deliberately not here: what is done with them.

use anyhow::{Context, Result, ensure};
use clap::Args;
use metashot_models::BertConfig;
use serde::{Deserialize, Serialize};
use toml::Value;

use super::{
    DeviceKind,
    layers::{RunFlags, count, resolve},
    training::Training,
};

/// Every setting of `metashot pretrain`. What a file leaves out has its value of [`Pretrain::default`].
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// Seeds the weights, the held-out lines, the batches and what is hidden in them.
    pub seed: u64,
    /// Where tensors live.
    pub device: DeviceKind,
    /// Parts of a batch that are worked on side by side; 0 takes every core. The results do not depend on it.
    pub threads: usize,
    /// UTF-8 files with a sentence or a paragraph on each line.
    pub text: Vec<String>,
    /// Files of the same kind to validate on; without them, `held_out` of the lines.
    pub validation: Vec<String>,
    /// The share of the lines that is validated on and not trained on, where `validation` names no file.
    pub held_out: f64,
    /// A directory in Hugging Face layout, or the name of a hub model, to go on from with its tokenizer; empty for
    /// random weights in the sizes of `model`.
    pub backbone: String,
    /// Tokens a passage may have, special tokens included; longer lines are cut between words.
    pub max_tokens: usize,
    /// The probability of a word to be hidden.
    pub mask_share: f64,
    /// Whether the model is written in half precision.
    pub float16: bool,
    /// Updates.
    pub steps: usize,
    /// Updates between two validations, each with a checkpoint.
    pub every: usize,
    /// How the weights are updated.
    pub training: Training,
    /// The vocabulary that is trained where there is no backbone.
    pub vocabulary: VocabularyShape,
    /// The sizes of the model where there is no backbone.
    pub model: ModelShape,
}

/// The vocabulary that is trained where there is no backbone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VocabularyShape {
    /// Tokens at most, special tokens included.
    pub size: usize,
    /// Whether capitals and accents do not matter.
    pub lowercase: bool,
}

/// The sizes of a model.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Numbers in a hidden state.
    pub hidden_size: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Numbers between the two linear layers of a feed-forward block.
    pub intermediate_size: usize,
    /// The longest sentence the model will ever read, in tokens.
    pub positions: usize,
    /// The standard deviation of weights before training.
    pub initializer_range: f64,
}

impl Default for Pretrain {
    /// The masking is that of Devlin et al. 2019, section 3.1; the rest is what a small model on a few megabytes of text
    /// does well with.
    fn default() -> Self {
        Self {
            seed: 0,
            device: DeviceKind::Cpu,
            threads: 0,
            text: Vec::new(),
            validation: Vec::new(),
            held_out: 0.02,
            backbone: String::new(),
            max_tokens: 128,
            mask_share: 0.15,
            float16: false,
            steps: 10_000,
            every: 500,
            training: Training {
                batch_size: 64,
                lr: 1e-3,
                warmup: 0.1,
                lr_floor: 0.0,
                weight_decay: 0.01,
                clip_norm: 1.0,
                patience: 0,
            },
            vocabulary: VocabularyShape::default(),
            model: ModelShape::default(),
        }
    }
}

impl Default for VocabularyShape {
    fn default() -> Self {
        Self {
            size: 8000,
            lowercase: true,
        }
    }
}

impl Default for ModelShape {
    /// Turc et al. 2019, "Well-read students learn better": the sizes between their tiny and mini models.
    fn default() -> Self {
        Self {
            hidden_size: 128,
            layers: 4,
            heads: 4,
            intermediate_size: 512,
            positions: 128,
            initializer_range: BertConfig::default().initializer_range,
        }
    }
}

/// Flags that change one setting each.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings (each overrides the recipe)")]
pub struct PretrainFlags {
    /// File with a sentence or a paragraph on each line to validate on; without one, lines are held out; repeatable
    #[arg(long, value_name = "FILE")]
    pub validation: Vec<String>,
    /// Model to go on from: a directory in Hugging Face layout, or the name of a hub model
    #[arg(long, value_name = "DIR|ORG/NAME", conflicts_with_all = ["vocab_size", "cased", "hidden_size", "layers", "heads"])]
    pub backbone: Option<String>,
    /// Tokens of the vocabulary that is trained
    #[arg(long)]
    pub vocab_size: Option<usize>,
    /// Keep capitals and accents in the vocabulary that is trained
    #[arg(long)]
    pub cased: bool,
    /// Numbers in a hidden state; the feed-forward blocks have four times as many
    #[arg(long)]
    pub hidden_size: Option<usize>,
    /// Layers of the model
    #[arg(long)]
    pub layers: Option<usize>,
    /// Heads of each attention
    #[arg(long)]
    pub heads: Option<usize>,
    /// Tokens of a passage; longer lines are cut between words
    #[arg(long)]
    pub max_tokens: Option<usize>,
    /// Updates
    #[arg(long)]
    pub steps: Option<usize>,
    /// Passages of one update
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Learning rate after the warm-up
    #[arg(long)]
    pub lr: Option<f64>,
    /// Write the model in half precision
    #[arg(long)]
    pub float16: bool,
}

impl Pretrain {
    /// Resolves settings from TOML text, the files that were named, and flags.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong type or out of range.
    pub fn resolve(
        text: &str,
        name: &str,
        (files, run, flags): (&[String], &RunFlags, &PretrainFlags),
    ) -> Result<Self> {
        let strings = |list: &[String]| (!list.is_empty()).then(|| Value::from(list.to_vec()));
        let settings = [
            ("text", strings(files)),
            ("validation", strings(&flags.validation)),
            ("backbone", flags.backbone.clone().map(Value::String)),
            ("vocabulary.size", count(flags.vocab_size)),
            (
                "vocabulary.lowercase",
                flags.cased.then_some(Value::Boolean(false)),
            ),
            ("model.hidden_size", count(flags.hidden_size)),
            (
                "model.intermediate_size",
                count(flags.hidden_size.map(|size| 4 * size)),
            ),
            ("model.layers", count(flags.layers)),
            ("model.heads", count(flags.heads)),
            ("model.positions", count(flags.max_tokens)),
            ("max_tokens", count(flags.max_tokens)),
            ("steps", count(flags.steps)),
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
            !self.text.is_empty(),
            "there is no text to train on; name one file or more: `metashot pretrain FILE..`"
        );
        for (key, value) in [("steps", self.steps), ("every", self.every)] {
            ensure!(value > 0, "`{key}` must be at least 1, found 0");
        }
        ensure!(
            self.max_tokens >= 8,
            "`max_tokens` must be at least 8, found {}",
            self.max_tokens
        );
        for (key, share) in [("held_out", self.held_out), ("mask_share", self.mask_share)] {
            ensure!(
                share > 0.0 && share < 1.0,
                "`{key}` must be between 0 and 1, found `{share}`"
            );
        }
        ensure!(
            !self.backbone.is_empty() || self.max_tokens <= self.model.positions,
            "`max_tokens` is {}, the model has {} positions (`model.positions`)",
            self.max_tokens,
            self.model.positions
        );
        self.training.validate()
    }
}

impl ModelShape {
    /// The configuration of a model of these sizes.
    pub(crate) fn config(&self, vocab_size: usize) -> BertConfig {
        BertConfig {
            hidden_size: self.hidden_size,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            intermediate_size: self.intermediate_size,
            max_position_embeddings: self.positions,
            initializer_range: self.initializer_range,
            vocab_size,
            ..BertConfig::default()
        }
    }
}
