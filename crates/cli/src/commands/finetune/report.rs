//! How well a tagger does, type by type.
//!
//! Deliberately not here: tagging.

use metashot_data::text::{Corpus, Span};
use metashot_meta::{EntityCounts, bootstrap};
use serde::Serialize;

/// Bootstrap samples behind an interval.
const RESAMPLES: usize = 1000;

/// The counts of each sentence, type by type.
pub(super) fn counts(corpus: &Corpus, predicted: &[Vec<Span>]) -> Vec<Vec<EntityCounts>> {
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

pub(super) fn total(sentences: &[Vec<EntityCounts>]) -> EntityCounts {
    let mut sum = EntityCounts::default();
    sentences.iter().flatten().for_each(|counts| sum += *counts);
    sum
}

/// How well a tagger does, type by type.
#[derive(Serialize)]
pub(super) struct Report {
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
    pub(super) fn new(
        corpus: &Corpus,
        predicted: &[Vec<Span>],
        part: &'static str,
        seed: u64,
    ) -> Self {
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
            for counts in &sentences {
                sum += counts[label];
            }
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

    pub(super) fn table(&self) -> String {
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
