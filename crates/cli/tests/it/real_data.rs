//! The worked cases on real data, in miniature: where `METASHOT_DATA` names it.

use crate::tool::{Dir, text};

fn check(recipe: &str, args: &[&str]) {
    let Some(data) = std::env::var_os("METASHOT_DATA") else {
        let line =
            format!("skipped: {recipe} needs real data, in the directory that METASHOT_DATA names");
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
        return;
    };
    let dir = Dir::new();
    let recipe = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../recipes")
        .join(recipe);
    let fixed = [
        "train",
        "--recipe",
        recipe.to_str().unwrap(),
        "--threads=2",
        "--outer-steps=2",
        "--warmup-steps=1",
        "--tasks-per-step=2",
        "--validation-episodes=2",
        "--test-episodes=2",
        "--set=evaluation.finetune_lr=[0.05]",
        "--set=evaluation.finetune_steps=[1]",
    ];
    let output = dir
        .command(&[&fixed, args].concat())
        .env("METASHOT_DATA", data)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("meta-learned"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn omniglot_trains() {
    check("omniglot-5way-1shot.toml", &[]);
}

#[test]
fn few_nerd_trains_from_minilm() {
    check(
        "fewnerd-inter-5way-1shot.toml",
        &["--inner-steps=1", "--test-steps=1"],
    );
}
