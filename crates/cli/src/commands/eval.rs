//! `metashot eval`: the final table of a run, again or with other settings.
//!
//! Deliberately not here: training.

use std::path::PathBuf;

use anyhow::{Context, Result};
use metashot_meta::Workers;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{
    print,
    session::{Job, with_case},
};
use crate::{
    args::EvalArgs,
    cases::Case,
    learners::{HeadStart, compare},
    recipe::Recipe,
    run_dir::{config_path, load_best},
};

/// Prints the table.
pub(super) fn run(args: &EvalArgs) -> Result<()> {
    let recipe = Recipe::load(Some(&config_path(&args.run)), &args.common.overrides)
        .with_context(|| format!("`{}` is not a run directory", args.run.display()))?;
    with_case(
        &recipe,
        &args.common,
        Evaluate {
            root: args.run.clone(),
        },
    )
}

struct Evaluate {
    root: PathBuf,
}

impl Job for Evaluate {
    fn run<C: Case>(self, case: &C, recipe: &Recipe, workers: &Workers) -> Result<()> {
        let learned = load_best(&self.root)?;
        let start = case.init(&mut ChaCha8Rng::seed_from_u64(recipe.seed))?;
        for (name, tensor) in HeadStart::of(recipe).slow::<C>(&start).iter() {
            let found = learned
                .get(name)
                .with_context(|| format!("`{}` does not fit", self.root.display()))?;
            anyhow::ensure!(
                found.dims() == tensor.dims(),
                "`{}` does not fit the settings: `{name}` has shape {:?}, expected {:?}",
                self.root.display(),
                found.dims(),
                tensor.dims()
            );
        }
        print(&compare(case, recipe, workers, (&start, &learned), None)?.table())
    }
}
