//! From a handful of labelled sentences to a tagger, and what it is worth by cross-validation on them.
//!
//! Deliberately not here: where the start comes from (`source`), and files.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use metashot_autograd::{Params, Value, ops::cross_entropy};
use metashot_data::text::{
    Corpus, IGNORE_INDEX, LabelScheme, LabelSet, OrphanInside, Sentence, Span, Window, parse_bio,
    parse_spans,
};
use metashot_meta::{EntityReport, Prepared, Workers};
use metashot_models::{TokenBatch, TokenClassifier};
use serde::Serialize;

use super::{Entity, Source, SourceHead, Tagger};
use crate::{
    heads::{prototypes_head, refit_head, rows_by_label, zero_head},
    score::entity_report,
};

/// Labelled sentences to adapt to.
pub(crate) struct Support {
    /// The sentences, each once.
    pub(crate) corpus: Corpus,
    /// How many stood in the file more than once.
    pub(crate) n_repeated: usize,
    /// The labels of their types.
    pub(crate) labels: LabelSet,
    scheme: LabelScheme,
    /// The parts of each sentence that the model can read.
    windows: Vec<Vec<Window>>,
}

/// What sentences that were held out got.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CrossValidation {
    /// Parts that were held out in turn.
    pub(crate) folds: usize,
    /// How well their entities were found.
    #[serde(flatten)]
    pub(crate) entities: EntityReport,
}

impl Support {
    /// Reads labelled sentences: two columns in BIO, or JSON lines with character spans.
    ///
    /// # Errors
    /// A file that is missing, not UTF-8 or malformed, or holds no entity.
    pub(crate) fn read(path: &Path, orphan: OrphanInside, source: &Source) -> Result<Self> {
        let text = metashot_data::read_text(path)?;
        let first = text.lines().map(str::trim).find(|line| !line.is_empty());
        let is_json = first.is_some_and(|line| {
            line.trim_start_matches('\u{feff}').starts_with('{') && line.ends_with('}')
        });
        let all = if is_json {
            parse_spans(&text, path)?
        } else {
            parse_bio(&text, path, orphan).context(
                "the support file is neither JSON lines with spans nor two columns in BIO; where an `I-` may begin an \
                 entity, say `--orphan begin`",
            )?
        };
        let corpus = all.without_duplicates();
        let max_len = source.config.max_position_embeddings;
        let windows = corpus
            .sentences
            .iter()
            .map(|sentence| Ok(source.tokenizer.encode_windows(&sentence.words, max_len)?))
            .collect::<Result<_>>()?;
        Ok(Self {
            n_repeated: all.sentences.len() - corpus.sentences.len(),
            labels: LabelSet::new(source.scheme, &corpus.types),
            corpus,
            scheme: source.scheme,
            windows,
        })
    }

    /// Pairs of neighbouring entities of one type, which labels of the scheme IO cannot tell apart.
    pub(crate) fn n_merged(&self) -> usize {
        let merged = |sentence: &Sentence| {
            let touch =
                |pair: &[Span]| pair[0].end == pair[1].start && pair[0].label == pair[1].label;
            sentence.spans.windows(2).filter(|pair| touch(pair)).count()
        };
        match self.scheme {
            LabelScheme::Bio => 0,
            LabelScheme::Io => self.corpus.sentences.iter().map(merged).sum(),
        }
    }

    /// Sentences with a word that has more sub-words than the model reads: it is learned by its first ones.
    pub(crate) fn n_cut(&self) -> usize {
        let is_cut = |windows: &&Vec<Window>| windows.iter().any(|window| window.encoded.n_cut > 0);
        self.windows.iter().filter(is_cut).count()
    }

