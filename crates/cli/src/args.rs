//! The flags of the program. Their comments are its help.
//!
//! Deliberately not here: what the commands do (`commands`).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::descent::Optimizer;
use crate::recipe::{
    DeviceKind, FinetuneFlags, Orphan, Overrides, PretrainFlags, RunFlags, Scheme,
};

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
    /// Compare runs with one another: over seeds, and in pairs on the same episodes
    ///
    /// Runs that differ in their seed alone are one setting. Reads what `train`, and `eval` with `--out`, have left.
    Compare(CompareArgs),
    /// Draw runs: their losses, their validation, and what their learners reached
    ///
    /// Writes one page that a browser shows, without a network. Reads what `train`, `pretrain`, `finetune`, and `eval` with
    /// `--out`, have left, while they run as well as afterwards.
    Plot(PlotArgs),
    /// Train a BERT on text without labels, by guessing hidden words
    ///
    /// The result is a directory in Hugging Face layout (`AutoModelForMaskedLM`): a backbone for every other command.
    Pretrain(PretrainArgs),
    /// Train a tagger on a labelled set in the ordinary way: encoder and head, all entity types
    ///
    /// The result is a directory in Hugging Face layout (`AutoModelForTokenClassification`).
    Finetune(FinetuneArgs),
    /// Make a tagger from a handful of labelled sentences
    ///
    /// Prints precision, recall and F1 of each entity type by cross-validation on the sentences, and writes a directory
    /// in Hugging Face's layout that `metashot predict` and Python's `transformers` load.
    Adapt(AdaptArgs),
    /// Find entities in text
    ///
    /// A line of text is tagged as a whole, as one sentence; an empty line gives an empty result. Results come in the
    /// order of the lines and as soon as they are there, so a pipe works: `tail -f LOG | metashot predict --model DIR`.
    Predict(PredictArgs),
    /// Draw episodes once and for all, or show what a file of them holds
    ///
    /// Files are JSON lines in the format in which Few-NERD released its episodes, with a hash of their content.
    #[command(subcommand)]
    Episodes(EpisodesCommand),
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
    /// Directory to write the results, the scores of every episode and a manifest to; it appears when all of it is there
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace the results in `--out`
    #[arg(long, requires = "out")]
    pub overwrite: bool,
    /// Print precision, recall and F1 of each entity type as well, for the first learner of the table
    #[arg(long)]
    pub report: bool,
    /// What recipes and data have in common.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of `compare`.
#[derive(Args)]
pub struct CompareArgs {
    /// Run directories of `train`, or what `eval --out` wrote; the setting of the first is what others are compared with
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
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

/// Flags of `adapt`.
#[derive(Args)]
pub struct AdaptArgs {
    /// What to start from: a run directory of `train`, a directory in Hugging Face layout, the name of a hub model, or
    /// `embedded:bert`
    #[arg(long, short, value_name = "RUN|DIR|ORG/NAME")]
    pub model: String,
    /// Labelled sentences: `token tag` lines in BIO with a blank line between sentences, or JSON lines such as
    /// `{"text": "Ada in Kyiv", "label": [[0, 3, "PER"], [7, 11, "LOC"]]}` with offsets in Unicode characters
    #[arg(long, short, value_name = "FILE")]
    pub support: PathBuf,
    /// Directory to write; it appears when all of it is there
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace what is in `--out`
    #[arg(long)]
    pub overwrite: bool,
    /// Gradient steps on the sentences; those of the run if it is not given, 60 without a run
    #[arg(long, value_name = "N")]
    pub inner_steps: Option<usize>,
    /// Length of a step; that of the run if it is not given, 5e-4 without a run
    #[arg(long, value_name = "RATE")]
    pub inner_lr: Option<f64>,
    /// What is done with a gradient; that of the run if it is not given, `adamw` without a run
    #[arg(long, value_enum)]
    pub optimizer: Option<Optimizer>,
    /// Where the head starts; as in the run if it is not given, from prototypes without a run
    #[arg(long, value_enum)]
    pub head: Option<HeadStart>,
    /// The factor on squared distances in a head that starts from prototypes; that of the run if it is not given
    #[arg(long, value_name = "FACTOR")]
    pub prototype_scale: Option<f64>,
    /// Parameters that adapt: a pattern of names; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub adapt: Vec<String>,
    /// How entities become labels; as in the run if it is not given, `bio` without a run
    #[arg(long, value_enum)]
    pub scheme: Option<Scheme>,
    /// What an `I-` tag that continues no entity means
    #[arg(long, value_enum, default_value_t)]
    pub orphan: Orphan,
    /// Parts that cross-validation holds out in turn; up to 10 sentences one at a time if it is not given, 0 for none
    #[arg(long, value_name = "N")]
    pub folds: Option<usize>,
    /// Where tensors live
    #[arg(long, value_enum)]
    pub device: Option<DeviceKind>,
    /// Parts of cross-validation that run side by side; 0 for every core. The results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Where relative names of models are also looked up
    #[arg(long, value_name = "DIR", env = "METASHOT_DATA")]
    pub data: Option<PathBuf>,
}

/// Where the head of `adapt` starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HeadStart {
    /// From the head that the model has: each label from the mean of the rows that play its part
    Learned,
    /// At zero
    Zero,
    /// At the prototypes of the sentences: the mean of the vectors of each label's words
    Prototypes,
}

