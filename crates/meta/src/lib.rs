//! Meta-learning over losses: the meta-loss, the inner loop, the meta-optimizer, evaluation.
//!
//! A task is seen only as two differentiable losses, one on its support set and one on its query set, so any model
//! and any data will do. [`task_gradient`] is the heart: the query loss after a few steps of gradient descent, and
//! its exact gradient with respect to the start. [`meta_gradient`] averages it over tasks that run side by side, and
//! [`train`] turns it into a learned start.
//!
//! Deliberately not here: text, pictures, files, printing.

mod error;
mod inner_loop;
mod meta_step;
mod metrics;
mod optimizer;
mod prototypes;
mod train;

pub use error::{Error, LossError, Result};
pub use inner_loop::{Adapted, InnerLoop, TaskGradient, adapt, task_gradient};
pub use meta_step::{MetaGradient, Workers, meta_gradient};
pub use metrics::{EntityCounts, Interval, bootstrap, mean_interval};
pub use optimizer::{AdamW, AdamWState, Schedule, clip_norm};
pub use prototypes::{nearest_prototype, prototype_logits, prototypes};
pub use train::{Event, OuterLoop, Surroundings, TrainState, train};
