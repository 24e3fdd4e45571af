//! Runs beside one another: over seeds, and in pairs on the same episodes.
//!
//! Deliberately not here: running anything; scores of episodes are read from files.

mod pairs;
mod runs;
mod settings;
mod tables;

use anyhow::{Context, Result};

pub(crate) use runs::Run;

use self::{
    settings::{ensure_common, group},
    tables::{each_run, minus_best, minus_first, over_seeds, title},
};

/// Everything there is to say of runs, the first of which has the setting that others are compared with.
///
/// # Errors
/// No run, runs with the same setting and seed, or settings without an episode in common.
pub(crate) fn compare(runs: &[Run]) -> Result<String> {
    let settings = group(runs)?;
    let (first, others) = settings.split_first().context("there is no run")?;
    for other in others {
        ensure_common(first, other)?;
    }
    let mut tables = vec![title(&settings), over_seeds(&settings)];
    tables.extend(minus_best(&settings));
    tables.extend(others.iter().filter_map(|other| minus_first(first, other)));
    tables.push(each_run(runs));
    Ok(tables.join("\n"))
}

#[cfg(test)]
mod tests;
