//! The table at the end: every learner on the same test episodes, each with its interval.
//!
//! Deliberately not here: running the learners.

use metashot_data::ContentHash;
use metashot_meta::Interval;
use serde::Serialize;

/// One learner's result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What the learner is.
    pub learner: String,
    /// The score, between 0 and 1.
    pub value: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Row {
    /// A row of the table.
    pub(crate) fn new(learner: impl Into<String>, interval: Interval) -> Self {
        let Interval { value, low, high } = interval;
        Self {
            learner: learner.into(),
            value,
            low,
            high,
        }
    }
}

/// The results of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    /// What was measured.
    pub metric: &'static str,
    /// The shape of the episodes.
    pub episodes: String,
    /// The hash of their content, where they have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub episodes_hash: Option<ContentHash>,
    /// How many there were.
    pub n_episodes: usize,
    /// The seed of weights and episodes.
    pub seed: u64,
    /// The version of this program.
    pub version: &'static str,
    /// Tasks that ran side by side; it does not change a result.
    pub threads: usize,
    /// Minutes of training, those before a resume left out; none where there was no training.
    pub train_minutes: Option<f64>,
    /// The learners.
    pub rows: Vec<Row>,
}

impl Results {
    /// The results as a table of text.
    pub(crate) fn table(&self) -> String {
        let width = self
            .rows
            .iter()
            .map(|row| row.learner.chars().count())
            .max()
            .unwrap_or(0);
        let hash = self.episodes_hash;
        let hash = hash.map_or_else(String::new, |hash| format!(", episodes {}", hash.short()));
        let title = format!(
            "{}, {} test episodes of classes never seen in training (seed {}{hash})\n\n",
            self.episodes, self.n_episodes, self.seed
        );
        let header = format!("{:width$}  {:>8}  95 % interval\n", "learner", self.metric);
        let row = |row: &Row| {
            let Row {
                learner,
                value,
                low,
                high,
            } = row;
            let [value, low, high] = [value, low, high].map(|share| share * 100.0);
            format!("{learner:width$}  {value:>8.2}  [{low:.2}, {high:.2}]\n")
        };
        [title, header]
            .into_iter()
            .chain(self.rows.iter().map(row))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_table_names_what_was_measured() {
        let row = |name: &str, value| {
            Row::new(
                name,
                Interval {
                    value,
                    low: value - 0.01,
                    high: value + 0.01,
                },
            )
        };
        let results = Results {
            metric: "micro F1",
            episodes: "5-way 1~2-shot".into(),
            episodes_hash: Some(ContentHash::of(b"abc")),
            n_episodes: 200,
            seed: 7,
            version: "0.1.0",
            threads: 2,
            train_minutes: Some(1.5),
            rows: vec![row("meta-learned", 0.8125), row("none", 0.05)],
        };
        expect![[r"
            5-way 1~2-shot, 200 test episodes of classes never seen in training (seed 7, episodes ba7816bf8f01)

            learner       micro F1  95 % interval
            meta-learned     81.25  [80.25, 82.25]
            none              5.00  [4.00, 6.00]
        "]]
        .assert_eq(&results.table());
    }
}
