//! The best labels of a sentence among those that spell whole entities.
//!
//! Deliberately not here: transition scores; a step from label to label is allowed or it is not.

use crate::text::{LabelSet, Role};

impl LabelSet {
    /// The labels with the largest sum of log-probabilities among all sequences in which every word that continues an
    /// entity has one to continue.
    ///
    /// # Shapes
    /// - `log_probs`: `(words, labels)`, row by row
    /// - result: one label a word
    ///
    /// # Source
    /// Viterbi 1967, "Error bounds for convolutional codes", with transition scores 0 and minus infinity. Only labels
    /// that cannot open an entity look at what came before, so it takes time in proportion to words times labels.
    ///
    /// # Panics
    /// When the number of log-probabilities is no multiple of the number of labels.
    pub fn decode(&self, log_probs: &[f32]) -> Vec<usize> {
        let n_labels = self.roles.len();
        assert!(
            log_probs.len().is_multiple_of(n_labels),
            "a row of the matrix is not whole"
        );
        // The labels that each label must follow, if not just any.
        let feeders: Vec<Option<Vec<usize>>> = (0..n_labels)
            .map(|label| {
                let follows = |&before: &usize| self.continues(before, label);
                (!self.may_start(label)).then(|| (0..n_labels).filter(follows).collect())
            })
            .collect();
        let mut rows = log_probs.chunks_exact(n_labels);
        let Some(first) = rows.next() else {
            return Vec::new();
        };
        let mut scores: Vec<f32> = first
            .iter()
            .zip(&feeders)
            .map(|(&score, feeders)| match feeders {
                None => score,
                Some(_) => f32::NEG_INFINITY,
            })
            .collect();
        let mut came_from: Vec<usize> = Vec::with_capacity(log_probs.len());
        for row in rows {
            let any = best(&scores, 0..n_labels);
            let next = row.iter().zip(&feeders).map(|(&score, feeders)| {
                let from = match feeders {
                    None => any,
                    Some(feeders) => best(&scores, feeders.iter().copied()),
                };
                // A label that nothing leads to is as good as impossible.
                let before = from.map_or(f32::NEG_INFINITY, |from| scores[from]);
                came_from.push(from.unwrap_or(0));
                before + score
            });
            scores = next.collect();
        }

        let n_words = log_probs.len() / n_labels;
        let mut labels = vec![0; n_words];
        let mut label = best(&scores, 0..n_labels).unwrap_or(0);
        for word in (0..n_words).rev() {
            labels[word] = label;
            if word > 0 {
                label = came_from[(word - 1) * n_labels + label];
            }
        }
        labels
    }
}

impl LabelSet {
    /// Log-probabilities of labels as those of classes: outside, then each type with all of its labels together.
    ///
    /// ```
    /// use metashot_data::text::{LabelScheme, LabelSet};
    ///
    /// let labels = LabelSet::new(LabelScheme::Bio, &["PER".to_owned()]);
    /// let classes = labels.sum_by_class(&[0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()]);
    /// assert!(classes.iter().all(|p| (p.exp() - 0.5).abs() < 1e-6));
    /// ```
    ///
    /// # Shapes
    /// - `log_probs`: `(words, labels)`, row by row
    /// - result: `(words, 1 + types)`, row by row
    ///
    /// # Panics
    /// When the number of log-probabilities is no multiple of the number of labels.
    pub fn sum_by_class(&self, log_probs: &[f32]) -> Vec<f32> {
        let n_labels = self.roles.len();
        assert!(
            log_probs.len().is_multiple_of(n_labels),
            "a row of the matrix is not whole"
        );
        let class = |role: &Role| role.kind().map_or(0, |kind| kind + 1);
        let mut sums = Vec::with_capacity(log_probs.len() / n_labels * (1 + self.types.len()));
        for row in log_probs.chunks_exact(n_labels) {
            // Sums of exponentials from the largest down, so that none is lost to rounding.
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let mut shares = vec![0f64; 1 + self.types.len()];
            for (role, &log_prob) in self.roles.iter().zip(row) {
                shares[class(role)] += f64::from(log_prob - largest).exp();
            }
            sums.extend(shares.iter().map(|share| share.ln() as f32 + largest));
        }
        sums
    }
}

/// The candidate with the highest score, the first of equals.
fn best(scores: &[f32], candidates: impl Iterator<Item = usize>) -> Option<usize> {
    candidates.reduce(|best, other| {
        if scores[other] > scores[best] {
            other
        } else {
            best
        }
    })
}
