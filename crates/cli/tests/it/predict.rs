//! `predict` as a person runs it: every way in, every way out, a pipe that stays open, and what bad input is told.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use serde_json::Value as Json;

use crate::{
    adapt::{SUPPORT, adapt},
    tool::{Dir, text},
};

/// A directory with `tagger`, which knows its six sentences by heart, and `support.txt`.
fn with_tagger() -> Dir {
    let dir = Dir::new();
    dir.file("support.txt", SUPPORT);
    let args = [
        "--model=embedded:bert",
        "--support=support.txt",
        "--out=tagger",
    ];
    adapt(
        &dir,
        &[&args[..], &["--folds=0", "--inner-steps=40"]].concat(),
    );
    dir
}

fn predict(dir: &Dir, args: &[&str]) -> String {
    let output = dir.run(&[&["predict", "--model=tagger", "--threads=2"], args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

#[test]
fn columns_come_back_with_the_tags_that_were_learned() {
    let dir = with_tagger();
    assert_eq!(
        predict(&dir, &["--conll", "--format=conll", "support.txt"]),
        SUPPORT
    );
    // Neither threads nor batches change what comes out.
    let other = [
        "--conll",
        "--format=conll",
        "--threads=1",
        "--batch-tokens=1",
        "support.txt",
    ];
    assert_eq!(predict(&dir, &other), SUPPORT);
}

#[test]
fn text_and_words_come_out_as_json_lines_with_characters_and_as_text() {
    let dir = with_tagger();
    dir.file(
        "text.txt",
        "\u{feff}Ada  flew to New Kyiv.\r\n\r\nit flew to Oslo .",
    );
    let lines = predict(&dir, &["text.txt"]);
    let lines: Vec<Json> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "one for each line");
    assert_eq!(lines[0]["text"], "Ada  flew to New Kyiv.");
    let town = &lines[0]["entities"][1];
    assert_eq!(
        (&town["type"], &town["text"]),
        (&"town".into(), &"New Kyiv".into())
    );
    assert_eq!((&town["start"], &town["end"]), (&13.into(), &21.into()));
    assert!(town["score"].as_f64().unwrap() > 0.3, "{town}");
    assert_eq!(lines[1]["entities"], Json::Array(Vec::new()));
    let pretty = predict(&dir, &["--format=pretty", "text.txt"]);
    assert_eq!(
        pretty,
        "[Ada](person)  flew to [New Kyiv](town).\n\nit flew to [Oslo](town) .\n"
    );
    dir.file("words.txt", "Ada\tflew to Oslo .\n");
    assert_eq!(
        predict(&dir, &["--words", "--format=conll", "words.txt"]),
        "Ada B-person\nflew O\nto O\nOslo B-town\n. O\n\n"
    );
}

#[test]
fn a_pipe_is_answered_line_by_line_before_it_ends() {
    let dir = with_tagger();
    let mut child = dir
        .command(&[
            "predict",
            "--model=tagger",
            "--threads=1",
            "--format=pretty",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        stdin.write_all(b"it flew to Oslo .\n").unwrap();
        // The pipe is still open.
        assert_eq!(lines.next().unwrap().unwrap(), "it flew to [Oslo](town) .");
    }
    drop(stdin);
    assert!(lines.next().is_none());
    assert!(child.wait().unwrap().success());
    // Whoever reads only the beginning ends the program, without an error.
    let many = "it flew to Oslo .\n".repeat(20_000);
    dir.file("many.txt", many);
    let mut child = dir
        .command(&[
            "predict",
            "--model=tagger",
            "--threads=1",
            "--format=pretty",
            "many.txt",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
    assert_eq!(first, "it flew to [Oslo](town) .\n");
}

#[test]
fn a_sentence_longer_than_the_model_reads_is_tagged_to_its_end() {
    let dir = with_tagger();
    // The embedded BERT has 128 positions.
    let long = SUPPORT.replace("\n\n", "\n").repeat(12) + "\n";
    let n_words = long.lines().filter(|line| !line.is_empty()).count();
    assert!(n_words > 300);
    dir.file("long.txt", &long);
    let found = predict(&dir, &["--conll", "--format=conll", "long.txt"]);
    assert_eq!(found.lines().count(), n_words + 1, "no word is lost");
    let right = |from: usize| {
        let pairs = found.lines().zip(long.lines()).skip(from);
        pairs.filter(|(found, gold)| found == gold).count()
    };
    assert!(right(0) * 10 > n_words * 8, "{} of {n_words}", right(0));
    assert!(right(200) > 80, "also beyond the first window");
    // A long support sentence is learned from in windows as well.
    let args = ["--model=embedded:bert", "--support=long.txt", "--out=other"];
    adapt(&dir, &args);
}

#[test]
fn a_word_that_the_model_cannot_read_whole_is_told() {
    let dir = with_tagger();
    // The embedded BERT has 128 positions.
    let long = "a-".repeat(100);
    dir.file("long.txt", format!("Ada left\nBob met {long} there\n"));
    let output = dir.run(&["predict", "--model=tagger", "--words", "long.txt"]);
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("warning: line 2: a word has more sub-words"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    assert_eq!(text(&output.stdout).lines().count(), 2);
}

#[test]
fn bad_text_has_its_line_and_what_stood_before_it_is_written() {
    let dir = with_tagger();
    let fails = |file: &str, content: &[u8], expected: &str| {
        dir.file(file, content);
        let output = dir.run(&[
            "predict",
            "--model=tagger",
            "--threads=1",
            "--format=pretty",
            file,
        ]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(expected), "no `{expected}` in:\n{told}");
        text(&output.stdout)
    };
    assert_eq!(
        fails(
            "bad.txt",
            b"it flew to Oslo .\nZo\xeb\n",
            "bad.txt:2: expected UTF-8, found byte 0xeb"
        ),
        "it flew to [Oslo](town) .\n"
    );
    dir.file("empty.txt", "");
    assert_eq!(predict(&dir, &["empty.txt"]), "");
    let output = dir.run(&["predict", "--model=tagger", "nowhere.txt"]);
    assert!(text(&output.stderr).contains("failed to read `nowhere.txt`"));
}

#[test]
fn a_model_that_is_no_tagger_says_what_to_do() {
    let dir = with_tagger();
    let fails = |model: &str, expected: &[&str]| {
        let output = dir.run(&["predict", "--model", model, "support.txt"]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for part in expected {
            assert!(told.contains(part), "no `{part}` in:\n{told}");
        }
        assert!(output.stdout.is_empty());
    };
    fails("embedded:bert", &["`metashot adapt --model embedded:bert"]);
    assert!(dir.train(&["--out=run"]).status.success());
    fails(
        "run",
        &["is a run directory", "`metashot adapt --model run"],
    );
    let bert = crate::tool::fixtures().join("bert");
    fails(&bert.display().to_string(), &["holds no tagger"]);
    fails("org/name", &["org/name", "`HF_HUB_OFFLINE`"]);
}
