//! Spans as one label a word, and back.
//!
//! Deliberately not here: decoding from scores. What is decoded are labels that someone has already chosen.

use crate::text::Span;

/// How spans are written as labels. Label 0 is `O` in both schemes; type `i` has the labels that follow.
///
/// ```
/// use metashot_data::text::{LabelScheme, Span};
///
/// let spans = [Span { label: 0, start: 0, end: 2 }, Span { label: 0, start: 2, end: 3 }];
/// assert_eq!(LabelScheme::Bio.encode(&spans, 4), [1, 2, 1, 0]);
/// assert_eq!(LabelScheme::Io.encode(&spans, 4), [1, 1, 1, 0]);
/// assert_eq!(LabelScheme::Bio.decode(&[1, 2, 1, 0]), spans);
/// // An `I-` that continues nothing is no entity.
/// assert_eq!(LabelScheme::Bio.decode(&[0, 2, 2, 0]), []);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelScheme {
    /// `B-` at the first word of an entity (label `1 + 2 * i`), `I-` at the others (`2 + 2 * i`).
    Bio,
    /// One label for all words of an entity (`1 + i`); neighbours of one type read as one entity.
    Io,
}

impl LabelScheme {
    /// How many labels there are for `n_types` entity types.
    pub fn n_labels(self, n_types: usize) -> usize {
        1 + n_types * self.labels_per_type()
    }

    /// The label of each of the first `n_words` words. Spans, or ends of spans, beyond those are left out, as they are
    /// when a sentence is cut.
    pub fn encode(self, spans: &[Span], n_words: usize) -> Vec<usize> {
        let mut labels = vec![0; n_words];
        for span in spans {
            for (word, label) in labels
                .iter_mut()
                .enumerate()
                .take(span.end)
                .skip(span.start)
            {
                *label = match self {
                    LabelScheme::Bio => 1 + 2 * span.label + usize::from(word > span.start),
                    LabelScheme::Io => 1 + span.label,
                };
            }
        }
        labels
    }

    /// The spans that the labels spell, in strict BIO (IOB2): only a `B-` opens an entity, only an `I-` of its type
    /// continues it, and an `I-` that continues nothing is passed over.
    pub fn decode(self, labels: &[usize]) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (word, label) in labels.iter().enumerate() {
            let Some(label) = label.checked_sub(1) else {
                continue;
            };
            let (kind, position) = (
                label / self.labels_per_type(),
                label % self.labels_per_type(),
            );
            let (may_open, may_continue) = match self {
                LabelScheme::Bio => (position == 0, position == 1),
                LabelScheme::Io => (true, true),
            };
            match spans.last_mut() {
                Some(open) if may_continue && open.end == word && open.label == kind => {
                    open.end += 1;
                }
                _ if may_open => spans.push(Span {
                    label: kind,
                    start: word,
                    end: word + 1,
                }),
                _ => {}
            }
        }
        spans
    }

    /// The name of each label: `O`, then `B-type` and `I-type`, or the bare types.
    pub fn names(self, types: &[String]) -> Vec<String> {
        let mut names = vec!["O".to_owned()];
        for kind in types {
            match self {
                LabelScheme::Bio => names.extend([format!("B-{kind}"), format!("I-{kind}")]),
                LabelScheme::Io => names.push(kind.clone()),
            }
        }
        names
    }

    fn labels_per_type(self) -> usize {
        match self {
            LabelScheme::Bio => 2,
            LabelScheme::Io => 1,
        }
    }
}
