//! The episodes of one split, drawn or from a file, and the tokens of their sentences, which are made once.
//!
//! Deliberately not here: tensors.

use std::collections::HashMap;

use anyhow::{Context, Result};
use metashot_data::{
    ContentHash,
    text::{
        Corpus, Encoded, EpisodesHasher, FrozenEpisodes, NerSampler, NerShape, Sentence, Span,
        TaggingEpisode, Tokenizer, Window,
    },
};

use crate::ner_data::{readable, types_of};

/// Episodes and their sentences.
pub(super) struct Part {
    sentences: Vec<Reading>,
    n_types: usize,
    source: Source,
}

enum Source {
    /// They are drawn, each when it is asked for.
    Drawn { corpus: Corpus, sampler: NerSampler },
    /// They come from a file.
    Frozen {
        episodes: Vec<Listed>,
        hash: ContentHash,
    },
}

/// What a model reads of a sentence.
pub(super) struct Reading {
    /// The token ids of its sequences: one, or several windows where it is too long for one.
    pub(super) sequences: Vec<Vec<u32>>,
    /// For each word the token that it begins with, counted through all sequences.
    pub(super) words: Vec<usize>,
}

/// An episode of a file.
struct Listed {
    types: Vec<String>,
    /// Sentences by index, with their entities.
    halves: [Vec<(usize, Vec<Span>)>; 2],
}

/// An episode.
pub(super) struct Picked<'a> {
    /// The names of its types, by class.
    pub(super) types: Vec<String>,
    /// The support and the query set: what is read of each sentence, and its entities.
    pub(super) halves: [Vec<(&'a Reading, Vec<Span>)>; 2],
}

impl Part {
    /// Episodes drawn from those sentences that fit into `max_tokens`.
    pub(super) fn drawn(
        corpus: Corpus,
        tokenizer: &Tokenizer,
        max_tokens: usize,
        shape: NerShape,
    ) -> Result<Self> {
        let (corpus, encoded) = readable(corpus, tokenizer, max_tokens)?;
        let types: Vec<usize> = (0..corpus.types.len()).collect();
        let sampler = NerSampler::new(&corpus, &types, shape)?;
        Ok(Self {
            sentences: encoded.into_iter().map(Reading::whole).collect(),
            n_types: types.len(),
            source: Source::Drawn { corpus, sampler },
        })
    }

    /// The episodes of a file. What does not fit into `max_tokens` is read in windows that overlap: nothing of a frozen
    /// episode is left out.
    pub(super) fn frozen(
        frozen: FrozenEpisodes,
        tokenizer: &Tokenizer,
        max_tokens: usize,
    ) -> Result<Self> {
        let mut sentences = Vec::new();
        let mut known: HashMap<Vec<String>, usize> = HashMap::new();
        let mut index_of = |words: Vec<String>| -> Result<usize> {
            if let Some(&index) = known.get(&words) {
                return Ok(index);
            }
            sentences.push(Reading::windows(
                &tokenizer.encode_windows(&words, max_tokens)?,
            ));
            known.insert(words, sentences.len() - 1);
            Ok(sentences.len() - 1)
        };
        let n_types = types_of(&frozen.episodes).len();
        let mut half = |sentences: Vec<Sentence>| -> Result<Vec<(usize, Vec<Span>)>> {
            let listed = sentences.into_iter().map(|sentence| {
                let index = index_of(sentence.words)?;
                Ok((index, sentence.spans))
            });
            listed.collect()
        };
        let mut episodes = Vec::with_capacity(frozen.episodes.len());
        for episode in frozen.episodes {
            episodes.push(Listed {
                types: episode.types,
                halves: [half(episode.support)?, half(episode.query)?],
            });
        }
        Ok(Self {
            sentences,
            n_types,
            source: Source::Frozen {
                episodes,
                hash: frozen.hash,
            },
        })
    }

    /// Episode `index` of `seed`, or of the file.
    pub(super) fn episode(&self, seed: u64, index: u64) -> Result<Picked<'_>> {
        match &self.source {
            Source::Drawn { corpus, sampler } => {
                let drawn = sampler.episode(seed, index)?;
                let half = |picked: &[usize]| {
                    let sentences = picked.iter().map(|&index| {
                        let spans = drawn.spans(&corpus.sentences[index]);
                        (&self.sentences[index], spans)
                    });
                    sentences.collect()
                };
                let name = |&kind: &usize| corpus.types[kind].clone();
                Ok(Picked {
                    types: drawn.types.iter().map(name).collect(),
                    halves: [half(&drawn.support), half(&drawn.query)],
                })
            }
            Source::Frozen { episodes, .. } => {
                let listed = usize::try_from(index)
                    .ok()
                    .and_then(|index| episodes.get(index));
                let listed = listed.with_context(|| {
                    format!("the file has {} episodes, none {index}", episodes.len())
                })?;
                let half = |half: &[(usize, Vec<Span>)]| {
                    let sentences = half.iter();
                    sentences
                        .map(|(index, spans)| (&self.sentences[*index], spans.clone()))
                        .collect()
                };
                Ok(Picked {
                    types: listed.types.clone(),
                    halves: [half(&listed.halves[0]), half(&listed.halves[1])],
                })
            }
        }
    }

    /// The hash of the first `count` episodes of `seed`; of a file, that of all its episodes.
    pub(super) fn hash(&self, seed: u64, count: u64) -> Result<ContentHash> {
        match &self.source {
            Source::Frozen { hash, .. } => Ok(*hash),
            Source::Drawn { corpus, sampler } => {
                let mut hasher = EpisodesHasher::new();
                for index in 0..count {
                    hasher.add(&TaggingEpisode::new(corpus, &sampler.episode(seed, index)?));
                }
                Ok(hasher.finish())
            }
        }
    }

    /// What it holds, in words.
    pub(super) fn describe(&self) -> String {
        let (types, sentences) = (self.n_types, self.sentences.len());
        match &self.source {
            Source::Drawn { .. } => format!("{types} types in {sentences} sentences"),
            Source::Frozen { episodes, hash } => format!(
                "{} frozen episodes ({}) of {types} types in {sentences} sentences",
                episodes.len(),
                hash.short()
            ),
        }
    }
}

