//! What is told to whoever brings bad input: on stderr, with exit code 1, and nothing is left behind.

use std::fs;

use crate::tool::{Dir, fixtures, text};

/// Runs `train` and compares what it is told.
fn check(dir: &Dir, args: &[&str], expected: &[&str]) {
    let output = dir.train(&[&["--out=run"], args].concat());
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty(), "stdout is for results");
    assert!(told.contains("error: "), "{told}");
    for part in expected {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    assert!(
        !dir.path().join("run").exists(),
        "a run directory is left behind"
    );
}

fn with_train(content: &str, expected: &[&str]) {
    let dir = Dir::new();
    let path = dir.file("train.txt", content);
    check(&dir, &[&format!("--set=ner.train={path}")], expected);
}

#[test]
fn a_missing_file_says_where_it_was_looked_for() {
    let dir = Dir::new();
    check(
        &dir,
        &["--set=ner.train=nowhere.txt"],
        &["found no `nowhere.txt`", "`METASHOT_DATA`"],
    );
    let data = format!("--data={}", dir.path().display());
    check(
        &dir,
        &["--set=ner.train=nowhere.txt", &data],
        &["found neither `nowhere.txt` nor"],
    );
}

#[test]
fn a_malformed_line_has_its_number() {
    with_train("a O\nb\n", &["train.txt:2: expected", "found"]);
    with_train("a O\nb X-y\n", &["train.txt:2:", "`X-y`"]);
    with_train("", &["train.txt"]);
}

#[test]
fn an_inside_without_a_begin_follows_the_policy() {
    let content = "a O\nb I-y\n";
    with_train(content, &["train.txt:2:", "`I-y`"]);
    // The other policy reads the file, which then has too few types.
    let dir = Dir::new();
    let path = dir.file("train.txt", content);
    check(
        &dir,
        &[&format!("--set=ner.train={path}"), "--set=ner.orphan=begin"],
        &["3-way"],
    );
}

#[test]
fn too_few_types_or_examples_are_named() {
    with_train("a B-x\n\nb B-x\n\nc B-y\n\nd B-y\n", &["3-way", "2"]);
    with_train(
        "a B-x\n\nb B-x\n\nc B-y\n\nd B-y\n\ne B-z\n",
        &["`x`", "need 3 entities"],
    );
}

#[test]
fn types_in_two_splits_are_named() {
    let dir = Dir::new();
    let test = fixtures().join("test.txt");
    let copy = dir.file(
        "copy.txt",
        fs::read_to_string(test).unwrap().replace("The ", "A "),
    );
    check(
        &dir,
        &[&format!("--set=ner.train={copy}")],
        &["train", "test"],
    );
}

/// The embedded BERT with one file replaced.
fn with_backbone(file: &str, content: &[u8], expected: &[&str]) {
    let dir = Dir::new();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        dir.file(
            &format!("bert/{name}"),
            fs::read(fixtures().join("bert").join(name)).unwrap(),
        );
    }
    dir.file(&format!("bert/{file}"), content);
    check(&dir, &["--backbone=bert"], expected);
}

#[test]
fn weights_that_are_none_are_refused() {
    let weights = fs::read(fixtures().join("bert/model.safetensors")).unwrap();
    with_backbone(
        "model.safetensors",
        &weights[..weights.len() / 2],
        &["model.safetensors"],
    );
    with_backbone(
        "model.safetensors",
        b"PK\x03\x04 something else",
        &["model.safetensors"],
    );
    with_backbone("model.safetensors", b"", &["model.safetensors"]);
}

