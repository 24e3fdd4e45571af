//! The library behind the `metashot` program: from files to tasks, and from recipes to results.
//!
//! Episodes become tensors here, and learning is set going; what learning is, is in `metashot-meta`, and the models
//! are in `metashot-models`. Deliberately not here: mathematics.

pub mod allocator;
pub mod args;
pub mod batches;
pub mod cases;
pub mod commands;
mod comparison;
mod descent;
pub mod device;
mod embedded;
mod episode_scores;
pub mod failure;
mod fit;
mod heads;
pub mod hub;
mod learners;
mod manifest;
mod memory;
mod model_dir;
mod ner_data;
mod plots;
mod progress;
pub mod recipe;
mod report;
mod run_dir;
mod score;
pub mod starts;
pub mod tagger;

pub use score::Score;

/// The examples of the README, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The example of the numbers, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/numbers.md")]
struct Numbers;
