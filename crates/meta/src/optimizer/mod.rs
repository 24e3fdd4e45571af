//! The meta-optimizer: what is done with a meta-gradient. Functions from state to state.
//!
//! Not here: the inner loop's own descent.

mod adamw;
mod clip;
mod schedule;

pub use adamw::{AdamW, AdamWState};
pub use clip::clip_norm;
pub use schedule::Schedule;
