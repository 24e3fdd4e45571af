//! From a handful of labelled sentences to a tagger, and what it is worth by cross-validation on them.
//!
//! Deliberately not here: where the start comes from (`source`), and files.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use metashot_autograd::{Params, Value, ops::cross_entropy};
use metashot_data::text::{
    Corpus, IGNORE_INDEX, LabelScheme, LabelSet, OrphanInside, Sentence, Span, Window, parse_bio,
    parse_spans,
};
use metashot_meta::{EntityCounts, Prepared, Workers, adapt, class_means, prototype_head};
use metashot_models::{TokenBatch, TokenClassifier};
use serde::Serialize;

use super::{Source, SourceHead, Tagger};
use crate::heads::{head_names, refit_head, rows_by_label, zero_head};

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
    /// For each type.
    pub(crate) types: Vec<TypeScore>,
    /// Over all entities.
    pub(crate) micro: TypeScore,
    /// The mean over the types.
    pub(crate) macro_average: TypeScore,
}

/// How well entities of a type were found, as shares.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TypeScore {
    /// The type, or what the scores are of.
    pub(crate) name: String,
    /// The share of found entities that are right.
    pub(crate) precision: f64,
    /// The share of entities that were found.
    pub(crate) recall: f64,
    /// Their harmonic mean.
    pub(crate) f1: f64,
    /// How many entities there are.
    pub(crate) support: usize,
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
        let counts = workers.map(folds as u64, |fold| {
            let held_out = |sentence: &usize| *sentence as u64 % folds as u64 == fold;
            let (out, rest): (Vec<usize>, Vec<usize>) = (0..n_sentences).partition(held_out);
            let adapted = self.adapt_to(&rest, source, device)?;
            let tagger = self.tagger(source, &adapted.fast)?;
            let words: Vec<&[String]> = out
                .iter()
                .map(|&sentence| &self.corpus.sentences[sentence].words[..])
                .collect();
            let found = tagger.tag(&words, usize::MAX, &single)?;
            let mut counts = vec![EntityCounts::default(); self.corpus.types.len()];
            for (&sentence, found) in out.iter().zip(found) {
                for (kind, counts) in counts.iter_mut().enumerate() {
                    let of_kind = |span: &Span| span.label == kind;
                    let gold = &self.corpus.sentences[sentence].spans;
                    let gold: Vec<Span> = gold.iter().copied().filter(of_kind).collect();
                    let found = found.iter().map(|entity| entity.span).filter(of_kind);
                    *counts += EntityCounts::compare(&gold, &found.collect::<Vec<_>>());
                }
            }
            anyhow::Ok(counts)
        })?;
        let mut sum = vec![EntityCounts::default(); self.corpus.types.len()];
        for fold in counts {
            for (sum, counts) in sum.iter_mut().zip(fold) {
                *sum += counts;
            }
        }
        Ok(CrossValidation::new(folds, &self.corpus.types, &sum))
    }

    fn adapt_to(&self, sentences: &[usize], source: &Source, device: &Device) -> Result<Adapted> {
        let inner = source.descent.inner_loop();
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
        let n_fixed = model.bert.first_adapting_layer(&inner.adapt);
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
                let centres = class_means(&hidden, &rows_by_label(&targets, &self.labels))?;
                let head = prototype_head(&centres, scale)?;
                for (name, value) in head_names(TokenClassifier::HEAD).into_iter().zip(head) {
                    prepared.start.insert(name, value);
                }
            }
            Ok(prepared)
        };
        let loss = |params: &Params<Value>| -> Result<Value> {
            let logits = model.head().forward(params, &hidden(params)?)?;
            Ok(cross_entropy(&logits, &targets)?)
        };
        let adapted = adapt(&start, prepare, loss, &inner).context("adapting failed")?;
        let after = loss(&adapted.fast.constants())?.to_f64()?;
        ensure!(
            after.is_finite(),
            "the loss after {} steps of {} is not finite; a smaller `--inner-lr` may help",
            inner.steps,
            inner.lr
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

impl CrossValidation {
    fn new(folds: usize, types: &[String], counts: &[EntityCounts]) -> Self {
        let mut all = EntityCounts::default();
        let mut scores = Vec::with_capacity(types.len());
        for (name, counts) in types.iter().zip(counts) {
            all += *counts;
            scores.push(TypeScore::new(name, counts));
        }
        let mean = |score: fn(&TypeScore) -> f64| {
            scores.iter().map(score).sum::<f64>() / scores.len() as f64
        };
        let macro_average = TypeScore {
            name: "macro avg".into(),
            precision: mean(|score| score.precision),
            recall: mean(|score| score.recall),
            f1: mean(|score| score.f1),
            support: all.n_gold,
        };
        Self {
            folds,
            types: scores,
            micro: TypeScore::new("micro avg", &all),
            macro_average,
        }
    }

    /// The scores as a table of text.
    pub(crate) fn table(&self) -> String {
        let rows = self.types.iter().chain([&self.micro, &self.macro_average]);
        let width = rows
            .clone()
            .map(|row| row.name.chars().count())
            .max()
            .unwrap_or(0);
        let mut table = format!("{:width$}  precision  recall  f1-score  support\n", "type");
        for (at, row) in rows.enumerate() {
            if at == self.types.len() {
                table.push('\n');
            }
            let TypeScore {
                name,
                precision,
                recall,
                f1,
                support,
            } = row;
            let [precision, recall, f1] = [precision, recall, f1].map(|share| share * 100.0);
            let row = format!(
                "{name:width$}  {precision:>9.2}  {recall:>6.2}  {f1:>8.2}  {support:>7}\n"
            );
            table.push_str(&row);
        }
        table
    }
}

impl TypeScore {
    fn new(name: &str, counts: &EntityCounts) -> Self {
        Self {
            name: name.to_owned(),
            precision: counts.precision(),
            recall: counts.recall(),
            f1: counts.f1(),
            support: counts.n_gold,
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_type_and_two_averages() {
        let counts = |n_correct, n_predicted, n_gold| EntityCounts {
            n_correct,
            n_predicted,
            n_gold,
        };
        let types = ["person".to_owned(), "place".to_owned()];
        let table = CrossValidation::new(10, &types, &[counts(3, 4, 6), counts(0, 0, 1)]).table();
        expect![[r"
            type       precision  recall  f1-score  support
            person         75.00   50.00     60.00        6
            place           0.00    0.00      0.00        1

            micro avg      75.00   42.86     54.55        7
            macro avg      37.50   25.00     30.00        7
        "]]
        .assert_eq(&table);
    }
}
