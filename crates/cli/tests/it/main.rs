//! The program as a person runs it: results, resuming, and what each bad input is told.
//!
//! Not here: what the library crates test on their own.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod adapt;
mod bad_input;
mod compare;
mod episodes;
mod finetune;
mod plot;
mod predict;
mod pretrain;
mod real_data;
mod runs;
mod tasks;
mod tool;