#[test]
fn a_config_that_disagrees_with_the_weights_names_the_parameter() {
    let config = fs::read_to_string(fixtures().join("bert/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["intermediate_size"] = 77.into();
    with_backbone(
        "config.json",
        config.to_string().as_bytes(),
        &["intermediate.dense", "77"],
    );
    config["vocab_size"] = 3.into();
    with_backbone(
        "config.json",
        config.to_string().as_bytes(),
        &["the tokenizer of", "tokens, its model has embeddings for 3"],
    );
    with_backbone("config.json", b"{}", &["config.json"]);
    with_backbone("tokenizer.json", b"{}", &["tokenizer.json"]);
}

#[test]
fn a_model_that_is_nowhere_says_how_to_give_a_path() {
    let dir = Dir::new();
    check(
        &dir,
        &["--backbone=org/name"],
        &["org/name", "`HF_HUB_OFFLINE`", "`--backbone DIR`"],
    );
    check(&dir, &["--backbone=no model"], &["no model"]);
}

#[test]
fn a_recipe_must_make_sense() {
    let dir = Dir::new();
    let check = |args: &[&str], expected: &[&str]| check(&dir, args, expected);
    check(&["--set=inner.rate=1"], &["unknown field `rate`"]);
    check(&["--set=nonsense=1"], &["unknown field `nonsense`"]);
    check(&["--set=inner"], &["`--set` wants `KEY=VALUE`"]);
    check(&["--set=inner.lr.x=1"], &["`inner.lr.x` is no setting"]);
    check(&["--set=inner.lr=fast"], &["inner.lr", "fast"]);
    check(
        &["--inner-lr=-1"],
        &["`inner.lr` must be a positive number"],
    );
    check(
        &["--outer-steps=2", "--warmup-steps=3"],
        &["`outer.warmup_steps` must be at most"],
    );
    check(&["--n-way=0"], &["`episodes.n_way` must be at least 1"]);
    check(
        &["--adapt=tail"],
        &["`inner.adapt`", "pattern `tail` matches no parameter"],
    );
    check(
        &["--set=outer.train=[\"tail\"]"],
        &["`outer.train`", "pattern `tail` matches no parameter"],
    );
    check(&["--recipe=nowhere.toml"], &["nowhere.toml"]);
    check(
        &["--set=ner.max_tokens=5000"],
        &["`ner.max_tokens` is 5000"],
    );
    dir.file("broken.toml", "seed = ");
    check(
        &["--recipe=broken.toml"],
        &["`broken.toml` is not a TOML file"],
    );
    #[cfg(not(feature = "cuda"))]
    check(
        &["--device=cuda"],
        &["this build has no CUDA", "cargo xtask train --device cuda"],
    );
}

#[test]
fn a_loss_that_diverges_names_step_and_task() {
    let dir = Dir::new();
    let output = dir.train(&["--out=run", "--inner-lr=1e30", "--inner-steps=3"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in [
        "failed at step 0",
        "task 0 failed",
        "is not finite at inner step",
    ] {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
}

/// Six small classes, and one file replaced.
fn with_pictures(file: &str, content: &[u8], args: &[&str], expected: &[&str]) {
    let dir = Dir::new();
    let recipe = dir.pictures();
    dir.file(file, content);
    let output = dir.run(
        &[
            &["train", "--threads=1", "--out=run", "--recipe", &recipe],
            args,
        ]
        .concat(),
    );
    let told = text(&output.stderr);
    if expected.is_empty() {
        assert!(output.status.success(), "{told}");
        assert!(text(&output.stdout).contains("accuracy"));
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in expected {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    assert!(
        !dir.path().join("run").exists(),
        "a run directory is left behind"
    );
}

#[test]
fn pictures_from_class_folders_train() {
    with_pictures("notes.txt", b"not in a class", &[], &[]);
}

#[test]
fn a_picture_that_does_not_decode_is_named() {
    with_pictures("classes/c1/0.png", b"not a picture", &[], &["c1/0.png"]);
    with_pictures("classes/c1/0.png", b"", &[], &["c1/0.png"]);
}

#[test]
fn classes_too_small_are_named_with_counts() {
    with_pictures("notes.txt", b"", &["--k-shot=3"], &["1", "3"]);
    with_pictures("notes.txt", b"", &["--n-way=3"], &["3-way"]);
    with_pictures("notes.txt", b"", &["--set=pictures.test_classes=9"], &["9"]);
}
