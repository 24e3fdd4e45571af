//! The `metashot` program: reads its flags, runs a command, shows what went wrong.
//!
//! Deliberately not here: everything else, which is in the library.

use std::process::ExitCode;

use clap::Parser;
use metashot::{args::Cli, commands, failure};

/// Episodes allocate and free the same large buffers over and over; the system's allocator gives each back to the
/// kernel and has every page cleared again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of mimalloc's option `purge_delay`, which its bindings leave out.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> ExitCode {
    keep_freed_memory();
    match commands::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}

/// Tells the allocator to keep what is freed for the next task: what it gave back to the kernel after its default of
/// 10 ms would be cleared again page by page, which took a third of a training step of BERT.
fn keep_freed_memory() {
    // SAFETY: the option exists in every version of mimalloc 2 and 3, and setting it has no other effect.
    #[expect(unsafe_code, reason = "mimalloc's options are a C interface")]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}