/// Flags of `plot`.
#[derive(Args)]
pub struct PlotArgs {
    /// Directories of runs or evaluations; several are drawn in one chart
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// File to write
    #[arg(long, short, value_name = "FILE", default_value = "plot.html")]
    pub out: PathBuf,
    /// Replace what is in `--out`
    #[arg(long)]
    pub overwrite: bool,
}

/// Flags of `predict`.
#[derive(Args)]
pub struct PredictArgs {
    /// Directory that `adapt` wrote, any other `BertForTokenClassification` in Hugging Face layout, or the name of one on
    /// the hub
    #[arg(long, short, value_name = "DIR|ORG/NAME")]
    pub model: String,
    /// Text in UTF-8; stdin if it is `-` or not given
    #[arg(value_name = "FILE", default_value = "-")]
    pub file: PathBuf,
    /// The words are split already, by spaces or tabs
    #[arg(long)]
    pub words: bool,
    /// A line holds one word in its first column; a blank line ends a sentence
    #[arg(long, conflicts_with = "words")]
    pub conll: bool,
    /// What is written; `pretty` on a terminal and `jsonl` elsewhere if it is not given
    #[arg(long, short, value_enum)]
    pub format: Option<Format>,
    /// What an `I-` label that continues no entity means; `begin` suits models that learned from IOB1
    #[arg(long, value_enum, default_value_t)]
    pub orphan: Orphan,
    /// Where tensors live
    #[arg(long, value_enum)]
    pub device: Option<DeviceKind>,
    /// Threads; 0 for every core. The results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// At most about how many tokens go through the model at a time, 384 on a CPU and 4096 on a GPU if not given. The
    /// results do not depend on it
    #[arg(long, value_name = "N")]
    pub batch_tokens: Option<usize>,
    /// Where relative names of models are also looked up
    #[arg(long, value_name = "DIR", env = "METASHOT_DATA")]
    pub data: Option<PathBuf>,
}

/// What `predict` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON object on a line for each line of text: its entities with type, offsets in Unicode characters, text, score
    Jsonl,
    /// `word tag` lines in BIO, a blank line after each sentence
    Conll,
    /// The text with its entities in brackets, coloured unless `NO_COLOR` is set
    Pretty,
}

/// What to do with episodes.
#[derive(Subcommand)]
pub enum EpisodesCommand {
    /// Draw episodes and write them to a file
    ///
    /// Without `--data-file` the episodes are those of a recipe, the very ones that `train` and `eval` draw with the same
    /// seed. With it they are drawn from that file.
    Sample(Box<EpisodesSampleArgs>),
    /// Print the hash of a file of episodes, where they come from and how many there are of what
    ///
    /// Fails if the episodes are not those that the file gives a hash of, and names the lines that were changed.
    Show(EpisodesShowArgs),
}

