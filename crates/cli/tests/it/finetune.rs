//! `finetune` as a person runs it, and the starts that `train` can be given.

use std::{fs, path::Path};

use candle_core::{DType, Device, Tensor};
use metashot_data::text::Tokenizer;
use metashot_models::{TokenBatch, checkpoint::load_token_classifier};

use crate::{
    pretrain::{SMALL, with_text},
    tool::{Dir, kill_at, python_agrees, text},
};

/// A directory with a small backbone `bert`, and sentences with two types of entities that a few updates learn.
fn with_sentences() -> Dir {
    let dir = with_text();
    let output = dir.run(&[&SMALL[..], &["--out=bert", "--steps=2"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let sentences = |from: usize, n: usize| -> String {
        let names = ["Ada", "Bob", "Eve", "Dan", "Fay"];
        let towns = ["Oslo", "Rome", "Kyiv", "Bonn"];
        let pair = |at: usize| (names[at % 5], towns[at / 5 % 4], at / 20);
        let lines: Vec<String> = (from..from + n)
            .map(|at| {
                let (name, town, more) = pair(at);
                format!("{name} B-person\nNo{more} I-person\nflew O\nto O\n{town} B-town\n. O\n\n")
            })
            .collect();
        lines.concat()
    };
    dir.file("train.txt", sentences(0, 60));
    dir.file("dev.txt", sentences(60, 20));
    dir.file("test.txt", sentences(80, 20));
    dir
}

const TINY: [&str; 7] = [
    "finetune",
    "train.txt",
    "--backbone=bert",
    "--max-tokens=64",
    "--batch-size=8",
    "--validation=dev.txt",
    "--test=test.txt",
];

fn finetune(dir: &Dir, args: &[&str]) -> String {
    let output = dir.run(&[&TINY, args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn bytes(dir: &Dir, path: &str) -> Vec<u8> {
    fs::read(dir.path().join(path)).unwrap()
}

fn logits(directory: &Path, words: &str) -> (Vec<u32>, Tensor) {
    let tokenizer = Tokenizer::from_file(&directory.join("tokenizer.json")).unwrap();
    let ids = tokenizer.passages(words, 64).unwrap().remove(0).ids;
    let (model, params) = load_token_classifier(directory, DType::F32, &Device::Cpu).unwrap();
    let batch = TokenBatch::from_sequences([&ids]);
    let logits = model.forward(&params.constants(), &batch).unwrap();
    (ids, logits.into_tensor())
}

#[test]
fn a_labelled_file_becomes_a_tagger() {
    let dir = with_sentences();
    let table = finetune(&dir, &["--epochs=25", "--lr=1e-2", "--out=run"]);
    assert!(table.starts_with("20 test sentences (seed 0)"), "{table}");
    for line in ["  person  ", "  town  ", "  micro avg  ", "\nmicro F1 "] {
        assert!(table.contains(line), "{table}");
    }
    let results: serde_json::Value =
        serde_json::from_slice(&bytes(&dir, "run/results.json")).unwrap();
    assert!(results["micro"]["f1"].as_f64().unwrap() > 0.9, "{table}");
    assert_eq!(results["types"][1]["support"], 20);
    let manifest: serde_json::Value =
        serde_json::from_slice(&bytes(&dir, "run/manifest.json")).unwrap();
    assert_eq!(manifest["command"], "finetune");
    assert_eq!(manifest["data"][0]["name"], "train.txt");
    assert_eq!(manifest["start"][0]["name"], "bert/model.safetensors");
    assert_eq!(manifest["weights"][0]["name"], "model.safetensors");
    let run = dir.path().join("run");
    let (model, _) = load_token_classifier(&run, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(
        model.bert.config.labels().unwrap(),
        ["O", "B-person", "I-person", "B-town", "I-town"]
    );
    let words = "Eve No7 flew to Rome .";
    let (ids, logits) = logits(&run, words);
    python_agrees(&run, words, &ids, &logits);
    // A tagger is a start like any other.
    let output = dir.train(&["--backbone=bert", "--init=run", "--out=meta"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn training_stops_when_validation_gets_no_better() {
    let dir = with_sentences();
    finetune(
        &dir,
        &["--epochs=9", "--patience=2", "--lr=1e-9", "--out=run"],
    );
    let metrics = text(&bytes(&dir, "run/metrics.jsonl"));
    let validations = metrics.lines().filter(|line| line.contains("validation"));
    assert_eq!(validations.count(), 3, "the first is the best");
}

#[test]
fn a_killed_finetuning_goes_on_to_the_same_bits() {
    let dir = with_sentences();
    let settings = &["--epochs=12", "--lr=1e-3"];
    finetune(
        &dir,
        &[&["--out=whole", "--threads=1"], &settings[..]].concat(),
    );
    let arguments = [&TINY[..], &["--out=killed", "--threads=3"], &settings[..]].concat();
    kill_at(&dir, &arguments, "step 16:");
    assert!(!dir.path().join("killed/results.json").exists());
    let resumed = dir.run(&["finetune", "--out=killed", "--resume"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    for file in ["model.safetensors", "state.safetensors"] {
        let path = |run: &str| format!("{run}/{file}");
        assert!(
            bytes(&dir, &path("killed")) == bytes(&dir, &path("whole")),
            "{file}"
        );
    }
}

#[test]
fn without_other_files_sentences_are_held_out_and_long_ones_are_read_in_parts() {
    let dir = with_sentences();
    let output = dir.run(&[
        "finetune",
        "train.txt",
        "--backbone=bert",
        "--epochs=1",
        "--max-tokens=9",
        "--set=held_out=0.2",
        "--scheme=io",
        "--float16",
        "--out=run",
    ]);
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("48 sentences to train on, 12 to validate on"),
        "{told}"
    );
    let table = text(&output.stdout);
    assert!(table.starts_with("12 validation sentences"), "{table}");
    let results: serde_json::Value =
        serde_json::from_slice(&bytes(&dir, "run/results.json")).unwrap();
    assert_eq!(results["micro"]["support"], 24, "no entity is lost");
    let config = text(&bytes(&dir, "run/config.json"));
    assert!(config.contains("\"torch_dtype\": \"float16\""), "{config}");
}

#[test]
fn bad_files_are_named() {
    let dir = with_sentences();
    dir.file("other.txt", "Ada B-animal\n\n");
    dir.file(
        "long.txt",
        format!("{} B-person\n\nAda B-town\n", "xq".repeat(40)),
    );
    let check = |args: &[&str], expected: &[&str]| {
        let output = dir.run(&[&["finetune", "--out=run", "--backbone=bert"], args].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for part in expected {
            assert!(told.contains(part), "no `{part}` in:\n{told}");
        }
        assert!(!dir.path().join("run").exists(), "a run is left behind");
    };
    check(&["--max-tokens=64"], &["there is nothing to train on"]);
    check(
        &["train.txt", "--max-tokens=64", "--test=other.txt"],
        &["the test sentences", "`animal`", "`person`, `town`"],
    );
    check(
        &["train.txt", "--max-tokens=64", "--validation=train.txt"],
        &["every sentence of `train.txt`"],
    );
    check(&["train.txt", "--max-tokens=65"], &["64 positions"]);
    check(
        &["long.txt", "--max-tokens=8"],
        &["alone has more than `max_tokens`"],
    );
}

#[test]
fn starts_stand_in_one_table_and_must_fit_the_backbone() {
    let dir = with_sentences();
    let output = dir.train(&[
        "--backbone=bert",
        "--init=random",
        "--set=evaluation.starts=[\"pretrained\"]",
        "--out=first",
    ]);
    let table = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for learner in [
        "\nmeta-learned ",
        "\nfine-tuning, ",
        "\npretrained, fine-tuning, ",
        "\npretrained, prototypes ",
    ] {
        assert!(table.contains(learner), "{table}");
    }
    // What a run has learned, head and all, is a start; so without any further step nothing changes.
    let again = dir.train(&["--backbone=bert", "--init=first", "--out=second"]);
    assert!(again.status.success(), "{}", text(&again.stderr));

    let fails = |args: &[&str], expected: &str| {
        let output = dir.train(args);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(expected), "no `{expected}` in:\n{told}");
    };
    fails(&["--init=bert"], "have different vocabularies");
    fails(
        &["--init=first"],
        "has the backbone `bert`, this one has `embedded:bert`",
    );
    fails(&["--init=nowhere"], "nowhere");
    let wide = [&SMALL[..], &["--hidden-size=24", "--out=wide", "--steps=1"]].concat();
    assert!(dir.run(&wide).status.success());
    fails(&["--backbone=bert", "--init=wide"], "expected shape");
}

#[test]
fn types_that_are_held_out_leave_no_trace() {
    let dir = with_sentences();
    let sentences: Vec<String> = (0..40)
        .map(|at| match at % 2 {
            0 => format!("Ada{at} B-person\nflew O\n\n"),
            _ => format!("to O\nOslo{at} B-town\n\n"),
        })
        .collect();
    dir.file("one.txt", sentences.concat());
    let output = dir.run(&[
        "finetune",
        "one.txt",
        "--backbone=bert",
        "--max-tokens=64",
        "--hold-out-types=1",
        "--epochs=1",
        "--out=held",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(
        said.contains("1 entity types; 18 sentences to train on, 2 to validate on"),
        "{said}"
    );
    let config = fs::read_to_string(dir.path().join("held/config.json")).unwrap();
    assert_ne!(config.contains("B-person"), config.contains("B-town"));

    let output = dir.run(&[
        "finetune",
        "one.txt",
        "--backbone=bert",
        "--max-tokens=64",
        "--hold-out-types=2",
        "--out=nothing",
    ]);
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("`hold_out_types` leaves nothing"), "{said}");
    assert!(!dir.path().join("nothing").exists());
}
