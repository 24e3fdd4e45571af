//! The commands, one file each.
//!
//! Deliberately not here: flags (`args`).

mod adapt;
mod compare;
mod download;
mod episodes;
mod eval;
mod finetune;
mod opened;
mod plot;
mod predict;
mod pretrain;
mod session;
mod train;

use anyhow::Result;

use crate::args::{Cli, Command};

/// Runs what the flags ask for.
///
/// # Errors
/// Whatever the command fails with; its causes are in the chain.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Plot(args) => plot::run(&args),
        Command::Pretrain(args) => pretrain::run(&args),
        Command::Finetune(args) => finetune::run(&args),
        Command::Adapt(args) => adapt::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Episodes(command) => episodes::run(&command),
        Command::Download(args) => download::run(&args),
    }
}

/// Writes to stdout, which is for data.
fn print(text: &str) -> Result<()> {
    use std::io::Write;
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
