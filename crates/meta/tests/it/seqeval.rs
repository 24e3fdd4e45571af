//! The same figures as `seqeval`, to the last bit, on tags of every kind; `tests/data/make_seqeval.py` says what is in
//! the file.

use metashot_data::text::{TagReading, tag_entity_pair};
use metashot_meta::{EntityCounts, EntityReport, EntityScores, TypeScores};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
    raises: Vec<Raises>,
}

#[derive(Deserialize)]
struct Case {
    gold: Vec<String>,
    predicted: Vec<String>,
    default: Option<Vec<String>>,
    strict: Option<Vec<String>>,
    digits: Option<usize>,
    default_text: Option<String>,
    strict_text: Option<String>,
}

#[derive(Deserialize)]
struct Raises {
    mode: String,
    gold: Vec<Vec<String>>,
    predicted: Vec<Vec<String>>,
}

fn file() -> File {
    serde_json::from_str(include_str!("../data/seqeval.json")).unwrap()
}

fn report<T: AsRef<str>>(
    (gold, predicted): (&[Vec<T>], &[Vec<T>]),
    reading: TagReading,
) -> metashot_data::Result<EntityReport> {
    let (gold, predicted) = tag_entity_pair(gold, predicted, reading)?;
    let counts = EntityCounts::by_type(&gold, &predicted, |entity| entity.kind);
    Ok(EntityReport::new(counts))
}

/// A line of the file. A name may hold spaces, numbers do not.
fn parse(row: &str) -> TypeScores {
    let (name, numbers) = row.rsplit_once('\t').unwrap();
    let numbers: Vec<&str> = numbers.split(' ').collect();
    let share = |at: usize| numbers[at].parse::<f64>().unwrap();
    TypeScores {
        name: name.to_owned(),
        scores: EntityScores {
            precision: share(0),
            recall: share(1),
            f1: share(2),
            support: numbers[3].parse().unwrap(),
        },
    }
}

fn bits(scores: &EntityScores) -> [u64; 4] {
    let shares = [scores.precision, scores.recall, scores.f1].map(f64::to_bits);
    [shares[0], shares[1], shares[2], scores.support as u64]
}

#[test]
fn tag_sequences_score_as_in_seqeval_to_the_last_bit() {
    let file = file();
    let (mut n_reports, mut n_errors, mut n_texts) = (0, 0, 0);
    for case in &file.cases {
        let split = |sentences: &'_ [String]| -> Vec<Vec<String>> {
            let words = |sentence: &String| {
                let words = sentence.split('\t').map(str::to_owned);
                words.filter(|tag| !tag.is_empty()).collect()
            };
            sentences.iter().map(words).collect()
        };
        let (gold, predicted) = (split(&case.gold), split(&case.predicted));
        for (reading, rows, text) in [
            (TagReading::Lenient, &case.default, &case.default_text),
            (TagReading::Strict, &case.strict, &case.strict_text),
        ] {
            let what = format!("{reading:?}: {gold:?}, {predicted:?}");
            let found = report((&gold, &predicted), reading);
            let Some(rows) = rows else {
                assert!(found.is_err(), "{what}");
                n_errors += 1;
                continue;
            };
            let found = found.unwrap();
            let averages = [
                ("micro avg", found.micro),
                ("macro avg", found.macro_average),
                ("weighted avg", found.weighted),
            ];
            if rows.is_empty() {
                assert!(found.types.is_empty(), "{what}");
                for (_, average) in averages {
                    assert_eq!(average, EntityScores::default(), "{what}");
                }
                continue;
            }
            let averages = averages.map(|(name, scores)| TypeScores {
                name: name.to_owned(),
                scores,
            });
            let lines: Vec<&TypeScores> = found.types.iter().chain(&averages).collect();
            assert_eq!(lines.len(), rows.len(), "{what}");
            for (found, row) in lines.into_iter().zip(rows) {
                let expected = parse(row);
                assert_eq!(found.name, expected.name, "{what}");
                assert_eq!(bits(&found.scores), bits(&expected.scores), "{row}: {what}");
            }
            n_reports += 1;
            if let Some(text) = text {
                assert_eq!(found.text(case.digits.unwrap()), *text, "{what}");
                n_texts += 1;
            }
        }
    }
    assert!(
        n_reports > 400 && n_errors > 100 && n_texts > 50,
        "{n_reports} reports, {n_errors} errors, {n_texts} texts"
    );
}

#[test]
fn what_seqeval_raises_on_is_an_error() {
    for case in file().raises {
        let reading = match case.mode.as_str() {
            "strict" => TagReading::Strict,
            _ => TagReading::Lenient,
        };
        let found = report((&case.gold, &case.predicted), reading);
        assert!(found.is_err(), "{:?}, {:?}", case.gold, case.predicted);
    }
}
