//! Abstract transitions: their shares, and the best labels against a search through all sequences.

use metashot_data::text::{Sentence, Span, Transitions};
use proptest::prelude::*;

fn sentence(n_words: usize, spans: &[(usize, usize, usize)]) -> Sentence {
    Sentence {
        words: vec!["w".to_owned(); n_words],
        spans: spans
            .iter()
            .map(|&(label, start, end)| Span { label, start, end })
            .collect(),
        line: 1,
    }
}

#[test]
fn shares_are_those_of_the_steps_with_one_more_each() {
    let sentences = [
        // O, A, A, B, O
        sentence(5, &[(0, 1, 3), (1, 3, 4)]),
        // A, A (two entities of one type read as one), O, O
        sentence(4, &[(0, 0, 1), (0, 1, 2)]),
        sentence(0, &[]),
    ];
    let found = Transitions::estimate(&sentences);
    let expected = Transitions {
        start: [2.0 / 4.0, 2.0 / 4.0],
        outside: [2.0 / 4.0, 2.0 / 4.0],
        inside: [3.0 / 8.0, 3.0 / 8.0, 2.0 / 8.0],
    };
    assert_eq!(found, expected);
}

/// The log-probability of a sequence, step by step from the definition.
fn probability(t: &Transitions, log_probs: &[f32], labels: &[usize], n: usize, tau: f64) -> f64 {
    let targets = |from: Option<usize>| -> Vec<f64> {
        let shares: Vec<f64> = (0..=n)
            .map(|to| match (from, to) {
                (None, 0) => t.start[0],
                (None, _) => t.start[1] / n as f64,
                (Some(0), 0) => t.outside[0],
                (Some(0), _) => t.outside[1] / n as f64,
                (Some(_), 0) => t.inside[0],
                (Some(from), to) if from == to => t.inside[1],
                (Some(_), _) => t.inside[2] / (n - 1) as f64,
            })
            .map(|share| share.powf(tau))
            .collect();
        let total: f64 = shares.iter().sum();
        shares.iter().map(|share| share / total).collect()
    };
    let mut from = None;
    let mut sum = 0.0;
    for (word, &label) in labels.iter().enumerate() {
        sum += targets(from)[label].ln() + f64::from(log_probs[word * (n + 1) + label]);
        from = Some(label);
    }
    sum
}

proptest! {
    #[test]
    fn no_other_sequence_is_more_probable(
        n_types in 1usize..4,
        numbers in prop::collection::vec(-5.0f32..0.0, 16),
        counts in prop::collection::vec(0.01f64..1.0, 7),
        tau in 0.0f64..2.0,
    ) {
        let transitions = Transitions {
            start: [counts[0], counts[1]],
            outside: [counts[2], counts[3]],
            inside: [counts[4], counts[5], counts[6]],
        };
        let n_labels = n_types + 1;
        let n_words = 4;
        let log_probs = &numbers[..n_words * n_labels];
        let best = transitions.decode(log_probs, n_types, tau).unwrap();
        let score = probability(&transitions, log_probs, &best, n_types, tau);
        for code in 0..n_labels.pow(n_words as u32) {
            let labels: Vec<usize> = (0..n_words as u32)
                .map(|word| code / n_labels.pow(word) % n_labels)
                .collect();
            prop_assert!(probability(&transitions, log_probs, &labels, n_types, tau) <= score + 1e-9);
        }
    }
}

#[test]
fn tau_zero_looks_at_each_word_alone_and_a_bad_one_is_refused() {
    let transitions = Transitions::estimate(&[sentence(3, &[])]);
    let log_probs = [-1.0, -0.5, -0.6, -0.4, -3.0, -0.1];
    assert_eq!(transitions.decode(&log_probs, 2, 0.0).unwrap(), [1, 2]);
    assert!(transitions.decode(&[], 2, 0.0).unwrap().is_empty());
    let error = transitions.decode(&log_probs, 2, -1.0).unwrap_err();
    assert!(error.to_string().contains("`tau`"), "{error}");
}
