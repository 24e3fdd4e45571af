//! The worked cases: from files to tasks, embeddings and scores.
//!
//! A case turns episodes into tensors, embeds them, and knows what counts as right. Deliberately not here: learning,
//! which needs nothing of a case but its embeddings and labels and is the same for all.

mod encoder;
mod ner;
mod pictures;
mod sentences;

use std::ops::Range;

use anyhow::Result;
use candle_core::Tensor;
use metashot_autograd::{Params, Patterns, Value};
use metashot_data::{ContentHash, text::Transitions};
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

/// What the columns of logits stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The labels that a head learns: those of a labelling scheme, or the classes.
    Learned,
    /// The classes alone, behind one for what is in none: entity types without begin and inside. The classes where each
    /// example has one.
    Classes,
}

/// The episodes of the final table.
#[derive(Clone, Debug)]
pub struct TestEpisodes {
    /// How many there are.
    pub count: u64,
    /// Their shape, where they do not have that of the recipe.
    pub shape: Option<String>,
    /// The hash of their content, where they have one.
    pub hash: Option<ContentHash>,
}

/// What learning needs to know of a case.
pub trait Case: Sync {
    /// The tensors of one episode, or of some as a batch: the rows of one after those of another, as many of each.
    type Task: Send + Sync;

    /// What is the same in all episodes, and computed once.
    type Frozen: Sync;

    /// The name of the linear head on the embeddings: what the names of its parameters start with.
    const HEAD: &'static str;

    /// One line that says what the case works on.
    fn describe(&self) -> String;

    /// The episodes of the final table: `count` of them, unless they come from a file.
    ///
    /// # Errors
    /// When an episode cannot be drawn.
    fn test_episodes(&self, seed: u64, count: u64) -> Result<TestEpisodes> {
        let _ = seed;
        Ok(TestEpisodes {
            count,
            shape: None,
            hash: None,
        })
    }

    /// The task of the episode `(seed, index)`, with what is `frozen` for parameters that it will be used with.
    ///
    /// # Errors
    /// When the episode cannot be drawn.
    fn task(
        &self,
        split: Split,
        seed: u64,
        index: u64,
        frozen: Option<&Self::Frozen>,
    ) -> Result<Self::Task> {
        self.batch(split, seed, index..index + 1, frozen)
    }

    /// The tasks of some episodes as one. They must have as many labels as those that are trained on; several cannot be
    /// scored.
    ///
    /// # Errors
    /// As [`Case::task`].
    fn batch(
        &self,
        split: Split,
        seed: u64,
        episodes: Range<u64>,
        frozen: Option<&Self::Frozen>,
    ) -> Result<Self::Task>;

    /// How many episodes a task is made of.
    fn n_tasks(&self, task: &Self::Task) -> usize;

    /// The start before any meta-training, with a head.
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

    /// What `params` compute of every example alike, as long as only parameters change that one of `changing` names;
    /// `None` where that is nothing.
    fn frozen(&self, params: &Params, changing: &[&Patterns]) -> Option<Self::Frozen> {
        let _ = (params, changing);
        None
    }

    /// What a task computes once, ahead of an inner loop in which `adapt` adapts; what adapts has an axis of tasks if it
    /// is made of several.
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

    /// What the head reads of the examples of one half, with what was prepared for the task among the parameters.
    ///
    /// # Shapes
    /// - result: `(rows, features)`; a row is a word, a sentence or a picture
    ///
    /// # Errors
    /// When the model does not fit its input.
    fn embed(
        &self,
        task: &Self::Task,
        half: Half,
        params: &Params<Value>,
    ) -> metashot_models::Result<Value>;

    /// The label of each row; [`IGNORE_INDEX`](metashot_autograd::ops::IGNORE_INDEX) for one that only fills up.
    fn targets<'a>(&self, task: &'a Self::Task, half: Half) -> &'a [i64];

    /// For each label the support rows that stand for it: those that have it or, where there are none, the nearest thing
    /// to that. The labels of one episode come after those of another.
    fn rows(&self, task: &Self::Task, labels: Labels) -> Vec<Vec<usize>>;

    /// A learned head as one for the labels of a task that has others; `None` where it fits as it is.
    ///
    /// # Errors
    /// When the head does not have the shape that the case has learned it with.
    fn fit_head(&self, task: &Self::Task, params: &Params<Value>) -> Result<Option<Params<Value>>> {
        let _ = (task, params);
        Ok(None)
    }

    /// How well the best predictions by these logits are on the query set.
    ///
    /// # Shapes
    /// - `logits`: `(rows, labels)`
    ///
    /// # Errors
    /// When the logits cannot be read.
    fn score(&self, task: &Self::Task, logits: &Tensor, labels: Labels) -> Result<Score>;

    /// How the classes of rows follow one another, where rows are a sequence.
    fn transitions(&self) -> Option<&Transitions> {
        None
    }

    /// As [`Case::score`], for the best sequence of classes by the logits and [`Case::transitions`] to the power `tau`.
    ///
    /// # Errors
    /// When the case has no sequences.
    fn score_sequence(
        &self,
        task: &Self::Task,
        logits: &Tensor,
        labels: Labels,
        tau: f64,
    ) -> Result<Score> {
        let _ = (task, logits, labels, tau);
        anyhow::bail!("examples are no sequence here, so there are no steps to weigh")
    }
}
