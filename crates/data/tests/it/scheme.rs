//! Spans as labels and back.

use metashot_data::text::{LabelScheme, Span};
use proptest::prelude::*;

fn span(label: usize, start: usize, end: usize) -> Span {
    Span { label, start, end }
}

#[test]
fn labels_are_counted_and_named() {
    let types = ["LOC", "PER"].map(String::from);
    assert_eq!(
        LabelScheme::Bio.names(&types),
        ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    );
    assert_eq!(LabelScheme::Io.names(&types), ["O", "LOC", "PER"]);
    for scheme in [LabelScheme::Bio, LabelScheme::Io] {
        assert_eq!(scheme.n_labels(2), scheme.names(&types).len());
        assert_eq!(scheme.n_labels(0), 1);
    }
}

#[test]
fn encodes_each_word() {
    let spans = [span(0, 0, 1), span(1, 1, 4), span(1, 4, 5)];
    assert_eq!(LabelScheme::Bio.encode(&spans, 6), [1, 3, 4, 4, 3, 0]);
    assert_eq!(LabelScheme::Io.encode(&spans, 6), [1, 2, 2, 2, 2, 0]);
}

#[test]
fn encoding_stops_where_the_sentence_was_cut() {
    let spans = [span(0, 1, 4), span(1, 5, 6)];
    assert_eq!(LabelScheme::Bio.encode(&spans, 3), [0, 1, 2]);
    assert_eq!(LabelScheme::Bio.encode(&spans, 0), [0; 0]);
}

#[test]
fn strict_decoding_passes_over_orphans() {
    // O = 0, B-0 = 1, I-0 = 2, B-1 = 3, I-1 = 4
    let check = |labels: &[usize], spans: &[Span]| {
        assert_eq!(LabelScheme::Bio.decode(labels), spans, "{labels:?}");
    };
    check(&[], &[]);
    check(&[2, 2], &[]);
    check(&[1, 2, 2, 0], &[span(0, 0, 3)]);
    check(&[1, 1], &[span(0, 0, 1), span(0, 1, 2)]);
    check(&[1, 0, 2], &[span(0, 0, 1)]);
    check(&[1, 4, 2], &[span(0, 0, 1)]);
    check(&[1, 4, 4, 3, 4], &[span(0, 0, 1), span(1, 3, 5)]);
    check(&[0, 3, 2, 4], &[span(1, 1, 2)]);
}

#[test]
fn io_joins_neighbours_of_one_type() {
    assert_eq!(
        LabelScheme::Io.decode(&[1, 1, 2, 0, 2]),
        [span(0, 0, 2), span(1, 2, 3), span(1, 4, 5)]
    );
}

/// Spans that do not overlap: a length, a gap before it and a label for each.
fn spans() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::vec((0..3usize, 1..4usize, 0..4usize), 0..8).prop_map(|parts| {
        let mut at = 0;
        parts
            .into_iter()
            .map(|(gap, length, label)| {
                let start = at + gap;
                at = start + length;
                span(label, start, at)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn bio_keeps_every_span(spans in spans()) {
        let n_words = spans.last().map_or(2, |span| span.end + 2);
        prop_assert_eq!(LabelScheme::Bio.decode(&LabelScheme::Bio.encode(&spans, n_words)), spans);
    }

    #[test]
    fn decoded_spans_are_apart_and_spell_the_same_words(labels in prop::collection::vec(0..7usize, 0..20)) {
        for (scheme, labels) in [(LabelScheme::Bio, labels.clone()), (LabelScheme::Io, labels)] {
            let spans = scheme.decode(&labels);
            prop_assert!(spans.windows(2).all(|pair| pair[0].end <= pair[1].start));
            prop_assert_eq!(scheme.decode(&scheme.encode(&spans, labels.len())), spans.clone());
            for (word, label) in scheme.encode(&spans, labels.len()).into_iter().enumerate() {
                prop_assert!(label == 0 || label == labels[word]);
            }
        }
    }
}
