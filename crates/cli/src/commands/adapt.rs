//! `metashot adapt`: from a handful of labelled sentences to a tagger in Hugging Face's layout.
//!
//! Deliberately not here: adapting (`tagger`), tagging (`predict`).

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use metashot_autograd::Params;
use metashot_data::text::LabelScheme;
use metashot_meta::Workers;
use metashot_models::{BertConfig, checkpoint::save_bert};
use serde_json::{Map, Value as Json, json};

use super::{
    print,
    session::{fetch, shown},
};
use crate::{
    args::{AdaptArgs, HeadStart},
    device, embedded,
    manifest::Begun,
    model_dir::{CONFIG, SPECIAL, TOKENIZER},
    progress::say,
    recipe::{Overrides, Paths, Recipe},
    run_dir::{config_path, is_run},
    tagger::{NewDirectory, PROTOTYPE_SCALE, Source, SourceHead, Support},
};

/// Sentences up to which cross-validation leaves out one at a time.
const DEFAULT_FOLDS: usize = 10;

/// Adapts, prints what cross-validation says of it, and writes the tagger.
pub(super) fn run(args: &AdaptArgs) -> Result<()> {
    let new = NewDirectory::new(&args.out, args.overwrite)?;
    let device = device::open(args.device.unwrap_or_default())?;
    let workers = Workers::new(args.threads)?;
    let on = (args.device.unwrap_or_default(), workers.n_threads());
    let mut manifest = Begun::new("adapt", None, on);
    let mut source = open(args, &device, &mut manifest)?;
    let descent = &mut source.descent;
    descent.steps = args.inner_steps.unwrap_or(descent.steps);
    descent.lr = args.inner_lr.unwrap_or(descent.lr);
    descent.optimizer = args.optimizer.unwrap_or(descent.optimizer);
    if !args.adapt.is_empty() {
        descent.adapt.clone_from(&args.adapt);
    }
    match (args.head, &source.head) {
        (None, _)
        | (Some(HeadStart::Learned), SourceHead::Learned { .. })
        | (Some(HeadStart::Prototypes), SourceHead::Prototypes(_)) => {}
        (Some(HeadStart::Learned), _) => bail!(
            "`{}` has no learned head; say `--head zero` or `--head prototypes`",
            args.model
        ),
        (Some(HeadStart::Zero), _) => source.head = SourceHead::Zero,
        (Some(HeadStart::Prototypes), _) => source.head = SourceHead::Prototypes(PROTOTYPE_SCALE),
    }
    match (args.prototype_scale, &mut source.head) {
        (None, _) => {}
        (Some(scale), _) if !(scale.is_finite() && scale > 0.0) => {
            bail!("`--prototype-scale` must be a positive number, found {scale}")
        }
        (Some(scale), SourceHead::Prototypes(own)) => *own = scale,
        (Some(_), _) => bail!("`--prototype-scale` is for `--head prototypes`"),
    }
    source.scheme = args.scheme.map_or(source.scheme, LabelScheme::from);
    let support = Support::read(&args.support, args.orphan.into(), &source)?;
    manifest.data(&args.support.display().to_string(), &args.support)?;
    describe(&support);

    let n_sentences = support.corpus.sentences.len();
    let folds = args.folds.unwrap_or(DEFAULT_FOLDS).min(n_sentences);
    let cross_validation = if folds < 2 {
        if args.folds != Some(0) {
            say("no cross-validation: it takes two sentences and two folds");
        }
        None
    } else {
        say(&format!(
            "cross-validation: {folds} times {} steps of {} on the other sentences",
            source.descent.steps, source.descent.lr
        ));
        let scores = support.cross_validate(&source, folds, &workers, &device)?;
        print(&scores.entities.text(2))?;
        Some(scores)
    };

    let adapted = workers.install(|| support.adapt(&source, &device))?;
    let losses = &adapted.support_losses;
    say(&format!(
        "adapted to all {n_sentences} sentences: loss from {:.3} to {:.3}",
        losses[0],
        losses[losses.len() - 1]
    ));
    let mut config = source.config.clone();
    config.set_labels(&source.scheme.names(&support.corpus.types));
    save_model(new.path(), &config, &source, &adapted.fast)?;
    let counts: Map<String, Json> = support
        .corpus
        .types
        .iter()
        .cloned()
        .zip(support.corpus.entity_counts().into_iter().map(Json::from))
        .collect();
    manifest.settings(&json!({
        "model": args.model,
        "support": args.support,
        "scheme": match source.scheme { LabelScheme::Bio => "bio", LabelScheme::Io => "io" },
        "orphan": args.orphan,
        "head": match source.head {
            SourceHead::Learned { .. } => "learned".to_owned(),
            SourceHead::Zero => "zero".to_owned(),
            SourceHead::Prototypes(scale) => format!("prototypes, scale {scale}"),
        },
        "inner": source.descent,
        "folds": folds,
    }))?;
    manifest.more(
        "support",
        &json!({ "sentences": n_sentences, "entities": counts }),
    )?;
    let [before, after] = [losses[0], losses[losses.len() - 1]];
    manifest.more("support_loss", &json!({ "before": before, "after": after }))?;
    manifest.more("cross_validation", &cross_validation)?;
    manifest.write(new.path(), new.path())?;
    new.commit()?;
    say(&format!(
        "the tagger is in {}; `metashot predict --model {}` uses it",
        shown(&args.out),
        args.out.display()
    ));
    Ok(())
}

