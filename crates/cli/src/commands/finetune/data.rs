//! The sentences of a labelled set, and what a model reads of them.
//!
//! Deliberately not here: training.

use anyhow::{Context, Result, ensure};
use metashot_data::{
    ClassSplit,
    text::{Corpus, LabelScheme, OrphanInside, Span, Tokenizer, read_bio},
};

use crate::{
    fit::{Example, hold_out},
    recipe::{Finetune, Orphan, Paths},
};

/// The sentences of the files, which share none.
pub(super) struct Data {
    pub(super) train: Corpus,
    pub(super) validation: Corpus,
    pub(super) test: Option<Corpus>,
}

impl Data {
    pub(super) fn read(settings: &Finetune, paths: &Paths) -> Result<Self> {
        let orphan = match settings.orphan {
            Orphan::Reject => OrphanInside::Reject,
            Orphan::Begin => OrphanInside::Begin,
        };
        let read = |name: &str| -> Result<Corpus> { Ok(read_bio(&paths.find(name)?, orphan)?) };
        let mut train = read(&settings.train)?.without_duplicates();
        let held_out = if settings.hold_out_types == 0 {
            Vec::new()
        } else {
            let split = ClassSplit::random(&train.types, settings.hold_out_types, 0, settings.seed)
                .context("`hold_out_types` leaves nothing to train on")?;
            train = train.restrict(&split.train)?;
            split.validation
        };
        let read = |name: &str| -> Result<Corpus> {
            let corpus = read(name)?;
            let kept = corpus.types.iter().filter(|kind| !held_out.contains(kind));
            Ok(corpus.restrict(&kept.collect::<Vec<_>>())?)
        };
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

    pub(super) fn describe(&self) -> String {
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
pub(super) struct Tagged {
    pub(super) examples: Vec<Example>,
    /// How many examples each sentence became.
    n_parts: Vec<usize>,
}

impl Tagged {
    pub(super) fn new(
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
    pub(super) fn spans(&self, answers: Vec<Vec<usize>>, scheme: LabelScheme) -> Vec<Vec<Span>> {
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
