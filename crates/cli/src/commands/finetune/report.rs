//! How well a tagger does, type by type.
//!
//! Deliberately not here: tagging.

use metashot_data::text::{Corpus, Span};
use metashot_meta::{EntityCounts, EntityReport, bootstrap};
use serde::Serialize;

use crate::score::entity_report;

/// Bootstrap samples behind an interval.
const RESAMPLES: usize = 1000;

/// The counts of each sentence.
pub(super) fn counts(corpus: &Corpus, predicted: &[Vec<Span>]) -> Vec<EntityCounts> {
    let pairs = corpus.sentences.iter().zip(predicted);
    pairs
        .map(|(sentence, predicted)| EntityCounts::compare(&sentence.spans, predicted))
        .collect()
}

pub(super) fn total(sentences: &[EntityCounts]) -> EntityCounts {
    sentences.iter().copied().sum()
}

/// How well a tagger does, type by type.
#[derive(Serialize)]
pub(super) struct Report {
    part: &'static str,
    n_sentences: usize,
    #[serde(flatten)]
    entities: EntityReport,
    /// The 95 % interval of the micro F1, by the bootstrap over sentences.
    interval: [f64; 2],
    seed: u64,
    version: &'static str,
}

impl Report {
    pub(super) fn new(
        corpus: &Corpus,
        predicted: &[Vec<Span>],
        part: &'static str,
        seed: u64,
    ) -> Self {
        let pairs = corpus.sentences.iter().zip(predicted);
        let spans = pairs.map(|(sentence, predicted)| (&sentence.spans[..], &predicted[..]));
        let sentences = counts(corpus, predicted);
        let interval = bootstrap(&sentences, RESAMPLES, seed, |sample| total(sample).f1());
        Self {
            part,
            n_sentences: sentences.len(),
            entities: entity_report(&corpus.types, spans),
            interval: [interval.low, interval.high],
            seed,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    pub(super) fn table(&self) -> String {
        let [low, high] = self.interval.map(|share| share * 100.0);
        format!(
            "{} {} sentences (seed {})\n\n{}\nmicro F1 {:.2} [{low:.2}, {high:.2}]\n",
            self.n_sentences,
            self.part,
            self.seed,
            self.entities.text(4),
            100.0 * self.entities.micro.f1
        )
    }
}
