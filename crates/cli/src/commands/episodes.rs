//! `metashot episodes`: draw episodes once and for all, and see what a file of them holds.
//!
//! Deliberately not here: the rules by which they are drawn and their file, which are in `metashot-data`.

mod sample;
mod summary;

use std::path::Path;

use anyhow::{Result, bail};
use metashot_data::text::{EpisodesHeader, inspect_episodes};

use self::summary::Summary;
use super::print;
use crate::args::EpisodesCommand;

/// Mismatches that are told one by one.
const SHOWN: usize = 10;

/// Does what the flags ask for.
pub(super) fn run(command: &EpisodesCommand) -> Result<()> {
    match command {
        EpisodesCommand::Sample(args) => sample::run(args),
        EpisodesCommand::Show(args) => show(&args.file),
    }
}

/// Prints what a file holds, and fails if it is not what it says.
fn show(path: &Path) -> Result<()> {
    let (frozen, mismatches) = inspect_episodes(path)?;
    let mut summary = Summary::default();
    for episode in &frozen.episodes {
        summary.add(episode);
    }
    let header = frozen.header.as_ref();
    let hash = format!("hash       {}\n", frozen.hash);
    let mismatch = |header: &&EpisodesHeader| header.hash != frozen.hash;
    let recorded = header.filter(mismatch).map_or_else(String::new, |header| {
        format!("recorded   {}, which is another\n", header.hash)
    });
    let origin = header.map_or_else(
        || "origin     not told: a file of another program\n".into(),
        |header| summary::origin(&header.origin),
    );
    print(&[hash, recorded, origin, summary.table()].concat())?;
    if mismatches.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
    if lines.len() > SHOWN {
        let more = lines.len() - SHOWN;
        lines.truncate(SHOWN);
        lines.push(format!("and {more} more"));
    }
    bail!(
        "`{}` is not what it was:\n{}",
        path.display(),
        lines.join("\n")
    )
}
