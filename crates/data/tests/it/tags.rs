//! Tag sequences as entities; `metashot-meta` compares scores of them with figures that `seqeval` made.

use expect_test::expect;
use metashot_data::{
    Error,
    text::{
        LabelScheme, LabelSet, OrphanInside, TagEntity, TagReading, tag_entities, tag_entity_pair,
    },
};
use proptest::prelude::*;

use crate::check_error;

fn check(sentences: &[&[&str]], reading: TagReading, expected: &[(&str, usize, usize)]) {
    let found = tag_entities(sentences, reading).unwrap();
    let found: Vec<_> = found
        .into_iter()
        .map(|TagEntity { kind, start, end }| (kind, start, end))
        .collect();
    assert_eq!(found, expected, "{sentences:?}");
}

#[test]
fn the_lenient_reading_begins_entities_wherever_a_type_does() {
    let check = |tags: &[&str], expected: &[(&str, usize, usize)]| {
        check(&[tags], TagReading::Lenient, expected);
    };
    check(&["I-PER", "I-PER", "O"], &[("PER", 0, 2)]);
    check(&["B-PER", "I-LOC"], &[("PER", 0, 1), ("LOC", 1, 2)]);
    check(&["B-PER", "B-PER"], &[("PER", 0, 1), ("PER", 1, 2)]);
    check(
        &["B-PER", "E-PER", "S-PER", "E-PER"],
        &[("PER", 0, 2), ("PER", 2, 3), ("PER", 3, 4)],
    );
    check(&["X-PER"], &[("PER", 0, 1)]);
    check(&["B", "I", "O", "B-"], &[("_", 0, 2), ("_", 3, 4)]);
    // A prefix that is none ends nothing of its own type, and what begins after it goes on from it.
    check(&["B", "I", "-", "B-"], &[("_", 3, 4)]);
    check(&["B-PER-x", "I-PER"], &[("PER-x", 0, 1), ("PER", 1, 2)]);
    check(&["BPER", "I--PER"], &[("PER", 0, 1), ("-PER", 1, 2)]);
    check(&["é-PER"], &[("PER", 0, 1)]);
    check(&[], &[]);
}

#[test]
fn the_strict_reading_takes_whole_entities_only() {
    let check = |tags: &[&str], expected: &[(&str, usize, usize)]| {
        check(&[tags], TagReading::Strict, expected);
    };
    check(&["I-PER", "B-PER", "I-PER", "O"], &[("PER", 1, 3)]);
    check(&["B-PER", "I-LOC", "I-PER"], &[("PER", 0, 1)]);
    check(&["B", "I", "O-PER", "I"], &[("_", 0, 2)]);
    check(&["B--PER-", "IPER"], &[("PER", 0, 2)]);
    check(&["B-PER-x", "I-PER"], &[("PER-x", 0, 1)]);
}

#[test]
fn no_entity_runs_over_the_end_of_a_sentence() {
    let sentences: [&[&str]; 4] = [&["B-PER"], &["I-PER"], &[], &["B-PER"]];
    check(
        &sentences,
        TagReading::Strict,
        &[("PER", 0, 1), ("PER", 5, 6)],
    );
    check(
        &sentences,
        TagReading::Lenient,
        &[("PER", 0, 1), ("PER", 2, 3), ("PER", 5, 6)],
    );
}

#[test]
fn tags_that_cannot_be_read_are_named() {
    let read = |sentences: &[&[&str]], reading| -> Result<usize, Error> {
        Ok(tag_entities(sentences, reading)?.len())
    };
    check_error(
        read(&[&["O"], &["O", ""]], TagReading::Lenient),
        None,
        &expect!["word 2 of sentence 2: expected a tag, found ``"],
    );
    for tag in ["X-PER", "E-PER", "-", "b-PER", "o"] {
        assert!(read(&[&[tag]], TagReading::Strict).is_err(), "{tag}");
    }
    check_error(
        read(&[&["S-PER"]], TagReading::Strict),
        None,
        &expect![
            "word 1 of sentence 1: expected a tag that begins with `B`, `I` or `O`, found `S-PER`"
        ],
    );
    let pair = |gold: &[&[&str]], predicted: &[&[&str]]| -> Result<usize, Error> {
        Ok(tag_entity_pair(gold, predicted, TagReading::Strict)?
            .0
            .len())
    };
    check_error(
        pair(&[&["O"], &["O"]], &[&["O"]]),
        None,
        &expect!["expected as many predicted sentences as right ones, 2, found 1"],
    );
    check_error(
        pair(&[&["O"], &["O", "O"]], &[&["O"], &["O"]]),
        None,
        &expect!["expected as many predicted words of sentence 2 as right ones, 2, found 1"],
    );
}

proptest! {
    /// What a model of either scheme predicts scores the same as what `seqeval` makes of its labels' names.
    #[test]
    fn the_names_of_labels_read_as_the_labels_do(labels in prop::collection::vec(0usize..5, 0..12)) {
        let types = ["PER", "LOC"].map(String::from);
        let names = LabelScheme::Bio.names(&types);
        let tags: Vec<&str> = labels.iter().map(|&label| names[label].as_str()).collect();
        for (reading, spans) in [
            (TagReading::Strict, LabelScheme::Bio.decode(&labels)),
            (TagReading::Lenient, LabelSet::from_names(&names, OrphanInside::Begin).unwrap().spans(&labels)),
        ] {
            let expected: Vec<TagEntity<'_>> = spans
                .iter()
                .map(|span| TagEntity { kind: &types[span.label], start: span.start, end: span.end })
                .collect();
            let sentences = [&tags];
            prop_assert_eq!(tag_entities(&sentences, reading).unwrap(), expected);
        }
    }
}
