//! The tasks of an update as one batch: the same steps as side by side, for every case.
//!
//! Not here: the meta-gradient of a batch against references, which `metashot-meta` has.

use std::fs;

use serde_json::Value;

use crate::tool::{Dir, TINY, text};

/// The first update with the tasks side by side and as one batch.
fn check(dir: &Dir, args: &[&str]) {
    let [threads, batch] = ["threads", "batch"].map(|tasks| {
        let (how, out) = (format!("--tasks={tasks}"), format!("--out={tasks}"));
        let output = dir.run(&[args, &[&how, &out, "--overwrite"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let metrics = fs::read_to_string(dir.path().join(tasks).join("metrics.jsonl")).unwrap();
        serde_json::from_str::<Value>(metrics.lines().next().unwrap()).unwrap()
    });
    for number in ["loss", "start_loss", "grad_norm"] {
        let [a, b] = [&threads, &batch].map(|step| step[number].as_f64());
        let (Some(a), Some(b)) = (a, b) else {
            assert_eq!(a, b, "{number}, {args:?}");
            continue;
        };
        assert!(a > 0.0, "{number} is {a}, {args:?}");
        assert!((a - b).abs() < 1e-3 * a, "{number}: {a} and {b}, {args:?}");
    }
}

#[test]
fn entities() {
    let dir = Dir::new();
    let with = |args: &[&'static str]| check(&dir, &[&TINY, args].concat());
    // Exact through prototypes, with the word table adapting too, with a head that is learned, without steps.
    with(&["--tasks-per-step=3"]);
    with(&["--adapt=*", "--inner-steps=2", "--memory=fast"]);
    with(&["--head=learned", "--order=first", "--inner-lr=0.1"]);
    with(&[
        "--head=learned",
        "--adapt=classifier",
        "--set=outer.train=[\"classifier\"]",
    ]);
    with(&["--inner-steps=0", "--test-steps=0"]);
}

#[test]
fn sentences() {
    let dir = Dir::new();
    let mut lines = vec!["text,label".to_owned()];
    for class in ["red", "green", "blue", "white", "black", "grey"] {
        for n in ["one", "two and a half", "three", "four", "five thousand"] {
            lines.push(format!("the {class} thing has {n} corners,{class}"));
        }
    }
    dir.file("sentences.csv", lines.join("\n"));
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/sentences.toml");
    let sizes = [
        "--recipe",
        recipe,
        "--n-way=2",
        "--k-shot=2",
        "--n-query=2",
        "--set=episodes.test_n_query=2",
        "--set=sentences.validation_classes=2",
        "--set=sentences.test_classes=2",
    ];
    let args = [&TINY, &sizes[..]].concat();
    check(&dir, &args);
    check(
        &dir,
        &[
            &args[..],
            &["--head=learned", "--set=sentences.pooling=cls"],
        ]
        .concat(),
    );
}

#[test]
fn pictures() {
    let dir = Dir::new();
    let recipe = dir.pictures();
    let args = [
        "train",
        "--threads=1",
        "--tasks-per-step=3",
        "--recipe",
        &recipe,
    ];
    check(&dir, &args);
    // A normalisation that does not adapt has statistics of each task all the same.
    check(&dir, &[&args[..], &["--adapt=head"]].concat());
    check(
        &dir,
        &[&args[..], &["--head=prototypes", "--inner-steps=0"]].concat(),
    );
}
