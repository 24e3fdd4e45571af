//! A tagger: a token classifier in Hugging Face's layout that finds entities in sentences.
//!
//! Deliberately not here: reading text and showing entities (`commands::predict`), and how a tagger comes about from a
//! handful of labelled sentences (`adaptation`).

mod adaptation;
mod directory;
mod source;

use std::{ops::Range, path::Path};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use metashot_autograd::{Params, Value};
use metashot_data::text::{LabelSet, OrphanInside, Span, Tokenizer, Window};
use metashot_meta::Workers;
use metashot_models::{BertConfig, TokenBatch, TokenClassifier, checkpoint::load_token_classifier};

use crate::batches::even_batches;

pub(crate) use adaptation::Support;
pub(crate) use directory::NewDirectory;
pub(crate) use source::{PROTOTYPE_SCALE, Source, SourceHead};

/// A token classifier with its tokenizer and the meaning of its labels.
pub struct Tagger {
    model: TokenClassifier,
    params: Params<Value>,
    tokenizer: Tokenizer,
    labels: LabelSet,
}

/// An entity that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Its type, as an index into [`Tagger::types`], and its words.
    pub span: Span,
    /// The mean over its words of the probability that the word belongs to an entity of its type.
    pub score: f32,
}

/// What a tagger finds in some sentences.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged {
    /// The entities of each sentence, in the order of their words.
    pub entities: Vec<Vec<Entity>>,
    /// The sentences with a word that has more sub-words than the model reads: it is tagged by its first ones.
    pub cut: Vec<usize>,
}

/// A part of a sentence on its way through the model.
struct Item {
    sentence: usize,
    window: Window,
}

impl Item {
    fn n_tokens(&self) -> usize {
        self.window.encoded.ids.len()
    }
}

/// Sentences that one thread turns into token ids at a time.
const SENTENCES_AT_ONCE: usize = 16;

impl Tagger {
    /// Opens a `BertForTokenClassification` in Hugging Face's layout.
    ///
    /// # Errors
    /// A file that is missing or damaged, a tokenizer with more tokens than the model, labels without names.
    pub fn open(dir: &Path, orphan: OrphanInside, device: &Device) -> Result<Self> {
        let (model, params) = load_token_classifier(dir, DType::F32, device)
            .with_context(|| format!("`{}` holds no tagger", dir.display()))?;
        let tokenizer = Tokenizer::from_file(&dir.join("tokenizer.json"))?;
        let config = &model.bert.config;
        check_vocabulary(dir, &tokenizer, config)?;
        let names = config.labels().with_context(|| {
            let config = dir.join("config.json");
            format!("`{}` names no labels (`id2label`)", config.display())
        })?;
        let labels = LabelSet::from_names(&names, orphan)?;
        let params = model.bert.for_reading(params)?;
        Ok(Self::new(model, &params, tokenizer, labels))
    }

    fn new(
        model: TokenClassifier,
        params: &Params,
        tokenizer: Tokenizer,
        labels: LabelSet,
    ) -> Self {
        Self {
            model,
            params: params.constants(),
            tokenizer,
            labels,
        }
    }

    /// The names of the entity types.
    pub fn types(&self) -> &[String] {
        &self.labels.types
    }

    /// Finds the entities of each sentence.
    ///
    /// A sentence that is longer than the model can read is read in overlapping windows. Neither the number of threads
    /// nor `batch_tokens`, about how many tokens go through the model at a time, nor the other sentences change a bit
    /// of what a sentence gets.
    ///
    /// # Errors
    /// When the tokenizer or the model fails, or the model's numbers are not finite.
    pub fn tag(
        &self,
        sentences: &[&[String]],
        batch_tokens: usize,
        workers: &Workers,
    ) -> Result<Tagged> {
        let items = self.items(sentences, workers)?;
        let cut = items.iter().filter(|item| item.window.encoded.n_cut > 0);
        let mut cut: Vec<usize> = cut.map(|item| item.sentence).collect();
        cut.sort_unstable();
        cut.dedup();
        let lengths: Vec<usize> = items.iter().map(Item::n_tokens).collect();
        let batches = even_batches(&lengths, batch_tokens, workers.n_threads());
        let rows = workers.map(batches.len() as u64, |batch| {
            self.log_probs(&items, &batches[batch as usize])
        })?;
        let n_labels = self.labels.roles.len();
        let mut matrices: Vec<Vec<f32>> = sentences
            .iter()
            .map(|words| vec![0.0; words.len() * n_labels])
            .collect();
        for (batch, rows) in batches.iter().zip(rows) {
            let mut rows = &rows[..];
            for item in &items[batch.clone()] {
                let Range { start, end } = item.window.read;
                let (these, others) = rows.split_at((end - start) * n_labels);
                matrices[item.sentence][start * n_labels..end * n_labels].copy_from_slice(these);
                rows = others;
            }
        }
        let entities = matrices.iter().map(|matrix| self.entities(matrix));
        Ok(Tagged {
            entities: entities.collect(),
            cut,
        })
    }

