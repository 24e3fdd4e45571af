//! The recipe of a run: every setting, in one TOML file, overridable flag by flag.
//!
//! A recipe is resolved before anything runs: defaults, then the file, then `--set` and the named flags. What is
//! resolved is printed by `--print-config` and written beside the results. Deliberately not here: what a case does
//! with its settings.

mod files;
mod finetune;
mod layers;
mod overrides;
mod paths;
mod pretrain;
mod training;
mod validate;

use std::path::Path;

use anyhow::{Context, Result};
use metashot_data::text::{LabelScheme, OrphanInside};
use serde::{Deserialize, Serialize};

use crate::descent::Optimizer;

pub use finetune::{Finetune, FinetuneFlags};
pub use layers::RunFlags;
pub use overrides::Overrides;
pub use paths::Paths;
pub use pretrain::{ModelShape, Pretrain, PretrainFlags, VocabularyShape};
pub use training::Training;

/// The recipe that `metashot train` runs when it is given none.
pub const DEFAULT: &str = include_str!("../../../../recipes/default.toml");

/// Whether a name is that of a file that is part of the program.
pub(crate) fn is_embedded(name: &str) -> bool {
    name.starts_with(Paths::EMBEDDED)
}

/// Every setting of a run.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Seeds the initial weights, the episodes and the bootstrap.
    #[serde(default)]
    pub seed: u64,
    /// Where tensors live.
    #[serde(default)]
    pub device: DeviceKind,
    /// How many tasks run side by side; 0 takes every core. The results do not depend on it.
    #[serde(default)]
    pub threads: usize,
    /// Named-entity recognition: the data and the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ner: Option<Ner>,
    /// Classification of sentences, single or in pairs: the data and the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentences: Option<Sentences>,
    /// Picture classification: the data and the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pictures: Option<Pictures>,
    /// The shape of an episode.
    pub episodes: Episodes,
    /// How a task is adapted to.
    pub inner: Inner,
    /// How the start is learned.
    pub outer: Outer,
    /// How it is measured.
    pub evaluation: Evaluation,
}

/// A device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// The processor.
    #[default]
    Cpu,
    /// The first NVIDIA GPU; needs a build with the feature `cuda`.
    Cuda,
    /// The first Apple GPU; needs a build with the feature `metal`.
    Metal,
}

/// The data and the model of a tagger.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ner {
    /// Two-column BIO file whose entity types are trained on.
    pub train: String,
    /// Two-column BIO file for choosing the checkpoint.
    pub validation: String,
    /// Two-column BIO file with the types of the final table; none of them may be in `train`. It may be missing where
    /// `evaluation.episodes` names frozen ones.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub test: String,
    /// How many of the training types are set aside for validation, where both files have the same types; 0 where
    /// `validation` has types of its own.
    #[serde(default)]
    pub validation_types: usize,
    /// A directory in Hugging Face layout, or the name of a hub model.
    pub backbone: String,
    /// Where the encoder's weights come from: `pretrained` for the backbone's own, `random`, or the directory of another
    /// model or run.
    #[serde(default)]
    pub init: Init,
    /// Tokens a sentence may have, special tokens included; longer ones are left out of the episodes that are drawn, and
    /// read in overlapping windows in frozen ones.
    pub max_tokens: usize,
    /// How entities become token labels.
    #[serde(default)]
    pub scheme: Scheme,
    /// What an `I-` tag that continues no entity means.
    #[serde(default)]
    pub orphan: Orphan,
}

/// Where the encoder's weights come from: `pretrained`, `random`, or the name of a directory or hub model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub enum Init {
    /// The backbone's own weights.
    #[default]
    Pretrained,
    /// Random weights in the backbone's shape.
    Random,
    /// Those of another model of the backbone's shape and vocabulary, in Hugging Face layout, or what a run of `train`
    /// has learned.
    Other(String),
}

impl From<String> for Init {
    fn from(name: String) -> Self {
        match name.as_str() {
            "pretrained" => Self::Pretrained,
            "random" => Self::Random,
            _ => Self::Other(name),
        }
    }
}

impl From<Init> for String {
    fn from(init: Init) -> Self {
        match init {
            Init::Pretrained => "pretrained".into(),
            Init::Random => "random".into(),
            Init::Other(name) => name,
        }
    }
}

/// How entities become token labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// `B-` on an entity's first word, `I-` on the others.
    #[default]
    Bio,
    /// `I-` on every word of an entity; neighbours of one type become one.
    Io,
}

/// What an `I-` tag that continues no entity means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Orphan {
    /// The file is at fault.
    #[default]
    Reject,
    /// It begins an entity.
    Begin,
}

impl From<Scheme> for LabelScheme {
    fn from(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Bio => Self::Bio,
            Scheme::Io => Self::Io,
        }
    }
}

