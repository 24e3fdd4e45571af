//! The worked cases: from files to tasks, losses and scores.
//!
//! A case turns episodes into tensors and knows what counts as right. Deliberately not here: learning, which needs
//! nothing of a case but its losses and is the same for all.

mod ner;
mod pictures;
mod sentences;

use anyhow::Result;
use metashot_autograd::{Params, Patterns, Value};
use metashot_meta::{Prepared, unprepared};
use rand_chacha::ChaCha8Rng;

pub use ner::NerCase;
pub use pictures::PictureCase;
pub use sentences::SentenceCase;

use crate::score::Score;

/// Which classes, and with them which examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Those the start is learned on.
    Train,
    /// Those the checkpoint and the baselines' settings are chosen on.
    Validation,
    /// Those of the final table.
    Test,
}

/// A set of examples with their targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// What a learner adapts to.
    Support,
    /// What it is measured on.
    Query,
}

/// What learning needs to know of a case.
pub trait Case: Sync {
    /// The tensors of one episode.
    type Task: Send + Sync;

    /// One line that says what the case works on.
    fn describe(&self) -> String;

    /// The task of the episode `(seed, index)`.
    ///
    /// # Errors
    /// When the episode cannot be drawn.
    fn task(&self, split: Split, seed: u64, index: u64) -> Result<Self::Task>;

    /// The start before any meta-training.
    ///
    /// # Errors
    /// When weights cannot be read or made.
    fn init(&self, rng: &mut ChaCha8Rng) -> Result<Params>;

    /// Starts beside that one to compare with, and what the table calls them.
    ///
    /// # Errors
    /// When weights cannot be made.
    fn other_starts(&self, seed: u64) -> Result<Vec<(String, Params)>> {
        let _ = seed;
        Ok(Vec::new())
    }

    /// What a task computes once, ahead of an inner loop in which `adapt` adapts.
    ///
    /// # Errors
    /// When the model does not fit its input.
    fn prepare(
        &self,
        task: &Self::Task,
        params: &Params<Value>,
        adapt: &Patterns,
    ) -> metashot_models::Result<Prepared> {
        let _ = (task, adapt);
        unprepared(params)
    }

    /// The loss on one half of a task, with what was prepared for it among the parameters.
    ///
    /// # Errors
    /// When the model does not fit its input.
    fn loss(
        &self,
        task: &Self::Task,
        half: Half,
        params: &Params<Value>,
    ) -> metashot_models::Result<Value>;

    /// How well the model with `params` predicts the query set.
    ///
    /// # Errors
    /// When the model does not fit its input.
    fn score(&self, task: &Self::Task, params: &Params) -> Result<Score>;

    /// How well the nearest prototype predicts the query set, with `params` as the embedding.
    ///
    /// # Errors
    /// When the model does not fit its input.
    fn score_prototypes(&self, task: &Self::Task, params: &Params) -> Result<Score>;
}
