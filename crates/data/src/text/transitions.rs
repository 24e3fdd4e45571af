//! How words inside and outside of entities follow one another, whatever the entity types, and the best labels by that.
//!
//! Deliberately not here: where the scores of the labels come from.

use crate::{Error, Result, text::Sentence};

/// The probabilities of steps between abstract labels: outside, inside, and inside an entity of another type. They are
/// learned on some types and hold for any others.
///
/// Labels are those of [`LabelScheme::Io`](crate::text::LabelScheme::Io): 0 for outside, `1 + i` for type `i`.
///
/// ```
/// use std::path::Path;
/// use metashot_data::text::{OrphanInside, Transitions, parse_bio};
///
/// let text = "Ada B-PER\nKing I-PER\nwrote O\n\nNew B-LOC\nYork I-LOC\nslept O\n";
/// let corpus = parse_bio(text, Path::new("example.txt"), OrphanInside::Reject)?;
/// let transitions = Transitions::estimate(&corpus.sentences);
/// // The second word alone says type 1 by a little; entities that change their type in between are rare.
/// let log_probs = [[0.1f32, 0.8, 0.1], [0.1, 0.42, 0.48], [0.8, 0.1, 0.1]].concat();
/// let log_probs: Vec<f32> = log_probs.iter().map(|p| p.ln()).collect();
/// assert_eq!(transitions.decode(&log_probs, 2, 1.0)?, [1, 1, 0]);
/// # Ok::<(), metashot_data::Error>(())
/// ```
///
/// # Source
/// Yang and Katiyar 2020, "Simple and effective few-shot named entity recognition with structured nearest neighbor
/// learning", section 3.2 (`StructShot`); abstract transitions after Hou et al. 2020, section 3.2. We add one to every
/// count, so that no step is impossible.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transitions {
    /// Of a first word: outside, inside.
    pub start: [f64; 2],
    /// Of a word after one outside: outside, inside.
    pub outside: [f64; 2],
    /// Of a word after one inside: outside, inside an entity of the same type, of another type.
    pub inside: [f64; 3],
}

impl Transitions {
    /// The shares of the steps in some sentences.
    pub fn estimate<'a>(sentences: impl IntoIterator<Item = &'a Sentence>) -> Self {
        let (mut start, mut outside, mut inside) = ([1.0; 2], [1.0; 2], [1.0; 3]);
        for sentence in sentences {
            let mut kinds = vec![None; sentence.words.len()];
            for span in &sentence.spans {
                kinds[span.start..span.end].fill(Some(span.label));
            }
            if let Some(first) = kinds.first() {
                start[usize::from(first.is_some())] += 1.0;
            }
            for pair in kinds.windows(2) {
                match (pair[0], pair[1]) {
                    (None, next) => outside[usize::from(next.is_some())] += 1.0,
                    (Some(_), None) => inside[0] += 1.0,
                    (Some(before), Some(next)) => {
                        inside[1 + usize::from(before != next)] += 1.0;
                    }
                }
            }
        }
        Self {
            start: shares(start),
            outside: shares(outside),
            inside: shares(inside),
        }
    }

    /// The labels of the most probable sequence, where the probability of every step is raised to the power `tau` and the
    /// steps from a label are made to add up to 1 again: 0 forgets the steps, 1 takes them as they are. What leads to any
    /// type is shared by the types.
    ///
    /// # Shapes
    /// - `log_probs`: `(words, 1 + n_types)`, row by row
    /// - result: one label a word
    ///
    /// # Source
    /// Yang and Katiyar 2020, equations 3 and 4.
    ///
    /// # Errors
    /// A `tau` that is negative or no number.
    ///
    /// # Panics
    /// When the number of log-probabilities is no multiple of the number of labels.
    pub fn decode(&self, log_probs: &[f32], n_types: usize, tau: f64) -> Result<Vec<usize>> {
        if !(tau.is_finite() && tau >= 0.0) {
            return Err(Error::setting("tau", "a number of 0 or more", &tau));
        }
        let n_labels = 1 + n_types;
        assert!(
            log_probs.len().is_multiple_of(n_labels),
            "a row of the matrix is not whole"
        );
        let mut rows = log_probs.chunks_exact(n_labels);
        let Some(first) = rows.next() else {
            return Ok(Vec::new());
        };
        let steps = self.steps(n_types, tau);
        let add = |(score, step): (&f32, &f64)| f64::from(*score) + step;
        let mut scores: Vec<f64> = first.iter().zip(&steps.start).map(add).collect();
        let mut came_from = Vec::with_capacity(log_probs.len());
        for row in rows {
            let next = row.iter().enumerate().map(|(label, &score)| {
                let (mut from, mut best) = (0, f64::NEG_INFINITY);
                for (before, &so_far) in scores.iter().enumerate() {
                    let score = so_far + steps.between(before, label);
                    if score > best {
                        (from, best) = (before, score);
                    }
                }
                came_from.push(from);
                best + f64::from(score)
            });
            scores = next.collect();
        }

        let mut label = 0;
        for other in 1..n_labels {
            if scores[other] > scores[label] {
                label = other;
            }
        }
        let mut labels = vec![label];
        for from in came_from.chunks_exact(n_labels).rev() {
            label = from[label];
            labels.push(label);
        }
        labels.reverse();
        Ok(labels)
    }

    /// The logarithms of the steps between the labels of `n_types` types.
    fn steps(&self, n_types: usize, tau: f64) -> Steps {
        // Each of `n` equal targets has an equal part of what leads to them; raising to a power comes after that.
        let logs = |targets: &[(f64, usize)]| -> Vec<f64> {
            let powers: Vec<f64> = targets
                .iter()
                .map(|&(share, n)| (share / n.max(1) as f64).powf(tau))
                .collect();
            let total: f64 = powers
                .iter()
                .zip(targets)
                .map(|(power, &(_, n))| power * n as f64)
                .sum();
            powers.iter().map(|power| (power / total).ln()).collect()
        };
        let spread = |[outside, inside]: [f64; 2]| {
            let logs = logs(&[(outside, 1), (inside, n_types)]);
            let mut row = vec![logs[1]; 1 + n_types];
            row[0] = logs[0];
            row
        };
        let [outside, same, other] = self.inside;
        Steps {
            start: spread(self.start),
            outside: spread(self.outside),
            inside: logs(&[(outside, 1), (same, 1), (other, n_types.saturating_sub(1))]),
        }
    }
}

/// Logarithms of the probabilities of steps.
struct Steps {
    start: Vec<f64>,
    outside: Vec<f64>,
    /// To outside, to the same type, to another.
    inside: Vec<f64>,
}

impl Steps {
    fn between(&self, before: usize, label: usize) -> f64 {
        match (before, label) {
            (0, label) => self.outside[label],
            (_, 0) => self.inside[0],
            (before, label) if before == label => self.inside[1],
            _ => self.inside[2],
        }
    }
}

fn shares<const N: usize>(counts: [f64; N]) -> [f64; N] {
    let total: f64 = counts.iter().sum();
    counts.map(|count| count / total)
}
