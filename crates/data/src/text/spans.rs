//! JSON lines of text with character spans: what labelling tools write.
//!
//! A line is an object with `text` and, under `entities`, `spans`, `label` or `labels`, a list of spans. A span is
//! `[start, end, type]` (doccano, spaCy) or an object with `start` or `start_offset`, `end` or `end_offset`, and `type`,
//! `label` or `labels` (Prodigy, doccano with relations, Label Studio, and what `metashot predict` writes). Offsets count
//! Unicode characters, the end one past the last. White space at the ends of a span does not count.
//!
//! Deliberately not here: nested or overlapping entities, which no token label can spell, and spans that part a word.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};
use unicode_segmentation::UnicodeSegmentation;

use crate::{
    Error, Result,
    file::{Place, excerpt, read_text},
    text::{Corpus, Sentence, Span, Word, split_words},
};

/// Reads texts with spans; the words are those of [`split_words`].
///
/// # Errors
/// A file that cannot be read, is not UTF-8, holds no text or no span; a line that is not of the form above; spans that
/// reach beyond the text, part a word or overlap.
pub fn read_spans(path: &Path) -> Result<Corpus> {
    parse_spans(&read_text(path)?, path)
}

/// Parses texts with spans; `name` stands for the file in errors.
///
/// ```
/// use std::path::Path;
/// use metashot_data::text::{Span, parse_spans};
///
/// let line = r#"{"text": "Zoë's in Kyiv.", "label": [[0, 3, "PER"], [9, 13, "LOC"]]}"#;
/// let corpus = parse_spans(line, Path::new("example.jsonl"))?;
/// assert_eq!(corpus.sentences[0].words, ["Zoë", "'", "s", "in", "Kyiv", "."]);
/// assert_eq!(corpus.sentences[0].spans[0], Span { label: 1, start: 0, end: 1 });
/// # Ok::<(), metashot_data::Error>(())
/// ```
///
/// # Errors
/// As [`read_spans`].
pub fn parse_spans(text: &str, name: &Path) -> Result<Corpus> {
    let mut types: BTreeMap<String, usize> = BTreeMap::new();
    let mut sentences = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (row, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let at = Place {
            path: name,
            line: row + 1,
        };
        let (text, marked) = parse_line(line, at)?;
        let words = split_words(&text);
        let mut spans = Vec::with_capacity(marked.len());
        for mark in &marked {
            let (start, end) = mark.words(&text, &words, at)?;
            let next = types.len();
            let label = *types.entry(mark.kind.clone()).or_insert(next);
            spans.push((Span { label, start, end }, mark));
        }
        spans.sort_by_key(|(span, _)| (span.start, span.end));
        for pair in spans.windows(2) {
            if pair[1].0.start < pair[0].0.end {
                return Err(Error::SpansOverlap {
                    path: name.to_path_buf(),
                    line: at.line,
                    first: pair[0].1.show(&text),
                    second: pair[1].1.show(&text),
                });
            }
        }
        if words.is_empty() {
            continue;
        }
        sentences.push(Sentence {
            words: words.iter().map(|word| word.text.to_owned()).collect(),
            spans: spans.into_iter().map(|(span, _)| span).collect(),
            line: at.line,
        });
    }
    Corpus::from_numbered(types, sentences, name)
}

/// A span as the file has it, in characters.
struct Mark {
    start: usize,
    end: usize,
    kind: String,
}

fn parse_line(line: &str, at: Place<'_>) -> Result<(String, Vec<Mark>)> {
    let object: Map<String, Value> = serde_json::from_str(line)
        .map_err(|_| at.wanted("a JSON object on a line", excerpt(line)))?;
    let Some(Value::String(text)) = object.get("text") else {
        return Err(at.wanted("an object with `text`, a string", excerpt(line)));
    };
    let marks = ["entities", "spans", "label", "labels"]
        .into_iter()
        .find_map(|key| object.get(key));
    let Some(Value::Array(marks)) = marks else {
        return Err(at.wanted(
            "`entities`, `spans`, `label` or `labels`, a list",
            excerpt(line),
        ));
    };
    let parse = |mark: &Value| {
        Mark::parse(mark).ok_or_else(|| {
            let wanted = "a span `[start, end, type]` or an object with `start`, `end` and `type`";
            at.wanted(wanted, excerpt(&mark.to_string()))
        })
    };
    Ok((
        text.clone(),
        marks.iter().map(parse).collect::<Result<_>>()?,
    ))
}

impl Mark {
    fn parse(mark: &Value) -> Option<Self> {
        let (start, end, kind) = match mark {
            Value::Array(parts) => match &parts[..] {
                [start, end, kind] => (start, end, kind),
                _ => return None,
            },
            Value::Object(parts) => {
                let any = |keys: &[&str]| keys.iter().find_map(|&key| parts.get(key));
                let kind = any(&["type", "label", "labels"])?;
                let kind = match kind {
                    Value::Array(kinds) if kinds.len() == 1 => &kinds[0],
                    kind => kind,
                };
                let (start, end) = (
                    any(&["start", "start_offset"])?,
                    any(&["end", "end_offset"])?,
                );
                (start, end, kind)
            }
            _ => return None,
        };
        let kind = kind.as_str()?;
        // A type becomes part of a tag in a two-column file.
        let is_tag = !kind.is_empty() && !kind.contains(char::is_whitespace);
        is_tag.then_some(())?;
        Some(Self {
            start: usize::try_from(start.as_u64()?).ok()?,
            end: usize::try_from(end.as_u64()?).ok()?,
            kind: kind.to_owned(),
        })
    }

    /// The words that it covers.
    fn words(&self, text: &str, words: &[Word<'_>], at: Place<'_>) -> Result<(usize, usize)> {
        let n_chars = text.chars().count();
        let outside = || Error::SpanOutside {
            path: at.path.to_path_buf(),
            line: at.line,
            start: self.start,
            end: self.end,
            n_chars,
        };
        if self.start >= self.end || self.end > n_chars {
            return Err(outside());
        }
        let cut = |word: &Word<'_>, offset: usize| {
            let mut bounds = word
                .text
                .graphemes(true)
                .scan(word.start, |start, character| {
                    let this = (*start, character);
                    *start += character.chars().count();
                    Some(this)
                });
            let character = bounds
                .find(|(start, character)| {
                    *start < offset && offset < start + character.chars().count()
                })
                .map(|(_, character)| character);
            Error::SpanCuts {
                path: at.path.to_path_buf(),
                line: at.line,
                span: self.show(text),
                what: if character.is_some() {
                    "character"
                } else {
                    "word"
                },
                cut: character.unwrap_or(word.text).to_owned(),
            }
        };
        let first = words.partition_point(|word| word.end <= self.start);
        let last = words.partition_point(|word| word.start < self.end);
        if first >= last {
            // Nothing but white space.
            return Err(outside());
        }
        if words[first].start < self.start {
            return Err(cut(&words[first], self.start));
        }
        if words[last - 1].end > self.end {
            return Err(cut(&words[last - 1], self.end));
        }
        Ok((first, last))
    }

    fn show(&self, text: &str) -> String {
        let covered: String = text
            .chars()
            .skip(self.start)
            .take(self.end - self.start)
            .collect();
        format!("{}..{} {}", self.start, self.end, excerpt(&covered))
    }
}
