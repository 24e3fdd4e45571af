//! Labels by name, and the best of those that spell whole entities, against a search through all sequences.

use metashot_data::text::{LabelScheme, LabelSet, OrphanInside, Role, Span};
use proptest::prelude::*;

use crate::check_error;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn labels(list: &[&str]) -> LabelSet {
    LabelSet::from_names(&names(list), OrphanInside::Reject).unwrap()
}

/// Whether every word that is part of an entity is in one of the spans, with its type.
fn is_whole(labels: &LabelSet, sequence: &[usize]) -> bool {
    let spans = labels.spans(sequence);
    sequence.iter().enumerate().all(|(word, &label)| {
        let span = spans
            .iter()
            .find(|span| (span.start..span.end).contains(&word));
        labels.roles[label].kind() == span.map(|span| span.label)
    })
}

fn sequences(n_words: usize, n_labels: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..n_labels.pow(n_words as u32)).map(move |number| {
        let digit = |place| number / n_labels.pow(place) % n_labels;
        (0..n_words as u32).map(digit).collect()
    })
}

proptest! {
    #[test]
    fn the_decoded_labels_are_the_best_of_all_valid_ones(
        set in prop::sample::select(vec![
            vec!["O", "B-x", "I-x", "B-y", "I-y"],
            vec!["I-y", "B-x", "O", "B-y", "I-x"],
            vec!["O", "x", "y"],
            vec!["B-x", "I-x"],
            vec!["O", "B-x", "I-x", "E-x", "S-x"],
        ]),
        scores in prop::collection::vec(-5.0f32..0.0, 4 * 5),
        n_words in 1usize..=4,
    ) {
        let labels = labels(&set);
        let scores = &scores[..n_words * set.len()];
        let total = |sequence: &[usize]| -> f32 {
            sequence.iter().enumerate().map(|(word, &label)| scores[word * set.len() + label]).sum()
        };
        let found = labels.decode(scores);
        prop_assert!(is_whole(&labels, &found), "{found:?}");
        let best = sequences(n_words, set.len())
            .filter(|sequence| is_whole(&labels, sequence))
            .map(|sequence| total(&sequence))
            .fold(f32::NEG_INFINITY, f32::max);
        prop_assert!((total(&found) - best).abs() < 1e-5, "{found:?}: {} is less than {best}", total(&found));
    }
}

#[test]
fn no_words_have_no_labels() {
    assert!(labels(&["O", "B-x", "I-x"]).decode(&[]).is_empty());
}

#[test]
fn an_orphan_opens_an_entity_where_the_policy_says_so() {
    let list = names(&["O", "B-x", "I-x"]);
    // Outside, inside, inside: as a model that learned from IOB1 marks an entity.
    let scores = [-0.1, -9.0, -9.0, -9.0, -9.0, -0.1, -9.0, -9.0, -0.1];
    let lenient = LabelSet::from_names(&list, OrphanInside::Begin).unwrap();
    assert_eq!(lenient.decode(&scores), [0, 2, 2]);
    let span = Span {
        label: 0,
        start: 1,
        end: 3,
    };
    assert_eq!(lenient.spans(&[0, 2, 2]), [span]);
    let strict = LabelSet::from_names(&list, OrphanInside::Reject).unwrap();
    assert_eq!(strict.decode(&scores), [0, 1, 2]);
}

#[test]
fn names_in_any_order_and_notation_are_understood() {
    use Role::{Begin, End, Inside, Outside, Single};
    let roles = |list: &[&str]| labels(list).roles;
    assert_eq!(
        roles(&["I-a", "B-a", "O", "B-b"]),
        [Inside(0), Begin(0), Outside, Begin(1)]
    );
    assert_eq!(
        roles(&["O", "B-a", "I-a", "L-a", "U-a"])[3..],
        [End(0), Single(0)]
    );
    // Without beginnings a hyphen is part of the name.
    assert_eq!(
        labels(&["O", "E-mail", "location-GPE"]).types,
        ["E-mail", "location-GPE"]
    );
    let types = names(&["a", "b"]);
    for scheme in [LabelScheme::Bio, LabelScheme::Io] {
        let named = LabelSet::from_names(&scheme.names(&types), OrphanInside::Reject).unwrap();
        assert_eq!(LabelSet::new(scheme, &types), named);
    }
}

#[test]
fn spans_are_those_of_the_scheme() {
    for scheme in [LabelScheme::Bio, LabelScheme::Io] {
        let labels = LabelSet::new(scheme, &names(&["a", "b"]));
        for sequence in sequences(4, labels.roles.len()) {
            assert_eq!(
                labels.spans(&sequence),
                scheme.decode(&sequence),
                "{sequence:?}"
            );
        }
    }
}

#[test]
fn labels_that_are_none_are_refused() {
    let refused = |list: &[&str], expected| {
        check_error(
            LabelSet::from_names(&names(list), OrphanInside::Reject),
            None,
            &expected,
        );
    };
    refused(
        &[],
        expect_test::expect!["`labels`: expected 1 or more, found 0"],
    );
    refused(
        &["O", "x", "x"],
        expect_test::expect!["`labels`: expected each name once, found `x` twice"],
    );
}