    /// For each type the sentences that have it.
    pub(crate) fn sentence_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.corpus.types.len()];
        for sentence in &self.corpus.sentences {
            let kinds: BTreeSet<usize> = sentence.spans.iter().map(|span| span.label).collect();
            for kind in kinds {
                counts[kind] += 1;
            }
        }
        counts
    }

    /// The parameters of a tagger for the types, and how the loss fell.
    ///
    /// # Errors
    /// When the loss is not finite, or a pattern of what adapts matches nothing.
    pub(crate) fn adapt(&self, source: &Source, device: &Device) -> Result<Adapted> {
        let all: Vec<usize> = (0..self.windows.len()).collect();
        self.adapt_to(&all, source, device)
    }

    /// A tagger with the parameters of [`Support::adapt`].
    ///
    /// # Errors
    /// When the sizes make no model.
    pub(crate) fn tagger(&self, source: &Source, params: &Params) -> Result<Tagger> {
        let model = TokenClassifier::new(source.config.clone(), self.labels.roles.len())?;
        let tokenizer = source.tokenizer.clone();
        Ok(Tagger::new(model, params, tokenizer, self.labels.clone()))
    }

    /// Holds every sentence out once and tags it with what the others taught.
    ///
    /// # Errors
    /// As [`Support::adapt`].
    pub(crate) fn cross_validate(
        &self,
        source: &Source,
        folds: usize,
        workers: &Workers,
        device: &Device,
    ) -> Result<CrossValidation> {
        let n_sentences = self.windows.len();
        let folds = folds.min(n_sentences);
        let single = Workers::new(1)?;
        let found = workers.map(folds as u64, |fold| {
            let held_out = |sentence: &usize| *sentence as u64 % folds as u64 == fold;
            let (out, rest): (Vec<usize>, Vec<usize>) = (0..n_sentences).partition(held_out);
            let adapted = self.adapt_to(&rest, source, device)?;
            let tagger = self.tagger(source, &adapted.fast)?;
            let words: Vec<&[String]> = out
                .iter()
                .map(|&sentence| &self.corpus.sentences[sentence].words[..])
                .collect();
            let found = tagger.tag(&words, usize::MAX, &single)?.entities;
            let spans = |found: Vec<Entity>| -> Vec<Span> {
                found.into_iter().map(|entity| entity.span).collect()
            };
            anyhow::Ok(out.into_iter().zip(found.into_iter().map(spans)))
        })?;
        let found: Vec<(usize, Vec<Span>)> = found.into_iter().flatten().collect();
        let pairs = found
            .iter()
            .map(|(sentence, found)| (&self.corpus.sentences[*sentence].spans[..], &found[..]));
        Ok(CrossValidation {
            folds,
            entities: entity_report(&self.corpus.types, pairs),
        })
    }

    fn adapt_to(&self, sentences: &[usize], source: &Source, device: &Device) -> Result<Adapted> {
        let descent = &source.descent;
        let patterns = descent.patterns();
        let n_labels = self.labels.roles.len();
        let model = TokenClassifier::new(source.config.clone(), n_labels)?;
        let hidden_size = source.config.hidden_size;
        let head = match &source.head {
            SourceHead::Zero => zero_head(TokenClassifier::HEAD, n_labels, hidden_size, device)?,
            SourceHead::Learned { labels, params } => {
                let params = params.constants();
                refit_head(TokenClassifier::HEAD, labels, &self.labels, &params)?.tensors()
            }
            SourceHead::Prototypes(_) => Params::new(),
        };
        let start = source.encoder.overlaid(&head);

        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        for &sentence in sentences {
            let Sentence { words, spans, .. } = &self.corpus.sentences[sentence];
            let labels = self.scheme.encode(spans, words.len());
            for window in &self.windows[sentence] {
                // A word that stands in two windows counts once.
                let label = |at: usize| {
                    let word = window.words.start + at;
                    let read = window.read.contains(&word);
                    read.then(|| labels[word] as i64)
                };
                let encoded = &window.encoded;
                let labels = encoded.first_subword.iter();
                targets.extend(labels.map(|at| at.and_then(label).unwrap_or(IGNORE_INDEX)));
                ids.push(&encoded.ids);
            }
        }
        let batch = TokenBatch::from_sequences(ids);
        // What lies below the first layer that adapts is the same at every step.
        let n_fixed = model.bert.first_adapting_layer(&patterns);
        let n_layers = source.config.num_hidden_layers;
        let hidden = |params: &Params<Value>| -> Result<Value> {
            let bert = &model.bert;
            Ok(match (n_fixed, params.get(LOWER)) {
                (Some(layer), Ok(lower)) => {
                    bert.layers(params, lower, &batch.lengths, layer..n_layers)?
                }
                _ => bert.forward(params, &batch)?,
            })
        };

        let prepare = |params: &Params<Value>| -> Result<Prepared> {
            let mut prepared = Prepared::default();
            if let Some(layer) = n_fixed {
                let embedded = model.bert.embed(params, &batch)?;
                let hidden = model
                    .bert
                    .layers(params, &embedded, &batch.lengths, 0..layer)?;
                prepared.fixed.insert(LOWER, hidden);
            }
            if let SourceHead::Prototypes(scale) = source.head {
                let hidden = hidden(&params.overlaid(&prepared.fixed))?;
                let rows = rows_by_label(&targets, &self.labels);
                prepared.start =
                    prototypes_head(TokenClassifier::HEAD, &hidden, (&rows, 1), scale)?;
            }
            Ok(prepared)
        };
        let loss = |params: &Params<Value>| -> Result<Value> {
            let logits = model.head().forward(params, &hidden(params)?)?;
            Ok(cross_entropy(&logits, &targets)?)
        };
        let adapted = descent
            .run(&start, prepare, loss)
            .context("adapting failed")?;
        let after = loss(&adapted.fast.constants())?.to_f64()?;
        ensure!(
            after.is_finite(),
            "the loss after {} steps of {} is not finite; a smaller `--inner-lr` may help",
            descent.steps,
            descent.lr
        );
        let losses = adapted.support_losses.into_iter().chain([after]);
        Ok(Adapted {
            fast: adapted.fast,
            support_losses: losses.collect(),
        })
    }
}

/// What adapting came to.
pub(crate) struct Adapted {
    /// The parameters of a tagger.
    pub(crate) fast: Params,
    /// The loss on the labelled sentences before each step and after the last.
    pub(crate) support_losses: Vec<f64>,
}

/// The name under which the hidden states below the layers that adapt are kept.
const LOWER: &str = "support.lower";
