//! Texts with character spans, as labelling tools write them, and what each bad one is told.

use std::{fs, path::Path};

use expect_test::{Expect, expect};
use metashot_data::text::{Corpus, parse_spans, read_spans, split_words};
use proptest::prelude::*;

use crate::check_error;

fn parse(text: &str) -> Corpus {
    parse_spans(text, Path::new("a.jsonl")).unwrap()
}

fn refused(text: &str, expected: &Expect) {
    check_error(parse_spans(text, Path::new("a.jsonl")), None, expected);
}

#[test]
fn the_shapes_of_the_common_tools_read_the_same() {
    let shapes = [
        r#""label": [[0, 3, "PER"], [7, 11, "LOC"]]"#,
        r#""labels": [[7, 11, "LOC"], [0, 3, "PER"]]"#,
        r#""entities": [[0, 3, "PER"], [7, 11, "LOC"]]"#,
        r#""spans": [{"start": 0, "end": 3, "label": "PER"}, {"start": 7, "end": 11, "label": "LOC"}], "tokens": []"#,
        r#""id": 4, "entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3},
            {"id": 2, "label": "LOC", "start_offset": 7, "end_offset": 11}], "relations": []"#,
        r#""label": [{"start": 0, "end": 3, "text": "Zoë", "labels": ["PER"]}, {"start": 7, "end": 11, "labels": ["LOC"]}]"#,
        r#""entities": [{"type": "PER", "start": 0, "end": 3, "score": 0.5}, {"type": "LOC", "start": 7, "end": 11}]"#,
    ];
    let read = |shape: &str| {
        parse(&format!(
            r#"{{"text": "Zoë in Kyiv", {}}}"#,
            shape.replace('\n', " ")
        ))
    };
    let first = read(shapes[0]);
    assert_eq!(first.types, ["LOC", "PER"]);
    assert_eq!(first.sentences[0].words, ["Zoë", "in", "Kyiv"]);
    for shape in shapes {
        assert_eq!(read(shape), first, "{shape}");
    }
}

#[test]
fn offsets_count_characters_and_white_space_at_the_ends_does_not_matter() {
    // The family is one character to the eye and seven code points.
    let family = "👨‍👩‍👧‍👦";
    let n = family.chars().count();
    let line = format!(
        "\u{feff}{{\"text\": \"{family} München \", \"label\": [[0, {n}, \"x\"], [{n}, {}, \"y\"]]}}\r\n\n",
        n + 9
    );
    let corpus = parse(&line);
    let sentence = &corpus.sentences[0];
    assert_eq!(sentence.words, [family, "München"]);
    assert_eq!(sentence.spans.len(), 2);
}

