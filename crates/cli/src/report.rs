//! The table at the end: every learner on the same test episodes, each with its interval and what it lacks of the best.
//!
//! Deliberately not here: running the learners.

use metashot_data::ContentHash;
use metashot_meta::{EntityReport, Interval};
use serde::{Deserialize, Serialize};

use crate::score::{Score, Totals, mean_f1, report};

/// A figure with its 95 % interval, between 0 and 1.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Figure {
    /// The figure.
    pub value: f64,
    /// The lower end of its interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl From<Interval> for Figure {
    fn from(Interval { value, low, high }: Interval) -> Self {
        Self { value, low, high }
    }
}

impl Figure {
    /// Its value in hundredths.
    pub(crate) fn shown(&self) -> String {
        format!("{:.2}", 100.0 * self.value)
    }

    /// Its interval in hundredths.
    pub(crate) fn interval(&self) -> String {
        format!("[{:.2}, {:.2}]", 100.0 * self.low, 100.0 * self.high)
    }
}

/// One learner's result.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// What the learner is.
    pub learner: String,
    /// What was chosen for it on the validation classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// The micro F1 of entities, or the mean accuracy.
    #[serde(flatten)]
    pub figure: Figure,
    /// What else there is to say where entities were found.
    #[serde(flatten)]
    pub entities: Option<Entities>,
    /// The best learner, and by how much this one is better or worse on the same episodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// The scores of the episodes, which have a file of their own.
    #[serde(skip)]
    pub scores: Vec<Score>,
}

/// Figures of entities beside the micro F1 that counts them as they are.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entities {
    /// The micro F1 in the reading of Few-NERD, by which neighbours of one type are one entity.
    pub io: Figure,
    /// The mean over episodes of each one's F1.
    pub mean: Figure,
    /// Type by type.
    pub report: EntityReport,
    /// Type by type, in the reading of Few-NERD.
    pub io_report: EntityReport,
}

/// A paired difference.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Difference {
    /// The learner that is taken away.
    pub minus: String,
    /// The difference.
    #[serde(flatten)]
    pub figure: Figure,
}

impl Row {
    /// A row of the table, by the scores of a learner's episodes.
    pub(crate) fn new(learner: &str, setting: Option<&str>, scores: Vec<Score>, seed: u64) -> Self {
        let has_entities = matches!(scores.first(), Some(Score::Entities(_)));
        Self {
            learner: learner.to_owned(),
            setting: setting.map(str::to_owned),
            figure: Totals::new(&scores).interval(seed).into(),
            entities: has_entities.then(|| Entities {
                io: Totals::reading(&scores, |counts| counts.io)
                    .interval(seed)
                    .into(),
                mean: mean_f1(&scores).into(),
                report: report(&scores, |counts| counts.bio),
                io_report: report(&scores, |counts| counts.io),
            }),
            difference: None,
            scores,
        }
    }

    /// The learner with its setting.
    pub(crate) fn name(&self) -> String {
        named(&self.learner, self.setting.as_deref())
    }
}

/// A learner with what was chosen for it.
pub(crate) fn named(learner: &str, setting: Option<&str>) -> String {
    match setting {
        Some(setting) => format!("{learner}, {setting}"),
        None => learner.to_owned(),
    }
}

/// What was measured, as it is read back from the results of a run.
#[derive(Debug, Deserialize)]
pub(crate) struct Measured {
    /// The name of the figure.
    pub metric: String,
    /// The shape of the episodes.
    pub episodes: String,
    /// How many there were.
    pub n_episodes: usize,
    /// The hash of their content, where they have one.
    #[serde(default)]
    pub episodes_hash: Option<ContentHash>,
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
    /// The same with the difference of each learner to the best one, the first of equals.
    pub(crate) fn with_differences(mut self) -> Self {
        let best = self.rows.iter().enumerate().reduce(|best, other| {
            if other.1.figure.value > best.1.figure.value {
                other
            } else {
                best
            }
        });
        let Some((best, row)) = best else {
            return self;
        };
        let (name, totals) = (row.name(), Totals::new(&row.scores));
        for (at, row) in self.rows.iter_mut().enumerate() {
            row.difference = (at != best).then(|| Difference {
                minus: name.clone(),
                figure: Totals::new(&row.scores)
                    .difference(&totals, self.seed)
                    .into(),
            });
        }
        self
    }

    /// The results as tables of text: the learners, and their differences to the best.
    pub(crate) fn table(&self) -> String {
        let hash = self.episodes_hash;
        let hash = hash.map_or_else(String::new, |hash| format!(", episodes {}", hash.short()));
        let title = format!(
            "{}, {} test episodes of classes never seen in training (seed {}{hash})\n\n",
            self.episodes, self.n_episodes, self.seed
        );
        let names = || self.rows.iter().map(Row::name);
        let figures = |figure: fn(&Row) -> Option<&Figure>| -> (Vec<String>, Vec<String>) {
            let figures = self.rows.iter().filter_map(figure);
            figures.map(|f| (f.shown(), f.interval())).unzip()
        };
        let (values, intervals) = figures(|row| Some(&row.figure));
        let mut columns = vec![
            Column::left("learner", names().collect()),
            Column::right(self.metric, values),
            Column::left(INTERVAL, intervals),
        ];
        let (io, _) = figures(|row| Some(&row.entities.as_ref()?.io));
        if !io.is_empty() {
            let (mean, intervals) = figures(|row| Some(&row.entities.as_ref()?.mean));
            columns.push(Column::right("IO F1", io));
            columns.push(Column::right("mean F1", mean));
            columns.push(Column::left(INTERVAL, intervals));
        }
        let mut text = title + &table(&columns);
        let apart = self.rows.iter().filter(|row| row.difference.is_some());
        let best = self.rows.iter().find(|row| row.difference.is_none());
        if let (Some(best), true) = (best, self.rows.len() > 1) {
            let (values, intervals) = figures(|row| Some(&row.difference.as_ref()?.figure));
            text.push('\n');
            text += &table(&[
                Column::left(
                    &format!("minus `{}`", best.name()),
                    apart.map(Row::name).collect(),
                ),
                Column::right(self.metric, values),
                Column::left(INTERVAL, intervals),
            ]);
        }
        text
    }
}

