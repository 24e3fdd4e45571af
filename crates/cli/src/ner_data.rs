//! The sentences behind a tagger's episodes: the splits of a recipe, cleaned of each other, and what a model can read.
//!
//! Whoever draws episodes draws them from here, so that a seed means the same ones everywhere. Deliberately not here:
//! the drawing, and tensors.

use anyhow::Result;
use metashot_data::{
    ClassSplit, disjoint,
    text::{Corpus, Encoded, Tokenizer, read_bio},
};

use crate::recipe::{Ner, Paths};

/// The sentences of a recipe. No sentence and no entity type is in two splits.
pub(crate) struct NerSplits {
    pub(crate) train: Corpus,
    pub(crate) validation: Corpus,
    pub(crate) test: Corpus,
}

/// Reads the files of a recipe.
///
/// # Errors
/// A file that is missing or malformed, or splits whose types overlap.
pub(crate) fn read_splits(ner: &Ner, paths: &Paths, seed: u64) -> Result<NerSplits> {
    let read = |name: &str| -> Result<Corpus> {
        Ok(read_bio(&paths.find(name)?, ner.orphan.into())?.without_duplicates())
    };
    let (train, validation, test) = (read(&ner.train)?, read(&ner.validation)?, read(&ner.test)?);
    // A sentence that stands in two splits would be known before it is tested on.
    let validation = validation.without(&train);
    let test = test.without(&train).without(&validation);
    let (train, validation) = if ner.validation_types == 0 {
        (train, validation)
    } else {
        let split = ClassSplit::random(&train.types, ner.validation_types, 0, seed)?;
        (
            train.restrict(&split.train)?,
            validation.restrict(&split.validation)?,
        )
    };
    disjoint(&[
        ("train", &train.types),
        ("validation", &validation.types),
        ("test", &test.types),
    ])?;
    Ok(NerSplits {
        train,
        validation,
        test,
    })
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
