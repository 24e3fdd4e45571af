//! `metashot pretrain`: a BERT learns to guess the hidden words of text without labels.
//!
//! Deliberately not here: the training loop (`fit`) and what is hidden (`metashot_data::text::Masking`).

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use metashot_autograd::{Params, Value};
use metashot_data::text::{
    Hidden, Masking, Passage, Tokenizer, Vocabulary, WordCounts, for_each_line,
};
use metashot_meta::{TrainState, Workers};
use metashot_models::{
    MaskedLm, TokenBatch,
    checkpoint::{load_bert, load_masked_lm_head, save_bert},
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::Serialize;

use super::{
    print,
    session::{backbone, free_directory, paths, shown},
};
use crate::{
    args::PretrainArgs,
    device, embedded,
    fit::{Batches, Example, Purpose, Subject, fit, generator, hold_out, mean_loss},
    model_dir::{TOKENIZER, copy_tokenizer, write_tokenizer},
    progress::say,
    recipe::{Pretrain, is_embedded},
    run_dir::{Earlier, RunDir, config_path, load_state},
};

/// Trains, writes the model and prints how well it guesses.
pub(super) fn run(args: &PretrainArgs) -> Result<()> {
    let run = &args.run;
    let file = match (&run.out, run.resume) {
        (Some(out), true) => Some(config_path(out)),
        _ => run.recipe.clone(),
    };
    let text = read_recipe(file.as_deref(), run.resume)?;
    let name = file.map_or("the defaults".into(), |file| file.display().to_string());
    let settings = Pretrain::resolve(&text, &name, (&args.text, &args.shared, &args.flags))?;
    let config = toml::to_string(&settings)?;
    if run.print_config {
        return print(&config);
    }
    let root = run
        .out
        .clone()
        .unwrap_or_else(|| free_directory(run.recipe.as_deref(), "pretrain"));
    let device = device::open(settings.device)?;
    let workers = Workers::new(settings.threads)?;
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

    let saved = if run.resume { load_state(&root)? } else { None };
    let source = match &start {
        Some(directory) => Source::Directory(directory.clone()),
        // A vocabulary is trained once; the run that goes on keeps it.
        None if saved.is_some() => Source::Directory(root.clone()),
        None => Source::Trained(train_vocabulary(&settings, &text)?),
    };
    let tokenizer = source.tokenizer()?;
    let (model, params) = match &start {
        Some(directory) => load(directory, &settings, &tokenizer, &device)?,
        None => {
            let model = MaskedLm::new(settings.model.config(tokenizer.vocab_size()))?;
            let rng = &mut ChaCha8Rng::seed_from_u64(settings.seed);
            let params = model.init(rng, DType::F32, &device)?;
            (model, params)
        }
    };
    let lines = Lines::read(&settings, (&text, &validation), &tokenizer)?;
    say(&lines.describe());

    let outer = settings
        .training
        .outer_loop(settings.steps as u64, settings.every as u64);
    let (mut dir, state) = if let Some(state) = saved {
        (RunDir::resume(&root, state.step)?, state)
    } else {
        let earlier = Earlier::replaced_if(run.overwrite || run.resume);
        let dir = RunDir::create(&root, &config, earlier)?;
        match &source {
            Source::Directory(from) => copy_tokenizer(from, &root)?,
            Source::Trained(vocabulary) => {
                let positions = model.bert.config.max_position_embeddings;
                write_tokenizer(&root, vocabulary, settings.vocabulary.lowercase, positions)?;
            }
        }
        (dir, TrainState::new(params, &outer)?)
    };
    say(&format!(
        "{} parameters, {} threads, results in {}",
        state.params.n_elements(),
        workers.n_threads(),
        shown(&root)
    ));

    let masking = Masking::new(&tokenizer, settings.mask_share)?;
    let hidden = |passage: &Passage, rng: &mut ChaCha8Rng| {
        let Hidden {
            ids,
            positions,
            targets,
        } = masking.hide(passage, rng);
        Example {
            ids,
            positions,
            targets,
        }
    };
    // The same words are hidden in every validation.
    let mut rng = generator(settings.seed, Purpose::Validation, 0);
    let held_out: Vec<Example> = lines
        .validation
        .iter()
        .map(|passage| hidden(passage, &mut rng))
        .collect();
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
            let passages = batches.at(step);
            let passages = passages.into_iter().map(|index| &lines.train[index]);
            passages.map(|passage| hidden(passage, &mut rng)).collect()
        },
        forward,
        validate: |params: &Params| Ok(-mean_loss(&held_out, params, forward, &workers)?),
        describe: |score: f64| {
            format!(
                "held-out loss {:.4}, perplexity {:.2}",
                -score,
                (-score).exp()
            )
        },
    };
    let state = fit(state, &outer, &workers, &mut dir, subject)?;

    let dtype = if settings.float16 {
        DType::F16
    } else {
        DType::F32
    };
    let best = state.best.to_dtype(dtype)?;
    save_bert(&root, &model.bert.config, &best)?;
    // What was written is what is measured: half precision is not free.
    let loss = mean_loss(&held_out, &best.to_dtype(DType::F32)?, forward, &workers)?;
    let results = Results {
        loss,
        perplexity: loss.exp(),
        n_held_out: held_out.iter().map(|example| example.targets.len()).sum(),
        steps: state.step,
        seed: settings.seed,
        version: env!("CARGO_PKG_VERSION"),
    };
    dir.save_results(&results)?;
    print(&format!(
        "held-out loss {:.4}, perplexity {:.2}, on {} hidden tokens; the model is in {}\n",
        results.loss,
        results.perplexity,
        results.n_held_out,
        shown(&root)
    ))
}

