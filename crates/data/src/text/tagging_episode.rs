//! Episodes that carry their sentences with them, and the hash of what is in them.
//!
//! A [`NerEpisode`] is a handful of indices and means something beside its corpus only. A [`TaggingEpisode`] needs
//! nothing else, so it can come from a file, and from two corpora.
//!
//! Deliberately not here: drawing them (`episode`, `support`), and their file (`frozen`).

use sha2::{Digest, Sha256};

use crate::{
    ContentHash, Result,
    text::{Corpus, NerEpisode, Sentence, Span},
};

/// Labelled sentences to adapt to and others to be measured on. The labels of all spans are classes: indices into
/// `types`.
///
/// ```
/// use std::path::Path;
/// use metashot_data::text::{EpisodesHasher, NerEpisode, OrphanInside, TaggingEpisode, parse_bio};
///
/// let text = "Ada B-PER\nin O\nRome B-LOC\n\nOslo B-LOC\n\nKyiv B-LOC\n";
/// let corpus = parse_bio(text, Path::new("example.txt"), OrphanInside::Reject)?;
/// let drawn = NerEpisode { types: vec![0], support: vec![1], query: vec![2] };
/// let episode = TaggingEpisode::new(&corpus, &drawn);
/// assert_eq!(episode.types, ["LOC"]);
/// assert_eq!(episode.query[0].words, ["Kyiv"]);
///
/// let mut hasher = EpisodesHasher::new();
/// hasher.add(&episode);
/// assert_ne!(hasher.finish(), EpisodesHasher::new().finish());
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggingEpisode {
    /// Names of the entity types by class.
    pub types: Vec<String>,
    /// The sentences to adapt to.
    pub support: Vec<Sentence>,
    /// The sentences to be measured on.
    pub query: Vec<Sentence>,
}

impl TaggingEpisode {
    /// An episode that was drawn from a corpus.
    pub fn new(corpus: &Corpus, drawn: &NerEpisode) -> Self {
        let take = |picked: &[usize]| {
            let sentences = picked.iter().map(|&index| &corpus.sentences[index]);
            sentences
                .map(|sentence| Sentence {
                    words: sentence.words.clone(),
                    spans: drawn.spans(sentence),
                    line: sentence.line,
                })
                .collect()
        };
        Self {
            types: drawn
                .types
                .iter()
                .map(|&kind| corpus.types[kind].clone())
                .collect(),
            support: take(&drawn.support),
            query: take(&drawn.query),
        }
    }

    /// Some sentences of a corpus to adapt to, and all of another to be measured on. The types are those of the first
    /// corpus, in its order.
    ///
    /// # Errors
    /// A type of `queries` that the first corpus does not have.
    pub fn against(pool: &Corpus, support: &[usize], queries: &Corpus) -> Result<Self> {
        let classes = pool.type_ids(&queries.types)?;
        let relabel = |sentence: &Sentence| {
            let relabelled = sentence.spans.iter().map(|span| Span {
                label: classes[span.label],
                ..*span
            });
            Sentence {
                spans: relabelled.collect(),
                ..sentence.clone()
            }
        };
        Ok(Self {
            types: pool.types.clone(),
            support: support
                .iter()
                .map(|&index| pool.sentences[index].clone())
                .collect(),
            query: queries.sentences.iter().map(relabel).collect(),
        })
    }

    /// The hash of its types, words and spans, each in their order; the lines that sentences come from do not count.
    ///
    /// Hashed are, one after another: the types, the support set and the query set, each as its length and its items; a
    /// type or a word as its length in bytes and its UTF-8; a sentence as its words and its spans, each as their number
    /// and themselves; a span as its class, its first word and one past its last. Every number is a `u64`, its least
    /// significant byte first.
    pub fn hash(&self) -> ContentHash {
        let mut hasher = Sha256::new();
        texts(&self.types, &mut hasher);
        for half in [&self.support, &self.query] {
            number(half.len(), &mut hasher);
            for sentence in half {
                texts(&sentence.words, &mut hasher);
                number(sentence.spans.len(), &mut hasher);
                for span in &sentence.spans {
                    for n in [span.label, span.start, span.end] {
                        number(n, &mut hasher);
                    }
                }
            }
        }
        ContentHash(hasher.finalize().into())
    }
}

/// The hash of many episodes, one after another: that of a file of them, and that of a sampler's first so many.
///
/// It is the SHA-256 of the line `metashot episodes 1` with its line feed and of the hashes of all episodes, 32 bytes
/// each.
#[derive(Debug, Clone)]
pub struct EpisodesHasher {
    inner: Sha256,
}

impl Default for EpisodesHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl EpisodesHasher {
    /// No episodes yet.
    pub fn new() -> Self {
        let mut inner = Sha256::new();
        inner.update(b"metashot episodes 1\n");
        Self { inner }
    }

    /// Adds an episode and returns its own hash.
    pub fn add(&mut self, episode: &TaggingEpisode) -> ContentHash {
        let hash = episode.hash();
        self.add_hash(hash);
        hash
    }

    /// Adds an episode by its hash, so that episodes can be drawn side by side.
    pub fn add_hash(&mut self, hash: ContentHash) {
        self.inner.update(hash.0);
    }

    /// The hash of the episodes so far.
    pub fn finish(&self) -> ContentHash {
        ContentHash(self.inner.clone().finalize().into())
    }
}

fn number(n: usize, hasher: &mut Sha256) {
    hasher.update((n as u64).to_le_bytes());
}

fn texts(texts: &[String], hasher: &mut Sha256) {
    number(texts.len(), hasher);
    for text in texts {
        number(text.len(), hasher);
        hasher.update(text.as_bytes());
    }
}
