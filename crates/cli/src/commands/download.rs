//! `metashot download`: a hub model into the cache.
//!
//! Deliberately not here: fetching (`hub`).

use anyhow::Result;

use super::print;
use crate::{args::DownloadArgs, commands::session::fetch};

/// Prints the directory the model is in.
pub(super) fn run(args: &DownloadArgs) -> Result<()> {
    let directory = fetch(&args.model, args.revision.as_deref())?;
    print(&format!("{}\n", directory.display()))
}
