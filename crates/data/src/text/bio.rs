//! The two-column BIO format: `token tag` on a line, a blank line after a sentence.
//!
//! The columns are parted by tabs or spaces and nothing else, so a word may hold any other character, a no-break space
//! or a zero-width joiner included. Line ends may be CRLF, the last may be missing, a byte-order mark is skipped, and so
//! are lines that begin with `-DOCSTART-`, which end a sentence as a blank line does.
//!
//! Deliberately not here: files with more columns (cut the two out first), and any repair that is not asked for.

use std::{collections::BTreeMap, path::Path};

use crate::{
    Error, Result,
    file::{excerpt, read_text},
    text::{Corpus, Sentence, Span},
};

/// What to do with an `I-` tag that continues no entity of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrphanInside {
    /// It is an error: the file is not the strict BIO that it is taken for.
    #[default]
    Reject,
    /// It begins an entity, as if it were a `B-`. This is also how IO files (`I-` tags alone) are read.
    Begin,
}

/// Reads a BIO file.
///
/// # Errors
/// A file that cannot be read, is not UTF-8, is malformed (with the line), or holds no sentence or no entity.
pub fn read_bio(path: &Path, orphan: OrphanInside) -> Result<Corpus> {
    parse_bio(&read_text(path)?, path, orphan)
}

/// Parses text in BIO format; `name` stands for the file in errors.
///
/// # Errors
/// Text that is malformed (with the line), or holds no sentence or no entity.
pub fn parse_bio(text: &str, name: &Path, orphan: OrphanInside) -> Result<Corpus> {
    let mut types = BTreeMap::new();
    let mut sentences: Vec<Sentence> = Vec::new();
    let mut in_sentence = false;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (row, line) in text.lines().enumerate() {
        let at = |wanted, found: &str| Error::Line {
            path: name.to_path_buf(),
            line: row + 1,
            wanted,
            found: excerpt(found),
        };
        // `lines` takes the CR of a CRLF; a file that was cut between the two still has it.
        let mut fields = line
            .trim_end_matches('\r')
            .split([' ', '\t'])
            .filter(|field| !field.is_empty());
        let (word, tag) = match (fields.next(), fields.next(), fields.next()) {
            (None | Some("-DOCSTART-"), ..) => {
                in_sentence = false;
                continue;
            }
            (Some(word), Some(tag), None) => (word, tag),
            _ => return Err(at("`token tag`", line)),
        };
        let tag = Tag::parse(tag).ok_or_else(|| at("tag `O`, `B-type` or `I-type`", tag))?;

        if !in_sentence {
            sentences.push(Sentence {
                words: Vec::new(),
                spans: Vec::new(),
                line: row + 1,
            });
            in_sentence = true;
        }
        let Some(sentence) = sentences.last_mut() else {
            continue;
        };
        let here = sentence.words.len();
        sentence.words.push(word.to_owned());
        let (begins, kind) = match tag {
            Tag::Outside => continue,
            Tag::Begin(kind) => (true, kind),
            Tag::Inside(kind) => (false, kind),
        };
        let next_id = types.len();
        let label = *types.entry(kind).or_insert(next_id);
        match sentence.spans.last_mut() {
            Some(open) if !begins && open.end == here && open.label == label => open.end += 1,
            _ if begins || orphan == OrphanInside::Begin => {
                sentence.spans.push(Span {
                    label,
                    start: here,
                    end: here + 1,
                });
            }
            _ => {
                return Err(Error::OrphanInside {
                    path: name.to_path_buf(),
                    line: row + 1,
                    kind: kind.to_owned(),
                });
            }
        }
    }

    let types = types
        .into_iter()
        .map(|(kind, id)| (kind.to_owned(), id))
        .collect();
    Corpus::from_numbered(types, sentences, name)
}

enum Tag<'a> {
    Outside,
    Begin(&'a str),
    Inside(&'a str),
}

impl<'a> Tag<'a> {
    fn parse(tag: &'a str) -> Option<Self> {
        match tag.split_once('-') {
            None if tag == "O" => Some(Tag::Outside),
            Some(("B", kind)) if !kind.is_empty() => Some(Tag::Begin(kind)),
            Some(("I", kind)) if !kind.is_empty() => Some(Tag::Inside(kind)),
            _ => None,
        }
    }
}
