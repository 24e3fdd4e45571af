//! `adapt` as a person runs it, from every kind of model, and what each bad support file is told.

use std::{fs, path::Path};

use candle_core::{DType, Device};
use metashot_data::text::Tokenizer;
use metashot_models::{TokenBatch, checkpoint::load_token_classifier};
use serde_json::Value as Json;

use crate::tool::{Dir, python_agrees, text};

/// Six sentences with two types, in two columns.
pub(crate) const SUPPORT: &str = "Ada B-person\nflew O\nto O\nOslo B-town\n. O\n\n\
    Bob B-person\nNo1 I-person\nleft O\nRome B-town\n. O\n\n\
    Eve B-person\nwent O\nto O\nNew B-town\nKyiv I-town\n. O\n\n\
    Dan B-person\nflew O\nto O\nBonn B-town\n. O\n\n\
    it O\nflew O\nto O\nOslo B-town\n. O\n\n\
    Fay B-person\nleft O\n. O\n\n";

/// The same sentences as JSON lines, with a blank line and two ways to write a span.
const SPANS: &str = r#"{"text": "Ada flew to Oslo.", "label": [[0, 3, "person"], [12, 16, "town"]]}
{"text": "Bob No1 left Rome .", "entities": [{"start": 13, "end": 17, "label": "town"}, {"start": 0, "end": 7, "label": "person"}]}

{"text": "Eve  went to New Kyiv.", "label": [[0, 3, "person"], [13, 21, "town"]]}
{"text": "Dan flew to Bonn.", "label": [[0, 3, "person"], [12, 16, "town"]]}
{"text": "it flew to Oslo.", "label": [[11, 15, "town"]]}
{"text": "Fay left.", "label": [[0, 3, "person"]]}
"#;

/// Adapts in `dir` by a few steps and returns what it is told and prints.
pub(crate) fn adapt(dir: &Dir, args: &[&str]) -> (String, String) {
    let output = dir.run(&[&QUICK[..], args].concat());
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    (told, text(&output.stdout))
}

const QUICK: [&str; 4] = ["adapt", "--inner-steps=3", "--folds=2", "--threads=2"];

fn bytes(dir: &Dir, path: &str) -> Vec<u8> {
    fs::read(dir.path().join(path)).unwrap()
}

