//! The `metashot` program: reads its flags, runs a command, shows what went wrong.
//!
//! Deliberately not here: everything else, which is in the library.

use std::process::ExitCode;

use clap::Parser;
use metashot::{allocator, args::Cli, commands, failure};

/// Episodes allocate and free the same large buffers over and over; the system's allocator gives each back to the
/// kernel and has every page cleared again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    match commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
