//! What `train` and `eval` have in common: opening a case.
//!
//! Deliberately not here: training.

use std::path::{Path, PathBuf};

use anyhow::Result;
use metashot_meta::Workers;
use tempfile::TempDir;

use crate::{
    args::Common,
    cases::{Case, NerCase, PictureCase, SentenceCase},
    device, embedded,
    hub::{Hub, Progress as Fetched, resolve_model},
    manifest::Begun,
    progress::{Progress, say},
    recipe::{Init, Paths, Recipe},
    starts::{Start, Starts},
};

/// Something to do with a case, whichever it is.
pub(super) trait Job {
    /// The command that does it.
    const COMMAND: &'static str;

    /// Does it. The manifest knows the files of the recipe.
    ///
    /// # Errors
    /// Whatever it fails with.
    fn run<C: Case>(
        self,
        case: &C,
        recipe: &Recipe,
        workers: &Workers,
        manifest: Begun,
    ) -> Result<()>;
}

/// Opens the case of a recipe and does a job with it.
pub(super) fn with_case<J: Job>(recipe: &Recipe, common: &Common, job: J) -> Result<()> {
    let device = device::open(recipe.device)?;
    let workers = Workers::new(recipe.threads)?;
    let embedded = recipe.is_embedded().then(embedded::unpack).transpose()?;
    let paths = paths(common.data.as_deref(), embedded.as_ref());
    let opened = (recipe.seed, device);
    let on = (recipe.device, workers.n_threads());
    let mut manifest = Begun::new(J::COMMAND, Some(recipe.seed), on);
    manifest.settings(recipe)?;
    for name in recipe.data_files() {
        manifest.data(name, &paths.find(name)?)?;
    }
    match (&recipe.ner, &recipe.sentences, &recipe.pictures) {
        (Some(ner), ..) => {
            let find = |init| Starts::find(init, |name| backbone(&paths, name));
            let (name, first) = find(&ner.init)?;
            let starts = Starts {
                name: ner.backbone.clone(),
                backbone: backbone(&paths, &ner.backbone)?,
                first,
                others: recipe
                    .evaluation
                    .starts
                    .iter()
                    .map(find)
                    .collect::<Result<_>>()?,
            };
            manifest.model(&ner.backbone, &starts.backbone)?;
            let others = starts.others.iter().map(|(name, start)| (name, start));
            for (name, start) in [(&name, &starts.first)].into_iter().chain(others) {
                match start {
                    Start::Random => {}
                    Start::Backbone => manifest.start(&ner.backbone, &starts.backbone)?,
                    Start::Directory(directory) => manifest.start(name, directory)?,
                }
            }
            let case = NerCase::new(
                ner,
                (&recipe.episodes, &recipe.evaluation.episodes),
                &paths,
                &starts,
                opened,
            )?;
            say(&case.describe());
            job.run(&case, recipe, &workers, manifest)
        }
        (None, Some(sentences), _) => {
            let shape = backbone(&paths, &sentences.backbone)?;
            let (name, weights) = match &sentences.init {
                Init::Random => ("random", None),
                Init::Pretrained => (sentences.backbone.as_str(), Some(shape.clone())),
                Init::Other(name) => (name.as_str(), Some(backbone(&paths, name)?)),
            };
            manifest.model(&sentences.backbone, &shape)?;
            if let Some(weights) = &weights {
                manifest.start(name, weights)?;
            }
            let models = (shape.as_path(), weights.as_deref());
            let case = SentenceCase::new(sentences, &recipe.episodes, &paths, models, opened)?;
            say(&case.describe());
            job.run(&case, recipe, &workers, manifest)
        }
        (None, None, Some(pictures)) => {
            let case = PictureCase::new(pictures, &recipe.episodes, &paths, opened)?;
            say(&case.describe());
            job.run(&case, recipe, &workers, manifest)
        }
        (None, None, None) => unreachable!("a validated recipe has a case"),
    }
}

/// Where the files of settings are, those that were unpacked among them.
pub(super) fn paths(data: Option<&Path>, embedded: Option<&TempDir>) -> Paths {
    let unpacked = embedded.map(|files| files.path().to_owned());
    Paths::new(data.map(Path::to_owned), unpacked)
}

/// The local directory of a model: one that is named, or a hub model's.
pub(super) fn backbone(paths: &Paths, name: &str) -> Result<PathBuf> {
    match paths.find_directory(name) {
        Some(directory) => Ok(directory),
        None => fetch(name, None),
    }
}

/// The local directory of a hub model, fetched if it is not in the cache.
pub(super) fn fetch(model: &str, revision: Option<&str>) -> Result<PathBuf> {
    let hub = Hub::from_env()?;
    let mut progress: Option<(String, Progress)> = None;
    let mut show = |fetched: Fetched<'_>| {
        if progress
            .as_ref()
            .is_none_or(|(file, _)| file != fetched.file)
        {
            say(&format!(
                "fetching {} ({:.1} MB)",
                fetched.file,
                fetched.total as f64 / 1e6
            ));
            progress = Some((
                fetched.file.to_owned(),
                Progress::new("fetching", fetched.done, fetched.total),
            ));
        }
        if let Some((_, progress)) = &mut progress {
            progress.step(fetched.done, || {
                format!("{:.1} MB", fetched.done as f64 / 1e6)
            });
        }
    };
    Ok(resolve_model(&hub, model, revision, &mut show)?)
}

/// The first of `runs/NAME-1`, `runs/NAME-2` and so on that is not there yet, by the name of the recipe if there is one.
pub(super) fn free_directory(recipe: Option<&Path>, name: &str) -> PathBuf {
    let name = recipe
        .and_then(Path::file_stem)
        .map_or(name.into(), |stem| stem.to_string_lossy());
    let mut number = 1;
    loop {
        let path = PathBuf::from(format!("runs/{name}-{number}"));
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}

/// A path for messages.
pub(super) fn shown(path: &Path) -> String {
    format!("`{}`", path.display())
}