impl Reading {
    /// A sentence that is one sequence.
    fn whole(encoded: Encoded) -> Self {
        Self {
            words: encoded.word_positions(),
            sequences: vec![encoded.ids],
        }
    }

    /// A sentence in windows: each word is read from the window that it lies deepest in.
    fn windows(windows: &[Window]) -> Self {
        let (mut words, mut first_token) = (Vec::new(), 0);
        for window in windows {
            words.extend(window.read_positions().iter().map(|at| first_token + at));
            first_token += window.encoded.ids.len();
        }
        Self {
            words,
            sequences: windows
                .iter()
                .map(|window| window.encoded.ids.clone())
                .collect(),
        }
    }

    /// How many tokens its sequences have.
    pub(super) fn n_tokens(&self) -> usize {
        self.sequences.iter().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_word_of_a_long_sentence_is_read_from_its_own_token() {
        let bert = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/default/bert");
        let tokenizer = Tokenizer::from_file(&bert.join("tokenizer.json")).unwrap();
        let first = |word: &String| {
            let alone = tokenizer.encode_words(std::slice::from_ref(word), 64);
            alone.unwrap().ids[1]
        };
        for n_words in [1, 5, 40, 200] {
            let words: Vec<String> = (0..n_words).map(|word| format!("ferry{word}")).collect();
            let windows = tokenizer.encode_windows(&words, 24).unwrap();
            let reading = Reading::windows(&windows);
            let tokens = reading.sequences.concat();
            assert_eq!(reading.words.len(), n_words);
            assert_eq!(reading.n_tokens(), tokens.len());
            assert!(reading.sequences.iter().all(|ids| ids.len() <= 24));
            let mut before = None;
            for (word, &token) in words.iter().zip(&reading.words) {
                assert_eq!(tokens[token], first(word), "{word}");
                assert!(before < Some(token));
                before = Some(token);
            }
        }
        let words = vec!["the".to_owned(), "ferry".to_owned()];
        let whole = Reading::whole(tokenizer.encode_words(&words, 24).unwrap());
        let windows = Reading::windows(&tokenizer.encode_windows(&words, 24).unwrap());
        assert_eq!(
            (whole.sequences, whole.words),
            (windows.sequences, windows.words)
        );
    }
}
