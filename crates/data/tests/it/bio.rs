//! Reading and parsing of two-column files.

use std::{fs, path::Path};

use expect_test::{Expect, expect};
use metashot_data::{
    Result,
    text::{Corpus, OrphanInside, Sentence, Span, parse_bio, read_bio},
};

use crate::check_error;

fn parse(text: &str) -> Result<Corpus> {
    parse_bio(text, Path::new("corpus.txt"), OrphanInside::Reject)
}

/// Checks the corpus as text: its types, then line, words, and entities as `type[words]`.
fn check(text: &str, orphan: OrphanInside, expected: &Expect) {
    let corpus = parse_bio(text, Path::new("corpus.txt"), orphan).unwrap();
    let entity = |sentence: &Sentence, span: &Span| {
        let words = sentence.words[span.start..span.end].join(" ");
        format!("{}[{words}]", corpus.types[span.label])
    };
    let line = |sentence: &Sentence| {
        let entities: Vec<String> = sentence
            .spans
            .iter()
            .map(|span| entity(sentence, span))
            .collect();
        format!(
            "{}: {} | {}",
            sentence.line,
            sentence.words.join(" "),
            entities.join(" | ")
        )
    };
    let lines: Vec<String> = corpus.sentences.iter().map(line).collect();
    expected.assert_eq(&format!(
        "types: {:?}\n{}\n",
        corpus.types,
        lines.join("\n")
    ));
}

const PLAIN: &str = "Ada B-PER\nLovelace I-PER\nlives O\n\nin O\nNew B-LOC\nYork I-LOC\n";

