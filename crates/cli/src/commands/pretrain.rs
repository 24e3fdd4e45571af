//! `metashot pretrain`: a BERT learns to guess the hidden words of text without labels.
//!
//! Deliberately not here: the training loop (`fit`) and what is hidden (`metashot_data::text::Masking`).

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use candle_core::{DType, Device};
use metashot_autograd::{Params, Value};
use metashot_data::text::{Masking, Passage, Tokenizer, Vocabulary, WordCounts, for_each_line};
use metashot_meta::Workers;
use metashot_models::{MaskedLm, TokenBatch, checkpoint::load_masked_lm_head};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::Serialize;
use tempfile::TempDir;

use super::{
    opened::{self, save_model},
    print,
    session::{backbone, paths, shown},
};
use crate::{
    args::{PretrainArgs, RunArgs},
    device, embedded,
    fit::{Batches, Example, Purpose, Subject, fit, generator, hold_out, mean_loss},
    manifest::Begun,
    model_dir::{TOKENIZER, copy_tokenizer, write_tokenizer},
    progress::say,
    recipe::{Pretrain, is_embedded},
};

/// Trains, writes the model and prints how well it guesses.
pub(super) fn run(args: &PretrainArgs) -> Result<()> {
    let run = &args.run;
    let (text, name) = opened::settings(run)?;
    let settings = Pretrain::resolve(&text, &name, (&args.text, &args.shared, &args.flags))?;
    let config = toml::to_string(&settings)?;
    if run.print_config {
        return print(&config);
    }
    let root = opened::root(run, "pretrain");
    let device = device::open(settings.device)?;
    let workers = Workers::new(settings.threads)?;
    let on = (settings.device, workers.n_threads());
    let mut manifest = Begun::new("pretrain", Some(settings.seed), on);
    manifest.settings(&settings)?;
    let saved = opened::saved(run, &root)?;
    if let Some(state) = &saved {
        manifest.resumed_at(state.step);
    }
    let sources = Sources::open(&settings, run, saved.is_some().then_some(&root))?;
    sources.note(&settings, &mut manifest)?;
    let (model, params) = sources.model(&settings, &device)?;
    let lines = Lines::read(&settings, &sources)?;
    say(&lines.describe());

    let outer = settings
        .training
        .outer_loop(settings.steps as u64, settings.every as u64);
    let is_new = saved.is_none();
    let (mut dir, state) = opened::begin(run, (&root, &config), &outer, saved, || Ok(params))?;
    if is_new {
        let positions = model.bert.config.max_position_embeddings;
        sources.write_vocabulary(&root, settings.vocabulary.lowercase, positions)?;
    }
    say(&format!(
        "{} parameters, {} threads, results in {}",
        state.params.n_elements(),
        workers.n_threads(),
        shown(&root)
    ));

    let masking = Masking::new(&sources.tokenizer, settings.mask_share)?;
    let hide = |passage: &Passage, rng: &mut ChaCha8Rng| Example::from(masking.hide(passage, rng));
    // The same words are hidden in every validation.
    let mut rng = generator(settings.seed, Purpose::Validation, 0);
    let hidden = lines
        .validation
        .iter()
        .map(|passage| hide(passage, &mut rng));
    let held_out: Vec<Example> = hidden.collect();
    let batches = Batches::new(
        lines.train.len(),
        settings.training.batch_size,
        settings.seed,
    );
    let forward = |params: &Params<Value>, batch: &TokenBatch, rows: &[u32]| {
        model.forward(params, batch, rows)
    };
    let subject = Subject {
        examples: |step| {
            let mut rng = generator(settings.seed, Purpose::Hidden, step);
            let passages = batches
                .at(step)
                .into_iter()
                .map(|index| &lines.train[index]);
            passages.map(|passage| hide(passage, &mut rng)).collect()
        },
        forward,
        validate: |params: &Params| Ok(-mean_loss(&held_out, params, forward, &workers)?),
        describe: |score: f64| {
            let loss = -score;
            format!("held-out loss {loss:.4}, perplexity {:.2}", loss.exp())
        },
    };
    let state = fit(state, &outer, &workers, &mut dir, subject)?;

    let best = save_model(&root, &model.bert.config, &state.best, settings.float16)?;
    let loss = mean_loss(&held_out, &best, forward, &workers)?;
    let results = Results {
        loss,
        perplexity: loss.exp(),
        n_held_out: held_out.iter().map(|example| example.targets.len()).sum(),
        steps: state.step,
        seed: settings.seed,
        version: env!("CARGO_PKG_VERSION"),
    };
    manifest.write(&root, &root)?;
    dir.save_results(&results)?;
    print(&format!(
        "held-out loss {:.4}, perplexity {:.2}, on {} hidden tokens; the model is in {}\n",
        results.loss,
        results.perplexity,
        results.n_held_out,
        shown(&root)
    ))
}

/// What was reached.
#[derive(Serialize)]
struct Results {
    loss: f64,
    perplexity: f64,
    n_held_out: usize,
    steps: u64,
    seed: u64,
    version: &'static str,
}

/// The files of a run, and the vocabulary.
struct Sources {
    text: Vec<PathBuf>,
    validation: Vec<PathBuf>,
    /// The model to go on from.
    start: Option<PathBuf>,
    tokenizer: Tokenizer,
    /// The vocabulary, where it was trained just now.
    trained: Option<Vocabulary>,
    /// Keeps what is part of the program on disk.
    _embedded: Option<TempDir>,
}

