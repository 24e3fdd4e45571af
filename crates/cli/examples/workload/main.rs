//! One piece of work in a process of its own: prints one JSON line with its time, rate, arithmetic and peak memory.
//!
//! Random weights and inputs; the shapes, the flags and the counts of arithmetic are those of the `PyTorch` and JAX
//! scripts that `cargo xtask bench` can run beside it. Deliberately not here: comparisons, which are xtask's; whether
//! the numbers are right, which is for tests.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]

mod arithmetic;
mod bert;
mod draw;
mod keep;
mod matmul;
mod measure;
mod pictures;
mod sentences;
mod step;
mod tagging;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use metashot::allocator;

use crate::measure::Bound;

/// As the program itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs one piece of work and prints one JSON line.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    work: Work,
    #[command(flatten)]
    bound: Bound,
}

#[derive(Subcommand)]
enum Work {
    /// A meta-step of MAML: Conv-4, pictures of 28 x 28, every parameter adapts, Adam outside.
    Conv4(pictures::Maml),
    /// A training step of a prototypical network: Conv-4, pictures of 28 x 28, Adam.
    Proto(pictures::Proto),
    /// A meta-step of MAML: a BERT of `MiniLM`'s size with a head on every token, `AdamW` outside.
    Bert(bert::Maml),
    /// Tagging of 512 sentences by a BERT of `MiniLM`'s size, as fast as it goes.
    Tag(tagging::Tag),
    /// candle's own product of two large float32 matrices on all threads.
    Matmul(matmul::Matmul),
}

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let Cli { work, bound } = Cli::parse();
    match run(&work, &bound) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(work: &Work, bound: &Bound) -> Result<serde_json::Value> {
    match work {
        Work::Conv4(maml) => maml.run(bound),
        Work::Proto(proto) => proto.run(bound),
        Work::Bert(maml) => maml.run(bound),
        Work::Tag(tag) => tag.run(bound),
        Work::Matmul(matmul) => matmul.run(bound),
    }
}
