//! `scores.jsonl`: the score of every learner in every test episode, so that learners and runs can be compared without
//! running them again.
//!
//! Deliberately not here: what the scores come to (`score`).

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use metashot_models::replace_file;
use serde::{Deserialize, Serialize};

use crate::{report::Row, score::Score};

/// The name of the file.
pub(crate) const SCORES: &str = "scores.jsonl";

/// A line of the file.
#[derive(Deserialize, Serialize)]
struct Line {
    learner: String,
    episode: usize,
    #[serde(flatten)]
    score: Score,
}

/// The scores of a learner, in the order of the episodes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LearnerScores {
    pub(crate) learner: String,
    pub(crate) scores: Vec<Score>,
}

/// Writes the scores of learners into a directory.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn write(directory: &Path, rows: &[Row]) -> Result<()> {
    let mut text = String::new();
    for row in rows {
        for (episode, score) in row.scores.iter().enumerate() {
            let line = Line {
                learner: row.learner.clone(),
                episode,
                score: score.clone(),
            };
            text += &serde_json::to_string(&line)?;
            text.push('\n');
        }
    }
    let path = directory.join(SCORES);
    Ok(replace_file(&path, |file| file.write_all(text.as_bytes()))?)
}

/// Reads them again, learners in the order of the file.
///
/// # Errors
/// A file that is missing or damaged, or in which a learner lacks an episode that another has.
pub(crate) fn read(directory: &Path) -> Result<Vec<LearnerScores>> {
    let path = directory.join(SCORES);
    let shown = path.display();
    let text = fs::read_to_string(&path).with_context(|| format!("failed to read `{shown}`"))?;
    let mut learners: Vec<LearnerScores> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Line {
            learner,
            episode,
            score,
        } = serde_json::from_str(line)
            .with_context(|| format!("{shown}:{}: expected the score of an episode", at + 1))?;
        if learners.last().is_none_or(|last| last.learner != learner) {
            learners.push(LearnerScores {
                learner,
                scores: Vec::new(),
            });
        }
        if let Some(last) = learners.last_mut() {
            let expected = last.scores.len();
            ensure!(
                episode == expected,
                "{shown}:{}: expected episode {expected} of `{}`, found {episode}",
                at + 1,
                last.learner
            );
            last.scores.push(score);
        }
    }
    let first = learners
        .first()
        .with_context(|| format!("`{shown}` holds no scores"))?;
    for other in &learners {
        ensure!(
            other.scores.len() == first.scores.len(),
            "`{shown}` has {} episodes of `{}` and {} of `{}`",
            first.scores.len(),
            first.learner,
            other.scores.len(),
            other.learner
        );
    }
    Ok(learners)
}

#[cfg(test)]
mod tests {
    use metashot_meta::EntityCounts;

    use super::*;
    use crate::score::TypeCounts;

    #[test]
    fn scores_come_back_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let entities = |n_correct| {
            let bio = EntityCounts {
                n_correct,
                n_predicted: 3,
                n_gold: 4,
            };
            let io = EntityCounts { n_gold: 3, ..bio };
            Score::Entities([("a type".to_owned(), TypeCounts { bio, io })].into())
        };
        let rows = [
            Row::new(
                "first",
                Some("a setting"),
                vec![entities(0), entities(1)],
                1,
            ),
            Row::new("second", None, vec![entities(2), Score::entities()], 1),
            Row::new(
                "third",
                None,
                vec![Score::Accuracy(0.7), Score::Accuracy(1.0)],
                1,
            ),
        ];
        write(directory.path(), &rows).unwrap();
        let text = fs::read_to_string(directory.path().join(SCORES)).unwrap();
        assert_eq!(
            text.lines().next().unwrap(),
            r#"{"learner":"first","episode":0,"entities":{"a type":{"bio":[0,3,4],"io":[0,3,3]}}}"#
        );
        let expected: Vec<_> = rows
            .into_iter()
            .map(|row| LearnerScores {
                learner: row.learner,
                scores: row.scores,
            })
            .collect();
        assert_eq!(read(directory.path()).unwrap(), expected);
    }

    #[test]
    fn a_damaged_file_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let check = |text: &str, expected: &str| {
            fs::write(directory.path().join(SCORES), text).unwrap();
            let error = format!("{:#}", read(directory.path()).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        let line = |episode: usize| {
            format!("{{\"learner\":\"a\",\"episode\":{episode},\"accuracy\":1}}\n")
        };
        check("", "holds no scores");
        check(&(line(0) + "{\n"), "scores.jsonl:2: expected the score");
        check(
            &(line(0) + &line(2)),
            "scores.jsonl:2: expected episode 1 of `a`, found 2",
        );
        check(
            &(line(0) + &line(1) + &line(0).replace('a', "b")),
            "scores.jsonl:3",
        );
    }
}
