//! `metashot finetune`: ordinary training of a tagger, encoder and head, on a labelled set.
//!
//! Deliberately not here: the training loop (`fit`), and few examples, for which `train` learns a start.

use anyhow::{Context, Result, ensure};
use candle_core::DType;
use metashot_autograd::{Params, Value};
use metashot_data::text::{Corpus, LabelScheme, OrphanInside, Span, Tokenizer, read_bio};
use metashot_meta::{EntityCounts, TrainState, Workers, bootstrap};
use metashot_models::{
    TokenBatch, TokenClassifier,
    checkpoint::{load_bert, save_bert},
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::Serialize;

use super::{
    pretrain::read_recipe,
    print,
    session::{backbone, free_directory, paths, shown},
};
use crate::{
    args::FinetuneArgs,
    device, embedded,
    fit::{Batches, Example, Subject, answers, fit, hold_out},
    model_dir::{TOKENIZER, copy_tokenizer},
    progress::say,
    recipe::{Finetune, Orphan, Paths, Scheme, is_embedded},
    run_dir::{Earlier, RunDir, config_path, load_state},
};

/// Bootstrap samples behind an interval.
const RESAMPLES: usize = 1000;

/// Trains, writes the tagger and prints a report.
pub(super) fn run(args: &FinetuneArgs) -> Result<()> {
    let run = &args.run;
    let file = match (&run.out, run.resume) {
        (Some(out), true) => Some(config_path(out)),
        _ => run.recipe.clone(),
    };
    let text = read_recipe(file.as_deref(), run.resume)?;
    let name = file.map_or("the defaults".into(), |file| file.display().to_string());
    let given = (args.train.as_ref(), &args.shared, &args.flags);
    let settings = Finetune::resolve(&text, &name, given)?;
    let config = toml::to_string(&settings)?;
    if run.print_config {
        return print(&config);
    }
    let root = run
        .out
        .clone()
        .unwrap_or_else(|| free_directory(run.recipe.as_deref(), "finetune"));
    let device = device::open(settings.device)?;
    let workers = Workers::new(settings.threads)?;
    let names = [
        &settings.train,
        &settings.validation,
        &settings.test,
        &settings.backbone,
    ];
    let embedded = names
        .iter()
        .any(|name| is_embedded(name))
        .then(embedded::unpack)
        .transpose()?;
    let paths = paths(run.data.as_deref(), embedded.as_ref());
    let start = backbone(&paths, &settings.backbone)?;

    let tokenizer = Tokenizer::from_file(&start.join(TOKENIZER))?;
    let data = Data::read(&settings, &paths)?;
    say(&data.describe());
    let scheme = match settings.scheme {
        Scheme::Bio => LabelScheme::Bio,
        Scheme::Io => LabelScheme::Io,
    };
    let (mut config_of_model, encoder) = load_bert(&start, DType::F32, &device)?;
    ensure!(
        tokenizer.vocab_size() <= config_of_model.vocab_size,
        "the tokenizer of {} has {} tokens, its model has embeddings for {}",
        shown(&start),
        tokenizer.vocab_size(),
        config_of_model.vocab_size
    );
    ensure!(
        settings.max_tokens <= config_of_model.max_position_embeddings,
        "`max_tokens` is {}, the model of {} has {} positions",
        settings.max_tokens,
        shown(&start),
        config_of_model.max_position_embeddings
    );
    let labels = scheme.names(&data.train.types);
    config_of_model.set_labels(&labels);
    let model = TokenClassifier::new(config_of_model, labels.len())?;
    let encode = |corpus: &Corpus| Tagged::new(corpus, &tokenizer, settings.max_tokens, scheme);
    let (train, validation) = (encode(&data.train)?, encode(&data.validation)?);
    let test = data.test.as_ref().map(encode).transpose()?;

    let batches = Batches::new(
        train.examples.len(),
        settings.training.batch_size,
        settings.seed,
    );
    let outer = settings.training.outer_loop(
        batches.per_epoch() * settings.epochs as u64,
        batches.per_epoch(),
    );
    let saved = if run.resume { load_state(&root)? } else { None };
    let (mut dir, state) = if let Some(state) = saved {
        (RunDir::resume(&root, state.step)?, state)
    } else {
        let earlier = Earlier::replaced_if(run.overwrite || run.resume);
        let dir = RunDir::create(&root, &config, earlier)?;
        copy_tokenizer(&start, &root)?;
        let rng = &mut ChaCha8Rng::seed_from_u64(settings.seed);
        let head = model.init_head(rng, DType::F32, &device)?;
        (dir, TrainState::new(encoder.overlaid(&head), &outer)?)
    };
    say(&format!(
        "{} parameters, {} labels, {} threads, results in {}",
        state.params.n_elements(),
        labels.len(),
        workers.n_threads(),
        shown(&root)
    ));

    let forward = |params: &Params<Value>, batch: &TokenBatch, rows: &[u32]| {
        let hidden = model.bert.forward(params, batch)?;
        let rows = candle_core::Tensor::new(rows, hidden.device())?;
        model.head().forward(params, &hidden.rows(&rows)?)
    };
    let tag = |tagged: &Tagged, params: &Params| -> Result<Vec<Vec<Span>>> {
        let answers = answers(&tagged.examples, params, forward, &workers)?;
        Ok(tagged.spans(answers, scheme))
    };
    let subject = Subject {
        examples: |step| {
            let indices = batches.at(step);
            let pick = |index: usize| train.examples[index].clone();
            indices.into_iter().map(pick).collect()
        },
        forward,
        validate: |params: &Params| {
            let predicted = tag(&validation, params)?;
            Ok(total(&counts(&data.validation, &predicted)).f1())
        },
        describe: |score: f64| format!("validation F1 {:.2}", 100.0 * score),
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
    let best = best.to_dtype(DType::F32)?;
    let (corpus, tagged, part) = match (&data.test, &test) {
        (Some(corpus), Some(tagged)) => (corpus, tagged, "test"),
        _ => (&data.validation, &validation, "validation"),
    };
    let report = Report::new(corpus, &tag(tagged, &best)?, part, settings.seed);
    dir.save_results(&report)?;
    print(&report.table())
}

/// The sentences of the files, which share none.
struct Data {
    train: Corpus,
    validation: Corpus,
    test: Option<Corpus>,
}

impl Data {
    fn read(settings: &Finetune, paths: &Paths) -> Result<Self> {
        let orphan = match settings.orphan {
            Orphan::Reject => OrphanInside::Reject,
            Orphan::Begin => OrphanInside::Begin,
        };
        let read = |name: &str| -> Result<Corpus> { Ok(read_bio(&paths.find(name)?, orphan)?) };
        let mut train = read(&settings.train)?.without_duplicates();
        let test = match settings.test.as_str() {
            "" => None,
            name => Some(read(name)?),
        };
        // A sentence that is tested on must not have been seen.
        if let Some(test) = &test {
            train = train.without(test);
        }
        let validation = if settings.validation.is_empty() {
            let n = train.sentences.len();
            ensure!(
                n >= 2,
                "`{}` has {n} sentences that are not in the test file, and one of them is to validate on; name a \
                 file by `--validation`",
                settings.train
            );
            let (held_out, rest) = hold_out(n, settings.held_out, settings.seed);
            let pick = |indices: Vec<usize>| Corpus {
                types: train.types.clone(),
                sentences: indices
                    .into_iter()
                    .map(|index| train.sentences[index].clone())
                    .collect(),
            };
            let validation = pick(held_out);
            train = pick(rest);
            validation
        } else {
            let validation = read(&settings.validation)?;
            train = train.without(&validation);
            validation
        };
        ensure!(
            !train.sentences.is_empty(),
            "every sentence of `{}` is in the validation or test file too",
            settings.train
        );
        let validation = relabelled(validation, &train.types)
            .context("the validation sentences do not fit the training sentences")?;
        let test = test
            .map(|test| relabelled(test, &train.types))
            .transpose()
            .context("the test sentences do not fit the training sentences")?;
        Ok(Self {
            train,
            validation,
            test,
        })
    }

    fn describe(&self) -> String {
        let test = match &self.test {
            Some(test) => format!(", {} to test on", test.sentences.len()),
            None => String::new(),
        };
        format!(
            "{} entity types; {} sentences to train on, {} to validate on{test}",
            self.train.types.len(),
            self.train.sentences.len(),
            self.validation.sentences.len()
        )
    }
}

/// The corpus with its types numbered as in `types`, which must have all of them.
fn relabelled(corpus: Corpus, types: &[String]) -> Result<Corpus> {
    let ids = corpus
        .types
        .iter()
        .map(|name| {
            types
                .iter()
                .position(|known| known == name)
                .with_context(|| {
                    format!(
                        "entity type `{name}` is not among those of the training file: `{}`",
                        types.join("`, `")
                    )
                })
        })
        .collect::<Result<Vec<usize>>>()?;
    let Corpus { mut sentences, .. } = corpus;
    for span in sentences
        .iter_mut()
        .flat_map(|sentence| &mut sentence.spans)
    {
        span.label = ids[span.label];
    }
    Ok(Corpus {
        types: types.to_vec(),
        sentences,
    })
}

/// Sentences as examples, in as many parts as each takes.
struct Tagged {
    examples: Vec<Example>,
    /// How many examples each sentence became.
    n_parts: Vec<usize>,
}

impl Tagged {
    fn new(
        corpus: &Corpus,
        tokenizer: &Tokenizer,
        max_tokens: usize,
        scheme: LabelScheme,
    ) -> Result<Self> {
        let mut tagged = Self {
            examples: Vec::new(),
            n_parts: Vec::with_capacity(corpus.sentences.len()),
        };
        for sentence in &corpus.sentences {
            let labels = scheme.encode(&sentence.spans, sentence.words.len());
            let (mut first, mut n_parts) = (0, 0);
            while first < labels.len() {
                let encoded = tokenizer.encode_words(&sentence.words[first..], max_tokens)?;
                ensure!(
                    encoded.n_words > 0,
                    "the word `{}` alone has more than `max_tokens` ({max_tokens}) tokens, in the sentence of line {}",
                    sentence.words[first],
                    sentence.line
                );
                let positions = encoded.word_positions();
                tagged.examples.push(Example {
                    positions: positions.into_iter().map(|at| at as u32).collect(),
                    targets: labels[first..first + encoded.n_words]
                        .iter()
                        .map(|&label| label as u32)
                        .collect(),
                    ids: encoded.ids,
                });
                first += encoded.n_words;
                n_parts += 1;
            }
            tagged.n_parts.push(n_parts);
        }
        Ok(tagged)
    }

    /// The entities of each sentence, from the labels of the words of each example.
    fn spans(&self, answers: Vec<Vec<usize>>, scheme: LabelScheme) -> Vec<Vec<Span>> {
        let mut answers = answers.into_iter();
        self.n_parts
            .iter()
            .map(|&n_parts| {
                let labels: Vec<usize> = answers.by_ref().take(n_parts).flatten().collect();
                scheme.decode(&labels)
            })
            .collect()
    }
}

/// The counts of each sentence, type by type.
fn counts(corpus: &Corpus, predicted: &[Vec<Span>]) -> Vec<Vec<EntityCounts>> {
    let of_type = |spans: &[Span], label: usize| -> Vec<Span> {
        let spans = spans.iter().filter(|span| span.label == label);
        spans.copied().collect()
    };
    let pairs = corpus.sentences.iter().zip(predicted);
    pairs
        .map(|(sentence, predicted)| {
            (0..corpus.types.len())
                .map(|label| {
                    EntityCounts::compare(
                        &of_type(&sentence.spans, label),
                        &of_type(predicted, label),
                    )
                })
                .collect()
        })
        .collect()
}

fn total(sentences: &[Vec<EntityCounts>]) -> EntityCounts {
    let mut sum = EntityCounts::default();
    sentences.iter().flatten().for_each(|counts| sum += *counts);
    sum
}

/// How well a tagger does, type by type.
#[derive(Serialize)]
struct Report {
    part: &'static str,
    n_sentences: usize,
    types: Vec<Line>,
    micro: Line,
    /// The 95 % interval of the micro F1, by the bootstrap over sentences.
    interval: [f64; 2],
    seed: u64,
    version: &'static str,
}

#[derive(Serialize)]
struct Line {
    name: String,
    precision: f64,
    recall: f64,
    f1: f64,
    support: usize,
}

impl Report {
    fn new(corpus: &Corpus, predicted: &[Vec<Span>], part: &'static str, seed: u64) -> Self {
        let sentences = counts(corpus, predicted);
        let line = |name: &str, counts: EntityCounts| Line {
            name: name.to_owned(),
            precision: counts.precision(),
            recall: counts.recall(),
            f1: counts.f1(),
            support: counts.n_gold,
        };
        let types = corpus.types.iter().enumerate().map(|(label, name)| {
            let mut sum = EntityCounts::default();
            sentences.iter().for_each(|counts| sum += counts[label]);
            line(name, sum)
        });
        let interval = bootstrap(&sentences, RESAMPLES, seed, |sample| total(sample).f1());
        Self {
            part,
            n_sentences: sentences.len(),
            types: types.collect(),
            micro: line("micro", total(&sentences)),
            interval: [interval.low, interval.high],
            seed,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    fn table(&self) -> String {
        let lines = || self.types.iter().chain([&self.micro]);
        let width = lines().map(|line| line.name.chars().count()).max();
        let width = width.unwrap_or(0).max(4);
        let row = |line: &Line| {
            let [precision, recall, f1] =
                [line.precision, line.recall, line.f1].map(|share| share * 100.0);
            format!(
                "{:width$}  {precision:>9.2}  {recall:>6.2}  {f1:>6.2}  {:>7}\n",
                line.name, line.support
            )
        };
        let [low, high] = self.interval.map(|share| share * 100.0);
        format!(
            "{} {} sentences (seed {})\n\n{:width$}  precision  recall      F1  support\n{}\nmicro F1 {:.2} [{low:.2}, {high:.2}]\n",
            self.n_sentences,
            self.part,
            self.seed,
            "type",
            lines().map(row).collect::<String>(),
            100.0 * self.micro.f1
        )
    }
}