/// The start that `--model` names.
fn open(args: &AdaptArgs, device: &Device, manifest: &mut Begun) -> Result<Source> {
    let run = Path::new(&args.model);
    let recipe = is_run(run)
        .then(|| Recipe::load(Some(&config_path(run)), &Overrides::default()))
        .transpose()
        .with_context(|| format!("{} is not a run directory", shown(run)))?;
    let name = match recipe.as_ref().and_then(|recipe| recipe.ner.as_ref()) {
        Some(ner) => &ner.backbone,
        None => &args.model,
    };
    // Unpacked files go when this value does: by then they are read.
    let embedded = name
        .starts_with(Paths::EMBEDDED)
        .then(embedded::unpack)
        .transpose()?;
    let unpacked = embedded.as_ref().map(|files| files.path().to_owned());
    let paths = Paths::new(args.data.clone(), unpacked);
    let directory = match paths.find_directory(name) {
        Some(directory) => directory,
        None => fetch(name, None)?,
    };
    manifest.model(name, &directory)?;
    let start = if recipe.is_some() { run } else { &directory };
    manifest.start(&args.model, start)?;
    match recipe {
        Some(recipe) => Source::from_run(run, &recipe, &directory, device),
        None => Source::from_directory(&directory, args.head, device),
    }
}

/// Says what the sentences hold, and what to be careful about.
fn describe(support: &Support) {
    let corpus = &support.corpus;
    let counts = corpus.entity_counts();
    let types: Vec<String> = corpus
        .types
        .iter()
        .zip(&counts)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    say(&format!(
        "{} sentences, {} entities: {}",
        corpus.sentences.len(),
        counts.iter().sum::<usize>(),
        types.join(", ")
    ));
    if support.n_repeated > 0 {
        say(&format!(
            "warning: {} sentences stand in the file more than once; each counts once",
            support.n_repeated
        ));
    }
    let with = |wanted: fn(usize, usize) -> bool| {
        let numbers = counts.iter().zip(support.sentence_counts());
        let types = corpus.types.iter().zip(numbers);
        let some = types.filter(|(_, (entities, sentences))| wanted(**entities, *sentences));
        let names: Vec<String> = some.map(|(name, _)| format!("`{name}`")).collect();
        names.join(", ")
    };
    for (what, types) in [
        ("one example only", with(|entities, _| entities == 1)),
        (
            "one sentence only with examples",
            with(|entities, sentences| entities > 1 && sentences == 1),
        ),
    ] {
        if !types.is_empty() {
            say(&format!(
                "warning: {what} of {types}: held out, nothing is left to learn it from, so its score by \
                 cross-validation is 0; one more sentence with it will tell more than any setting"
            ));
        }
    }
    let n_cut = support.n_cut();
    if n_cut > 0 {
        say(&format!(
            "warning: {n_cut} sentences have a word with more sub-words than the model reads; it is learned by its \
             first ones"
        ));
    }
    let n_merged = support.n_merged();
    if n_merged > 0 {
        say(&format!(
            "warning: {n_merged} pairs of neighbouring entities of one type become one, because the labels are IO; \
             `--scheme bio` keeps them apart"
        ));
    }
}

/// Writes a model that `transformers` loads.
fn save_model(dir: &Path, config: &BertConfig, source: &Source, params: &Params) -> Result<()> {
    save_bert(dir, config, params)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.join(name);
        fs::write(&path, bytes).with_context(|| format!("failed to write {}", shown(&path)))
    };
    // What `transformers` wants beside the tokenizer: what the encoder came with, or what that would say.
    let special: Map<String, Json> = SPECIAL_TOKENS
        .iter()
        .filter(|(_, token)| source.tokenizer.token_id(token).is_some())
        .map(|&(name, token)| (name.to_owned(), token.into()))
        .collect();
    let mut settings = special.clone();
    settings.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    settings.insert(
        "model_max_length".into(),
        config.max_position_embeddings.into(),
    );
    for (name, made) in [(SPECIAL, special), (CONFIG, settings)] {
        write(
            name,
            (serde_json::to_string_pretty(&made)? + "\n").as_bytes(),
        )?;
    }
    for (name, bytes) in &source.tokenizer_files {
        write(name, bytes)?;
    }
    // Last, because ours neither cuts nor pads.
    write(TOKENIZER, (source.tokenizer.to_json()? + "\n").as_bytes())
}

/// The special tokens of BERT by their names in `transformers`.
const SPECIAL_TOKENS: [(&str, &str); 5] = [
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