    /// The windows of all sentences, longest first.
    fn items(&self, sentences: &[&[String]], workers: &Workers) -> Result<Vec<Item>> {
        let max_len = self.model.bert.config.max_position_embeddings;
        let groups: Vec<&[&[String]]> = sentences.chunks(SENTENCES_AT_ONCE).collect();
        let encoded = workers.map(groups.len() as u64, |group| {
            let mut items = Vec::with_capacity(SENTENCES_AT_ONCE);
            for (at, words) in groups[group as usize].iter().enumerate() {
                let sentence = group as usize * SENTENCES_AT_ONCE + at;
                // A sentence without words has no labels.
                if words.is_empty() {
                    continue;
                }
                for window in self.tokenizer.encode_windows(words, max_len)? {
                    items.push(Item { sentence, window });
                }
            }
            anyhow::Ok(items)
        })?;
        let mut items: Vec<Item> = encoded.into_iter().flatten().collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.n_tokens()));
        Ok(items)
    }

    /// The log-probabilities of the labels of the words that are read from some items, one after another.
    fn log_probs(&self, items: &[Item], batch: &Range<usize>) -> Result<Vec<f32>> {
        let items = &items[batch.clone()];
        let tokens = TokenBatch::from_sequences(items.iter().map(|item| &item.window.encoded.ids));
        let mut rows = Vec::new();
        let mut first_row = 0;
        for window in items.iter().map(|item| &item.window) {
            let positions = window.read_positions();
            rows.extend(positions.iter().map(|&row| (first_row + row) as u32));
            first_row += window.encoded.ids.len();
        }
        let bert = &self.model.bert;
        let hidden = bert.forward_rows(&self.params, &tokens, &rows)?;
        let logits = self.model.head().forward(&self.params, &hidden)?;
        let log_probs: Vec<f32> = logits.log_softmax()?.tensor().flatten_all()?.to_vec1()?;
        ensure!(
            log_probs.iter().all(|number| !number.is_nan()),
            "the model gives numbers that are not finite; its weights are damaged, or its adaptation diverged"
        );
        Ok(log_probs)
    }

    /// The entities that the best valid labels of a sentence spell.
    fn entities(&self, log_probs: &[f32]) -> Vec<Entity> {
        let n_labels = self.labels.roles.len();
        let spans = self.labels.spans(&self.labels.decode(log_probs));
        let score = |span: Span| {
            let of_type = |word: usize| -> f32 {
                let row = &log_probs[word * n_labels..(word + 1) * n_labels];
                let labels = row.iter().zip(&self.labels.roles);
                labels
                    .filter(|(_, role)| role.kind() == Some(span.label))
                    .map(|(log_prob, _)| log_prob.exp())
                    .sum()
            };
            let sum: f32 = (span.start..span.end).map(of_type).sum();
            // Probabilities that add up to 1 may miss it by a rounding error.
            Entity {
                span,
                score: (sum / (span.end - span.start) as f32).min(1.0),
            }
        };
        spans.into_iter().map(score).collect()
    }
}

/// Fails if a tokenizer has more tokens than its model has embeddings for.
///
/// # Errors
/// Both numbers.
pub(crate) fn check_vocabulary(
    dir: &Path,
    tokenizer: &Tokenizer,
    config: &BertConfig,
) -> Result<()> {
    ensure!(
        tokenizer.vocab_size() <= config.vocab_size,
        "the tokenizer of `{}` has {} tokens, its model has embeddings for {}",
        dir.display(),
        tokenizer.vocab_size(),
        config.vocab_size
    );
    Ok(())
}
