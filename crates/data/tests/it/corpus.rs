//! Cuts of a corpus: by entity type and by repeated sentence.

use std::path::Path;

use expect_test::expect;
use metashot_data::text::{Corpus, OrphanInside, Span, parse_bio};

use crate::check_error;

fn corpus(text: &str) -> Corpus {
    parse_bio(text, Path::new("corpus.txt"), OrphanInside::Reject).unwrap()
}

fn sentences(corpus: &Corpus) -> Vec<String> {
    corpus
        .sentences
        .iter()
        .map(|sentence| sentence.words.join(" "))
        .collect()
}

const TEXT: &str = "Ada B-PER\n\nBob B-PER\nin O\nRome B-LOC\n\nacme B-ORG\n\nnothing O\n\nRome B-LOC\nParis B-LOC\n";

#[test]
fn restrict_drops_sentences_with_other_types() {
    let part = corpus(TEXT).restrict(&["PER", "ORG"]).unwrap();
    assert_eq!(part.types, ["ORG", "PER"]);
    assert_eq!(sentences(&part), ["Ada", "acme", "nothing"]);
    assert_eq!(
        part.sentences[0].spans,
        [Span {
            label: 1,
            start: 0,
            end: 1
        }]
    );
    assert_eq!(part.entity_counts(), [1, 1]);
}

#[test]
fn mask_keeps_sentences_and_drops_spans_of_other_types() {
    let part = corpus(TEXT).mask(&["LOC"]).unwrap();
    assert_eq!(part.types, ["LOC"]);
    assert_eq!(sentences(&part), sentences(&corpus(TEXT)));
    assert_eq!(
        part.sentences[1].spans,
        [Span {
            label: 0,
            start: 2,
            end: 3
        }]
    );
    assert_eq!(part.entity_counts(), [3]);
}

#[test]
fn all_types_change_nothing() {
    let whole = corpus(TEXT);
    assert_eq!(
        whole.restrict(&["PER", "LOC", "ORG", "PER"]).unwrap(),
        whole
    );
    assert_eq!(whole.mask(&whole.types).unwrap(), whole);
}

#[test]
fn unknown_type_is_named() {
    let expected = expect!["entity type `per` is not in the corpus, which has `LOC`, `ORG`, `PER`"];
    check_error(corpus(TEXT).restrict(&["LOC", "per"]), None, &expected);
    check_error(corpus(TEXT).mask(&["per"]), None, &expected);
    check_error(corpus(TEXT).type_ids(&["per"]), None, &expected);
    assert_eq!(corpus(TEXT).type_ids(&["PER", "LOC"]).unwrap(), [2, 0]);
}

#[test]
fn repeated_sentences_go_whatever_their_tags() {
    let repeated = corpus("Ada B-PER\n\nin O\nRome B-LOC\n\nAda O\n\nRome B-LOC\n\nin O\nRome O\n");
    let once = repeated.without_duplicates();
    assert_eq!(sentences(&once), ["Ada", "in Rome", "Rome"]);
    assert_eq!(once.sentences[0], repeated.sentences[0]);

    let other = corpus("Rome O\n\nAda B-ORG\n");
    assert_eq!(sentences(&repeated.without(&other)), ["in Rome", "in Rome"]);
    assert_eq!(repeated.without(&other).types, repeated.types);
}
