//! Runs that go well: the table, the run directory, the same bits again.

use std::fs;

use metashot::recipe::{Overrides, Recipe};

use crate::tool::{Dir, TINY, kill_at, text};

#[test]
fn the_default_trains_and_ends_with_a_table() {
    let dir = Dir::new();
    let output = dir.train(&[]);
    let (table, talk) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{talk}");
    assert!(
        table.starts_with("3-way 1~2-shot, 3 test episodes of classes never seen in training"),
        "{table}"
    );
    for learner in [
        "\nmeta-learned ",
        "\nmeta-learned, Viterbi, ",
        "\nmeta-learned, prototypes ",
        "\nfine-tuning, ",
        "\nprototypes ",
        "\nrandom, prototypes ",
    ] {
        assert!(table.contains(learner), "{table}");
    }
    let run = dir.path().join("runs/default-1");
    let names = [
        "config.toml",
        "metrics.jsonl",
        "state.safetensors",
        "best.safetensors",
        "results.json",
        "scores.jsonl",
        "manifest.json",
    ];
    let mut found: Vec<_> = fs::read_dir(&run)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut expected = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(found, expected);
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert_eq!(
        metrics.lines().count(),
        4 + 2,
        "a line for each step and each validation"
    );

    let again = dir.run(&["eval", "runs/default-1"]);
    assert_eq!(text(&again.stdout), table, "{}", text(&again.stderr));
    assert!(
        dir.train(&[]).status.success(),
        "a second run takes a directory of its own"
    );
    let states = ["runs/default-1", "runs/default-2"]
        .map(|run| fs::read(dir.path().join(run).join("state.safetensors")).unwrap());
    assert!(states[0] == states[1], "the same seed gives the same bits");
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let dir = Dir::new();
    let whole = dir.train(&["--out=whole", "--outer-steps=12", "--threads=1"]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));

    let arguments = [&TINY[..], &["--out=killed", "--outer-steps=12"]].concat();
    kill_at(&dir, &arguments, "step 4: validation");
    assert!(
        !dir.path().join("killed/results.json").exists(),
        "the run was killed before its end"
    );

    let resumed = dir.run(&["train", "--out=killed", "--resume"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    assert_eq!(text(&resumed.stdout), text(&whole.stdout));
    let state = |run: &str| fs::read(dir.path().join(run).join("state.safetensors")).unwrap();
    assert!(state("killed") == state("whole"), "the states differ");
    let steps = |run: &str| {
        let metrics = fs::read_to_string(dir.path().join(run).join("metrics.jsonl")).unwrap();
        let losses = metrics.lines().map(|line| {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap();
            (
                entry["step"].clone(),
                entry["loss"].clone(),
                entry["validation"].clone(),
            )
        });
        losses.collect::<Vec<_>>()
    };
    assert_eq!(steps("killed"), steps("whole"));
}

#[test]
fn the_printed_configuration_is_a_recipe() {
    let dir = Dir::new();
    let output = dir.run(&[
        "train",
        "--print-config",
        "--inner-lr=0.25",
        "--set=outer.lr=1",
    ]);
    let printed = text(&output.stdout);
    let recipe = Recipe::resolve(&printed, "printed", &Overrides::default()).unwrap();
    assert!((recipe.inner.lr - 0.25).abs() < 1e-12 && (recipe.outer.lr - 1.0).abs() < 1e-12);
    assert_eq!(recipe.to_toml().unwrap(), printed);
    assert!(!dir.path().join("runs").exists(), "printing runs nothing");
}

#[test]
fn an_earlier_run_is_not_lost() {
    let dir = Dir::new();
    assert!(dir.train(&["--out=run"]).status.success());
    let before = fs::read(dir.path().join("run/best.safetensors")).unwrap();
    let output = dir.train(&["--out=run", "--seed=2"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("`--resume`"),
        "{}",
        text(&output.stderr)
    );
    assert!(fs::read(dir.path().join("run/best.safetensors")).unwrap() == before);
    assert!(
        dir.train(&["--out=run", "--seed=2", "--overwrite"])
            .status
            .success()
    );
    assert!(fs::read(dir.path().join("run/best.safetensors")).unwrap() != before);
}

#[test]
fn every_recipe_of_the_repository_resolves() {
    let recipes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    let mut n_recipes = 0;
    for entry in fs::read_dir(recipes).unwrap() {
        let path = entry.unwrap().path();
        Recipe::load(Some(&path), &Overrides::default()).unwrap();
        n_recipes += 1;
    }
    assert!(n_recipes >= 4);
}
