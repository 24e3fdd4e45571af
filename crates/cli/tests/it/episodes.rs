//! Frozen episodes from the command line: drawn, shown, and what each bad file is told.

use std::fs;

use metashot_data::text::{FrozenEpisodes, read_episodes};
use serde_json::Value;

use crate::tool::{Dir, fixtures, text};

/// `episodes sample` to `out.jsonl`, which must go well.
fn sample(dir: &Dir, args: &[&str]) -> (FrozenEpisodes, String) {
    let output = dir.run(
        &[
            &["episodes", "sample", "--out=out.jsonl", "--overwrite"],
            args,
        ]
        .concat(),
    );
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    let frozen = read_episodes(&dir.path().join("out.jsonl")).unwrap();
    (frozen, text(&output.stdout))
}

/// A run that must fail, with these parts in what is told.
fn refused(dir: &Dir, args: &[&str], expected: &[&str]) -> String {
    let output = dir.run(&[&["episodes"], args].concat());
    let told = text(&output.stderr);
    assert!(!output.status.success(), "{args:?} went well");
    for part in expected {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    text(&output.stdout)
}

fn fixture(name: &str) -> String {
    fixtures().join(name).display().to_string()
}

/// Files of a domain with two types: sentences to learn from, and to be measured on.
fn domain(dir: &Dir) -> [String; 2] {
    let lines = |n: usize| format!("Ada{n} B-PER\nin O\nRome{n} B-LOC\n\nOslo{n} B-LOC\n\n");
    let pool: Vec<String> = (0..6).map(lines).collect();
    let queries = "Ada0 B-PER\nin O\nRome0 B-LOC\n\nnobody O\n\nEve B-PER\n";
    [
        dir.file("dev.txt", pool.concat()),
        dir.file("test.txt", queries),
    ]
}

#[test]
fn the_episodes_of_a_recipe_are_those_of_its_files() {
    let dir = Dir::new();
    let (of_recipe, table) = sample(&dir, &["--count=5", "--seed=3"]);
    let header = of_recipe.header.clone().unwrap();
    assert_eq!(header.origin.split.as_deref(), Some("test"));
    assert_eq!((header.origin.n_way, header.origin.n_query), (3, Some(2)));
    assert!(
        table.starts_with(&format!("hash       {}\n", of_recipe.hash)),
        "{table}"
    );
    assert!(
        table.contains("few-nerd: 3-way 1~2-shot, 2~4 queries"),
        "{table}"
    );

    let (of_files, _) = sample(
        &dir,
        &[
            &format!("--data-file={}", fixture("test.txt")),
            &format!("--exclude={}", fixture("train.txt")),
            &format!("--exclude={}", fixture("validation.txt")),
            &format!("--backbone={}", fixture("bert")),
            "--max-tokens=64",
            "--n-way=3",
            "--k-shot=1",
            "--n-query=2",
            "--count=5",
            "--seed=3",
        ],
    );
    assert_eq!(of_files.hash, of_recipe.hash);

    let (validation, _) = sample(&dir, &["--count=5", "--seed=3", "--split=validation"]);
    assert_ne!(validation.hash, of_recipe.hash);
    let (other, _) = sample(&dir, &["--count=5", "--seed=4", "--n-way=2"]);
    assert_eq!(other.episodes[0].types.len(), 2);
}

#[test]
fn a_whole_file_is_measured_on_by_the_other_rules() {
    let dir = Dir::new();
    let [pool, queries] = domain(&dir);
    for protocol in ["structshot", "hou"] {
        let (frozen, table) = sample(
            &dir,
            &[
                &format!("--data-file={pool}"),
                &format!("--queries={queries}"),
                &format!("--protocol={protocol}"),
                "--k-shot=2",
            ],
        );
        assert_eq!(frozen.episodes.len(), 10);
        assert!(
            table.contains(&format!("{protocol}: all 2 types, 2 or more")),
            "{table}"
        );
        for episode in &frozen.episodes {
            assert_eq!(episode.query.len(), 3);
            let learned = |words: &str| episode.support.iter().any(|s| s.words.join(" ") == words);
            assert!(!learned("Ada0 in Rome0"), "it is a query");
        }
    }
    let (frozen, _) = sample(
        &dir,
        &[
            &format!("--data-file={pool}"),
            &format!("--queries={queries}"),
            "--protocol=hou",
            "--k-shot=1",
            "--types=LOC",
            "--count=2",
        ],
    );
    assert_eq!(frozen.episodes[0].types, ["LOC"]);
    assert_eq!(
        frozen.episodes[0].query.len(),
        1,
        "sentences with people are left out"
    );
}

#[test]
fn what_is_shown_is_what_was_told_when_it_was_drawn() {
    let dir = Dir::new();
    let (frozen, told) = sample(&dir, &["--count=4"]);
    let shown = dir.run(&["episodes", "show", "out.jsonl"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert_eq!(text(&shown.stdout), told);
    // A file of another program has no header; the hash is the same.
    let lines = fs::read_to_string(dir.path().join("out.jsonl")).unwrap();
    let foreign: String = lines
        .lines()
        .map(|line| plain(line).to_string() + "\n")
        .collect();
    dir.file("foreign.jsonl", foreign);
    let shown = dir.run(&["episodes", "show", "foreign.jsonl"]);
    let table = text(&shown.stdout);
    assert!(
        table.starts_with(&format!("hash       {}\n", frozen.hash)),
        "{table}"
    );
    assert!(table.contains("a file of another program"), "{table}");
}

/// A line as Few-NERD has it.
fn plain(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap();
    for key in ["hash", "metashot"] {
        line.as_object_mut().unwrap().remove(key);
    }
    for half in ["support", "query"] {
        line[half].as_object_mut().unwrap().remove("spans");
    }
    line
}

#[test]
fn a_file_that_is_there_is_not_replaced_unasked() {
    let dir = Dir::new();
    let path = dir.file("out.jsonl", "mine");
    refused(
        &dir,
        &["sample", "--out=out.jsonl"],
        &["is there already", "`--overwrite`"],
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    // Nor by a draw that fails.
    let args = ["sample", "--out=out.jsonl", "--overwrite", "--n-way=9"];
    refused(&dir, &args, &["9-way"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn flags_that_do_not_go_together_are_told_apart() {
    let dir = Dir::new();
    let [pool, queries] = domain(&dir);
    let (pool, queries) = (
        format!("--data-file={pool}"),
        format!("--queries={queries}"),
    );
    let check = |args: &[&str], expected: &[&str]| {
        refused(
            &dir,
            &[&["sample", "--out=out.jsonl"], args].concat(),
            expected,
        );
        assert!(!dir.path().join("out.jsonl").exists());
    };
    check(&["--protocol=hou"], &["`--data-file`", "`--queries`"]);
    check(&[&pool], &["`--k-shot`"]);
    check(&[&pool, "--k-shot=1"], &["`--n-way`"]);
    check(
        &[&pool, &queries, "--k-shot=1", "--n-way=2"],
        &["`--queries` goes with the others"],
    );
    check(
        &[&pool, "--k-shot=1", "--protocol=structshot"],
        &["name it by `--queries`"],
    );
    let domain = [&pool, &queries, "--k-shot=1", "--protocol=structshot"];
    check(
        &[&domain[..], &["--n-way=2"]].concat(),
        &["`--types` chooses types"],
    );
    check(
        &[&domain[..], &["--max-tokens=20"]].concat(),
        &["give both or neither"],
    );
    check(
        &[&domain[..], &["--count=0"]].concat(),
        &["`--count` must be at least 1"],
    );
    check(
        &[&domain[..], &["--types=ORG"]].concat(),
        &["`ORG`", "`LOC`, `PER`"],
    );
    check(&[&pool, "--recipe=x.toml"], &["cannot be used with"]);
    check(&["--set=ner.test=nowhere.txt"], &["found no `nowhere.txt`"]);
    check(
        &[&pool, &queries, "--protocol=hou", "--k-shot=9"],
        &[
            "9 entities of each type",
            "found 5 of `PER` (6 in all sentences)",
            "`--types`",
        ],
    );
}

/// The lines of three frozen episodes.
fn lines(dir: &Dir) -> Vec<String> {
    sample(dir, &["--count=3"]);
    let text = fs::read_to_string(dir.path().join("out.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn shown(dir: &Dir, content: impl AsRef<[u8]>, expected: &[&str]) -> String {
    dir.file("bad.jsonl", content);
    refused(dir, &["show", "bad.jsonl"], expected)
}

/// The lines with another word in the second.
fn changed(lines: &[String]) -> Vec<String> {
    let mut lines = lines.to_vec();
    let line: Value = serde_json::from_str(&lines[1]).unwrap();
    let word = line["query"]["word"][0][0].to_string();
    lines[1] = lines[1].replacen(&word, "\"else\"", 1);
    lines
}

#[test]
fn changed_episodes_are_named_with_their_hashes() {
    let dir = Dir::new();
    let lines = lines(&dir);
    let file = changed(&lines).join("\n");
    let header: Value = serde_json::from_str(&lines[0]).unwrap();
    let hash = header["metashot"]["hash"].as_str().unwrap();
    let expected = [
        "is not what it was",
        "bad.jsonl:2: expected the hash",
        "bad.jsonl:1: expected",
        hash,
    ];
    let table = shown(&dir, file, &expected);
    assert!(table.contains(&format!("recorded   {hash}")), "{table}");
    assert!(table.contains("episodes   3"), "{table}");
}

#[test]
fn a_file_that_was_cut_off_is_told_so() {
    let dir = Dir::new();
    let lines = lines(&dir);
    let expected = [
        "expected 3 episodes, as the first line says, found 2",
        "cut off",
    ];
    shown(&dir, lines[..2].join("\n"), &expected);
    let all = lines.join("\n");
    shown(
        &dir,
        &all[..all.len() - 100],
        &["bad.jsonl:3: expected an episode", "EOF"],
    );
}

#[test]
fn bad_lines_have_their_number() {
    let dir = Dir::new();
    let lines = lines(&dir);
    let second = |change: &dyn Fn(&mut Value), expected: &[&str]| {
        let mut line = plain(&lines[1]);
        change(&mut line);
        let expected = [&["bad.jsonl:2: "], expected].concat();
        shown(&dir, format!("{}\n{line}\n", plain(&lines[0])), &expected);
    };
    second(
        &|line| line["query"]["label"][0][0] = "river".into(),
        &["`river` in sentence 1 of `query`"],
    );
    second(
        &|line| {
            line["support"].as_object_mut().unwrap().remove("label");
        },
        &["missing field `label`"],
    );
    second(
        &|line| {
            line["support"]["label"][0].as_array_mut().unwrap().pop();
        },
        &["expected a label for each word"],
    );
    second(
        &|line| line["types"] = Value::Null,
        &["expected an episode"],
    );
    let mut bytes = lines.join("\n").into_bytes();
    let at = lines[0].len() + 20;
    bytes[at] = 0xe9;
    shown(
        &dir,
        bytes,
        &["bad.jsonl:2: expected UTF-8, found byte 0xe9"],
    );
    shown(&dir, "", &["`bad.jsonl`: expected episodes, found none"]);
    refused(
        &dir,
        &["show", "nowhere.jsonl"],
        &["failed to read `nowhere.jsonl`"],
    );
}

/// A tiny run in `run`, and its table.
fn trained(dir: &Dir, args: &[&str]) -> String {
    let output = dir.train(&[&["--out=run"], args].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn frozen_episodes_are_measured_on_as_those_that_were_drawn() {
    let dir = Dir::new();
    let table = trained(&dir, &[]);
    let (frozen, _) = sample(&dir, &["--count=3", "--seed=1"]);
    let title = table.lines().next().unwrap();
    assert!(
        title.ends_with(&format!("(seed 1, episodes {})", frozen.hash.short())),
        "{title}"
    );
    let results = fs::read_to_string(dir.path().join("run/results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    assert_eq!(results["episodes_hash"], frozen.hash.to_string());

    let output = dir.run(&["eval", "run", "--episodes=out.jsonl"]);
    assert_eq!(text(&output.stdout), table, "{}", text(&output.stderr));
    // The test file is not needed.
    let output = dir.run(&["eval", "run", "--episodes=out.jsonl", "--set=ner.test="]);
    assert_eq!(text(&output.stdout), table, "{}", text(&output.stderr));
    // All episodes of a file are measured on.
    let (frozen, _) = sample(&dir, &["--count=2", "--seed=8"]);
    let output = dir.run(&["eval", "run", "--episodes=out.jsonl"]);
    let other = text(&output.stdout);
    assert!(
        other.starts_with("3-way 1~2-shot, 2 test episodes"),
        "{other}"
    );
    assert!(other.contains(&frozen.hash.short()), "{other}");
}

#[test]
fn training_ends_with_frozen_episodes_of_another_shape() {
    let dir = Dir::new();
    // Half of the test sentences to learn from, half to be measured on, with a sentence that is too long for a sequence.
    let test = fs::read_to_string(fixture("test.txt")).unwrap();
    let sentences: Vec<&str> = test.trim().split("\n\n").collect();
    let half = |odd: usize| -> String {
        let picked = sentences.iter().enumerate().filter(|(at, _)| at % 2 == odd);
        picked
            .take(60)
            .flat_map(|(_, sentence)| [sentence, "\n\n"])
            .collect()
    };
    let long: String = sentences
        .iter()
        .take(30)
        .flat_map(|sentence| [sentence, "\n"])
        .collect();
    let pool = dir.file("pool.txt", half(1));
    let queries = dir.file("queries.txt", half(0) + &long);
    let (frozen, _) = sample(
        &dir,
        &[
            &format!("--data-file={pool}"),
            &format!("--queries={queries}"),
            "--protocol=structshot",
            "--k-shot=1",
            "--count=2",
        ],
    );
    let n_types = frozen.episodes[0].types.len();
    assert!(n_types > 3);
    let table = trained(
        &dir,
        &["--set=evaluation.episodes=out.jsonl", "--set=ner.test="],
    );
    let title = format!("{n_types}-way 1-shot (structshot), 2 test episodes");
    assert!(table.starts_with(&title), "{table}");
    assert!(table.contains(&frozen.hash.short()), "{table}");
    let config = fs::read_to_string(dir.path().join("run/config.toml")).unwrap();
    assert!(config.contains("episodes = \"out.jsonl\""), "{config}");
}

#[test]
fn frozen_episodes_that_do_not_fit_a_run_are_refused() {
    let dir = Dir::new();
    let check = |args: &[&str], expected: &[&str]| {
        let output = dir.train(&[&["--out=run"], args].concat());
        let told = text(&output.stderr);
        assert!(!output.status.success());
        for part in expected {
            assert!(told.contains(part), "no `{part}` in:\n{told}");
        }
        assert!(!dir.path().join("run").exists());
    };
    check(
        &["--set=evaluation.episodes=nowhere.jsonl"],
        &["found no `nowhere.jsonl`"],
    );
    let lines = lines(&dir);
    dir.file("cut.jsonl", &lines[0]);
    check(
        &["--set=evaluation.episodes=cut.jsonl"],
        &["expected 3 episodes", "found 1"],
    );
    dir.file("changed.jsonl", changed(&lines).join("\n"));
    check(
        &["--set=evaluation.episodes=changed.jsonl"],
        &["changed.jsonl:2: expected the hash"],
    );

    let train = fs::read_to_string(fixture("train.txt")).unwrap();
    let seen = train
        .lines()
        .find_map(|line| line.split_once(" B-"))
        .unwrap()
        .1
        .to_owned();
    let episode = |kind: &str| {
        format!(
            "{{\"types\": [\"{kind}\"], \"support\": {{\"word\": [[\"a\"]], \"label\": [[\"{kind}\"]]}}, \
             \"query\": {{\"word\": [[\"b\"]], \"label\": [[\"O\"]]}}}}\n"
        )
    };
    dir.file("seen.jsonl", episode(&seen));
    check(
        &["--set=evaluation.episodes=seen.jsonl"],
        &[&format!(
            "class `{seen}` stands in both `train` and `the frozen episodes`"
        )],
    );
    dir.file("other.jsonl", episode("river-boat"));
    check(
        &["--set=evaluation.episodes=other.jsonl"],
        &[
            "the frozen episodes are not of `ner.test`",
            "`river-boat` is not in the corpus",
            "`--set ner.test=`",
        ],
    );
    check(&["--set=ner.test="], &["`ner.test` must name a file"]);
    let output = dir.run(&["eval", "run", "--episodes=out.jsonl", "--test-episodes=2"]);
    assert!(text(&output.stderr).contains("cannot be used with"));
}
