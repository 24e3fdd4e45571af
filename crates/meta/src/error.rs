//! What can go wrong in meta-learning.
//!
//! Not here: errors of models and data, which come in through the losses and keep their own text.

use std::error;

/// Whatever a caller's loss failed with.
pub type LossError = Box<dyn error::Error + Send + Sync>;

/// An error of `metashot-meta`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting is out of its range.
    #[error("`{setting}` must be {wanted}, found `{found}`")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What it must be.
        wanted: &'static str,
        /// What it is.
        found: String,
    },
    /// A loss or a gradient is NaN or infinite.
    #[error(
        "the {what} is not finite at inner step {step}; a smaller inner learning rate, outer learning rate or \
         gradient clipping may help"
    )]
    NotFinite {
        /// `support loss`, `support gradient`, `query loss` or `meta-gradient`.
        what: &'static str,
        /// The inner step, from 0; for the query loss and the meta-gradient the number of steps taken.
        step: usize,
    },
    /// A validation score is NaN, so it cannot be said which start is the best.
    #[error("the validation score is not a number")]
    Score,
    /// A class has no example in the support set, so it has no prototype.
    #[error("class {class} has no example in the support set, so it has no prototype")]
    EmptyClass {
        /// The class.
        class: usize,
    },
    /// Something failed in one task of a step.
    #[error("task {task} failed")]
    Task {
        /// The task's place in the meta-batch, or the episode's index.
        task: u64,
        /// What failed.
        source: Box<Self>,
    },
    /// Something failed in one step of the outer loop.
    #[error("meta-training failed at step {step}")]
    Step {
        /// The step, from 0.
        step: u64,
        /// What failed.
        source: Box<Self>,
    },
    /// The threads for the tasks could not be started.
    #[error("failed to start {threads} threads")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        source: rayon::ThreadPoolBuildError,
    },
    /// A loss, an episode or an observer of the caller failed.
    #[error(transparent)]
    Caller(LossError),
    /// A gradient failed.
    #[error(transparent)]
    Gradient(#[from] metashot_autograd::Error),
    /// A tensor operation failed.
    #[error("tensor operation failed")]
    Candle(#[from] candle_core::Error),
}

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Fails with [`Error::Setting`] unless a setting `fits`.
    pub(crate) fn unless(
        fits: bool,
        setting: &'static str,
        wanted: &'static str,
        found: &impl ToString,
    ) -> Result<()> {
        if fits {
            return Ok(());
        }
        Err(Self::Setting {
            setting,
            wanted,
            found: found.to_string(),
        })
    }
}
