//! `metashot finetune`: ordinary training of a tagger, encoder and head, on a labelled set.
//!
//! Deliberately not here: the training loop (`fit`), and few examples, for which `train` learns a start.

mod data;
mod report;

use anyhow::Result;
use candle_core::DType;
use metashot_autograd::{Params, Value};
use metashot_data::text::{Corpus, LabelScheme, Span, Tokenizer};
use metashot_meta::Workers;
use metashot_models::{TokenBatch, TokenClassifier};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use self::{
    data::{Data, Tagged},
    report::{Report, counts, total},
};
use super::{
    opened::{self, save_model},
    print,
    session::{backbone, paths, shown},
};
use crate::{
    args::FinetuneArgs,
    device, embedded,
    fit::{Batches, Subject, answers, fit},
    manifest::Begun,
    model_dir::{TOKENIZER, copy_tokenizer},
    progress::say,
    recipe::{Finetune, Scheme, is_embedded},
};

/// Trains, writes the tagger and prints a report.
pub(super) fn run(args: &FinetuneArgs) -> Result<()> {
    let run = &args.run;
    let (text, name) = opened::settings(run)?;
    let given = (args.train.as_ref(), &args.shared, &args.flags);
    let settings = Finetune::resolve(&text, &name, given)?;
    let config = toml::to_string(&settings)?;
    if run.print_config {
        return print(&config);
    }
    let root = opened::root(run, "finetune");
    let device = device::open(settings.device)?;
    let workers = Workers::new(settings.threads)?;
    let on = (settings.device, workers.n_threads());
    let mut manifest = Begun::new("finetune", Some(settings.seed), on);
    manifest.settings(&settings)?;
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
    for name in [&settings.train, &settings.validation, &settings.test] {
        if !name.is_empty() {
            manifest.data(name, &paths.find(name)?)?;
        }
    }
    manifest.model(&settings.backbone, &start)?;
    manifest.start(&settings.backbone, &start)?;
    let tokenizer = Tokenizer::from_file(&start.join(TOKENIZER))?;
    let (mut sizes, encoder) = opened::encoder(&start, &tokenizer, settings.max_tokens, &device)?;
    let data = Data::read(&settings, &paths)?;
    say(&data.describe());

    let scheme = match settings.scheme {
        Scheme::Bio => LabelScheme::Bio,
        Scheme::Io => LabelScheme::Io,
    };
    let labels = scheme.names(&data.train.types);
    sizes.set_labels(&labels);
    let model = TokenClassifier::new(sizes, labels.len())?;
    let encode = |corpus: &Corpus| Tagged::new(corpus, &tokenizer, settings.max_tokens, scheme);
    let (train, validation) = (encode(&data.train)?, encode(&data.validation)?);
    let test = data.test.as_ref().map(encode).transpose()?;

    let batches = Batches::new(
        train.examples.len(),
        settings.training.batch_size,
        settings.seed,
    );
    let epoch = batches.per_epoch();
    let outer = settings
        .training
        .outer_loop(epoch * settings.epochs as u64, epoch);
    let saved = opened::saved(run, &root)?;
    let is_new = saved.is_none();
    if let Some(state) = &saved {
        manifest.resumed_at(state.step);
    }
    let (mut dir, state) = opened::begin(run, (&root, &config), &outer, saved, || {
        let rng = &mut ChaCha8Rng::seed_from_u64(settings.seed);
        Ok(encoder.overlaid(&model.init_head(rng, DType::F32, &device)?))
    })?;
    if is_new {
        copy_tokenizer(&start, &root)?;
    }
    say(&format!(
        "{} parameters, {} labels, {} threads, results in {}",
        state.params.n_elements(),
        labels.len(),
        workers.n_threads(),
        shown(&root)
    ));

    let forward = |params: &Params<Value>, batch: &TokenBatch, rows: &[u32]| {
        let hidden = model.bert.forward_rows(params, batch, rows)?;
        model.head().forward(params, &hidden)
    };
    let tag = |tagged: &Tagged, params: &Params| -> Result<Vec<Vec<Span>>> {
        let answers = answers(&tagged.examples, params, forward, &workers)?;
        Ok(tagged.spans(answers, scheme))
    };
    let subject = Subject {
        examples: |step| {
            let indices = batches.at(step).into_iter();
            indices.map(|index| train.examples[index].clone()).collect()
        },
        forward,
        validate: |params: &Params| {
            let predicted = tag(&validation, params)?;
            Ok(total(&counts(&data.validation, &predicted)).f1())
        },
        describe: |score: f64| format!("validation F1 {:.2}", 100.0 * score),
    };
    let state = fit(state, &outer, &workers, &mut dir, subject)?;

    let best = save_model(&root, &model.bert.config, &state.best, settings.float16)?;
    let (corpus, tagged, part) = match (&data.test, &test) {
        (Some(corpus), Some(tagged)) => (corpus, tagged, "test"),
        _ => (&data.validation, &validation, "validation"),
    };
    let report = Report::new(corpus, &tag(tagged, &best)?, part, settings.seed);
    manifest.write(&root, &root)?;
    dir.save_results(&report)?;
    print(&report.table())
}