impl From<Orphan> for OrphanInside {
    fn from(orphan: Orphan) -> Self {
        match orphan {
            Orphan::Reject => Self::Reject,
            Orphan::Begin => Self::Begin,
        }
    }
}

/// The data and the model of a sentence classifier.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sentences {
    /// CSV, tab-separated or JSON-lines files: one whose classes are split by `validation_classes` and `test_classes`, or
    /// three with classes of their own: train, validation, test.
    pub data: Vec<String>,
    /// The column with the text.
    #[serde(default = "text_column")]
    pub text: String,
    /// The column with the second text of a pair, where sentences come in pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pair: Option<String>,
    /// The column with the class.
    #[serde(default = "label_column")]
    pub label: String,
    /// Classes set aside for validation, drawn by the seed; for one file.
    #[serde(default)]
    pub validation_classes: usize,
    /// Classes set aside for the final table, drawn by the seed; for one file.
    #[serde(default)]
    pub test_classes: usize,
    /// A directory in Hugging Face layout, or the name of a hub model.
    pub backbone: String,
    /// Where the encoder's weights come from.
    #[serde(default)]
    pub init: Init,
    /// Tokens a sentence or a pair may have, special tokens included; longer ones are left out of the episodes.
    pub max_tokens: usize,
    /// Which vector stands for a sentence.
    #[serde(default)]
    pub pooling: PoolingKind,
}

/// Which vector stands for a sentence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolingKind {
    /// The mean of its tokens' hidden states.
    #[default]
    Mean,
    /// The hidden state of its first token.
    Cls,
}

fn text_column() -> String {
    "text".into()
}

fn label_column() -> String {
    "label".into()
}

/// The data and the model of a picture classifier.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pictures {
    /// Omniglot's release zips, or one directory with a folder for each class.
    pub data: Vec<String>,
    /// Class lists of Vinyals et al. for Omniglot (`alphabet/character/rotNNN` lines): train, validation, test.
    /// Empty for class folders, which are then split by `validation_classes` and `test_classes`.
    #[serde(default)]
    pub splits: Vec<String>,
    /// Classes set aside for validation, drawn by the seed.
    #[serde(default)]
    pub validation_classes: usize,
    /// Classes set aside for the final table, drawn by the seed.
    #[serde(default)]
    pub test_classes: usize,
    /// Height and width that pictures are resized to.
    pub size: usize,
    /// 1 for grey, 3 for colour.
    pub channels: usize,
    /// Dark on light becomes light on dark.
    pub invert: bool,
    /// Filters of each of the four convolutions.
    pub filters: usize,
}

/// The shape of an episode.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Episodes {
    /// Classes, or entity types.
    pub n_way: usize,
    /// Examples of each in the support set; for entities between K and 2K.
    pub k_shot: usize,
    /// Examples of each in the query set of training; for entities between K and 2K.
    pub n_query: usize,
    /// The same for the final table.
    pub test_n_query: usize,
}

/// How a task is adapted to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Inner {
    /// Gradient steps on the support set during training.
    pub steps: usize,
    /// Gradient steps during evaluation.
    pub test_steps: usize,
    /// The length of a step.
    pub lr: f64,
    /// Names of the parameters that adapt: dotted paths, `*` for any run of characters, `!` to take away.
    pub adapt: Vec<String>,
    /// Where the head of a task starts.
    #[serde(default)]
    pub head: Head,
    /// The factor on squared distances in a head that starts from prototypes.
    #[serde(default = "one")]
    pub prototype_scale: f64,
    /// Whether the meta-gradient goes through the inner gradients.
    pub order: MetaOrder,
    /// What is kept of a step until the exact meta-gradient comes back to it.
    #[serde(default)]
    pub memory: MemoryUse,
}

/// Where the head of a task starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// It is learned with the rest of the start: MAML.
    #[default]
    Learned,
    /// The prototypes of the support set, from which it may adapt: `ProtoMAML`, and prototypical networks with no step.
    Prototypes,
}

fn one() -> f64 {
    1.0
}

/// Whether the meta-gradient goes through the inner gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MetaOrder {
    /// It does: MAML.
    Exact,
    /// They count as constants: first-order MAML.
    First,
}

/// What is kept of an inner step.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MemoryUse {
    /// The graphs if they fit into half of the free memory, by an estimate that is printed.
    #[default]
    Auto,
    /// The parameters: each step is computed again, and memory does not grow with the steps.
    Flat,
    /// The graphs: nothing is computed again.
    Fast,
}

/// How the tasks of one update are worked on; the numbers are the same but for rounding.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum TasksRun {
    /// `threads` on a processor, `batch` on a GPU.
    #[default]
    Auto,
    /// Side by side, each on one thread, with the help of idle ones.
    Threads,
    /// As one: every operation works on all of them, which keeps a GPU busy and takes memory for all at once.
    Batch,
}

