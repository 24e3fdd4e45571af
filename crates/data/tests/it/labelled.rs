//! Labelled texts from CSV, tab-separated columns and JSON lines, and what each bad file is told.

use std::{fs, path::Path};

use expect_test::{Expect, expect};
use metashot_data::text::{Columns, LabelledSet, parse_labelled, read_labelled};

use crate::check_error;

fn columns(pair: Option<&str>) -> Columns {
    Columns {
        text: "text".into(),
        pair: pair.map(str::to_owned),
        label: "label".into(),
    }
}

fn parse(text: &str) -> LabelledSet {
    parse_labelled(text, Path::new("a.csv"), &columns(None)).unwrap()
}

fn refused(text: &str, expected: &Expect) {
    check_error(
        parse_labelled(text, Path::new("a.csv"), &columns(None)),
        None,
        expected,
    );
}

/// Texts and the names of their classes.
fn content(set: &LabelledSet) -> Vec<(&str, &str)> {
    set.texts
        .iter()
        .map(|text| (text.text.as_str(), set.classes[text.label].as_str()))
        .collect()
}

#[test]
fn every_format_reads_the_same() {
    let formats = [
        "text,label\nRain,wet\nSun,dry\n",
        "\u{feff}label,id,text\r\nwet,1,Rain\r\ndry,2,\"Sun\"\r\n",
        "label\ttext\nwet\tRain\ndry\tSun",
        "{\"text\": \"Rain\", \"label\": \"wet\"}\n\n{\"label\": \"dry\", \"text\": \"Sun\", \"x\": 1}\n",
    ];
    for format in formats {
        let set = parse(format);
        assert_eq!(set.classes, ["dry", "wet"], "{format}");
        assert_eq!(content(&set), [("Rain", "wet"), ("Sun", "dry")], "{format}");
    }
}

#[test]
fn cells_may_hold_commas_quotes_and_line_ends() {
    let set = parse("text,label\n\"a, \"\"b\"\"\nc\",x\nd,y\n");
    assert_eq!(content(&set), [("a, \"b\"\nc", "x"), ("d", "y")]);
    assert_eq!(set.texts[1].line, 4);
}

#[test]
fn labels_of_json_may_be_numbers() {
    let set = parse("{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": true}\n");
    assert_eq!(content(&set), [("a", "1"), ("b", "true")]);
}

#[test]
fn pairs_have_a_second_text() {
    let csv = "text,label,other\na,x,b\n";
    let set = parse_labelled(csv, Path::new("a.csv"), &columns(Some("other"))).unwrap();
    assert_eq!(set.texts[0].pair.as_deref(), Some("b"));
    check_error(
        parse_labelled(csv, Path::new("a.csv"), &columns(Some("text_pair"))),
        None,
        &expect![
            "a.csv:1: expected a text in column `text_pair`, found columns `text`, `label`, `other`"
        ],
    );
    check_error(
        parse_labelled(
            "text,label,other\na,x,\n",
            Path::new("a.csv"),
            &columns(Some("other")),
        ),
        None,
        &expect!["a.csv:2: expected a second text, found nothing"],
    );
}

#[test]
fn a_bad_file_is_told_what_is_wrong_and_where() {
    refused("", &expect!["`a.csv`: expected labelled texts, found none"]);
    refused(
        "text,label\n",
        &expect!["`a.csv`: expected labelled texts, found none"],
    );
    refused(
        "sentence,label\na,x\n",
        &expect!["a.csv:1: expected a text in column `text`, found columns `sentence`, `label`"],
    );
    refused(
        "text,label\na,x\nb\n",
        &expect![
            "a.csv:3: expected a row with as many columns as the header, found 1 columns under a header of 2"
        ],
    );
    refused(
        "text,label\na,x\n ,x\n",
        &expect!["a.csv:3: expected a text, found nothing"],
    );
    refused(
        "text,label\na,\n",
        &expect!["a.csv:2: expected a label, found nothing"],
    );
    refused(
        "{\"text\": \"a\", \"label\": \"x\"}\nb\n",
        &expect!["a.csv:2: expected a JSON object on a line, found `b`"],
    );
    refused(
        "{\"text\": 1, \"label\": \"x\"}\n",
        &expect!["a.csv:1: expected a text in column `text`, found columns `label`, `text`"],
    );
    refused(
        "{\"text\": \"a\", \"label\": [1]}\n",
        &expect!["a.csv:1: expected a text in column `label`, found columns `label`, `text`"],
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    fs::write(&path, b"text,label\na,x\n\xe9,y\n").unwrap();
    check_error(
        read_labelled(&path, &columns(None)),
        Some(dir.path()),
        &expect!["DIR/a.csv:3: expected UTF-8, found byte 0xe9"],
    );
}

#[test]
fn classes_are_split_and_repeated_texts_count_once() {
    let rows: Vec<String> = (0..12)
        .map(|row| format!("t{},c{}\n", row / 2, row / 4))
        .collect();
    let set = parse(&format!("text,label\n{}", rows.concat()));
    let once = set.without_duplicates();
    assert_eq!((set.texts.len(), once.texts.len()), (12, 6));
    let parts = once.split(1, 1, 7).unwrap();
    let mut names: Vec<&String> = parts.iter().flat_map(|part| &part.classes).collect();
    names.sort();
    assert_eq!(names, ["c0", "c1", "c2"]);
    for part in &parts {
        assert_eq!(part.by_class(), [vec![0, 1]]);
        assert_eq!(part.without(&parts[0]).texts.is_empty(), part == &parts[0]);
        for (text, class) in content(part) {
            assert!(content(&once).contains(&(text, class)));
        }
    }
    check_error(
        set.select(&["c9".into()]),
        None,
        &expect!["class `c9` is not among the 3 classes of the set"],
    );
}