/// Flags of `episodes sample`.
#[derive(Args)]
pub struct EpisodesSampleArgs {
    /// File to write; it appears when all of it is there
    #[arg(long, short, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace what is in `--out`
    #[arg(long)]
    pub overwrite: bool,
    /// TOML file whose episodes are drawn; the embedded recipe if neither this nor `--data-file` is given
    #[arg(long, short, value_name = "FILE", conflicts_with = "data_file")]
    pub recipe: Option<PathBuf>,
    /// Which episodes of the recipe; `test` if it is not given
    #[arg(long, value_enum, conflicts_with = "data_file")]
    pub split: Option<FrozenSplit>,
    /// Any setting of the recipe by its path, such as `--set ner.test=my/test.txt`; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "data_file")]
    pub set: Vec<String>,
    /// Two-column BIO file whose sentences are drawn
    #[arg(long, value_name = "FILE")]
    pub data_file: Option<String>,
    /// Two-column BIO file whose sentences are all measured on, for `--protocol structshot` and `hou`; support sets are
    /// drawn from `--data-file`, without the sentences that stand in both
    #[arg(long, value_name = "FILE", requires = "data_file")]
    pub queries: Option<String>,
    /// Leave out the sentences that stand in this file too, such as the training file; repeatable
    #[arg(long, value_name = "FILE", requires = "data_file")]
    pub exclude: Vec<String>,
    /// Entity types to draw, separated by commas; sentences with others are left out. All types if it is not given
    #[arg(
        long,
        value_name = "TYPE,..",
        value_delimiter = ',',
        requires = "data_file"
    )]
    pub types: Vec<String>,
    /// What an `I-` tag that continues no entity means
    #[arg(long, value_enum, requires = "data_file")]
    pub orphan: Option<Orphan>,
    /// The rule by which sentences are drawn
    #[arg(long, value_enum, default_value_t)]
    pub protocol: Protocol,
    /// Entity types of an episode, for `few-nerd`
    #[arg(long, value_name = "N")]
    pub n_way: Option<usize>,
    /// Entities of each type in a support set: this many to twice as many, or more by other rules than `few-nerd`
    #[arg(long, value_name = "K")]
    pub k_shot: Option<usize>,
    /// Entities of each type in a query set, for `few-nerd`: this many to twice as many; as many as `--k-shot`, or as the
    /// recipe has for tests, if it is not given
    #[arg(long, value_name = "K")]
    pub n_query: Option<usize>,
    /// How many episodes; as many as the recipe has if it is not given, without one 1000, or 10 against a whole file
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Seed of the draw; that of the recipe if it is not given, 0 without one
    #[arg(long)]
    pub seed: Option<u64>,
    /// Directory in Hugging Face layout, or name of a hub model, whose tokenizer counts for `--max-tokens`
    #[arg(long, value_name = "DIR|ORG/NAME")]
    pub backbone: Option<String>,
    /// Leave out sentences of more tokens, special tokens included
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,
    /// Where relative names of data and models are also looked up
    #[arg(long, value_name = "DIR", env = "METASHOT_DATA")]
    pub data: Option<PathBuf>,
}

/// Flags of `episodes show`.
#[derive(Args)]
pub struct EpisodesShowArgs {
    /// JSON lines in the format of Few-NERD's episodes, of this program or another
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Episodes of a recipe that can be frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FrozenSplit {
    /// Those that checkpoints and settings are chosen on.
    Validation,
    /// Those of the final table.
    #[default]
    Test,
}

/// How sentences are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// N types, K to 2K entities of each, in the support and in the query set (Ding et al. 2021)
    #[default]
    FewNerd,
    /// All types, the rarest first until each has K entities, against a whole file (Yang and Katiyar 2020)
    Structshot,
    /// All types, K or more of each and no sentence that could be spared, against a whole file (Hou et al. 2020)
    Hou,
}

impl Protocol {
    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::FewNerd => "few-nerd",
            Self::Structshot => "structshot",
            Self::Hou => "hou",
        }
    }
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
