//! `pretrain` as a person runs it: the model it leaves, the same bits again, and what bad input is told.

use std::{collections::BTreeSet, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use metashot_data::text::Tokenizer;
use metashot_models::{
    MaskedLm, TokenBatch,
    checkpoint::{load_bert, load_masked_lm_head},
};

use crate::tool::{Dir, fixtures, kill_at, python_agrees, text};

/// A model of a few thousand parameters, for a few steps.
pub(crate) const SMALL: [&str; 11] = [
    "pretrain",
    "english.txt",
    "--vocab-size=300",
    "--hidden-size=16",
    "--layers=1",
    "--heads=2",
    "--max-tokens=64",
    "--steps=6",
    "--batch-size=8",
    "--set=every=2",
    "--set=held_out=0.1",
];

/// A directory with some text, the words of the embedded training sentences.
pub(crate) fn with_text() -> Dir {
    let dir = Dir::new();
    let bio = fs::read_to_string(fixtures().join("train.txt")).unwrap();
    let sentences = bio.split("\n\n").take(300).map(|sentence| {
        let words = sentence.lines().filter_map(|line| line.split(' ').next());
        words.collect::<Vec<_>>().join(" ") + "\n"
    });
    dir.file("english.txt", sentences.collect::<String>());
    dir
}

fn pretrain(dir: &Dir, args: &[&str]) -> String {
    let output = dir.run(&[&SMALL, args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn bytes(dir: &Dir, path: &str) -> Vec<u8> {
    fs::read(dir.path().join(path)).unwrap()
}

/// A model's logits for each token of a text, and the ids.
fn logits(directory: &Path, words: &str) -> (Vec<u32>, Tensor) {
    let tokenizer = Tokenizer::from_file(&directory.join("tokenizer.json")).unwrap();
    let ids = tokenizer.passages(words, 64).unwrap().remove(0).ids;
    let cpu = &Device::Cpu;
    let (config, encoder) = load_bert(directory, DType::F32, cpu).unwrap();
    let head = load_masked_lm_head(directory, DType::F32, cpu).unwrap();
    let params = encoder.overlaid(&head.unwrap()).constants();
    let rows: Vec<u32> = (0..ids.len() as u32).collect();
    let batch = TokenBatch::from_sequences([&ids]);
    let model = MaskedLm::new(config).unwrap();
    let logits = model.forward(&params, &batch, &rows).unwrap();
    (ids, logits.into_tensor())
}

#[test]
fn text_becomes_a_backbone() {
    let dir = with_text();
    let printed = pretrain(&dir, &["--float16"]);
    assert!(
        printed.starts_with("held-out loss ") && printed.contains("`runs/pretrain-1`"),
        "{printed}"
    );
    let found: BTreeSet<String> = fs::read_dir(dir.path().join("runs/pretrain-1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = [
        "best.safetensors",
        "config.json",
        "config.toml",
        "manifest.json",
        "metrics.jsonl",
        "model.safetensors",
        "results.json",
        "state.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
    // Half precision is read wherever a model is.
    let output = dir.train(&["--backbone=runs/pretrain-1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let more = dir.run(&[
        "pretrain",
        "english.txt",
        "--backbone=runs/pretrain-1",
        "--max-tokens=64",
        "--steps=2",
        "--batch-size=8",
    ]);
    assert!(more.status.success(), "{}", text(&more.stderr));
    assert_eq!(
        bytes(&dir, "runs/pretrain-2/vocab.txt"),
        bytes(&dir, "runs/pretrain-1/vocab.txt")
    );
}

#[test]
fn hidden_words_are_learned_from_the_words_beside_them() {
    let dir = Dir::new();
    let words = [
        "ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "maple", "oak", "pine", "rowan",
        "yew",
    ];
    // Who sees a word of a line knows the next ones; who guesses blindly is right once in twelve.
    let line = |first: usize, second: usize| {
        let (first, second) = (words[first], words[second]);
        format!("{first} {first} {first} {first} {second} {second} {second} {second}\n")
    };
    let lines = (0..144).map(|at| line(at / 12, at % 12));
    dir.file("english.txt", lines.collect::<String>());
    pretrain(
        &dir,
        &[
            "--out=run",
            "--vocab-size=80",
            "--steps=400",
            "--set=every=200",
            "--lr=5e-3",
            "--hidden-size=32",
            "--set=model.initializer_range=0.1",
        ],
    );
    let metrics = text(&bytes(&dir, "run/metrics.jsonl"));
    let entries = metrics
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let losses: Vec<f64> = entries.filter_map(|entry| entry["loss"].as_f64()).collect();
    assert_eq!(losses.len(), 400);
    let results: serde_json::Value =
        serde_json::from_slice(&bytes(&dir, "run/results.json")).unwrap();
    let loss = results["loss"].as_f64().unwrap();
    assert!(loss < 0.6 * 12f64.ln(), "from {} to {loss}", losses[0]);
    assert!((results["perplexity"].as_f64().unwrap() - loss.exp()).abs() < 1e-9);
}

#[test]
fn the_same_seed_gives_the_same_model_at_any_number_of_threads() {
    let dir = with_text();
    pretrain(&dir, &["--out=one", "--threads=1"]);
    pretrain(&dir, &["--out=three", "--threads=3"]);
    pretrain(&dir, &["--out=other", "--threads=3", "--seed=1"]);
    for file in ["tokenizer.json", "model.safetensors", "state.safetensors"] {
        let path = |run: &str| format!("{run}/{file}");
        assert!(
            bytes(&dir, &path("one")) == bytes(&dir, &path("three")),
            "{file}"
        );
    }
    assert!(bytes(&dir, "one/model.safetensors") != bytes(&dir, "other/model.safetensors"));
}

#[test]
fn a_killed_pretraining_goes_on_to_the_same_bits() {
    let dir = with_text();
    let steps = &["--steps=40", "--threads=1"];
    pretrain(&dir, &[&["--out=whole"], &steps[..]].concat());
    let arguments = [&SMALL[..], &["--out=killed"], &steps[..]].concat();
    kill_at(&dir, &arguments, "step 4:");
    assert!(
        !dir.path().join("killed/results.json").exists(),
        "the run was killed before its end"
    );
    // The text may go: the vocabulary of the run is kept, and only the passages are read again.
    let resumed = dir.run(&["pretrain", "--out=killed", "--resume"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    for file in ["tokenizer.json", "model.safetensors", "state.safetensors"] {
        let path = |run: &str| format!("{run}/{file}");
        assert!(
            bytes(&dir, &path("killed")) == bytes(&dir, &path("whole")),
            "{file}"
        );
    }
}

#[test]
fn transformers_loads_what_pretrain_writes() {
    let dir = with_text();
    pretrain(&dir, &["--out=run"]);
    let run = dir.path().join("run");
    let words = "The mayor of Brackford met a hound, she said.";
    let (ids, logits) = logits(&run, words);
    python_agrees(&run, words, &ids, &logits);
}

#[test]
fn bad_text_and_settings_are_named() {
    let dir = with_text();
    dir.file("latin.txt", b"one\ntw\xf6\n");
    dir.file("empty.txt", b"\n \n");
    dir.file("one.txt", b"one line\none line\n");
    let check = |args: &[&str], expected: &[&str]| {
        let output = dir.run(&[&["pretrain", "--out=run"], args].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        for part in expected {
            assert!(told.contains(part), "no `{part}` in:\n{told}");
        }
        assert!(!dir.path().join("run").exists(), "a run is left behind");
    };
    check(&[], &["there is no text", "`metashot pretrain FILE..`"]);
    check(&["nowhere.txt"], &["found no `nowhere.txt`"]);
    check(&["latin.txt"], &["latin.txt:2: expected UTF-8"]);
    check(&["empty.txt"], &["empty.txt", "lines of text"]);
    check(
        &["one.txt"],
        &["found 0 passages to train on and 1", "not the same"],
    );
    check(
        &["english.txt", "--vocab-size=9"],
        &["`vocabulary size`", "found 9"],
    );
    check(
        &["english.txt", "--set=speed=1"],
        &["unknown field `speed`"],
    );
    check(&["english.txt", "--lr=0"], &["`training.lr`"]);
    check(&["english.txt", "--hidden-size=10"], &["hidden_size"]);
    check(
        &["english.txt", "--resume"],
        &["there is no run to go on with"],
    );
    check(
        &[
            "english.txt",
            "--backbone=embedded:bert",
            "--max-tokens=4096",
        ],
        &["`max_tokens` is 4096", "positions"],
    );
}
