//! What runs say of one another, and which do not fit together.

use expect_test::{Expect, expect};
use metashot_data::ContentHash;
use metashot_meta::EntityCounts;

use super::*;
use crate::{
    episode_scores::LearnerScores,
    score::{Score, TypeCounts},
};

fn entities(n_correct: usize) -> Score {
    let bio = EntityCounts {
        n_correct,
        n_predicted: 10,
        n_gold: 10,
    };
    let io = EntityCounts {
        n_correct: n_correct + 1,
        ..bio
    };
    Score::Entities([("x".to_owned(), TypeCounts { bio, io })].into())
}

/// A run of 40 episodes in which learners find this many entities, and up to 3 more.
fn run(path: &str, seed: u64, lr: &str, learners: &[(&str, usize)]) -> Run {
    let scores = |right: usize| (0..40).map(|at| entities(right + at % 4)).collect();
    let hash = ContentHash::of(&seed.to_le_bytes());
    Run {
        path: path.to_owned(),
        seed,
        metric: "micro F1".to_owned(),
        shape: "5-way 1~2-shot".to_owned(),
        n_episodes: 40,
        hash: Some(hash),
        episodes: hash.to_string(),
        settings: [
            ("inner.lr".to_owned(), lr.to_owned()),
            ("episodes.k_shot".to_owned(), "1".to_owned()),
        ]
        .into(),
        learners: learners
            .iter()
            .map(|&(learner, right)| LearnerScores {
                learner: learner.to_owned(),
                scores: scores(right),
            })
            .collect(),
    }
}

#[test]
fn runs_that_differ_in_their_seed_are_one_setting() {
    let runs = [
        run("a-1", 1, "0.1", &[("meta-learned", 5), ("prototypes", 3)]),
        run("b-1", 1, "0.5", &[("meta-learned", 4), ("nearest", 1)]),
        run("a-2", 2, "0.1", &[("meta-learned", 6), ("prototypes", 3)]),
    ];
    expect![[r"
        5-way 1~2-shot, 40 test episodes of classes never seen in training

        A: `a-1`, `a-2` (seeds 1, 2)
        B: `b-1` (seed 1)
           inner.lr = 0.5, not 0.1

        learner          micro F1    sd  IO F1    sd  seeds
        meta-learned  A     70.00  7.07  80.00  7.07      2
        meta-learned  B     55.00     -  65.00     -      1
        prototypes    A     45.00  0.00  55.00  0.00      2
        nearest       B     25.00     -  35.00     -      1

        minus `meta-learned` of A  micro F1  95 % interval
        prototypes of A              -25.00  [-25.00, -25.00]
        meta-learned of B            -10.00  [-10.00, -10.00]
        nearest of B                 -40.00  [-40.00, -40.00]

        B minus A, seed 1  micro F1  95 % interval
        meta-learned         -10.00  [-10.00, -10.00]

        run  seed  episodes      learner       micro F1  95 % interval
        a-1     1  7c9fa136d441  meta-learned     65.00  [61.75, 68.50]
        a-1     1  7c9fa136d441  prototypes       45.00  [41.75, 48.50]
        b-1     1  7c9fa136d441  meta-learned     55.00  [51.75, 58.50]
        b-1     1  7c9fa136d441  nearest          25.00  [21.75, 28.50]
        a-2     2  d86e8112f3c4  meta-learned     75.00  [71.25, 78.50]
        a-2     2  d86e8112f3c4  prototypes       45.00  [41.25, 48.50]
    "]]
    .assert_eq(&compare(&runs).unwrap());
}

/// The width of the interval of a difference over runs with these seeds, after `change`.
fn width(seeds: &[u64], change: fn(&mut Run)) -> f64 {
    let with_seed = |&seed: &u64| {
        let mut run = run("a", seed, "0.1", &[("one", 5), ("other", 3)]);
        for (at, score) in run.learners[0].scores.iter_mut().enumerate() {
            *score = entities(at % 8);
        }
        change(&mut run);
        run
    };
    let runs: Vec<Run> = seeds.iter().map(with_seed).collect();
    let runs: Vec<&Run> = runs.iter().collect();
    let figure = pairs::difference((&runs, "one"), (&runs, "other")).unwrap();
    assert!((figure.value + 0.1).abs() < 1e-12, "{}", figure.value);
    figure.high - figure.low
}

#[test]
fn seeds_on_the_same_episodes_are_no_further_episodes() {
    let on_the_same = |seeds| width(seeds, |run| "frozen".clone_into(&mut run.episodes));
    let (one, four) = (on_the_same(&[1]), on_the_same(&[1, 2, 3, 4]));
    assert!((four - one).abs() < 1e-12, "{one} {four}");
}

#[test]
fn seeds_on_episodes_of_their_own_are_more_of_them() {
    let (one, four) = (width(&[1], |_| ()), width(&[1, 2, 3, 4], |_| ()));
    assert!((four / one - 0.5).abs() < 0.1, "{one} {four}");
}

#[test]
fn runs_that_do_not_fit_together_say_what_differs() {
    let learners = &[("meta-learned", 5)][..];
    let check = |other: Run, expected: Expect| {
        let error = compare(&[run("a", 1, "0.1", learners), other]).unwrap_err();
        expected.assert_eq(&error.to_string());
    };
    check(
        run("b", 1, "0.1", learners),
        expect!["`a` and `b` have the same settings and the same seed, 1: each would count twice"],
    );
    check(
        run("b", 2, "0.5", learners),
        expect![
            "`a` and `b` were not measured on the same episodes: they differ in the seed (1 and 2; each draws episodes of its own); measure both on frozen ones, or with the same seeds"
        ],
    );
    let mut other = run("b", 1, "0.5", learners);
    other
        .settings
        .insert("episodes.k_shot".to_owned(), "5".to_owned());
    "5-way 5~10-shot".clone_into(&mut other.shape);
    "others".clone_into(&mut other.episodes);
    check(
        other,
        expect![
            "`a` and `b` were not measured on the same episodes: they differ in the shape of episodes (5-way 1~2-shot and 5-way 5~10-shot), `episodes.k_shot` (1 and 5); measure both on frozen ones, or with the same seeds"
        ],
    );
    let mut other = run("b", 1, "0.5", learners);
    other
        .settings
        .insert("SHA-256 of test.txt".to_owned(), "12ab".to_owned());
    "others".clone_into(&mut other.episodes);
    check(
        other,
        expect![
            "`a` and `b` were not measured on the same episodes: they differ in `SHA-256 of test.txt` (nothing and 12ab); measure both on frozen ones, or with the same seeds"
        ],
    );
}
