//! Frozen episodes: the JSON lines in which Few-NERD released its own, with what keeps them honest beside.
//!
//! A line is an episode: `{"types": [..], "support": {"word": [[..]], "label": [[..]]}, "query": {..}}`. Labels are the
//! names of types, and `O`; neighbouring words of one type read as one entity. That cannot part two entities of a type
//! that stand side by side, so each half that we write also has `spans`, and each line the `hash` of its episode; the
//! first line tells under `metashot` what the file holds. Programs that read Few-NERD's files pass over keys that they
//! do not know. We write ASCII, with the escapes of JSON, because some of them read with whatever encoding is set.
//!
//! Deliberately not here: writing whole files, since a file is written as it is drawn; and the episodes' hash, which
//! does not depend on any of this (`tagging_episode`).

use std::{fmt::Write, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plain::for_each_numbered_line;
use crate::{
    ContentHash, Error, Result,
    file::Place,
    text::{EpisodesHasher, LabelScheme, Sentence, Span, TaggingEpisode},
};

/// The version of what is under `metashot`.
const VERSION: u64 = 1;

/// What the first line says of the whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodesHeader {
    /// The hash of all episodes: see [`EpisodesHasher`].
    pub hash: ContentHash,
    /// How many they are.
    pub episodes: usize,
    /// Where they come from.
    #[serde(flatten)]
    pub origin: EpisodesOrigin,
}

/// How episodes were drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpisodesOrigin {
    /// The rule: `few-nerd`, `structshot`, `hou`, or whatever else another program calls its own.
    pub protocol: String,
    /// Entity types of an episode.
    pub n_way: usize,
    /// Entities of each type in the support set, or the least number of them.
    pub k_shot: usize,
    /// The same for the query set; nothing where that is a whole test file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_query: Option<usize>,
    /// The seed that was asked for.
    pub seed: u64,
    /// Which split of a recipe they were drawn from, where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The files that the sentences come from.
    #[serde(default)]
    pub data: Vec<DataFile>,
}

/// A file by its name and its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its name, without the directory.
    pub name: String,
    /// What it was read for, such as `test` or `queries`.
    #[serde(default)]
    pub role: String,
    /// The SHA-256 of its bytes.
    pub sha256: ContentHash,
}

/// Episodes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrozenEpisodes {
    /// What the file says of itself; nothing in files of others.
    pub header: Option<EpisodesHeader>,
    /// The hash of the episodes that are there.
    pub hash: ContentHash,
    /// The episodes. A sentence's line is that of its episode.
    pub episodes: Vec<TaggingEpisode>,
}

/// Reads a file of frozen episodes, ours or one in Few-NERD's released format.
///
/// # Errors
/// A file that cannot be read, is not UTF-8, holds no episode or a line that is none (with the line); episodes that are
/// not those whose hash or number the file names.
pub fn read_episodes(path: &Path) -> Result<FrozenEpisodes> {
    let (frozen, mismatches) = inspect_episodes(path)?;
    mismatches.into_iter().next().map_or(Ok(frozen), Err)
}

/// Reads a file of frozen episodes, and tells apart what is wrong with the file and what is merely not what the file
/// says it is: hashes and the number of episodes.
///
/// # Errors
/// A file that cannot be read, is not UTF-8, holds no episode or a line that is none (with the line).
pub fn inspect_episodes(path: &Path) -> Result<(FrozenEpisodes, Vec<Error>)> {
    let mut reader = Reader::new(path);
    for_each_numbered_line(path, "episodes", |row, line| reader.line(row, line))?;
    Ok(reader.finish())
}

/// Parses frozen episodes; `name` stands for the file in errors.
///
/// ```
/// use std::path::Path;
/// use metashot_data::text::{Span, episode_line, parse_episodes};
///
/// let line = r#"{"types": ["LOC"], "support": {"word": [["New", "York"]], "label": [["LOC", "LOC"]]},
///     "query": {"word": [["Oslo", "sleeps"]], "label": [["LOC", "O"]]}}"#.replace('\n', "");
/// let frozen = parse_episodes(&line, Path::new("example.jsonl"))?;
/// assert_eq!(frozen.episodes[0].support[0].spans, [Span { label: 0, start: 0, end: 2 }]);
///
/// let again = parse_episodes(&episode_line(&frozen.episodes[0], None), Path::new("example.jsonl"))?;
/// assert_eq!(again.hash, frozen.hash);
/// # Ok::<(), metashot_data::Error>(())
/// ```
///
/// # Errors
/// As [`read_episodes`].
pub fn parse_episodes(text: &str, name: &Path) -> Result<FrozenEpisodes> {
    let mut reader = Reader::new(name);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (row, line) in text.lines().enumerate() {
        if !line.trim().is_empty() {
            reader.line(row + 1, line)?;
        }
    }
    if reader.episodes.is_empty() {
        return Err(Error::Nothing {
            path: name.to_path_buf(),
            wanted: "episodes".into(),
        });
    }
    let (frozen, mismatches) = reader.finish();
    mismatches.into_iter().next().map_or(Ok(frozen), Err)
}

