//! The one error type of the crate: a variant for each thing that a user can do something about.
//!
//! Deliberately not here: how an error is shown. Causes are kept as sources, so that a front end can print the chain.

use std::{error, io, path::PathBuf};

use crate::ContentHash;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// The cause reported by a library underneath, kept opaque so that its version is no part of this crate's interface.
type Cause = Box<dyn error::Error + Send + Sync>;

/// What can be wrong with a file, a setting or a data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or a directory is missing or cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A line of a text file is not what the format asks for.
    #[error("{}:{line}: expected {wanted}, found {found}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the format asks for.
        wanted: &'static str,
        /// What stands there.
        found: String,
    },

    /// An `I-` tag continues no entity of its type, and the policy is [`Reject`](crate::text::OrphanInside::Reject).
    #[error("{}:{line}: expected `B-{kind}` or an entity of type `{kind}` to continue, found `I-{kind}`", path.display())]
    OrphanInside {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The entity type of the tag.
        kind: String,
    },

    /// A tag is none that the reading takes.
    #[error("word {word} of sentence {sentence}: expected {wanted}, found `{found}`")]
    Tag {
        /// The sentence, from 1.
        sentence: usize,
        /// The word, from 1.
        word: usize,
        /// What the reading takes.
        wanted: &'static str,
        /// The tag.
        found: String,
    },

    /// The right tags and those predicted are not of the same words.
    #[error("expected as many predicted {what} as right ones, {gold}, found {predicted}")]
    TagsDiffer {
        /// What is counted.
        what: String,
        /// How many the right tags have.
        gold: usize,
        /// How many were predicted.
        predicted: usize,
    },

    /// A table or a JSON object lacks a column that was asked for, or it holds no text.
    #[error("{}:{line}: expected a text in column `{column}`, found columns `{found}`", path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column asked for.
        column: String,
        /// The columns there are.
        found: String,
    },

    /// The offsets of a span are none of its text.
    #[error(
        "{}:{line}: expected a span of 1 or more visible characters within the text's {n_chars}, found {start}..{end}",
        path.display()
    )]
    SpanOutside {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The first character of the span.
        start: usize,
        /// One past its last.
        end: usize,
        /// How many characters the text has.
        n_chars: usize,
    },

    /// A span begins or ends inside a character of several code points, or inside a word.
    #[error("{}:{line}: expected a span of whole words, found {span}, which cuts the {what} `{cut}`", path.display())]
    SpanCuts {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The span.
        span: String,
        /// `character` or `word`.
        what: &'static str,
        /// What is cut.
        cut: String,
    },

    /// Two spans of a text share words; a word has one label.
    #[error("{}:{line}: expected spans that do not overlap, found {first} and {second}", path.display())]
    SpansOverlap {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The span that begins first.
        first: String,
        /// The other.
        second: String,
    },

    /// A file or a directory can be read but holds nothing of what is looked for.
    #[error("`{}`: expected {wanted}, found none", path.display())]
    Nothing {
        /// The file or directory.
        path: PathBuf,
        /// What is looked for.
        wanted: String,
    },

    /// A number handed in is outside of its range.
    #[error("`{name}`: expected {wanted}, found {found}")]
    Setting {
        /// The name of the setting.
        name: String,
        /// Its range.
        wanted: String,
        /// The value.
        found: String,
    },

    /// An entity type that the corpus does not have.
    #[error("entity type `{name}` is not in the corpus, which has {known}")]
    UnknownType {
        /// The type asked for.
        name: String,
        /// The types of the corpus.
        known: String,
    },

    /// A class that the picture set does not have.
    #[error("class `{name}` is not among the {known} classes of the set")]
    UnknownClass {
        /// The class asked for.
        name: String,
        /// How many classes the set has.
        known: usize,
    },

    /// A class stands in two places that must not share one.
    #[error("class `{name}` stands {}", where_twice(first, second))]
    Overlap {
        /// The class.
        name: String,
        /// One place.
        first: String,
        /// The other place, the same one when the class is listed twice.
        second: String,
    },

    /// There are fewer classes than wanted.
    #[error("{purpose} needs {wanted} or more classes, found {found}")]
    TooFewClasses {
        /// What the classes are wanted for.
        purpose: String,
        /// How many it takes.
        wanted: usize,
        /// How many there are.
        found: usize,
    },

    /// An entity type can never fill an episode.
    #[error(
        "entity type `{kind}`: k_shot {k_shot} and n_query {n_query} need {} entities in 2 or more sentences, \
         found {entities} in {sentences} usable (of {in_all} in the corpus)",
        k_shot.saturating_add(*n_query)
    )]
    TooFewEntities {
        /// The entity type.
        kind: String,
        /// Entities wanted in the support set.
        k_shot: usize,
        /// Entities wanted in the query set.
        n_query: usize,
        /// Entities in the sentences that an episode can hold.
        entities: usize,
        /// Sentences with the type that an episode can hold.
        sentences: usize,
        /// Entities of the type in all sentences.
        in_all: usize,
    },

    /// Entity types have too few entities for a support set with all types.
    #[error(
        "a {k_shot}-shot support set needs {k_shot} entities of each type in sentences that are no queries, found {found}"
    )]
    TooFewForSupport {
        /// Entities wanted of each type.
        k_shot: usize,
        /// The types that have fewer, each with how many it has.
        found: String,
    },

    /// Frozen episodes are not those that their hash was taken of.
    #[error(
        "{}:{line}: expected the hash {recorded}, which the file gives for {what}, found {found}: the content was changed",
        path.display()
    )]
    HashMismatch {
        /// The file.
        path: PathBuf,
        /// The line with the hash, from 1.
        line: usize,
        /// What was hashed.
        what: &'static str,
        /// The hash in the file.
        recorded: ContentHash,
        /// The hash of what is there.
        found: ContentHash,
    },

    /// A file of frozen episodes has more or fewer of them than its first line says.
    #[error(
        "`{}`: expected {recorded} episodes, as the first line says, found {found}{}", path.display(),
        if found < recorded { ": the file was cut off" } else { "" }
    )]
    EpisodeCount {
        /// The file.
        path: PathBuf,
        /// How many there should be.
        recorded: usize,
        /// How many there are.
        found: usize,
    },

    /// No draw of entity types and sentences could be completed.
    #[error(
        "no {n_way}-way episode in {draws} draws: at the last, entity type `{kind}` reached {found} of {wanted} \
         entities in the {set} set, with {candidates} sentences of the drawn types to choose from"
    )]
    NoEpisode {
        /// Entity types in an episode.
        n_way: usize,
        /// How many draws were tried.
        draws: usize,
        /// The entity type that lacks entities.
        kind: String,
        /// `support` or `query`.
        set: &'static str,
        /// Entities found.
        found: usize,
        /// Entities wanted.
        wanted: usize,
        /// Sentences of the drawn types that were left to choose from.
        candidates: usize,
    },

    /// A class has fewer examples than an episode takes.
    #[error(
        "class `{class}`: k_shot {k_shot} and n_query {n_query} need {} examples, found {found}",
        k_shot.saturating_add(*n_query)
    )]
    TooFewExamples {
        /// The class.
        class: String,
        /// Examples wanted in the support set.
        k_shot: usize,
        /// Examples wanted in the query set.
        n_query: usize,
        /// Examples in the class.
        found: usize,
    },

    /// A file is not a `tokenizer.json` that can be used.
    #[error("`{}` is not a tokenizer in the format of `tokenizer.json`", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What the tokenizers library said.
        source: Cause,
    },

    /// Words that the tokenizer cannot turn into ids.
    #[error("failed to tokenize `{words}`")]
    Tokenize {
        /// The words.
        words: String,
        /// What the tokenizers library said.
        source: Cause,
    },

    /// A picture that does not decode.
    #[error("failed to decode the picture `{}`", path.display())]
    Picture {
        /// The file, or the archive and the entry in it.
        path: PathBuf,
        /// What the image library said.
        source: Cause,
    },

    /// A file that is no zip archive, or a damaged one.
    #[error("failed to read the zip archive `{}`", path.display())]
    Archive {
        /// The archive, or the archive and the entry in it.
        path: PathBuf,
        /// What the zip library said.
        source: Cause,
    },
}

impl Error {
    pub(crate) fn setting(
        name: impl Into<String>,
        wanted: impl Into<String>,
        found: &impl ToString,
    ) -> Self {
        Error::Setting {
            name: name.into(),
            wanted: wanted.into(),
            found: found.to_string(),
        }
    }
}

/// An error unless `value` is at least 1: a shape with a zero in it asks for nothing.
pub(crate) fn at_least_one(name: &str, value: usize) -> Result<()> {
    if value == 0 {
        Err(Error::setting(name, "1 or more", &0))
    } else {
        Ok(())
    }
}

fn where_twice(first: &str, second: &str) -> String {
    if first == second {
        format!("twice in `{first}`")
    } else {
        format!("in both `{first}` and `{second}`")
    }
}
