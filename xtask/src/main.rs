//! Project automation: what a person types and what CI runs are the same commands.
//!
//! Deliberately not here: anything that learns, reads data or touches the network.
//! This crate starts other programs and reads the repository's own files, so that it compiles in seconds.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to its user"
)]

mod bench;
mod ci;
mod tidy;
mod tools;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Builds, runs and checks metashot.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Meta-trains: builds the release binary and runs `metashot train` with the arguments given, the embedded recipe
    /// if there are none; `--device cuda|metal` also builds what that device needs.
    #[command(disable_help_flag = true)]
    Train(Rest),
    /// Evaluates: builds the release binary and runs `metashot eval` with the arguments given.
    #[command(disable_help_flag = true)]
    Eval(Rest),
    /// Fetches a model into the Hugging Face cache: runs `metashot download` with the arguments given, `ORG/NAME` first.
    #[command(disable_help_flag = true)]
    Download(Rest),
    /// Builds the release binary and runs `metashot` with the arguments given.
    #[command(disable_help_flag = true)]
    Run(Rest),
    /// Makes what is under `fixtures/` again; the BERT only where `METASHOT_DATA` names the text it learns from.
    Fixtures {
        /// Changes nothing; fails if a file would change.
        #[arg(long)]
        check: bool,
    },
    /// Measures speed and memory: metashot alone or, with `--peers`, in turn with `PyTorch`, JAX and ONNX Runtime doing the
    /// same work, and prints a table.
    Bench(bench::Options),
    /// Checks what the compiler does not: file headers and sizes, crate direction, manifests, the changelog.
    Tidy,
    /// Everything CI runs, in its order, with the time of each step.
    Ci,
}

#[derive(Args)]
struct Rest {
    /// Passed on as they stand.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<OsString>,
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().task {
        Task::Train(rest) => tools::become_command(tools::metashot(Some("train"), &rest.args)),
        Task::Eval(rest) => tools::become_command(tools::metashot(Some("eval"), &rest.args)),
        Task::Download(rest) => {
            tools::become_command(tools::metashot(Some("download"), &rest.args))
        }
        Task::Run(rest) => tools::become_command(tools::metashot(None, &rest.args)),
        Task::Fixtures { check } => tools::become_command(tools::fixtures(check)),
        Task::Bench(options) => bench::run(&options),
        Task::Tidy => tidy::run(),
        Task::Ci => ci::run(),
    }
}