/// The line of an episode, without its end; that of the first one has the header.
pub fn episode_line(episode: &TaggingEpisode, header: Option<&EpisodesHeader>) -> String {
    let line = LineOut {
        metashot: header.map(|header| HeaderOut {
            version: VERSION,
            header,
        }),
        types: &episode.types,
        support: HalfOut::new(&episode.support, &episode.types),
        query: HalfOut::new(&episode.query, &episode.types),
        hash: episode.hash(),
    };
    // Strings, numbers and lists of them always have a JSON form.
    ascii(&serde_json::to_string(&line).unwrap_or_default())
}

/// A line as we write it.
#[derive(Serialize)]
struct LineOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    metashot: Option<HeaderOut<'a>>,
    types: &'a [String],
    support: HalfOut<'a>,
    query: HalfOut<'a>,
    hash: ContentHash,
}

#[derive(Serialize)]
struct HeaderOut<'a> {
    version: u64,
    #[serde(flatten)]
    header: &'a EpisodesHeader,
}

#[derive(Serialize)]
struct HalfOut<'a> {
    word: Vec<&'a [String]>,
    label: Vec<Vec<&'a str>>,
    spans: Vec<Vec<(usize, usize, &'a str)>>,
}

impl<'a> HalfOut<'a> {
    fn new(sentences: &'a [Sentence], types: &'a [String]) -> Self {
        let labels = |sentence: &Sentence| {
            let labels = LabelScheme::Io.encode(&sentence.spans, sentence.words.len());
            let name = |label: usize| {
                label
                    .checked_sub(1)
                    .map_or("O", |kind| types[kind].as_str())
            };
            labels.into_iter().map(name).collect()
        };
        let spans = |sentence: &Sentence| {
            let spans = sentence.spans.iter();
            spans
                .map(|span| (span.start, span.end, types[span.label].as_str()))
                .collect()
        };
        Self {
            word: sentences
                .iter()
                .map(|sentence| &sentence.words[..])
                .collect(),
            label: sentences.iter().map(labels).collect(),
            spans: sentences.iter().map(spans).collect(),
        }
    }
}

/// JSON with the same meaning in ASCII; outside of strings JSON is ASCII anyway.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// A line as it stands in the file.
#[derive(Deserialize)]
struct Line {
    types: Vec<String>,
    support: Half,
    query: Half,
    hash: Option<ContentHash>,
    metashot: Option<Value>,
}

#[derive(Deserialize)]
struct Half {
    word: Vec<Vec<String>>,
    label: Vec<Vec<String>>,
    spans: Option<Vec<Vec<(usize, usize, String)>>>,
}

struct Reader<'a> {
    path: &'a Path,
    header: Option<EpisodesHeader>,
    hasher: EpisodesHasher,
    episodes: Vec<TaggingEpisode>,
    mismatches: Vec<Error>,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            header: None,
            hasher: EpisodesHasher::new(),
            episodes: Vec::new(),
            mismatches: Vec::new(),
        }
    }

    fn line(&mut self, row: usize, line: &str) -> Result<()> {
        let at = Place {
            path: self.path,
            line: row,
        };
        let line: Line = serde_json::from_str(line).map_err(|error| {
            let wanted = "an episode: an object with `types`, `support` and `query`, each half with `word` and `label`";
            // Its own line is always the first: it is given one line at a time.
            let place = format!(" at line {} column {}", error.line(), error.column());
            let message = error.to_string();
            let message = message.strip_suffix(&place).unwrap_or(&message);
            let found = format!("something else: {message} (column {})", error.column());
            at.wanted(wanted, found)
        })?;
        check_types(&line.types).map_err(|(wanted, found)| at.wanted(wanted, found))?;
        if let (true, Some(header)) = (self.episodes.is_empty(), line.metashot) {
            self.header = Some(parse_header(header, at)?);
        }
        let half = |name, half| half_of(half, name, &line.types, at);
        let episode = TaggingEpisode {
            support: half("support", line.support)?,
            query: half("query", line.query)?,
            types: line.types.clone(),
        };
        check_halves(&episode).map_err(|(wanted, found)| at.wanted(wanted, found))?;
        let n_way = self.header.as_ref().map(|header| header.origin.n_way);
        if n_way.is_some_and(|n_way| n_way != episode.types.len()) {
            let wanted = "as many types as `n_way` in the header";
            return Err(at.wanted(wanted, episode.types.len().to_string()));
        }
        let hash = self.hasher.add(&episode);
        if let Some(recorded) = line.hash.filter(|&recorded| recorded != hash) {
            self.mismatches.push(Error::HashMismatch {
                path: self.path.to_path_buf(),
                line: row,
                what: "this episode",
                recorded,
                found: hash,
            });
        }
        self.episodes.push(episode);
        Ok(())
    }

    fn finish(mut self) -> (FrozenEpisodes, Vec<Error>) {
        let hash = self.hasher.finish();
        if let Some(header) = &self.header {
            if header.episodes != self.episodes.len() {
                self.mismatches.push(Error::EpisodeCount {
                    path: self.path.to_path_buf(),
                    recorded: header.episodes,
                    found: self.episodes.len(),
                });
            }
            if header.hash != hash {
                self.mismatches.push(Error::HashMismatch {
                    path: self.path.to_path_buf(),
                    line: 1,
                    what: "the episodes of this file",
                    recorded: header.hash,
                    found: hash,
                });
            }
        }
        let frozen = FrozenEpisodes {
            header: self.header,
            hash,
            episodes: self.episodes,
        };
        (frozen, self.mismatches)
    }
}

