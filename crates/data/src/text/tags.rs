//! Tag sequences as entities, in the two readings of Python's `seqeval`, so that scores can be compared with published
//! ones.
//!
//! Deliberately not here: reading of files, which should be told what is wrong with them (`bio`), the labels of a model
//! (`label_set`), and scores.

use std::collections::BTreeMap;

use crate::{
    Error, Result,
    text::{LabelScheme, Span},
};

/// How tags are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagReading {
    /// The default of `seqeval`, which follows `conlleval`: any prefix will do, and an `I-` or `E-` that continues
    /// nothing begins an entity, as does a change of type.
    Lenient,
    /// IOB2 to the letter (`mode="strict", scheme=IOB2`): only a `B-` begins an entity and only an `I-` of its type
    /// continues it. Every other prefix but `O` is an error.
    Strict,
}

/// An entity that tags spell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagEntity<'a> {
    /// The type; `_` where the tag names none.
    pub kind: &'a str,
    /// The first word, counted over all sentences, with one place left free after each of them.
    pub start: usize,
    /// One past the last word.
    pub end: usize,
}

/// The entities of sentences that are given as one tag a word.
///
/// ```
/// use metashot_data::text::{TagEntity, TagReading, tag_entities};
///
/// let sentences = [vec!["B-PER", "I-PER", "O"], vec!["I-LOC"]];
/// let person = TagEntity { kind: "PER", start: 0, end: 2 };
/// let place = TagEntity { kind: "LOC", start: 4, end: 5 };
/// assert_eq!(tag_entities(&sentences, TagReading::Lenient)?, [person, place]);
/// assert_eq!(tag_entities(&sentences, TagReading::Strict)?, [person]);
/// # Ok::<(), metashot_data::Error>(())
/// ```
///
/// # Errors
/// An empty tag; in the strict reading, a tag that begins with none of `B`, `I` and `O`.
///
/// # Source
/// `seqeval` 1.2.2, `metrics/sequence_labeling.py` and `scheme.py`, to the same entities on any tags at all. That
/// includes what its default does with prefixes it does not know: a word that continues nothing there may close an
/// entity that never began, and then it reaches back to where the last one began.
pub fn tag_entities<'a, S, T>(sentences: &'a [S], reading: TagReading) -> Result<Vec<TagEntity<'a>>>
where
    S: AsRef<[T]>,
    T: AsRef<str> + 'a,
{
    let mut words = Vec::with_capacity(sentences.len());
    for (sentence, tags) in sentences.iter().enumerate() {
        let read = |(word, tag): (usize, &'a T)| {
            let tag = tag.as_ref();
            let wrong = |wanted| Error::Tag {
                sentence: sentence + 1,
                word: word + 1,
                wanted,
                found: tag.to_owned(),
            };
            let prefix = tag.chars().next().ok_or_else(|| wrong("a tag"))?;
            let rest = &tag[prefix.len_utf8()..];
            match reading {
                TagReading::Lenient => Ok((prefix, lenient_type(rest))),
                TagReading::Strict if matches!(prefix, 'B' | 'I' | 'O') => {
                    Ok((prefix, strict_type(rest)))
                }
                TagReading::Strict => Err(wrong("a tag that begins with `B`, `I` or `O`")),
            }
        };
        let tags = tags.as_ref().iter().enumerate().map(read);
        words.push(tags.collect::<Result<Vec<_>>>()?);
    }
    Ok(match reading {
        TagReading::Lenient => lenient(&words),
        TagReading::Strict => strict(&words),
    })
}

/// The entities of the right tags and of those predicted, word for word.
///
/// # Errors
/// As [`tag_entities`], and sentences or words that are not as many on both sides.
pub fn tag_entity_pair<'a, S, T>(
    gold: &'a [S],
    predicted: &'a [S],
    reading: TagReading,
) -> Result<(Vec<TagEntity<'a>>, Vec<TagEntity<'a>>)>
where
    S: AsRef<[T]>,
    T: AsRef<str> + 'a,
{
    let differ = |what: String, gold, predicted| Error::TagsDiffer {
        what,
        gold,
        predicted,
    };
    if gold.len() != predicted.len() {
        return Err(differ("sentences".into(), gold.len(), predicted.len()));
    }
    for (sentence, (gold, predicted)) in gold.iter().zip(predicted).enumerate() {
        let [gold, predicted] = [gold, predicted].map(|tags| tags.as_ref().len());
        if gold != predicted {
            let what = format!("words of sentence {}", sentence + 1);
            return Err(differ(what, gold, predicted));
        }
    }
    Ok((
        tag_entities(gold, reading)?,
        tag_entities(predicted, reading)?,
    ))
}

/// The prefix and the type of a tag.
type Word<'a> = (char, &'a str);

/// What stands after the first hyphen that follows the prefix, or all of it.
fn lenient_type(rest: &str) -> &str {
    named(rest.split_once('-').map_or(rest, |(_, kind)| kind))
}

/// All that follows the prefix, without hyphens at its ends.
fn strict_type(rest: &str) -> &str {
    named(rest.trim_matches('-'))
}

fn named(kind: &str) -> &str {
    if kind.is_empty() { "_" } else { kind }
}

fn lenient<'a>(sentences: &[Vec<Word<'a>>]) -> Vec<TagEntity<'a>> {
    const OUTSIDE: Word<'_> = ('O', "_");
    let mut entities = Vec::new();
    let mut start = 0;
    let (mut before, mut kind_before) = ('O', "");
    // A word outside of everything after each sentence, and one more after the last.
    let words = sentences
        .iter()
        .flat_map(|sentence| sentence.iter().copied().chain([OUTSIDE]));
    for (here, (prefix, kind)) in words.chain([OUTSIDE]).enumerate() {
        let other_type = kind_before != kind;
        let ends = matches!(before, 'E' | 'S')
            || matches!(before, 'B' | 'I') && matches!(prefix, 'B' | 'S' | 'O')
            || !matches!(before, 'O' | '.') && other_type;
        let begins = matches!(prefix, 'B' | 'S')
            || matches!(before, 'E' | 'S' | 'O') && matches!(prefix, 'E' | 'I')
            || !matches!(prefix, 'O' | '.') && other_type;
        if ends {
            entities.push(TagEntity {
                kind: kind_before,
                start,
                end: here,
            });
        }
        if begins {
            start = here;
        }
        (before, kind_before) = (prefix, kind);
    }
    entities
}

fn strict<'a>(sentences: &[Vec<Word<'a>>]) -> Vec<TagEntity<'a>> {
    let mut kinds: Vec<&str> = Vec::new();
    let mut numbers = BTreeMap::new();
    let mut number = |kind| {
        *numbers.entry(kind).or_insert_with(|| {
            kinds.push(kind);
            kinds.len() - 1
        })
    };
    let mut found: Vec<Span> = Vec::new();
    let mut first = 0;
    for sentence in sentences {
        // The numbers that `LabelScheme::Bio` gives to labels.
        let label = |&(prefix, kind): &Word<'a>| match prefix {
            'B' => 1 + 2 * number(kind),
            'I' => 2 + 2 * number(kind),
            _ => 0,
        };
        let labels: Vec<usize> = sentence.iter().map(label).collect();
        let spans = LabelScheme::Bio.decode(&labels);
        found.extend(spans.into_iter().map(|span| Span {
            start: first + span.start,
            end: first + span.end,
            ..span
        }));
        first += sentence.len() + 1;
    }
    let entity = |span: Span| TagEntity {
        kind: kinds[span.label],
        start: span.start,
        end: span.end,
    };
    found.into_iter().map(entity).collect()
}
