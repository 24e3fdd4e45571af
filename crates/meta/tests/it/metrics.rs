//! Counts of entities and intervals.

use metashot_meta::{EntityCounts, EntityReport, bootstrap, mean_interval};

#[test]
fn entities_are_right_only_as_a_whole() {
    let check = |gold: &[(usize, usize, usize)],
                 predicted: &[(usize, usize, usize)],
                 expected: [usize; 3]| {
        let counts = EntityCounts::compare(gold, predicted);
        assert_eq!(
            [counts.n_correct, counts.n_predicted, counts.n_gold],
            expected
        );
    };
    check(&[(0, 1, 3)], &[(0, 1, 3)], [1, 1, 1]);
    check(&[(0, 1, 3)], &[(0, 1, 2)], [0, 1, 1]);
    check(&[(0, 1, 3)], &[(1, 1, 3)], [0, 1, 1]);
    check(&[(0, 1, 3), (1, 4, 5)], &[(1, 4, 5)], [1, 1, 2]);
    check(&[], &[], [0, 0, 0]);
}

#[test]
fn entities_are_counted_by_type() {
    let gold = [(0, 1, 3), (1, 4, 5), (1, 6, 7)];
    let counts = EntityCounts::by_type(&gold, &[(0, 1, 3), (0, 4, 5), (2, 8, 9)], |e| e.0);
    let counts: Vec<_> = counts
        .into_iter()
        .map(|(kind, c)| (kind, c.n_correct, c.n_predicted, c.n_gold))
        .collect();
    assert_eq!(counts, [(0, 1, 2, 1), (1, 0, 0, 2), (2, 0, 1, 0)]);
}

#[test]
fn a_report_leaves_out_what_nobody_saw() {
    let counts = |n_correct, n_predicted, n_gold| EntityCounts {
        n_correct,
        n_predicted,
        n_gold,
    };
    let all = [
        ("b", counts(1, 2, 1)),
        ("nothing", counts(0, 0, 0)),
        ("a", counts(0, 0, 3)),
    ];
    let report = EntityReport::new(all);
    let names: Vec<_> = report.types.iter().map(|kind| &kind.name[..]).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(report.macro_average.recall, 0.5);
    assert_eq!(report.weighted.recall, 0.25);
    assert_eq!(
        report.micro,
        all.iter().map(|(_, c)| *c).sum::<EntityCounts>().into()
    );
}

#[test]
fn micro_f1_adds_counts_before_it_divides() {
    let mut counts = EntityCounts {
        n_correct: 1,
        n_predicted: 2,
        n_gold: 4,
    };
    counts += EntityCounts {
        n_correct: 2,
        n_predicted: 2,
        n_gold: 2,
    };
    assert_eq!(
        (counts.precision(), counts.recall(), counts.f1()),
        (0.75, 0.5, 0.6)
    );
    assert_eq!(EntityCounts::default().f1(), 0.0);
}

#[test]
fn intervals_follow_their_formulas() {
    let interval = mean_interval(&[0.0, 1.0, 1.0, 0.0]);
    assert_eq!(interval.value, 0.5);
    assert!((interval.half_width() - 3.182_446_305 * (1.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-9);
    assert_eq!(mean_interval(&[0.7]).high, f64::INFINITY);
    assert!(mean_interval(&[]).value.is_nan());
}

#[test]
fn the_bootstrap_agrees_with_the_formula_on_a_mean() {
    let values: Vec<f64> = (0..400).map(|i| f64::from(i % 7)).collect();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let found = bootstrap(&values, 2000, 1, mean);
    let expected = mean_interval(&values);
    assert_eq!(found.value, expected.value);
    assert!((found.half_width() / expected.half_width() - 1.0).abs() < 0.1);
    assert_eq!(found, bootstrap(&values, 2000, 1, mean));
}

#[test]
fn nothing_to_resample_says_nothing() {
    for (episodes, resamples) in [(&[][..], 10), (&[1.0, 2.0], 0)] {
        let found = bootstrap(episodes, resamples, 1, |sample| sample.iter().sum());
        assert_eq!(found.value, episodes.iter().sum::<f64>());
        assert_eq!((found.low, found.high), (f64::NEG_INFINITY, f64::INFINITY));
    }
}
