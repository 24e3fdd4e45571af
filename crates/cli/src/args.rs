//! The flags of the program. Their comments are its help.
//!
//! Deliberately not here: what the commands do (`commands`).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::recipe::{FinetuneFlags, Overrides, PretrainFlags, RunFlags};

/// Few-shot learning: meta-train a model on many small tasks, so that it adapts to a new one from a few examples
#[derive(Parser)]
#[command(version, max_term_width = 100, args_override_self = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Meta-train a start and compare it with the baselines on classes never seen in training
    ///
    /// Without a recipe, trains a small tagger on the embedded corpus in a few minutes, with no network.
    Train(TrainArgs),
    /// Compare a trained run with the baselines on test episodes
    Eval(EvalArgs),
    /// Train a BERT on text without labels, by guessing hidden words
    ///
    /// The result is a directory in Hugging Face layout (`AutoModelForMaskedLM`): a backbone for every other command.
    Pretrain(PretrainArgs),
    /// Train a tagger on a labelled set in the ordinary way: encoder and head, all entity types
    ///
    /// The result is a directory in Hugging Face layout (`AutoModelForTokenClassification`).
    Finetune(FinetuneArgs),
    /// Fetch a model from the Hugging Face hub into its cache, and print where it is
    Download(DownloadArgs),
}

/// Flags of `train`.
#[derive(Args)]
pub struct TrainArgs {
    /// TOML file with the settings; the embedded recipe if it is not given
    #[arg(long, short, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Run directory: settings, metrics, checkpoints, results; `runs/NAME-1` and so on if it is not given
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with the run in `--out` where it stopped, to the same bits
    #[arg(long, requires = "out", conflicts_with = "recipe")]
    pub resume: bool,
    /// Replace what an earlier run left in `--out`
    #[arg(long, requires = "out", conflicts_with = "resume")]
    pub overwrite: bool,
    /// Print the resolved settings as TOML and do nothing else
    #[arg(long)]
    pub print_config: bool,
    /// What recipes and data have in common.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `eval`.
#[derive(Args)]
pub struct EvalArgs {
    /// Run directory of a finished or stopped training
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// What recipes and data have in common.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `pretrain`.
#[derive(Args)]
pub struct PretrainArgs {
    /// UTF-8 files with a sentence or a paragraph on each line
    #[arg(value_name = "TEXT")]
    pub text: Vec<String>,
    /// Where the run is kept.
    #[command(flatten)]
    pub run: RunArgs,
    /// Settings.
    #[command(flatten)]
    pub flags: PretrainFlags,
    /// Settings that `finetune` has too.
    #[command(flatten)]
    pub shared: RunFlags,
}

/// Flags of `finetune`.
#[derive(Args)]
pub struct FinetuneArgs {
    /// Two-column BIO file: `token tag` on a line, a blank line after a sentence
    #[arg(value_name = "TRAIN")]
    pub train: Option<String>,
    /// Where the run is kept.
    #[command(flatten)]
    pub run: RunArgs,
    /// Settings.
    #[command(flatten)]
    pub flags: FinetuneFlags,
    /// Settings that `pretrain` has too.
    #[command(flatten)]
    pub shared: RunFlags,
}

/// Flags of `pretrain` and `finetune` that are no settings.
#[derive(Args)]
pub struct RunArgs {
    /// TOML file with settings; what it leaves out has its default
    #[arg(long, short, value_name = "FILE")]
    pub recipe: Option<PathBuf>,
    /// Run directory: settings, metrics, checkpoint, and the model; `runs/NAME-1` and so on if it is not given
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with the run in `--out` where it stopped, to the same bits
    #[arg(long, requires = "out", conflicts_with = "recipe")]
    pub resume: bool,
    /// Replace what an earlier run left in `--out`
    #[arg(long, requires = "out", conflicts_with = "resume")]
    pub overwrite: bool,
    /// Print the resolved settings as TOML and do nothing else
    #[arg(long)]
    pub print_config: bool,
    /// Where relative names of data and models are also looked up
    #[arg(long, value_name = "DIR", env = "METASHOT_DATA")]
    pub data: Option<PathBuf>,
}

/// Flags of `download`.
#[derive(Args)]
pub struct DownloadArgs {
    /// Name of the model on the hub
    #[arg(value_name = "ORG/NAME")]
    pub model: String,
    /// Branch, tag or commit
    #[arg(long)]
    pub revision: Option<String>,
}

/// Flags that `train` and `eval` share.
#[derive(Args)]
pub struct Common {
    /// Where relative names of data and models are also looked up
    #[arg(long, value_name = "DIR", env = "METASHOT_DATA")]
    pub data: Option<PathBuf>,
    /// Settings.
    #[command(flatten)]
    pub overrides: Overrides,
}
