//! Results beside one another: what a run leaves for it, `eval --out`, and `compare`.

use std::fs;

use metashot_data::{ContentHash, hash_file};
use serde_json::Value as Json;

use crate::tool::{Dir, text};

/// A directory with the runs `a-1`, `a-2` and `b-1`: two seeds of a setting, and another setting.
fn with_runs() -> Dir {
    let dir = Dir::new();
    for (run, args) in [
        ("a-1", &["--seed=1"][..]),
        ("a-2", &["--seed=2"]),
        ("b-1", &["--seed=1", "--inner-lr=0.05"]),
    ] {
        let output = dir.train(&[args, &[FEW, "--out", run]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    dir
}

/// No more learners than there is something to say of.
const FEW: &str = "--set=evaluation.learners=['meta-learned', 'no-adaptation', 'fine-tuning']";

fn json(dir: &Dir, file: &str) -> Json {
    serde_json::from_slice(&fs::read(dir.path().join(file)).unwrap()).unwrap()
}

fn told(dir: &Dir, args: &[&str]) -> String {
    let output = dir.run(args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn error(dir: &Dir, args: &[&str]) -> String {
    let output = dir.run(args);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn runs_are_compared_by_what_they_left() {
    let dir = with_runs();
    let tables = told(&dir, &["compare", "a-1", "a-2", "b-1"]);
    for part in [
        "3-way 1~2-shot, 3 test episodes of classes never seen in training\n",
        "\nA: `a-1`, `a-2` (seeds 1, 2)\nB: `b-1` (seed 1)\n   inner.lr = 0.05, not 0.3\n",
        "\nmeta-learned  ",
        "\nminus `",
        "\nB minus A, seed 1  ",
        "\na-2     2  ",
    ] {
        assert!(tables.contains(part), "{part}: {tables}");
    }
    // What the run said of itself is what is said of it here.
    let results = json(&dir, "b-1/results.json");
    let row = &results["rows"][0];
    let [value, low, high] = ["value", "low", "high"].map(|key| 100.0 * row[key].as_f64().unwrap());
    let hash: ContentHash = serde_json::from_value(results["episodes_hash"].clone()).unwrap();
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let expected = format!(
        "b-1 1 {} meta-learned {value:.2} [{low:.2}, {high:.2}]",
        hash.short()
    );
    let lines: Vec<Vec<String>> = tables.lines().map(words).collect();
    assert!(lines.contains(&words(&expected)), "{expected}: {tables}");
}

#[test]
fn runs_that_do_not_fit_together_are_not_compared() {
    let dir = with_runs();
    let check = |args: &[&str], expected: &str| {
        let told = error(&dir, &[&["compare"], args].concat());
        assert!(told.contains(expected), "{told}");
    };
    check(
        &["a-1", "a-1"],
        "have the same settings and the same seed, 1",
    );
    check(
        &["a-2", "b-1"],
        "the seed (2 and 1; each draws episodes of its own)",
    );
    check(&["nowhere"], "there is no directory `nowhere`");
    fs::remove_file(dir.path().join("a-2/scores.jsonl")).unwrap();
    check(&["a-1", "a-2"], "`metashot eval RUN --out DIR`");
    let scores = dir.path().join("b-1/scores.jsonl");
    let cut = fs::read_to_string(&scores).unwrap();
    fs::write(&scores, &cut[..cut.len() / 2]).unwrap();
    check(&["b-1"], "b-1/scores.jsonl:");
    let output = dir.train(&[FEW, "--seed=1", "--k-shot=2", "--out=c-1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    check(&["a-1", "c-1"], "`episodes.k_shot` (1 and 2)");
}

#[test]
fn seeds_can_be_measured_on_the_same_frozen_episodes() {
    let dir = with_runs();
    let sample = [
        "episodes",
        "sample",
        "--count=4",
        "--seed=9",
        "--out=frozen.jsonl",
    ];
    told(&dir, &sample);
    for run in ["a-1", "a-2", "b-1"] {
        let out = format!("on-frozen-{run}");
        told(
            &dir,
            &[
                "eval",
                run,
                "--episodes=frozen.jsonl",
                "--out",
                &out,
                "--threads=1",
            ],
        );
    }
    // Other seeds, and yet pairs.
    let tables = told(&dir, &["compare", "on-frozen-a-2", "on-frozen-b-1"]);
    assert!(tables.contains("\nB minus A  "), "{tables}");
    let tables = told(
        &dir,
        &["compare", "on-frozen-a-1", "on-frozen-a-2", "on-frozen-b-1"],
    );
    assert!(tables.contains("\nB minus A  "), "{tables}");
    let manifest = json(&dir, "on-frozen-a-1/manifest.json");
    let results = json(&dir, "on-frozen-a-1/results.json");
    assert_eq!(manifest["command"], "eval");
    assert_eq!(manifest["episodes_hash"], results["episodes_hash"]);
    let frozen = hash_file(&dir.path().join("frozen.jsonl")).unwrap();
    let data = manifest["data"].as_array().unwrap();
    let named = data.iter().find(|file| file["name"] == "frozen.jsonl");
    assert_eq!(named.unwrap()["sha256"], frozen.to_string());
}

#[test]
fn an_evaluation_leaves_what_training_does_and_overwrites_no_run() {
    let dir = with_runs();
    let table = told(
        &dir,
        &["eval", "a-1", "--out=again", "--report", "--threads=1"],
    );
    for part in [
        "\nmeta-learned, entities of all 3 episodes\n",
        "precision    recall  f1-score   support",
        "weighted avg",
    ] {
        assert!(table.contains(part), "{table}");
    }
    let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
    assert_eq!(read("again/scores.jsonl"), read("a-1/scores.jsonl"));
    let rows = |run: &str| json(&dir, &format!("{run}/results.json"))["rows"].clone();
    assert_eq!(rows("again"), rows("a-1"));

    let told = error(&dir, &["eval", "a-1", "--out=again"]);
    assert!(told.contains("`--overwrite`"), "{told}");
    let told = error(&dir, &["eval", "a-1", "--out=b-1", "--overwrite"]);
    assert!(told.contains("which is no result of `eval`"), "{told}");
    assert!(dir.path().join("b-1/best.safetensors").exists());
    let output = dir.run(&["eval", "a-2", "--out=again", "--overwrite", "--threads=1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(read("again/scores.jsonl"), read("a-2/scores.jsonl"));
}

#[test]
fn a_manifest_says_what_a_run_came_from() {
    let dir = Dir::new();
    assert!(dir.train(&[FEW, "--out=run"]).status.success());
    let manifest = json(&dir, "run/manifest.json");
    assert_eq!(manifest["command"], "train");
    assert_eq!(manifest["seed"], 1);
    assert_eq!(manifest["settings"]["outer"]["steps"], 4);
    assert_eq!(manifest["threads"], 2);
    assert_eq!(manifest["device"], "cpu");
    assert!(manifest["machine"]["cores"].as_u64() > Some(0));
    let best = hash_file(&dir.path().join("run/best.safetensors")).unwrap();
    assert_eq!(manifest["weights"][0]["sha256"], best.to_string());
    let fixture = |name: &str| {
        hash_file(&crate::tool::fixtures().join(name))
            .unwrap()
            .to_string()
    };
    let hash = |list: &str, name: &str| {
        let files = manifest[list].as_array().unwrap();
        let file = files
            .iter()
            .find(|file| file["name"] == format!("embedded:{name}"));
        file.unwrap()["sha256"].clone()
    };
    for name in [
        "train.txt",
        "validation.txt",
        "test.txt",
        "bert/tokenizer.json",
    ] {
        assert_eq!(hash("data", name), fixture(name));
    }
    let weights = "bert/model.safetensors";
    assert_eq!(hash("start", weights), fixture(weights));
    let [started, ended] =
        ["started", "ended"].map(|key| manifest[key].as_str().unwrap().to_owned());
    assert!(started <= ended && ended.len() == "2026-01-01T00:00:00Z".len());

    let random = dir.train(&[FEW, "--out=random", "--init=random", "--outer-steps=2"]);
    assert!(random.status.success(), "{}", text(&random.stderr));
    assert_eq!(
        json(&dir, "random/manifest.json")["start"],
        Json::Array(Vec::new())
    );
    let resumed = dir.run(&["train", "--out=run", "--resume"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    assert_eq!(json(&dir, "run/manifest.json")["resumed_at"], 4);
}
