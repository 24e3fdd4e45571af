//! What one episode scores, and how the scores of many are summed up.
//!
//! Deliberately not here: how a learner came by its predictions, and how results are shown (`report`).

use std::collections::BTreeMap;

use metashot_data::text::{LabelScheme, Span};
use metashot_meta::{EntityCounts, EntityReport, Interval, bootstrap, mean_interval};
use serde::{Deserialize, Serialize};

/// The score of one episode.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// Entities found of each type, for named-entity recognition.
    Entities(BTreeMap<String, TypeCounts>),
    /// The share of the query set that is right, for pictures and sentences.
    Accuracy(f64),
}

/// The entities of a type, counted in two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct TypeCounts {
    /// As BIO has them.
    pub bio: EntityCounts,
    /// As IO has them: in the gold standard and in the predictions, neighbouring words of one type are one entity.
    ///
    /// # Source
    /// Ding et al. 2021, "Few-NERD: A few-shot named entity recognition dataset", whose evaluation reads all labels so.
    /// It goes on reading over the end of a sentence, and we do not.
    pub io: EntityCounts,
}

/// Which of the two readings.
pub(crate) type Reading = fn(&TypeCounts) -> EntityCounts;

/// Bootstrap samples behind an interval of micro F1.
pub(crate) const RESAMPLES: usize = 1000;

impl Score {
    /// No entities yet.
    pub fn entities() -> Self {
        Self::Entities(BTreeMap::new())
    }

