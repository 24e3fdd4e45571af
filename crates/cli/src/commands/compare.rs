//! `metashot compare`: several runs beside one another.
//!
//! Deliberately not here: what is compared, and how.

use anyhow::Result;

use super::print;
use crate::{
    args::CompareArgs,
    comparison::{Run, compare},
};

/// Prints the tables.
pub(super) fn run(args: &CompareArgs) -> Result<()> {
    let runs: Result<Vec<Run>> = args.runs.iter().map(|path| Run::read(path)).collect();
    print(&compare(&runs?)?)
}