impl Sources {
    /// Finds the files, and trains a vocabulary unless there is a model to go on from, or a run, which keeps its own.
    fn open(settings: &Pretrain, run: &RunArgs, kept: Option<&PathBuf>) -> Result<Self> {
        let embedded = is_embedded(&settings.backbone)
            .then(embedded::unpack)
            .transpose()?;
        let paths = paths(run.data.as_deref(), embedded.as_ref());
        let find = |names: &[String]| -> Result<Vec<PathBuf>> {
            names.iter().map(|name| paths.find(name)).collect()
        };
        let (text, validation) = (find(&settings.text)?, find(&settings.validation)?);
        let start = match settings.backbone.as_str() {
            "" => None,
            name => Some(backbone(&paths, name)?),
        };
        let (tokenizer, trained) = if let Some(directory) = start.as_ref().or(kept) {
            (Tokenizer::from_file(&directory.join(TOKENIZER))?, None)
        } else {
            let vocabulary = train_vocabulary(settings, &text)?;
            let bytes = vocabulary.json.as_bytes();
            let tokenizer = Tokenizer::from_bytes(bytes, Path::new(TOKENIZER))?;
            (tokenizer, Some(vocabulary))
        };
        Ok(Self {
            text,
            validation,
            start,
            tokenizer,
            trained,
            _embedded: embedded,
        })
    }

    /// Notes the files in a manifest.
    fn note(&self, settings: &Pretrain, manifest: &mut Begun) -> Result<()> {
        let names = settings.text.iter().chain(&settings.validation);
        for (name, path) in names.zip(self.text.iter().chain(&self.validation)) {
            manifest.data(name, path)?;
        }
        if let Some(start) = &self.start {
            manifest.model(&settings.backbone, start)?;
            manifest.start(&settings.backbone, start)?;
        }
        Ok(())
    }

    /// The model and its weights: those to go on from, with a new head where there is none, or random ones.
    fn model(&self, settings: &Pretrain, device: &Device) -> Result<(MaskedLm, Params)> {
        let rng = &mut ChaCha8Rng::seed_from_u64(settings.seed);
        let Some(start) = &self.start else {
            let model = MaskedLm::new(settings.model.config(self.tokenizer.vocab_size()))?;
            let params = model.init(rng, DType::F32, device)?;
            return Ok((model, params));
        };
        let (config, encoder) =
            opened::encoder(start, &self.tokenizer, settings.max_tokens, device)?;
        let model = MaskedLm::new(config)?;
        let head = match load_masked_lm_head(start, DType::F32, device)? {
            Some(head) => head,
            None => model.init_head(rng, DType::F32, device)?,
        };
        Ok((model, encoder.overlaid(&head)))
    }

    fn write_vocabulary(&self, root: &Path, lowercase: bool, positions: usize) -> Result<()> {
        match (&self.trained, &self.start) {
            (Some(vocabulary), _) => write_tokenizer(root, vocabulary, lowercase, positions),
            (None, Some(start)) => copy_tokenizer(start, root),
            (None, None) => Ok(()),
        }
    }
}

fn train_vocabulary(settings: &Pretrain, text: &[PathBuf]) -> Result<Vocabulary> {
    let shape = &settings.vocabulary;
    let mut counts = WordCounts::new(shape.lowercase);
    for file in text {
        for_each_line(file, |line| counts.add(line))?;
    }
    let vocabulary = counts.train(shape.size)?;
    say(&format!(
        "trained a vocabulary of {} tokens",
        vocabulary.tokens.len()
    ));
    Ok(vocabulary)
}

/// The text as passages.
struct Lines {
    train: Vec<Passage>,
    validation: Vec<Passage>,
}

impl Lines {
    /// Reads every line once; a passage that comes again is left out, and no passage is on both sides.
    fn read(settings: &Pretrain, sources: &Sources) -> Result<Self> {
        let mut seen = HashSet::new();
        let mut read = |files: &[PathBuf]| -> Result<Vec<Passage>> {
            let mut passages = Vec::new();
            for file in files {
                for_each_line(file, |line| {
                    for passage in sources.tokenizer.passages(line, settings.max_tokens)? {
                        if !passage.words.is_empty() && seen.insert(passage.ids.clone()) {
                            passages.push(passage);
                        }
                    }
                    Ok(())
                })?;
            }
            Ok(passages)
        };
        let mut validation = read(&sources.validation)?;
        let mut train = read(&sources.text)?;
        if validation.is_empty() {
            let (held_out, rest) = hold_out(train.len(), settings.held_out, settings.seed);
            let pick = |indices: Vec<usize>| -> Vec<Passage> {
                indices
                    .into_iter()
                    .map(|index| train[index].clone())
                    .collect()
            };
            (validation, train) = (pick(held_out), pick(rest));
        }
        ensure!(
            !train.is_empty() && !validation.is_empty(),
            "found {} passages to train on and {} to validate on; both take one or more that are not the same",
            train.len(),
            validation.len()
        );
        Ok(Self { train, validation })
    }

    fn describe(&self) -> String {
        let tokens = |passages: &[Passage]| passages.iter().map(|p| p.ids.len()).sum::<usize>();
        format!(
            "{} passages of {} tokens to train on, {} of {} held out",
            self.train.len(),
            tokens(&self.train),
            self.validation.len(),
            tokens(&self.validation)
        )
    }
}