impl TasksRun {
    /// Whether they are worked on as one, on this device.
    pub fn is_batch(self, device: DeviceKind) -> bool {
        match self {
            Self::Auto => device != DeviceKind::Cpu,
            Self::Threads => false,
            Self::Batch => true,
        }
    }
}

/// How the start is learned.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Outer {
    /// Updates of the start.
    pub steps: usize,
    /// Tasks whose losses are averaged for one update.
    pub tasks_per_step: usize,
    /// How they are worked on.
    #[serde(default)]
    pub tasks: TasksRun,
    /// The learning rate of `AdamW` after the warm-up.
    pub lr: f64,
    /// Updates over which it rises from zero; from there it falls to `lr_floor` at the last one.
    pub warmup_steps: usize,
    /// What the learning rate falls to, as a share of `lr`.
    pub lr_floor: f64,
    /// Decoupled weight decay; biases and normalisations are left out.
    pub weight_decay: f64,
    /// The largest norm of a meta-gradient; 0 for any.
    pub clip_norm: f64,
    /// Names of the parameters that are trained, as in `inner.adapt`.
    pub train: Vec<String>,
}

/// How the start is measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Updates between two validations.
    pub every: usize,
    /// Episodes of one validation.
    pub validation_episodes: usize,
    /// Episodes of the final table.
    pub test_episodes: usize,
    /// File with frozen episodes of entities: the final table has all of them, in place of drawn ones.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub episodes: String,
    /// Learning rates that fine-tuning chooses from on the validation classes.
    pub finetune_lr: Vec<f64>,
    /// Numbers of steps that fine-tuning chooses from on the validation classes.
    pub finetune_steps: Vec<usize>,
    /// What fine-tuning does with a gradient.
    #[serde(default)]
    pub finetune_optimizer: Optimizer,
    /// Where the head of fine-tuning starts.
    #[serde(default)]
    pub finetune_head: Head,
    /// Names of the parameters that fine-tuning changes, as in `inner.adapt`.
    #[serde(default = "everything")]
    pub finetune_adapt: Vec<String>,
    /// Powers of the steps between classes that nearest neighbours with Viterbi choose from on the validation classes.
    #[serde(default = "viterbi_tau")]
    pub viterbi_tau: Vec<f64>,
    /// The learners of the final table.
    #[serde(default = "all_learners")]
    pub learners: Vec<LearnerKind>,
    /// Starts beside `ner.init`, written in the same way, that the baselines are measured from as well.
    #[serde(default)]
    pub starts: Vec<Init>,
}

/// A learner of the final table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearnerKind {
    /// The meta-learned start, adapted as in training.
    MetaLearned,
    /// The meta-learned start as it is.
    NoAdaptation,
    /// Gradient descent from a start that was not meta-learned.
    FineTuning,
    /// The nearest class mean of a start's embeddings.
    Prototypes,
    /// The nearest neighbour by a start's embeddings (`NNShot`).
    Nearest,
    /// The nearest neighbour and the meta-learned start by the best sequences, as entities follow one another in training
    /// (`StructShot`); for named entities.
    Structured,
}

fn everything() -> Vec<String> {
    vec!["*".into()]
}

fn viterbi_tau() -> Vec<f64> {
    vec![0.05, 0.2, 0.5, 1.0, 2.0, 4.0]
}

fn all_learners() -> Vec<LearnerKind> {
    use LearnerKind::{FineTuning, MetaLearned, Nearest, NoAdaptation, Prototypes, Structured};
    vec![
        MetaLearned,
        NoAdaptation,
        FineTuning,
        Prototypes,
        Nearest,
        Structured,
    ]
}

impl Recipe {
    /// Whether the tasks of an update are worked on as one.
    pub(crate) fn are_tasks_batched(&self) -> bool {
        self.outer.tasks.is_batch(self.device)
    }

    /// Resolves a recipe from TOML text and what overrides it.
    ///
    /// # Errors
    /// An unknown key, a value of the wrong type or out of range.
    pub fn resolve(text: &str, name: &str, overrides: &Overrides) -> Result<Self> {
        let mut table: toml::Table = text
            .parse()
            .with_context(|| format!("`{name}` is not a TOML file"))?;
        overrides.apply(&mut table)?;
        let recipe: Self = table
            .try_into()
            .with_context(|| format!("`{name}` is not a recipe"))?;
        recipe
            .validate()
            .with_context(|| format!("`{name}` is not a recipe that can run"))?;
        Ok(recipe)
    }

    /// Reads the recipe of a file, or the embedded default.
    ///
    /// # Errors
    /// As [`Recipe::resolve`], and a file that cannot be read.
    pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Self> {
        match path {
            None => Self::resolve(DEFAULT, "the default recipe", overrides),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("failed to read the recipe `{}`", path.display()))?;
                Self::resolve(&text, &path.display().to_string(), overrides)
            }
        }
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// When a value has no TOML form.
    pub fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(self)?)
    }
}