pub(crate) const INTERVAL: &str = "95 % interval";

/// A column of a table of text.
pub(crate) struct Column {
    title: String,
    cells: Vec<String>,
    is_number: bool,
}

impl Column {
    /// Text, flush left.
    pub(crate) fn left(title: &str, cells: Vec<String>) -> Self {
        Self {
            title: title.to_owned(),
            cells,
            is_number: false,
        }
    }

    /// Numbers, flush right.
    pub(crate) fn right(title: &str, cells: Vec<String>) -> Self {
        Self {
            is_number: true,
            ..Self::left(title, cells)
        }
    }
}

/// Columns as lines of text.
pub(crate) fn table(columns: &[Column]) -> String {
    let n_rows = columns.iter().map(|column| column.cells.len()).max();
    let padded: Vec<Vec<String>> = columns
        .iter()
        .map(|column| {
            let cells = || [&column.title].into_iter().chain(&column.cells);
            let width = cells().map(|cell| cell.chars().count()).max().unwrap_or(0);
            cells()
                .map(|cell| {
                    if column.is_number {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:width$}")
                    }
                })
                .collect()
        })
        .collect();
    (0..=n_rows.unwrap_or(0))
        .map(|row| {
            let cells: Vec<&str> = padded.iter().map(|column| column[row].as_str()).collect();
            cells.join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use metashot_meta::EntityCounts;

    use super::*;
    use crate::score::TypeCounts;

    fn results(metric: &'static str, rows: Vec<Row>) -> Results {
        Results {
            metric,
            episodes: "5-way 1~2-shot".into(),
            episodes_hash: Some(ContentHash::of(b"abc")),
            n_episodes: 200,
            seed: 7,
            version: "0.1.0",
            threads: 2,
            train_minutes: Some(1.5),
            rows,
        }
        .with_differences()
    }

    #[test]
    fn the_table_names_what_was_measured() {
        let row = |name: &str, shift: f64| {
            let score = |at: u8| Score::Accuracy(f64::from(at % 4) / 8.0 + shift);
            Row::new(name, None, (0..200).map(score).collect(), 7)
        };
        expect![[r"
            5-way 1~2-shot, 200 test episodes of classes never seen in training (seed 7, episodes ba7816bf8f01)

            learner       accuracy  95 % interval
            meta-learned     68.75  [66.80, 70.70]
            none             23.75  [21.80, 25.70]

            minus `meta-learned`  accuracy  95 % interval
            none                    -45.00  [-45.00, -45.00]
        "]]
        .assert_eq(&results("accuracy", vec![row("meta-learned", 0.5), row("none", 0.05)]).table());
    }

    #[test]
    fn entities_are_counted_in_two_readings_and_by_episode() {
        let row = |name: &str, setting, right: usize| {
            let score = |at: usize| {
                let counts = |n_correct, n_predicted| EntityCounts {
                    n_correct,
                    n_predicted,
                    n_gold: 10,
                };
                let counts = TypeCounts {
                    bio: counts(right + at % 4, 10),
                    io: counts(right + 1 + at % 4, 10),
                };
                Score::Entities([("person".to_owned(), counts)].into())
            };
            Row::new(name, setting, (0..200).map(score).collect(), 7)
        };
        let rows = vec![
            row("fine-tuning", Some("20 steps of 0.1"), 1),
            row("meta-learned", None, 5),
        ];
        let results = results("micro F1", rows);
        expect![[r"
            5-way 1~2-shot, 200 test episodes of classes never seen in training (seed 7, episodes ba7816bf8f01)

            learner                       micro F1  95 % interval   IO F1  mean F1  95 % interval
            fine-tuning, 20 steps of 0.1     25.00  [23.45, 26.65]  35.00    25.00  [23.44, 26.56]
            meta-learned                     65.00  [63.45, 66.65]  75.00    65.00  [63.44, 66.56]

            minus `meta-learned`          micro F1  95 % interval
            fine-tuning, 20 steps of 0.1    -40.00  [-40.00, -40.00]
        "]]
        .assert_eq(&results.table());
        let json = serde_json::to_value(&results).unwrap();
        assert_eq!(json["rows"][0]["setting"], "20 steps of 0.1");
        assert_eq!(json["rows"][0]["difference"]["minus"], "meta-learned");
        assert_eq!(json["rows"][1]["report"]["types"][0]["support"], 2000);
        assert!(json["rows"][1]["io"]["value"].as_f64() > json["rows"][1]["value"].as_f64());
    }
}
