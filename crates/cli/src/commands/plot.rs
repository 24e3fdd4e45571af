//! `metashot plot`: runs as pictures on one page.
//!
//! Deliberately not here: what is on the page.

use anyhow::{Result, ensure};
use metashot_models::replace_file;

use super::session::shown;
use crate::{
    args::PlotArgs,
    plots::{Run, page},
    progress::say,
};

/// Writes the page.
pub(super) fn run(args: &PlotArgs) -> Result<()> {
    ensure!(
        args.overwrite || !args.out.exists(),
        "{} is there already; replace it by `--overwrite`, or name another file by `--out`",
        shown(&args.out)
    );
    let runs: Result<Vec<Run>> = args.runs.iter().map(|path| Run::read(path)).collect();
    let page = page(&runs?)?;
    replace_file(&args.out, |file| file.write_all(page.as_bytes()))?;
    say(&format!("{} shows it in a browser", shown(&args.out)));
    Ok(())
}
