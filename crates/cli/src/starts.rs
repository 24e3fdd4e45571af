//! Where an encoder's weights come from before meta-training: nowhere, the backbone, another model, another run.
//!
//! Deliberately not here: the head, which is drawn by the seed unless a run has learned one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use metashot_autograd::{Params, Patterns};
use metashot_data::text::Tokenizer;
use metashot_models::{
    TokenClassifier,
    checkpoint::{conform, load_bert},
};

use crate::{
    model_dir::TOKENIZER,
    recipe::{Init, Overrides, Recipe},
    run_dir::{config_path, is_run, load_best},
};

/// A start whose files have been found.
#[derive(Clone, Debug)]
pub enum Start {
    /// Random weights in the backbone's shape.
    Random,
    /// The backbone's own weights.
    Backbone,
    /// The weights of a model in Hugging Face layout, or what a run of `train` has learned.
    Directory(PathBuf),
}

/// The backbone of a recipe and the starts that it names.
#[derive(Clone, Debug)]
pub struct Starts {
    /// The backbone's name in the recipe.
    pub name: String,
    /// Its directory: the sizes of the model, its tokenizer, and its weights.
    pub backbone: PathBuf,
    /// What is meta-trained and what the baselines start from.
    pub first: Start,
    /// What the baselines start from as well, with what the table calls it.
    pub others: Vec<(String, Start)>,
}

impl Starts {
    /// Finds the files of a start; `directory` gives the one of a model's name.
    ///
    /// # Errors
    /// What `directory` fails with.
    pub fn find(
        init: &Init,
        directory: impl Fn(&str) -> Result<PathBuf>,
    ) -> Result<(String, Start)> {
        Ok(match init {
            Init::Random => ("random".into(), Start::Random),
            Init::Pretrained => ("pretrained".into(), Start::Backbone),
            Init::Other(name) => (name.clone(), Start::Directory(directory(name)?)),
        })
    }

    /// The weights of a start, those of a head that was learned for as many labels among them; `None` for random ones.
    ///
    /// # Errors
    /// Weights that cannot be read, that are not of the backbone's sizes, or that go with another vocabulary.
    pub fn load(
        &self,
        start: &Start,
        model: &TokenClassifier,
        device: &Device,
    ) -> Result<Option<Params>> {
        let shapes = model.bert.shapes();
        match start {
            Start::Random => Ok(None),
            Start::Backbone => Ok(Some(load_bert(&self.backbone, DType::F32, device)?.1)),
            Start::Directory(directory) if is_run(directory) => {
                self.same_backbone(directory)?;
                let learned = load_best(directory)?.to_device(device)?;
                let (encoder, head) = learned
                    .split(&Patterns::new(["embeddings", "encoder"]))
                    .with_context(|| format!("`{}` has no encoder", directory.display()))?;
                conform(directory, &encoder, &shapes)?;
                // A head for other labels is of no use here.
                let fits = conform(directory, &head, &model.head().shapes()).is_ok();
                Ok(Some(if fits { learned } else { encoder }))
            }
            Start::Directory(directory) => {
                self.same_vocabulary(directory)?;
                let (_, encoder) = load_bert(directory, DType::F32, device)?;
                conform(directory, &encoder, &shapes)?;
                Ok(Some(encoder))
            }
        }
    }

    fn same_backbone(&self, run: &Path) -> Result<()> {
        let recipe = Recipe::load(Some(&config_path(run)), &Overrides::default())?;
        let theirs = recipe.ner.map_or(String::new(), |ner| ner.backbone);
        ensure!(
            theirs == self.name,
            "the run `{}` has the backbone `{theirs}`, this one has `{}`: a start goes with one vocabulary",
            run.display(),
            self.name
        );
        Ok(())
    }

    fn same_vocabulary(&self, directory: &Path) -> Result<()> {
        let [theirs, ours] = [directory, &self.backbone].map(|model| model.join(TOKENIZER));
        ensure!(
            !theirs.exists()
                || Tokenizer::from_file(&theirs)?.has_vocabulary_of(&Tokenizer::from_file(&ours)?),
            "`{}` and `{}` have different vocabularies; to go on from a model with its own, name it by `--backbone`",
            theirs.display(),
            ours.display()
        );
        Ok(())
    }
}
