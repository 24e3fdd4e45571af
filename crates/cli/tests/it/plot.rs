//! Runs as pictures: what is on the page, and what it cannot be made of.

use std::fs;

use crate::tool::{Dir, text};

fn plot(dir: &Dir, args: &[&str]) -> String {
    let output = dir.run(&[&["plot"], args].concat());
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("shows it in a browser"), "{told}");
    let out = args.iter().find_map(|arg| arg.strip_prefix("--out="));
    fs::read_to_string(dir.path().join(out.unwrap_or("plot.html"))).unwrap()
}

fn refused(dir: &Dir, args: &[&str], expected: &str) {
    let output = dir.run(&[&["plot"], args].concat());
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(expected), "no `{expected}` in:\n{told}");
}

#[test]
fn a_page_has_the_curves_and_the_learners_of_its_runs() {
    let dir = Dir::new();
    assert!(dir.train(&["--out=one"]).status.success());
    assert!(dir.train(&["--out=two", "--seed=2"]).status.success());
    let page = plot(&dir, &["one"]);
    assert_eq!(page.matches("<svg").count(), 3);
    assert!(page.contains("fine-tuning, 1 steps of 0.1"), "{page}");
    assert!(page.contains("micro F1, 3-way 1~2-shot, 3 test episodes ("));

    // Drawn episodes of two seeds are not the same, so each has a chart; an evaluation has no curve.
    let output = dir.run(&["eval", "one", "--out=eval"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = plot(&dir, &["one", "two", "eval", "--out=all.html"]);
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(page.contains("eval: meta-learned"), "{page}");

    refused(&dir, &["one"], "`plot.html` is there already");
    plot(&dir, &["one", "--overwrite"]);

    // A run that goes on has losses and no results yet.
    fs::remove_file(dir.path().join("two/results.json")).unwrap();
    let page = plot(&dir, &["two", "--out=half.html"]);
    assert_eq!(page.matches("<svg").count(), 2);
}

#[test]
fn what_is_no_run_is_not_drawn() {
    let dir = Dir::new();
    refused(&dir, &["nowhere"], "there is no directory `nowhere`");
    dir.file("empty/notes.txt", "");
    refused(&dir, &["empty"], "there is nothing to draw");
    dir.file(
        "broken/metrics.jsonl",
        "{\"step\":0,\"loss\":1}\n{\"step\":1,\n",
    );
    refused(&dir, &["broken"], "line 2 of `broken/metrics.jsonl`");
    dir.file("damaged/results.json", "{\"rows\":[");
    refused(
        &dir,
        &["damaged"],
        "`damaged/results.json` holds no results",
    );
    assert!(!dir.path().join("plot.html").exists());
}
