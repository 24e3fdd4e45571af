//! What one episode scores, and how the scores of many are summed up.
//!
//! Deliberately not here: how a learner came by its predictions.

use std::collections::BTreeMap;

use metashot_data::text::Span;
use metashot_meta::{EntityCounts, EntityReport, Interval, bootstrap, mean_interval};

/// The score of one episode.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Score {
    /// Entities found, for named-entity recognition.
    Entities(EntityCounts),
    /// The share of the query set that is right, for pictures.
    Accuracy(f64),
}

/// Bootstrap samples behind an interval of micro F1.
const RESAMPLES: usize = 1000;

impl Score {
    /// No entities yet.
    pub fn entities() -> Self {
        Self::Entities(EntityCounts::default())
    }

    /// Adds the entities of a sentence.
    pub fn add_entities(&mut self, gold: &[Span], predicted: &[Span]) {
        if let Self::Entities(counts) = self {
            *counts += EntityCounts::compare(gold, predicted);
        }
    }

    /// The share of predictions that equal their label.
    pub fn accuracy(predicted: &[u32], labels: &[i64]) -> Self {
        let right = predicted
            .iter()
            .zip(labels)
            .filter(|(p, l)| i64::from(**p) == **l)
            .count();
        Self::Accuracy(right as f64 / labels.len() as f64)
    }
}

/// Entities: micro F1 over all episodes, its interval by the bootstrap over episodes. Pictures: the mean accuracy,
/// with the interval of Student's t.
pub(crate) fn summarize(scores: &[Score], seed: u64) -> Interval {
    let accuracies: Vec<f64> = scores
        .iter()
        .filter_map(|score| {
            if let Score::Accuracy(a) = score {
                Some(*a)
            } else {
                None
            }
        })
        .collect();
    if accuracies.len() == scores.len() {
        return mean_interval(&accuracies);
    }
    bootstrap(scores, RESAMPLES, seed, |sample| {
        let mut counts = EntityCounts::default();
        for score in sample {
            if let Score::Entities(episode) = score {
                counts += *episode;
            }
        }
        counts.f1()
    })
}

/// How well the entities of sentences were found, from those of each and those predicted, whose labels count `types`.
pub(crate) fn entity_report<'a>(
    types: &[String],
    sentences: impl IntoIterator<Item = (&'a [Span], &'a [Span])>,
) -> EntityReport {
    let mut sum: BTreeMap<usize, EntityCounts> = BTreeMap::new();
    for (gold, predicted) in sentences {
        for (label, counts) in EntityCounts::by_type(gold, predicted, |span| span.label) {
            *sum.entry(label).or_default() += counts;
        }
    }
    let named = |(label, counts): (usize, EntityCounts)| (types[label].as_str(), counts);
    EntityReport::new(sum.into_iter().map(named))
}
