//! What a tagger is adapted from: a run of `metashot train`, or an encoder in Hugging Face's layout.
//!
//! Deliberately not here: fetching models from the hub, which the caller does.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use metashot_autograd::Params;
use metashot_data::text::{LabelScheme, LabelSet, OrphanInside, Tokenizer};
use metashot_models::{
    BertConfig, TokenClassifier,
    checkpoint::{conform, load_bert, load_token_classifier},
};

use super::check_vocabulary;
use crate::{
    args::HeadStart,
    descent::{Descent, Optimizer},
    heads::head_names,
    model_dir::{TOKENIZER, read_tokenizer},
    recipe::{Head, Recipe},
    run_dir::{best_path, load_best},
};

/// A start to adapt from.
pub(crate) struct Source {
    /// The files of the encoder's tokenizer, by name.
    pub(crate) tokenizer_files: Vec<(&'static str, Vec<u8>)>,
    /// The encoder's sizes.
    pub(crate) config: BertConfig,
    /// Words to token ids.
    pub(crate) tokenizer: Tokenizer,
    /// The encoder's parameters.
    pub(crate) encoder: Params,
    /// Where the head starts.
    pub(crate) head: SourceHead,
    /// How entities become labels.
    pub(crate) scheme: LabelScheme,
    /// How it adapts.
    pub(crate) descent: Descent,
}

/// Where the head of a tagger for new types starts.
pub(crate) enum SourceHead {
    /// At zero: all labels alike.
    Zero,
    /// From one that was learned for other types, or for the classes of episodes.
    Learned {
        /// What its rows stand for.
        labels: LabelSet,
        /// Its parameters.
        params: Params,
    },
    /// From the prototypes of the labelled sentences, with this factor on distances.
    Prototypes(f64),
}

/// Steps for an encoder that nobody meta-learned.
const PLAIN_STEPS: usize = 60;
/// Their length by `AdamW`.
const PLAIN_LR: f64 = 5e-4;
/// The factor on squared distances in a head that starts from prototypes, where nothing names one: hidden states of a
/// BERT are far apart, and at a factor of 1 the nearest prototype would have all of the probability.
pub(crate) const PROTOTYPE_SCALE: f64 = 0.1;

impl Source {
    /// The best start of a run, whose settings say how it adapts; `backbone` is the encoder that the run names.
    ///
    /// # Errors
    /// A file that is missing or damaged, or a start that does not fit the encoder.
    pub(crate) fn from_run(
        run: &Path,
        recipe: &Recipe,
        backbone: &Path,
        device: &Device,
    ) -> Result<Self> {
        let ner = recipe
            .ner
            .as_ref()
            .with_context(|| format!("`{}` is not a run on named entities", run.display()))?;
        let config = BertConfig::read(&backbone.join("config.json"))?;
        let scheme = LabelScheme::from(ner.scheme);
        let classes: Vec<String> = (0..recipe.episodes.n_way)
            .map(|class| class.to_string())
            .collect();
        let labels = LabelSet::new(scheme, &classes);
        let model = TokenClassifier::new(config.clone(), labels.roles.len())?;
        let params = load_best(run)
            .with_context(|| format!("`{}` has no learned start yet", run.display()))?;
        let has_head = recipe.inner.head == Head::Learned;
        let mut shapes = model.shapes();
        shapes.retain(|(name, _)| has_head || !is_of_head(name));
        conform(&best_path(run), &params, &shapes)?;
        let params = params.to_dtype(DType::F32)?.to_device(device)?;
        let (params, encoder) = split_head(params);
        let head = match recipe.inner.head {
            Head::Learned => SourceHead::Learned { labels, params },
            Head::Prototypes => SourceHead::Prototypes(recipe.inner.prototype_scale),
        };
        let tokenizer = open_tokenizer(backbone, &config)?;
        Ok(Self {
            tokenizer_files: read_tokenizer(backbone)?,
            config,
            tokenizer,
            encoder,
            head,
            scheme,
            descent: Descent {
                optimizer: Optimizer::Sgd,
                steps: recipe.inner.test_steps,
                lr: recipe.inner.lr,
                adapt: recipe.inner.adapt.clone(),
            },
        })
    }

    /// The encoder of a directory; with its head if that is asked for, and it is a tagger whose labels have names.
    ///
    /// Unasked, the head of a tagger is left behind: prototypes of the sentences tell their types apart from the first
    /// step on, while each label of a learned head starts from the mean over other types.
    ///
    /// # Errors
    /// A file that is missing or damaged.
    pub(crate) fn from_directory(
        dir: &Path,
        head: Option<HeadStart>,
        device: &Device,
    ) -> Result<Self> {
        let config = BertConfig::read(&dir.join("config.json"))?;
        let architecture = config
            .extra
            .get("architectures")
            .and_then(|names| names.get(0));
        let is_tagger =
            architecture.is_some_and(|name| name.as_str() == Some("BertForTokenClassification"));
        let wanted = is_tagger && head == Some(HeadStart::Learned);
        let (encoder, head) = if let Some(names) = config.labels().filter(|_| wanted) {
            let (_, params) = load_token_classifier(dir, DType::F32, device)?;
            let (params, encoder) = split_head(params);
            let labels = LabelSet::from_names(&names, OrphanInside::Reject)?;
            (encoder, SourceHead::Learned { labels, params })
        } else {
            let (_, encoder) = load_bert(dir, DType::F32, device)?;
            (encoder, SourceHead::Prototypes(PROTOTYPE_SCALE))
        };
        let tokenizer = open_tokenizer(dir, &config)?;
        Ok(Self {
            tokenizer_files: read_tokenizer(dir)?,
            config,
            tokenizer,
            encoder,
            head,
            scheme: LabelScheme::Bio,
            descent: Descent {
                optimizer: Optimizer::Adamw,
                steps: PLAIN_STEPS,
                lr: PLAIN_LR,
                adapt: ["*", "!embeddings"].map(str::to_owned).to_vec(),
            },
        })
    }
}

fn open_tokenizer(dir: &Path, config: &BertConfig) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::from_file(&dir.join(TOKENIZER))?;
    check_vocabulary(dir, &tokenizer, config)?;
    Ok(tokenizer)
}

/// The parameters of the head, and the others.
fn split_head(params: Params) -> (Params, Params) {
    let (head, encoder): (Vec<_>, Vec<_>) =
        params.into_iter().partition(|(name, _)| is_of_head(name));
    (head.into_iter().collect(), encoder.into_iter().collect())
}

fn is_of_head(name: &str) -> bool {
    head_names(TokenClassifier::HEAD)
        .iter()
        .any(|of_head| of_head == name)
}