fn names_in(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn labelled_sentences_become_a_tagger_that_transformers_loads() {
    let dir = Dir::new();
    dir.file("support.txt", SUPPORT);
    let args = [
        "--model=embedded:bert",
        "--support=support.txt",
        "--out=a/tagger",
    ];
    let (told, table) = adapt(&dir, &args);
    assert!(
        told.contains("6 sentences, 10 entities: person 5, town 5"),
        "{told}"
    );
    assert!(told.contains("metashot predict --model a/tagger"), "{told}");
    assert!(!told.contains("warning"), "{told}");
    for row in [" person ", " town ", "\n   micro avg ", "\n   macro avg "] {
        assert!(table.contains(row), "{table}");
    }
    let tagger = dir.path().join("a/tagger");
    assert_eq!(
        names_in(&tagger),
        [
            "config.json",
            "manifest.json",
            "model.safetensors",
            "special_tokens_map.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.txt",
        ]
    );
    assert_eq!(names_in(&dir.path().join("a")), ["tagger"]);
    let manifest: Json = serde_json::from_slice(&bytes(&dir, "a/tagger/manifest.json")).unwrap();
    assert_eq!(manifest["support"]["entities"]["town"], 5);
    assert_eq!(manifest["cross_validation"]["folds"], 2);

    let (model, params) = load_token_classifier(&tagger, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(
        model.bert.config.labels().unwrap(),
        ["O", "B-person", "I-person", "B-town", "I-town"]
    );
    let words = "Eve No7 flew to Rome .";
    let tokenizer = Tokenizer::from_file(&tagger.join("tokenizer.json")).unwrap();
    let ids = tokenizer.passages(words, 64).unwrap().remove(0).ids;
    let batch = TokenBatch::from_sequences([&ids]);
    let logits = model.forward(&params.constants(), &batch).unwrap();
    python_agrees(&tagger, words, &ids, logits.tensor());
}

#[test]
fn columns_and_spans_of_the_same_sentences_give_the_same_tagger() {
    let dir = Dir::new();
    dir.file("support.txt", SUPPORT);
    dir.file("support.jsonl", SPANS);
    let mut tables = Vec::new();
    for file in ["support.txt", "support.jsonl"] {
        let (_, table) = adapt(
            &dir,
            &[
                "--model=embedded:bert",
                "--support",
                file,
                "--out",
                &file.replace('.', "-"),
            ],
        );
        tables.push(table);
    }
    assert_eq!(tables[0], tables[1]);
    let weights = |run: &str| bytes(&dir, &format!("{run}/model.safetensors"));
    assert!(weights("support-txt") == weights("support-jsonl"));
}

#[test]
fn a_run_and_a_tagger_can_be_adapted() {
    let dir = Dir::new();
    dir.file("support.txt", SUPPORT);
    assert!(dir.train(&["--out=run"]).status.success());
    let (told, _) = adapt(&dir, &["--model=run", "--support=support.txt", "--out=one"]);
    assert!(told.contains("times 3 steps of 0.3"), "{told}");
    // A head that goes on from what it was for other types begins neither with labels all alike nor at prototypes.
    let other = SUPPORT.replace("person", "human").replace("town", "place");
    dir.file("other.txt", &other);
    let on = ["--model=one", "--support=other.txt"];
    adapt(&dir, &[&on[..], &["--out=two", "--head=learned"]].concat());
    adapt(&dir, &[&on[..], &["--out=three"]].concat());
    let config = text(&bytes(&dir, "two/config.json"));
    assert!(
        config.contains("B-human") && !config.contains("B-person"),
        "{config}"
    );
    let before = |run: &str| -> f64 {
        let manifest: Json =
            serde_json::from_slice(&bytes(&dir, &format!("{run}/manifest.json"))).unwrap();
        manifest["support_loss"]["before"].as_f64().unwrap()
    };
    assert!((before("two") - 5f64.ln()).abs() > 1e-3);
    assert!((before("three") - before("two")).abs() > 1e-3);
}

#[test]
fn what_finetune_leaves_is_a_tagger_to_predict_with_and_to_adapt() {
    let dir = Dir::new();
    dir.file("support.txt", SUPPORT);
    let output = dir.run(&[
        "finetune",
        "support.txt",
        "--epochs=1",
        "--out=tuned",
        "--threads=2",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = dir.run(&["predict", "--model=tuned", "support.txt"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let other = SUPPORT.replace("person", "human");
    dir.file("other.txt", other);
    adapt(
        &dir,
        &[
            "--model=tuned",
            "--support=other.txt",
            "--out=one",
            "--head=learned",
        ],
    );
    let config = text(&bytes(&dir, "one/config.json"));
    assert!(
        config.contains("B-human") && !config.contains("B-person"),
        "{config}"
    );
}

#[test]
fn thin_support_is_warned_about() {
    let dir = Dir::new();
    let thin = SUPPORT.replace("Rome B-town", "Rome B-city");
    dir.file("thin.txt", format!("{thin}{SUPPORT}"));
    let args = [
        "--model=embedded:bert",
        "--support=thin.txt",
        "--out=tagger",
        "--scheme=io",
    ];
    let (told, _) = adapt(&dir, &args);
    assert!(
        told.contains("warning: one example only of `city`:"),
        "{told}"
    );
    assert!(told.contains("stand in the file more than once"), "{told}");
    dir.file("one.txt", "Ada B-person\nBob B-person\nleft O\n");
    let args = [
        "--model=embedded:bert",
        "--support=one.txt",
        "--out=other",
        "--scheme=io",
    ];
    let (told, table) = adapt(&dir, &args);
    assert!(told.contains("no cross-validation"), "{told}");
    assert!(
        told.contains("warning: one sentence only with examples of `person`:"),
        "{told}"
    );
    assert!(told.contains("1 pairs of neighbouring entities"), "{told}");
    assert_eq!(table, "");
}

/// Adapts to a support file that must be refused: nothing is written, nothing is lost.
fn refused(content: &[u8], args: &[&str], expected: &[&str]) {
    let dir = Dir::new();
    dir.file("s.txt", content);
    dir.file("tagger/kept", "as it was");
    let run = |more: &[&str]| {
        let args = [&["--model=embedded:bert", "--support=s.txt"], args, more].concat();
        let output = dir.run(&[&QUICK[..], &args].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for part in expected {
            assert!(told.contains(part), "no `{part}` in:\n{told}");
        }
    };
    run(&["--out=new"]);
    run(&["--out=tagger", "--overwrite"]);
    assert_eq!(bytes(&dir, "tagger/kept"), b"as it was");
    assert_eq!(names_in(dir.path()), ["s.txt", "tagger"]);
}

#[test]
fn a_bad_support_file_is_named_and_nothing_is_lost() {
    refused(b"", &[], &["s.txt"]);
    refused(b"\n\n", &[], &["s.txt"]);
    refused(b"Ada O\nleft O\n", &[], &["s.txt", "entit"]);
    refused(
        b"{\"text\": \"Ada left\", \"label\": []}\n",
        &[],
        &["s.txt", "entit"],
    );
    refused(
        b"Ada B-person\nl\xffft O\n",
        &[],
        &["s.txt:2: expected UTF-8, found byte 0xff"],
    );
    refused(
        b"Ada B-person\nleft\n",
        &[],
        &["s.txt:2: expected `token tag`"],
    );
    refused(b"Ada S-person\n", &[], &["s.txt:1:", "`S-person`"]);
    refused(
        b"Ada I-person\nleft O\n",
        &[],
        &["s.txt:1: expected `B-person`", "`--orphan begin`"],
    );
    let spans = |label: &str| format!("{{\"text\": \"Ada flew to Oslo\", \"label\": [{label}]}}\n");
    for (label, expected) in [
        (
            r#"[0, 3, "a"], [0, 8, "b"]"#,
            "expected spans that do not overlap, found 0..3 `Ada` and 0..8",
        ),
        (
            r#"[0, 8, "a"], [4, 11, "b"]"#,
            "expected spans that do not overlap, found 0..8",
        ),
        (r#"[12, 17, "a"]"#, "within the text's 16, found 12..17"),
        (
            r#"[12, 14, "a"]"#,
            "found 12..14 `Os`, which cuts the word `Oslo`",
        ),
        (r#"[3, 0, "a"]"#, "found 3..0"),
        (r"[0, 3]", "expected a span"),
    ] {
        let lines = format!("{}{}", spans(r#"[0, 3, "a"]"#), spans(label));
        refused(lines.as_bytes(), &[], &["s.txt:2: ", expected]);
    }
}

#[test]
fn settings_that_fit_nothing_are_refused() {
    let s = SUPPORT.as_bytes();
    refused(
        s,
        &["--adapt=tail"],
        &["pattern `tail` matches no parameter"],
    );
    refused(
        s,
        &["--head=learned"],
        &["no learned head", "`--head zero`"],
    );
    refused(
        s,
        &["--head=zero", "--prototype-scale=2"],
        &["`--prototype-scale`"],
    );
    refused(
        s,
        &["--head=prototypes", "--prototype-scale=0"],
        &["must be a positive number"],
    );
    refused(s, &["--optimizer=sgd", "--inner-lr=1e30"], &["not finite"]);
    refused(s, &["--inner-lr=-1"], &["not negative"]);
}

#[test]
fn a_directory_that_is_there_is_not_replaced_unasked() {
    let dir = Dir::new();
    dir.file("s.txt", SUPPORT);
    dir.file("tagger/kept", "as it was");
    let args = ["--model=embedded:bert", "--support=s.txt", "--out=tagger"];
    let output = dir.run(&[&QUICK[..], &args].concat());
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("`tagger` is there already") && told.contains("`--overwrite`"),
        "{told}"
    );
    assert_eq!(bytes(&dir, "tagger/kept"), b"as it was");
    adapt(&dir, &[&args[..], &["--overwrite"]].concat());
    assert!(!dir.path().join("tagger/kept").exists());
    assert_eq!(names_in(dir.path()), ["s.txt", "tagger"]);
}

#[test]
fn a_tokenizer_with_more_tokens_than_its_model_is_refused() {
    let dir = Dir::new();
    dir.file("s.txt", SUPPORT);
    adapt(
        &dir,
        &["--model=embedded:bert", "--support=s.txt", "--out=tagger"],
    );
    let tokenizer = text(&bytes(&dir, "tagger/tokenizer.json"));
    let mut tokenizer: Json = serde_json::from_str(&tokenizer).unwrap();
    tokenizer["model"]["vocab"]["metashot"] = 8000.into();
    dir.file("tagger/tokenizer.json", tokenizer.to_string());
    let wanted = "has 8001 tokens, its model has embeddings for 8000";
    for args in [
        &["adapt", "--model=tagger", "--support=s.txt", "--out=new"][..],
        &["predict", "--model=tagger", "s.txt"],
    ] {
        let output = dir.run(args);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(wanted), "{told}");
    }
    assert_eq!(names_in(dir.path()), ["s.txt", "tagger"]);
}