#[test]
fn a_line_of_another_form_is_refused() {
    let good = "{\"text\": \"a\", \"label\": [[0, 1, \"x\"]]}\n";
    refused(
        &format!("{good}not json\n"),
        &expect!["a.jsonl:2: expected a JSON object on a line, found `not json`"],
    );
    refused(
        "[1]",
        &expect!["a.jsonl:1: expected a JSON object on a line, found `[1]`"],
    );
    refused(
        r#"{"label": []}"#,
        &expect![[
            r#"a.jsonl:1: expected an object with `text`, a string, found `{\"label\": []}`"#
        ]],
    );
    refused(
        r#"{"text": "a"}"#,
        &expect![[
            r#"a.jsonl:1: expected `entities`, `spans`, `label` or `labels`, a list, found `{\"text\": \"a\"}`"#
        ]],
    );
    for span in [
        r"[0, 1]",
        r#"[-1, 1, "x"]"#,
        r#"[0, 1, ""]"#,
        r#"[0, 1, "a b"]"#,
        r#"{"start": 0, "end": 1}"#,
        "7",
    ] {
        let error = parse_spans(
            &format!(r#"{{"text": "a", "label": [{span}]}}"#),
            Path::new("a.jsonl"),
        );
        let message = error.unwrap_err().to_string();
        assert!(
            message.starts_with("a.jsonl:1: expected a span `[start, end, type]`"),
            "{message}"
        );
    }
}

#[test]
fn offsets_that_fit_no_words_are_refused() {
    let with = |text: &str, spans: &str, expected: &Expect| {
        refused(
            &format!(r#"{{"text": "{text}", "label": [{spans}]}}"#),
            expected,
        );
    };
    with(
        "Zoë",
        r#"[0, 4, "x"]"#,
        &expect![
            "a.jsonl:1: expected a span of 1 or more visible characters within the text's 3, found 0..4"
        ],
    );
    with(
        "Zoë",
        r#"[2, 2, "x"]"#,
        &expect![
            "a.jsonl:1: expected a span of 1 or more visible characters within the text's 3, found 2..2"
        ],
    );
    with(
        "a  b",
        r#"[1, 3, "x"]"#,
        &expect![
            "a.jsonl:1: expected a span of 1 or more visible characters within the text's 4, found 1..3"
        ],
    );
    with(
        "Londoner",
        r#"[0, 6, "x"]"#,
        &expect![
            "a.jsonl:1: expected a span of whole words, found 0..6 `London`, which cuts the word `Londoner`"
        ],
    );
    with(
        "in Londoner",
        r#"[5, 11, "x"]"#,
        &expect![
            "a.jsonl:1: expected a span of whole words, found 5..11 `ndoner`, which cuts the word `Londoner`"
        ],
    );
    // A letter and its accent are two code points and one character.
    with(
        "Zoe\u{308}",
        r#"[0, 3, "x"]"#,
        &expect![
            "a.jsonl:1: expected a span of whole words, found 0..3 `Zoe`, which cuts the character `e\u{308}`"
        ],
    );
}

#[test]
fn spans_that_overlap_or_nest_are_refused() {
    let with = |spans: &str, expected: &Expect| {
        refused(
            &format!(r#"{{"text": "Bank of Kyiv", "label": [{spans}]}}"#),
            expected,
        );
    };
    with(
        r#"[8, 12, "LOC"], [0, 12, "ORG"]"#,
        &expect![
            "a.jsonl:1: expected spans that do not overlap, found 0..12 `Bank of Kyiv` and 8..12 `Kyiv`"
        ],
    );
    with(
        r#"[0, 7, "x"], [5, 12, "x"]"#,
        &expect![
            "a.jsonl:1: expected spans that do not overlap, found 0..7 `Bank of` and 5..12 `of Kyiv`"
        ],
    );
    with(
        r#"[0, 4, "x"], [0, 4, "y"]"#,
        &expect![
            "a.jsonl:1: expected spans that do not overlap, found 0..4 `Bank` and 0..4 `Bank`"
        ],
    );
}

#[test]
fn a_file_without_text_or_without_spans_is_refused() {
    refused(
        "\n\n",
        &expect!["`a.jsonl`: expected sentences, found none"],
    );
    refused(
        r#"{"text": "a", "label": []}"#,
        &expect!["`a.jsonl`: expected entities, found none"],
    );
}

#[test]
fn text_that_is_not_utf8_has_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    fs::write(
        &path,
        b"{\"text\": \"a\", \"label\": []}\n{\"text\": \"\xff\"}\n",
    )
    .unwrap();
    check_error(
        read_spans(&path),
        Some(dir.path()),
        &expect!["DIR/a.jsonl:2: expected UTF-8, found byte 0xff"],
    );
}

proptest! {
    #[test]
    fn words_lie_where_they_say(text in r"[\PC\s'’\u{200b}\u{301}]{0,40}") {
        let characters: Vec<char> = text.chars().collect();
        let mut end = 0;
        for word in split_words(&text) {
            prop_assert!(end <= word.start && word.start < word.end);
            let there: String = characters[word.start..word.end].iter().collect();
            prop_assert_eq!(&there, word.text);
            prop_assert!(text[word.byte..].starts_with(word.text));
            prop_assert!(!word.text.contains(char::is_whitespace), "{:?}", word.text);
            prop_assert!(characters[end..word.start].iter().all(|c| !c.is_alphanumeric()));
            end = word.end;
        }
        prop_assert!(characters[end..].iter().all(|c| !c.is_alphanumeric()));
    }
}
