//! The sentences behind a tagger's episodes: the splits of a recipe, cleaned of each other, and what a model can read.
//!
//! Whoever draws episodes draws them from here, so that a seed means the same ones everywhere. Deliberately not here:
//! the drawing, and tensors.

use std::collections::{BTreeSet, HashSet};

use anyhow::{Context, Result};
use metashot_data::{
    ClassSplit, disjoint,
    text::{
        Corpus, Encoded, FrozenEpisodes, Sentence, TaggingEpisode, Tokenizer, read_bio,
        read_episodes,
    },
};

use crate::recipe::{Ner, Paths};

/// The sentences of a recipe. No sentence and no entity type is in two splits.
pub(crate) struct NerSplits {
    pub(crate) train: Corpus,
    pub(crate) validation: Corpus,
    /// Nothing where there are frozen episodes in its place.
    pub(crate) test: Option<Corpus>,
    /// Frozen episodes to test on.
    pub(crate) frozen: Option<FrozenEpisodes>,
}

/// Reads the files of a recipe, with the file of frozen episodes to test on if one is named.
///
/// # Errors
/// A file that is missing or malformed, splits whose types overlap, or frozen episodes with types that the test file does
/// not have.
pub(crate) fn read_splits(ner: &Ner, frozen: &str, paths: &Paths, seed: u64) -> Result<NerSplits> {
    let read = |name: &str| -> Result<Corpus> {
        Ok(read_bio(&paths.find(name)?, ner.orphan.into())?.without_duplicates())
    };
    let frozen = match frozen {
        "" => None,
        name => Some(read_episodes(&paths.find(name)?)?),
    };
    let test = match (ner.test.as_str(), &frozen) {
        ("", Some(_)) => None,
        (name, _) => Some(read(name)?),
    };
    let (mut train, mut validation) = (read(&ner.train)?, read(&ner.validation)?);
    // A sentence that stands in two splits would be known before it is tested on.
    validation = validation.without(&train);
    let test = test.map(|test| test.without(&train).without(&validation));
    if let Some(frozen) = &frozen {
        // These are as they are, so it is the others that give way.
        let sentences = all_sentences(frozen);
        (train, validation) = (train.without(&sentences), validation.without(&sentences));
    }
    let (train, validation) = if ner.validation_types == 0 {
        (train, validation)
    } else {
        let split = ClassSplit::random(&train.types, ner.validation_types, 0, seed)?;
        (
            train.restrict(&split.train)?,
            validation.restrict(&split.validation)?,
        )
    };
    let known = [
        ("train", train.types.as_slice()),
        ("validation", validation.types.as_slice()),
    ];
    let Some(frozen) = frozen else {
        let types = test.as_ref().map_or(&[][..], |test| &test.types);
        disjoint(&[known[0], known[1], ("test", types)])?;
        return Ok(NerSplits {
            train,
            validation,
            test,
            frozen: None,
        });
    };
    let types = types_of(&frozen.episodes);
    disjoint(&[known[0], known[1], ("the frozen episodes", &types)])?;
    if let Some(test) = test {
        test.type_ids(&types).with_context(|| {
            format!(
                "the frozen episodes are not of `ner.test`, `{}`; name their own file, or none by `--set ner.test=`",
                ner.test
            )
        })?;
    }
    Ok(NerSplits {
        train,
        validation,
        test: None,
        frozen: Some(frozen),
    })
}

/// The types of all episodes, sorted.
pub(crate) fn types_of(episodes: &[TaggingEpisode]) -> Vec<String> {
    let types: BTreeSet<&String> = episodes.iter().flat_map(|episode| &episode.types).collect();
    types.into_iter().cloned().collect()
}

/// The sentences of all episodes as a corpus without types.
fn all_sentences(frozen: &FrozenEpisodes) -> Corpus {
    let sentences = frozen
        .episodes
        .iter()
        .flat_map(|episode| episode.support.iter().chain(&episode.query));
    let mut seen = HashSet::new();
    Corpus {
        types: Vec::new(),
        sentences: sentences
            .filter(|sentence| seen.insert(&sentence.words))
            .map(|sentence| Sentence {
                words: sentence.words.clone(),
                spans: Vec::new(),
                line: sentence.line,
            })
            .collect(),
    }
}

/// The sentences that fit into `max_tokens`, and their tokens: one that was cut could lose the entities it was drawn for.
///
/// # Errors
/// Words that the tokenizer fails on.
pub(crate) fn readable(
    mut corpus: Corpus,
    tokenizer: &Tokenizer,
    max_tokens: usize,
) -> Result<(Corpus, Vec<Encoded>)> {
    let mut encoded = Vec::with_capacity(corpus.sentences.len());
    let mut failed = None;
    corpus.sentences.retain(
        |sentence| match tokenizer.encode_words(&sentence.words, max_tokens) {
            Ok(tokens) if tokens.n_words == sentence.words.len() => {
                encoded.push(tokens);
                true
            }
            Ok(_) => false,
            Err(error) => {
                failed.get_or_insert(error);
                false
            }
        },
    );
    failed.map_or(Ok((corpus, encoded)), |error| Err(error.into()))
}
