//! `metashot eval`: the final table of a run, again or with other settings.
//!
//! Deliberately not here: training.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use metashot_meta::Workers;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{
    print,
    session::{Job, shown, with_case},
};
use crate::{
    args::EvalArgs,
    cases::Case,
    episode_scores::{self, SCORES},
    learners::{HeadStart, compare},
    manifest::{Begun, MANIFEST},
    recipe::Recipe,
    report::Results,
    run_dir::{RESULTS, config_path, load_best, save_results},
    tagger::NewDirectory,
};

/// Prints the table, and writes what is asked for.
pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let recipe = Recipe::load(Some(&config_path(&args.run)), &args.common.overrides)
        .with_context(|| format!("`{}` is not a run directory", args.run.display()))?;
    ensure!(
        !args.report || recipe.ner.is_some(),
        "`--report` is by entity type, and {} is not a run on named entities",
        shown(&args.run)
    );
    let out = match &args.out {
        Some(out) => {
            holds_results_only(out)?;
            Some(NewDirectory::new(out, args.overwrite)?)
        }
        None => None,
    };
    let job = Evaluate {
        root: args.run.clone(),
        out,
        report: args.report,
    };
    with_case(&recipe, &args.common, job)
}

/// An error if there is a directory with anything else in it, a run for one: it would be lost.
fn holds_results_only(out: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(out) else {
        return Ok(());
    };
    for entry in entries {
        let name = entry?.file_name();
        ensure!(
            [RESULTS, SCORES, MANIFEST].iter().any(|ours| name == *ours),
            "{} holds `{}`, which is no result of `eval`; name another directory by `--out`",
            shown(out),
            name.display()
        );
    }
    Ok(())
}

struct Evaluate {
    root: PathBuf,
    out: Option<NewDirectory>,
    report: bool,
}

impl Job for Evaluate {
    const COMMAND: &'static str = "eval";

    fn run<C: Case>(
        self,
        case: &C,
        recipe: &Recipe,
        workers: &Workers,
        mut manifest: Begun,
    ) -> Result<()> {
        let learned = load_best(&self.root)?;
        let start = case.init(&mut ChaCha8Rng::seed_from_u64(recipe.seed))?;
        for (name, tensor) in HeadStart::of(recipe).slow::<C>(&start).iter() {
            let found = learned
                .get(name)
                .with_context(|| format!("`{}` does not fit", self.root.display()))?;
            ensure!(
                found.dims() == tensor.dims(),
                "`{}` does not fit the settings: `{name}` has shape {:?}, expected {:?}",
                self.root.display(),
                found.dims(),
                tensor.dims()
            );
        }
        let results = compare(case, recipe, workers, (&start, &learned), None)?;
        if let Some(out) = self.out {
            episode_scores::write(out.path(), &results.rows)?;
            manifest.episodes(results.episodes_hash);
            manifest.write(&self.root, out.path())?;
            save_results(out.path(), &results)?;
            out.commit()?;
        }
        print(&results.table())?;
        if self.report {
            print(&by_type(&results))?;
        }
        Ok(())
    }
}

/// The report of the first learner, which is the meta-learned one unless the recipe leaves it out.
fn by_type(results: &Results) -> String {
    let row = results.rows.first();
    let report = row.and_then(|row| Some((row.name(), row.entities.as_ref()?)));
    report.map_or_else(String::new, |(name, entities)| {
        format!(
            "\n{name}, entities of all {} episodes\n\n{}",
            results.n_episodes,
            entities.report.text(4)
        )
    })
}