/// The text of a recipe, or none.
pub(super) fn read_recipe(file: Option<&Path>, resume: bool) -> Result<String> {
    let Some(file) = file else {
        return Ok(String::new());
    };
    fs::read_to_string(file).with_context(|| {
        if resume {
            format!(
                "there is no run to go on with: failed to read {}",
                shown(file)
            )
        } else {
            format!("failed to read the recipe {}", shown(file))
        }
    })
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

/// Where the tokenizer is.
enum Source {
    Directory(PathBuf),
    Trained(Vocabulary),
}

impl Source {
    fn tokenizer(&self) -> Result<Tokenizer> {
        Ok(match self {
            Self::Directory(directory) => Tokenizer::from_file(&directory.join(TOKENIZER))?,
            Self::Trained(vocabulary) => {
                Tokenizer::from_bytes(vocabulary.json.as_bytes(), Path::new(TOKENIZER))?
            }
        })
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

/// The model of a directory with its weights, and with a new head where it has none.
fn load(
    directory: &Path,
    settings: &Pretrain,
    tokenizer: &Tokenizer,
    device: &Device,
) -> Result<(MaskedLm, Params)> {
    let (config, encoder) = load_bert(directory, DType::F32, device)?;
    ensure!(
        tokenizer.vocab_size() <= config.vocab_size,
        "the tokenizer of {} has {} tokens, its model has embeddings for {}",
        shown(directory),
        tokenizer.vocab_size(),
        config.vocab_size
    );
    ensure!(
        settings.max_tokens <= config.max_position_embeddings,
        "`max_tokens` is {}, the model of {} has {} positions",
        settings.max_tokens,
        shown(directory),
        config.max_position_embeddings
    );
    let model = MaskedLm::new(config)?;
    let head = match load_masked_lm_head(directory, DType::F32, device)? {
        Some(head) => head,
        None => {
            let rng = &mut ChaCha8Rng::seed_from_u64(settings.seed);
            model.init_head(rng, DType::F32, device)?
        }
    };
    Ok((model, encoder.overlaid(&head)))
}

/// The text as passages.
struct Lines {
    train: Vec<Passage>,
    validation: Vec<Passage>,
}

impl Lines {
    /// Reads every line once; a passage that comes again is left out, and no passage is on both sides.
    fn read(
        settings: &Pretrain,
        (text, validation): (&[PathBuf], &[PathBuf]),
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        let mut seen = HashSet::new();
        let mut read = |files: &[PathBuf]| -> Result<Vec<Passage>> {
            let mut passages = Vec::new();
            for file in files {
                for_each_line(file, |line| {
                    for passage in tokenizer.passages(line, settings.max_tokens)? {
                        if !passage.words.is_empty() && seen.insert(passage.ids.clone()) {
                            passages.push(passage);
                        }
                    }
                    Ok(())
                })?;
            }
            Ok(passages)
        };
        let mut validation = read(validation)?;
        let mut train = read(text)?;
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
