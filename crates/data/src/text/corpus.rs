//! Sentences with typed spans, and the cuts that keep a comparison fair: by entity type, and by repeated sentence.
//!
//! Deliberately not here: tags. BIO is one way to write spans down; inside the crate a span is a span.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
};

use crate::{Error, Result};

/// An entity: words `start..end` of its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Index of the type: into [`Corpus::types`], or the class within an episode.
    pub label: usize,
    /// The first word.
    pub start: usize,
    /// One past the last word.
    pub end: usize,
}

/// The words of a sentence and its entities, which do not overlap and come in the order of their words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentence {
    /// The words, as in the file.
    pub words: Vec<String>,
    /// The entities.
    pub spans: Vec<Span>,
    /// The line of the file on which the sentence begins, from 1.
    pub line: usize,
}

/// Sentences and the entity types that stand in them.
///
/// ```
/// use std::path::Path;
/// use metashot_data::text::{OrphanInside, parse_bio};
///
/// let text = "Ada B-PER\n\nBob B-PER\nin O\nRome B-LOC\n\nAda B-PER\n";
/// let corpus = parse_bio(text, Path::new("example.txt"), OrphanInside::Reject)?;
/// assert_eq!(corpus.types, ["LOC", "PER"]);
/// assert_eq!(corpus.without_duplicates().sentences.len(), 2);
///
/// // The sentence with a place is no sentence about people only ..
/// assert_eq!(corpus.restrict(&["PER"])?.sentences.len(), 2);
/// // .. unless the place may be passed off as no entity.
/// assert_eq!(corpus.mask(&["PER"])?.sentences.len(), 3);
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    /// Names of the entity types, sorted.
    pub types: Vec<String>,
    /// The sentences, in the order of the file.
    pub sentences: Vec<Sentence>,
}

impl Corpus {
    /// A corpus of sentences whose types were numbered as they came; the corpus numbers them by name. `name` is the
    /// file that they come from.
    ///
    /// # Errors
    /// No sentence, or no entity.
    pub(super) fn from_numbered(
        types: BTreeMap<String, usize>,
        mut sentences: Vec<Sentence>,
        name: &Path,
    ) -> Result<Self> {
        let nothing = |wanted: &str| Error::Nothing {
            path: name.to_path_buf(),
            wanted: wanted.to_owned(),
        };
        if sentences.is_empty() {
            return Err(nothing("sentences"));
        }
        if types.is_empty() {
            return Err(nothing("entities"));
        }
        let mut rank = vec![0; types.len()];
        for (sorted, &as_came) in types.values().enumerate() {
            rank[as_came] = sorted;
        }
        for span in sentences
            .iter_mut()
            .flat_map(|sentence| &mut sentence.spans)
        {
            span.label = rank[span.label];
        }
        Ok(Self {
            types: types.into_keys().collect(),
            sentences,
        })
    }

    /// The indices of the named types, in the order of the names.
    ///
    /// # Errors
    /// A name that is no type of this corpus.
    pub fn type_ids(&self, names: &[impl AsRef<str>]) -> Result<Vec<usize>> {
        let id = |name: &str| {
            self.types
                .binary_search_by(|known| known.as_str().cmp(name))
                .map_err(|_| Error::UnknownType {
                    name: name.to_owned(),
                    known: format!("`{}`", self.types.join("`, `")),
                })
        };
        names.iter().map(|name| id(name.as_ref())).collect()
    }

    /// How many entities of each type there are.
    pub fn entity_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.types.len()];
        for span in self.sentences.iter().flat_map(|sentence| &sentence.spans) {
            counts[span.label] += 1;
        }
        counts
    }

    /// The part of the corpus for one side of a class split: the named types only, and no sentence with an entity of
    /// any other type. Training on a sentence whose other entities read as `O` would teach that they are none, and
    /// they may be the very types that are tested. Sentences without entities stay.
    ///
    /// # Errors
    /// A name that is no type of this corpus.
    pub fn restrict(&self, names: &[impl AsRef<str>]) -> Result<Corpus> {
        let mut part = self.mask(names)?;
        let mut whole = self.sentences.iter();
        part.sentences.retain(|sentence| {
            whole
                .next()
                .is_some_and(|before| before.spans.len() == sentence.spans.len())
        });
        Ok(part)
    }

    /// All sentences with the named types only: entities of other types are kept as words and lose their span.
    ///
    /// # Errors
    /// A name that is no type of this corpus.
    pub fn mask(&self, names: &[impl AsRef<str>]) -> Result<Corpus> {
        let mut kept = self.type_ids(names)?;
        kept.sort_unstable();
        kept.dedup();
        let relabel = |span: &Span| {
            kept.binary_search(&span.label)
                .ok()
                .map(|label| Span { label, ..*span })
        };
        let sentences = self
            .sentences
            .iter()
            .map(|sentence| Sentence {
                words: sentence.words.clone(),
                spans: sentence.spans.iter().filter_map(relabel).collect(),
                line: sentence.line,
            })
            .collect();
        Ok(Corpus {
            types: kept.iter().map(|&id| self.types[id].clone()).collect(),
            sentences,
        })
    }

    /// Each word sequence once, where it stands first. Real corpora repeat sentences, and a sentence that is in both
    /// the support and the query set of an episode makes that episode easier than it claims to be.
    #[must_use]
    pub fn without_duplicates(&self) -> Corpus {
        let mut seen = HashSet::new();
        self.keep(|sentence| seen.insert(&sentence.words))
    }

    /// The sentences whose word sequence does not stand in `other`, whatever their tags.
    #[must_use]
    pub fn without(&self, other: &Corpus) -> Corpus {
        let there: HashSet<&Vec<String>> = other
            .sentences
            .iter()
            .map(|sentence| &sentence.words)
            .collect();
        self.keep(|sentence| !there.contains(&sentence.words))
    }

    fn keep<'a>(&'a self, mut wanted: impl FnMut(&'a Sentence) -> bool) -> Corpus {
        let sentences = self
            .sentences
            .iter()
            .filter(|sentence| wanted(sentence))
            .cloned()
            .collect();
        Corpus {
            types: self.types.clone(),
            sentences,
        }
    }
}