fn parse_header(header: Value, at: Place<'_>) -> Result<EpisodesHeader> {
    match header.get("version").map(Value::as_u64) {
        Some(Some(VERSION)) => serde_json::from_value(header)
            .map_err(|error| at.wanted("a header under `metashot`", error.to_string())),
        Some(Some(newer)) => Err(at.wanted(
            "version 1 of the header under `metashot`, the only one that this program knows",
            format!("version {newer}"),
        )),
        _ => Err(at.wanted(
            "a header under `metashot` with its `version`",
            header.to_string(),
        )),
    }
}

/// What was wanted, and what was found.
type Unfit = (&'static str, String);

/// An error unless there are types, each with a name of its own.
fn check_types(types: &[String]) -> std::result::Result<(), Unfit> {
    if types.is_empty() {
        return Err(("1 or more `types`", "none".into()));
    }
    for (at, kind) in types.iter().enumerate() {
        if kind.is_empty() || kind == "O" || types[..at].contains(kind) {
            let wanted = "`types` with names of their own, none of them `O`";
            return Err((wanted, format!("`{kind}`")));
        }
    }
    Ok(())
}

/// An error unless there is something to learn of each type and something to measure.
fn check_halves(episode: &TaggingEpisode) -> std::result::Result<(), Unfit> {
    if episode.query.is_empty() {
        return Err(("1 or more sentences in `query`", "none".into()));
    }
    let mut seen = vec![false; episode.types.len()];
    for span in episode.support.iter().flat_map(|sentence| &sentence.spans) {
        seen[span.label] = true;
    }
    match seen.iter().position(|seen| !seen) {
        None => Ok(()),
        Some(class) => {
            let found = format!("none of `{}`", episode.types[class]);
            Err(("an entity of each type in `support`", found))
        }
    }
}

/// The sentences of one half of an episode.
fn half_of(half: Half, name: &str, types: &[String], at: Place<'_>) -> Result<Vec<Sentence>> {
    let Half { word, label, spans } = half;
    let n_spans = spans.as_ref().map_or(word.len(), Vec::len);
    if label.len() != word.len() || n_spans != word.len() {
        let wanted = "as many lists of labels, and of spans if there are any, as of words";
        let found = format!(
            "{} for {} sentences in `{name}`",
            label.len().min(n_spans),
            word.len()
        );
        return Err(at.wanted(wanted, found));
    }
    let mut spans = spans.map(Vec::into_iter);
    let mut sentences = Vec::with_capacity(word.len());
    for (at_sentence, (words, labels)) in word.into_iter().zip(label).enumerate() {
        let place = format!("in sentence {} of `{name}`", at_sentence + 1);
        if words.is_empty() {
            return Err(at.wanted("1 or more words", format!("none {place}")));
        }
        if labels.len() != words.len() {
            let found = format!("{} labels for {} words {place}", labels.len(), words.len());
            return Err(at.wanted("a label for each word", found));
        }
        let class = |kind: &str| {
            let class = types.iter().position(|known| known == kind);
            class.ok_or_else(|| {
                let wanted = "`O` or one of the episode's `types`";
                at.wanted(wanted, format!("`{kind}` {place}"))
            })
        };
        let label = |label: &String| match label.as_str() {
            "O" => Ok(0),
            kind => Ok(1 + class(kind)?),
        };
        let labels: Vec<usize> = labels.iter().map(label).collect::<Result<_>>()?;
        let spans = match spans.as_mut().and_then(Iterator::next) {
            None => LabelScheme::Io.decode(&labels),
            Some(marked) => {
                let span = |(start, end, kind): (usize, usize, String)| {
                    let label = class(&kind)?;
                    Ok(Span { label, start, end })
                };
                let spans: Vec<Span> = marked.into_iter().map(span).collect::<Result<_>>()?;
                let mut free = 0;
                for span in &spans {
                    if span.start < free || span.end <= span.start || span.end > words.len() {
                        let found = format!(
                            "words {}..{} of {} {place}",
                            span.start,
                            span.end,
                            words.len()
                        );
                        let wanted = "spans of 1 or more words, in order and none over another";
                        return Err(at.wanted(wanted, found));
                    }
                    free = span.end;
                }
                if LabelScheme::Io.encode(&spans, words.len()) != labels {
                    let wanted = "`spans` that say the same as `label`";
                    return Err(at.wanted(wanted, format!("others {place}")));
                }
                spans
            }
        };
        sentences.push(Sentence {
            words,
            spans,
            line: at.line,
        });
    }
    Ok(sentences)
}