fn plain() -> Expect {
    expect![[r#"
        types: ["LOC", "PER"]
        1: Ada Lovelace lives | PER[Ada Lovelace]
        5: in New York | LOC[New York]
    "#]]
}

#[test]
fn reads_spaces_and_tabs_and_crlf_alike() {
    check(PLAIN, OrphanInside::Reject, &plain());
    check(&PLAIN.replace(' ', "\t"), OrphanInside::Reject, &plain());
    check(&PLAIN.replace(' ', " \t  "), OrphanInside::Reject, &plain());
    check(&PLAIN.replace('\n', "\r\n"), OrphanInside::Reject, &plain());
    check(&PLAIN.replace('\n', " \n"), OrphanInside::Reject, &plain());
}

#[test]
fn accepts_byte_order_mark_and_missing_last_newline() {
    check(&format!("\u{feff}{PLAIN}"), OrphanInside::Reject, &plain());
    check(PLAIN.trim_end(), OrphanInside::Reject, &plain());
    check(
        &PLAIN.replace('\n', "\r\n")[..PLAIN.len() + 6],
        OrphanInside::Reject,
        &plain(),
    );
}

#[test]
fn document_lines_end_sentences() {
    check(
        "-DOCSTART- -X- -X- O\n\nAda B-PER\n-DOCSTART- O\nBob B-PER\n-DOCSTART-\n\n\n \t\nRome B-LOC\n",
        OrphanInside::Reject,
        &expect![[r#"
            types: ["LOC", "PER"]
            3: Ada | PER[Ada]
            5: Bob | PER[Bob]
            10: Rome | LOC[Rome]
        "#]],
    );
}

#[test]
fn neighbours_stay_apart() {
    check(
        "a B-X\nb B-X\nc I-X\nd B-Y\ne O\nf B-X\n",
        OrphanInside::Reject,
        &expect![[r#"
            types: ["X", "Y"]
            1: a b c d e f | X[a] | X[b c] | Y[d] | X[f]
        "#]],
    );
}

#[test]
fn words_and_types_may_hold_odd_characters() {
    let corpus = parse("a\u{200c}b\u{a0}c B-other/creative-work\n\u{feff} O\n").unwrap();
    assert_eq!(corpus.sentences[0].words, ["a\u{200c}b\u{a0}c", "\u{feff}"]);
    assert_eq!(corpus.types, ["other/creative-work"]);
}

#[test]
fn orphan_inside_follows_the_policy() {
    let text = "Ada B-PER\n\nLovelace I-PER\nof O\nNew B-LOC\nYork I-PER\nCity I-PER\n";
    check(
        text,
        OrphanInside::Begin,
        &expect![[r#"
            types: ["LOC", "PER"]
            1: Ada | PER[Ada]
            3: Lovelace of New York City | PER[Lovelace] | LOC[New] | PER[York City]
        "#]],
    );
    let message = "expected `B-PER` or an entity of type `PER` to continue, found `I-PER`";
    assert_eq!(
        parse(text).unwrap_err().to_string(),
        format!("corpus.txt:3: {message}")
    );
    let other_type = "New B-LOC\nYork I-PER\n";
    assert_eq!(
        parse(other_type).unwrap_err().to_string(),
        format!("corpus.txt:2: {message}")
    );
    let after_outside = "Ada B-PER\nin O\nYork I-PER\n";
    assert_eq!(
        parse(after_outside).unwrap_err().to_string(),
        format!("corpus.txt:3: {message}")
    );
}

#[test]
fn malformed_lines_are_named() {
    let check = |text: &str, expected: Expect| check_error(parse(text), None, &expected);
    check(
        "Ada B-PER\nalone\n",
        expect!["corpus.txt:2: expected `token tag`, found `alone`"],
    );
    check(
        "Ada NNP B-PER\n",
        expect!["corpus.txt:1: expected `token tag`, found `Ada NNP B-PER`"],
    );
    check(
        "\nAda PER\n",
        expect!["corpus.txt:2: expected tag `O`, `B-type` or `I-type`, found `PER`"],
    );
    check(
        "Ada B-\n",
        expect!["corpus.txt:1: expected tag `O`, `B-type` or `I-type`, found `B-`"],
    );
    check(
        "Ada E-PER\n",
        expect!["corpus.txt:1: expected tag `O`, `B-type` or `I-type`, found `E-PER`"],
    );
    check(
        "Ada o\n",
        expect!["corpus.txt:1: expected tag `O`, `B-type` or `I-type`, found `o`"],
    );
    check(
        "\u{1b}[31mred\n",
        expect![[r"corpus.txt:1: expected `token tag`, found `\u{1b}[31mred`"]],
    );
    check(
        &"x".repeat(1000),
        expect![
            "corpus.txt:1: expected `token tag`, found `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..`"
        ],
    );
}

#[test]
fn files_that_hold_nothing_are_named() {
    for empty in ["", "\n\n", "\u{feff}", "-DOCSTART- O\n"] {
        check_error(
            parse(empty),
            None,
            &expect!["`corpus.txt`: expected sentences, found none"],
        );
    }
    let untagged = parse("Ada O\n\nsmiled O\n");
    check_error(
        untagged,
        None,
        &expect!["`corpus.txt`: expected entities, found none"],
    );
}

#[test]
fn unreadable_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("corpus.txt");
    let read = || read_bio(&path, OrphanInside::Reject);

    check_error(
        read(),
        Some(dir.path()),
        &expect!["failed to read `DIR/corpus.txt` (and the cause)"],
    );

    fs::write(&path, b"Ada B-PER\nCaf\xe9 O\n").unwrap();
    check_error(
        read(),
        Some(dir.path()),
        &expect!["DIR/corpus.txt:2: expected UTF-8, found byte 0xe9"],
    );

    fs::write(&path, b"\xff\xfeA\0").unwrap();
    check_error(
        read(),
        Some(dir.path()),
        &expect!["DIR/corpus.txt:1: expected UTF-8, found byte 0xff"],
    );

    fs::write(&path, PLAIN).unwrap();
    assert_eq!(read().unwrap(), parse(PLAIN).unwrap());
}
