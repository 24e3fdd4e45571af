//! Precision, recall, F1 and support of each entity type, and their averages: the report of scikit-learn and `seqeval`.
//!
//! Not here: intervals.

use serde::{Deserialize, Serialize};

use super::EntityCounts;

/// How well entities were found, as shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct EntityScores {
    /// The share of predicted entities that are right; 0 if there are none.
    pub precision: f64,
    /// The share of gold entities that were found; 0 if there are none.
    pub recall: f64,
    /// The harmonic mean of the two; 0 if nothing is right.
    pub f1: f64,
    /// How many gold entities there are.
    pub support: usize,
}

impl From<EntityCounts> for EntityScores {
    fn from(counts: EntityCounts) -> Self {
        Self {
            precision: counts.precision(),
            recall: counts.recall(),
            f1: counts.f1(),
            support: counts.n_gold,
        }
    }
}

/// An entity type and how well its entities were found.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct TypeScores {
    /// The type.
    pub name: String,
    /// Its scores.
    #[serde(flatten)]
    pub scores: EntityScores,
}

/// How well entities were found, type by type.
///
/// ```
/// use metashot_meta::{EntityCounts, EntityReport};
///
/// let counts = |n_correct, n_predicted, n_gold| EntityCounts { n_correct, n_predicted, n_gold };
/// let report = EntityReport::new([("PER", counts(1, 1, 1)), ("MISC", counts(0, 1, 1))]);
/// assert_eq!(report.micro.f1, 0.5);
/// assert_eq!(
///     report.text(2),
///     "              precision    recall  f1-score   support
///
///         MISC       0.00      0.00      0.00         1
///          PER       1.00      1.00      1.00         1
///
///    micro avg       0.50      0.50      0.50         2
///    macro avg       0.50      0.50      0.50         2
/// weighted avg       0.50      0.50      0.50         2
/// "
/// );
/// ```
///
/// # Source
/// `seqeval` 1.2.2, `metrics/v1.py`, with `zero_division=0`: every figure has the same bits, and the text the same
/// letters. Where there is no type at all, on which `seqeval` fails or says `nan`, every average is 0.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct EntityReport {
    /// For each type, in the order of their names.
    pub types: Vec<TypeScores>,
    /// Of all entities together.
    pub micro: EntityScores,
    /// The mean over the types.
    #[serde(rename = "macro")]
    pub macro_average: EntityScores,
    /// The mean over the types by their number of gold entities.
    pub weighted: EntityScores,
}

impl EntityReport {
    /// The report of types, each of them once. A type that has no gold entity and no predicted one is left out, and
    /// takes no part in the averages.
    pub fn new<N: Into<String>>(counts: impl IntoIterator<Item = (N, EntityCounts)>) -> Self {
        let mut all = EntityCounts::default();
        let mut types = Vec::new();
        for (name, counts) in counts {
            if counts.n_gold + counts.n_predicted > 0 {
                all += counts;
                types.push(TypeScores {
                    name: name.into(),
                    scores: counts.into(),
                });
            }
        }
        types.sort_by(|a, b| a.name.cmp(&b.name));
        let average = |weight: fn(&EntityScores) -> f64| {
            let weights: Vec<f64> = types.iter().map(|kind| weight(&kind.scores)).collect();
            let mean = |score: fn(&EntityScores) -> f64| {
                let scores = types.iter().zip(&weights);
                let weighed = scores.map(|(kind, weight)| score(&kind.scores) * weight);
                let whole: f64 = weights.iter().sum();
                if whole == 0.0 {
                    0.0
                } else {
                    pairwise_sum(&weighed.collect::<Vec<_>>()) / whole
                }
            };
            EntityScores {
                precision: mean(|scores| scores.precision),
                recall: mean(|scores| scores.recall),
                f1: mean(|scores| scores.f1),
                support: all.n_gold,
            }
        };
        Self {
            micro: all.into(),
            macro_average: average(|_| 1.0),
            weighted: average(|scores| scores.support as f64),
            types,
        }
    }

    /// The report as text, its shares with as many `digits`.
    pub fn text(&self, digits: usize) -> String {
        const LAST: &str = "weighted avg";
        let names = self.types.iter().map(|kind| kind.name.as_str());
        let widths = names.chain([LAST]).map(|name| name.chars().count());
        let width = widths.fold(digits, usize::max);
        let header = format!(
            "{:width$}  {:>9} {:>9} {:>9} {:>9}\n\n",
            "", "precision", "recall", "f1-score", "support"
        );
        let row = |name: &str, scores: &EntityScores| {
            let EntityScores {
                precision,
                recall,
                f1,
                support,
            } = scores;
            format!(
                "{name:>width$}  {precision:>9.digits$} {recall:>9.digits$} {f1:>9.digits$} {support:>9}\n"
            )
        };
        let types = self.types.iter().map(|kind| row(&kind.name, &kind.scores));
        let averages = [
            ("micro avg", &self.micro),
            ("macro avg", &self.macro_average),
            (LAST, &self.weighted),
        ];
        let averages = averages.map(|(name, scores)| row(name, scores));
        [header]
            .into_iter()
            .chain(types)
            .chain(["\n".to_owned()])
            .chain(averages)
            .collect()
    }
}

/// The sum, added up in the order in which numpy adds, without which averages over eight types and more would differ
/// from its in the last digit.
fn pairwise_sum(values: &[f64]) -> f64 {
    const LANES: usize = 8;
    const BLOCK: usize = 128;
    if values.len() > BLOCK {
        let half = values.len() / 2;
        let (left, right) = values.split_at(half - half % LANES);
        return pairwise_sum(left) + pairwise_sum(right);
    }
    let (blocks, rest) = values.as_chunks::<LANES>();
    let mut sum = 0.0;
    if let Some((first, blocks)) = blocks.split_first() {
        let mut lanes = *first;
        for block in blocks {
            for (lane, value) in lanes.iter_mut().zip(block) {
                *lane += value;
            }
        }
        let [a, b, c, d, e, f, g, h] = lanes;
        sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    }
    for value in rest {
        sum += value;
    }
    sum
}
