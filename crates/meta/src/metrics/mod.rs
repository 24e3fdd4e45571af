//! What results are reported in: entity-level F1, and means with intervals.
//!
//! Not here: losses, which are differentiated.

mod entities;
mod interval;

pub use entities::EntityCounts;
pub use interval::{Interval, bootstrap, mean_interval};
