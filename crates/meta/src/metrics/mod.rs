//! What results are reported in: entity-level F1, type by type and averaged, and means with intervals.
//!
//! Not here: losses, which are differentiated.

mod entities;
mod interval;
mod report;

pub use entities::EntityCounts;
pub use interval::{Interval, bootstrap, mean_interval};
pub use report::{EntityReport, EntityScores, TypeScores};