    /// Adds the entities of a sentence, whose labels count `types`.
    pub fn add_entities(&mut self, types: &[String], gold: &[Span], predicted: &[Span]) {
        let Self::Entities(counts) = self else {
            return;
        };
        for (label, more) in EntityCounts::by_type(gold, predicted, |span| span.label) {
            counts.entry(types[label].clone()).or_default().bio += more;
        }
        let [gold, predicted] = [gold, predicted].map(joined);
        for (label, more) in EntityCounts::by_type(&gold, &predicted, |span| span.label) {
            counts.entry(types[label].clone()).or_default().io += more;
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

/// Neighbours of one type as one entity, which is what labels without beginnings would make of them.
fn joined(spans: &[Span]) -> Vec<Span> {
    let n_words = spans.iter().map(|span| span.end).max().unwrap_or(0);
    LabelScheme::Io.decode(&LabelScheme::Io.encode(spans, n_words))
}

/// What each episode comes to, small enough to draw many samples of episodes.
#[derive(Clone, Debug)]
pub(crate) enum Totals {
    /// The entities of all types together.
    Entities(Vec<EntityCounts>),
    /// The shares that are right.
    Shares(Vec<f64>),
}

impl Totals {
    /// Of entities as they are.
    pub(crate) fn new(scores: &[Score]) -> Self {
        Self::reading(scores, |counts| counts.bio)
    }

    /// Of entities in one of their readings.
    pub(crate) fn reading(scores: &[Score], reading: Reading) -> Self {
        let share = |score: &Score| match score {
            Score::Accuracy(share) => Some(*share),
            Score::Entities(_) => None,
        };
        let counts = |score: &Score| match score {
            Score::Entities(counts) => counts.values().map(reading).sum(),
            Score::Accuracy(_) => EntityCounts::default(),
        };
        match scores.iter().map(share).collect() {
            Some(shares) => Self::Shares(shares),
            None => Self::Entities(scores.iter().map(counts).collect()),
        }
    }

    /// How many episodes there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Entities(counts) => counts.len(),
            Self::Shares(shares) => shares.len(),
        }
    }

    /// What some of the episodes come to in one number: the micro F1 of their entities, or the mean of their shares.
    pub(crate) fn overall(&self, episodes: &[usize]) -> f64 {
        match self {
            Self::Entities(counts) => {
                let drawn = episodes.iter().map(|&episode| counts[episode]);
                drawn.sum::<EntityCounts>().f1()
            }
            Self::Shares(shares) => {
                let drawn = episodes.iter().map(|&episode| shares[episode]);
                drawn.sum::<f64>() / episodes.len() as f64
            }
        }
    }

    /// The same of all of them.
    pub(crate) fn overall_of_all(&self) -> f64 {
        self.overall(&self.all())
    }

    /// The same with its interval: by the bootstrap over episodes for entities, by Student's t for shares.
    pub(crate) fn interval(&self, seed: u64) -> Interval {
        match self {
            Self::Shares(shares) => mean_interval(shares),
            Self::Entities(_) => {
                bootstrap(&self.all(), RESAMPLES, seed, |drawn| self.overall(drawn))
            }
        }
    }

    /// By how much these are better than others, on the same episodes. What episodes have in common is taken away by
    /// looking at pairs: the bootstrap draws pairs, and the mean is one of differences.
    pub(crate) fn difference(&self, other: &Self, seed: u64) -> Interval {
        match (self, other) {
            (Self::Shares(ours), Self::Shares(theirs)) => {
                let pairs = ours.iter().zip(theirs);
                mean_interval(&pairs.map(|(a, b)| a - b).collect::<Vec<_>>())
            }
            _ => bootstrap(&self.all(), RESAMPLES, seed, |drawn| {
                self.overall(drawn) - other.overall(drawn)
            }),
        }
    }

    fn all(&self) -> Vec<usize> {
        (0..self.len()).collect()
    }
}

/// The mean over episodes of each one's F1.
pub(crate) fn mean_f1(scores: &[Score]) -> Interval {
    let totals = Totals::new(scores);
    let each = (0..totals.len()).map(|episode| totals.overall(&[episode]));
    mean_interval(&each.collect::<Vec<_>>())
}

/// The report over the entities of all episodes, in one reading.
pub(crate) fn report(scores: &[Score], reading: Reading) -> EntityReport {
    let mut sum: BTreeMap<&str, EntityCounts> = BTreeMap::new();
    for score in scores {
        if let Score::Entities(counts) = score {
            for (name, counts) in counts {
                *sum.entry(name).or_default() += reading(counts);
            }
        }
    }
    EntityReport::new(sum)
}

/// How well the entities of sentences were found, from those of each and those predicted, whose labels count `types`.
pub(crate) fn entity_report<'a>(
    types: &[String],
    sentences: impl IntoIterator<Item = (&'a [Span], &'a [Span])>,
) -> EntityReport {
    let mut score = Score::entities();
    for (gold, predicted) in sentences {
        score.add_entities(types, gold, predicted);
    }
    report(&[score], |counts| counts.bio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(label: usize, start: usize, end: usize) -> Span {
        Span { label, start, end }
    }

    fn counts(n_correct: usize, n_predicted: usize, n_gold: usize) -> EntityCounts {
        EntityCounts {
            n_correct,
            n_predicted,
            n_gold,
        }
    }

    #[test]
    fn neighbours_of_one_type_are_one_entity_in_io_only() {
        let types = ["PER", "LOC"].map(String::from);
        let mut score = Score::entities();
        // Two people side by side, found as one; a place cut in two.
        score.add_entities(
            &types,
            &[span(0, 0, 1), span(0, 1, 3), span(1, 4, 6)],
            &[span(0, 0, 3), span(1, 4, 5), span(1, 5, 6)],
        );
        // The same words of two types do not join.
        score.add_entities(
            &types,
            &[span(0, 0, 1), span(1, 1, 2)],
            &[span(0, 0, 1), span(1, 1, 2)],
        );
        let Score::Entities(found) = &score else {
            unreachable!("it was made for entities")
        };
        let found: Vec<_> = found
            .iter()
            .map(|(name, counts)| (&name[..], counts.bio, counts.io))
            .collect();
        assert_eq!(
            found,
            [
                ("LOC", counts(1, 3, 2), counts(2, 2, 2)),
                ("PER", counts(1, 2, 3), counts(2, 2, 2)),
            ]
        );
    }

    fn entities(n_correct: usize, n_predicted: usize, n_gold: usize) -> Score {
        let bio = counts(n_correct, n_predicted, n_gold);
        let counts = TypeCounts { bio, io: bio };
        Score::Entities([("x".to_owned(), counts)].into())
    }

    #[test]
    fn micro_f1_counts_entities_and_the_mean_counts_episodes() {
        let scores = [entities(1, 1, 1), entities(0, 9, 9)];
        let totals = Totals::new(&scores);
        assert!((totals.overall_of_all() - 0.1).abs() < 1e-12);
        assert!((totals.interval(1).value - 0.1).abs() < 1e-12);
        assert!((mean_f1(&scores).value - 0.5).abs() < 1e-12);
        let accuracies = [Score::Accuracy(0.5), Score::Accuracy(1.0)];
        assert!((Totals::new(&accuracies).overall_of_all() - 0.75).abs() < 1e-12);
    }

    #[test]
    fn a_difference_is_that_of_the_same_episodes() {
        // Episodes differ by far more than the two learners do in any of them.
        let scores = |shift: usize| {
            let score = |at: usize| entities(at % 8 + shift, 10, 10);
            Totals::new(&(0..50).map(score).collect::<Vec<_>>())
        };
        let (first, second) = (scores(2), scores(1));
        let apart = first.difference(&second, 3);
        assert!((apart.value - 0.1).abs() < 1e-12 && apart.half_width() < 1e-9);
        assert!(first.interval(3).half_width() > 0.03);
        let shares = |shift: f64| {
            let share = |at: u8| Score::Accuracy(f64::from(at % 8) / 10.0 + shift);
            Totals::new(&(0..50).map(share).collect::<Vec<_>>())
        };
        let apart = shares(0.2).difference(&shares(0.1), 3);
        assert!((apart.value - 0.1).abs() < 1e-12 && apart.half_width() < 1e-9);
    }
}
