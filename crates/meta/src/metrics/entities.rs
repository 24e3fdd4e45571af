//! Entity-level precision, recall and F1.
//!
//! Not here: decoding labels into entities, and averages over types (`report`).

use std::{collections::BTreeMap, iter::Sum, ops::AddAssign};

use serde::{Deserialize, Serialize};

/// Counts of entities: an entity is right when its type, its first and its last word all are. In a file they are a list
/// of three numbers.
///
/// ```
/// use metashot_meta::EntityCounts;
///
/// // Entities as (type, start, end).
/// let counts = EntityCounts::compare(&[(0, 1, 3), (1, 5, 6)], &[(0, 1, 3), (0, 5, 6)]);
/// assert_eq!(counts.f1(), 0.5);
/// ```
///
/// # Source
/// Tjong Kim Sang and De Meulder 2003, "Introduction to the CoNLL-2003 shared task", section 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "[usize; 3]", into = "[usize; 3]")]
pub struct EntityCounts {
    /// Entities predicted that are in the gold standard.
    pub n_correct: usize,
    /// Entities predicted.
    pub n_predicted: usize,
    /// Entities in the gold standard.
    pub n_gold: usize,
}

impl EntityCounts {
    /// The counts of one sentence. No entity stands twice in either list.
    pub fn compare<T: PartialEq>(gold: &[T], predicted: &[T]) -> Self {
        Self {
            n_correct: predicted
                .iter()
                .filter(|entity| gold.contains(entity))
                .count(),
            n_predicted: predicted.len(),
            n_gold: gold.len(),
        }
    }

    /// The counts of each type. No entity stands twice in either list.
    ///
    /// ```
    /// use metashot_meta::EntityCounts;
    ///
    /// let gold = [("PER", 1, 3), ("LOC", 5, 6)];
    /// let counts = EntityCounts::by_type(&gold, &[("PER", 1, 3), ("PER", 5, 6)], |entity| entity.0);
    /// assert_eq!(counts["PER"].precision(), 0.5);
    /// assert_eq!(counts["LOC"].recall(), 0.0);
    /// ```
    pub fn by_type<T: Ord, K: Ord>(
        gold: &[T],
        predicted: &[T],
        type_of: impl Fn(&T) -> K,
    ) -> BTreeMap<K, Self> {
        let mut counts: BTreeMap<K, Self> = BTreeMap::new();
        let mut sorted: Vec<&T> = gold.iter().collect();
        sorted.sort_unstable();
        for entity in gold {
            counts.entry(type_of(entity)).or_default().n_gold += 1;
        }
        for entity in predicted {
            let counts = counts.entry(type_of(entity)).or_default();
            counts.n_predicted += 1;
            counts.n_correct += usize::from(sorted.binary_search(&entity).is_ok());
        }
        counts
    }

    /// The share of predicted entities that are right; 0 if there are none.
    pub fn precision(&self) -> f64 {
        ratio(self.n_correct, self.n_predicted)
    }

    /// The share of gold entities that were found; 0 if there are none.
    pub fn recall(&self) -> f64 {
        ratio(self.n_correct, self.n_gold)
    }

    /// The harmonic mean of precision and recall; 0 if nothing is right.
    pub fn f1(&self) -> f64 {
        // Counts would do, but scikit-learn and `seqeval` go by way of the two shares, to other last digits.
        let (precision, recall) = (self.precision(), self.recall());
        if precision + recall == 0.0 {
            0.0
        } else {
            2.0 * precision * recall / (precision + recall)
        }
    }
}

impl From<[usize; 3]> for EntityCounts {
    fn from([n_correct, n_predicted, n_gold]: [usize; 3]) -> Self {
        Self {
            n_correct,
            n_predicted,
            n_gold,
        }
    }
}

impl From<EntityCounts> for [usize; 3] {
    fn from(counts: EntityCounts) -> Self {
        [counts.n_correct, counts.n_predicted, counts.n_gold]
    }
}

impl AddAssign for EntityCounts {
    fn add_assign(&mut self, other: Self) {
        self.n_correct += other.n_correct;
        self.n_predicted += other.n_predicted;
        self.n_gold += other.n_gold;
    }
}

impl Sum for EntityCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |mut sum, counts| {
            sum += counts;
            sum
        })
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}
