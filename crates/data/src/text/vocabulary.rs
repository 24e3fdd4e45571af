//! A `WordPiece` vocabulary of one's own, trained on text.
//!
//! Deliberately not here: other kinds of sub-words, and languages that do not part words by spaces or signs, which the
//! splitting of BERT cuts character by character.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use tokenizers::{
    AddedToken, Model, NormalizedString, Normalizer, OffsetReferential, OffsetType,
    PreTokenizedString, PreTokenizer, Trainer,
    decoders::wordpiece::WordPiece as Decoder,
    models::wordpiece::{WordPiece, WordPieceTrainer},
    normalizers::BertNormalizer,
    pre_tokenizers::bert::BertPreTokenizer,
    processors::template::TemplateProcessing,
};

use crate::{Error, Result, file::excerpt};

/// The special tokens of BERT, which have the first ids.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// A piece that occurs less often is none.
const MIN_FREQUENCY: u64 = 2;

/// The most frequent characters that pieces are made of; words with others are unknown.
const MAX_ALPHABET: usize = 1000;

/// How often each word stands in a text: what a vocabulary is trained on.
///
/// ```
/// use metashot_data::text::WordCounts;
///
/// let mut counts = WordCounts::new(true);
/// for line in ["The ford was dredged.", "The fords were flooded; the dredged ford was not."] {
///     counts.add(line)?;
/// }
/// let vocabulary = counts.train(60)?;
/// assert_eq!(vocabulary.tokens[0], "[PAD]");
/// assert!(vocabulary.tokens.contains(&"ford".to_owned()));
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WordCounts {
    normalizer: BertNormalizer,
    /// Ordered, so that nothing depends on the order of a hash map.
    counts: BTreeMap<String, u64>,
}

/// A trained vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// The content of a `tokenizer.json`.
    pub json: String,
    /// The tokens in the order of their ids: the lines of a `vocab.txt`.
    pub tokens: Vec<String>,
}

impl WordCounts {
    /// No words yet. With `lowercase`, capitals and accents do not matter.
    pub fn new(lowercase: bool) -> Self {
        Self {
            normalizer: BertNormalizer::new(true, true, None, lowercase),
            counts: BTreeMap::new(),
        }
    }

    /// Counts the words of a line.
    ///
    /// # Errors
    /// [`Error::Tokenize`].
    pub fn add(&mut self, line: &str) -> Result<()> {
        let split = || -> tokenizers::Result<PreTokenizedString> {
            let mut text = NormalizedString::from(line);
            self.normalizer.normalize(&mut text)?;
            let mut text = PreTokenizedString::from(text);
            BertPreTokenizer.pre_tokenize(&mut text)?;
            Ok(text)
        };
        let text = split().map_err(|source| Error::Tokenize {
            words: excerpt(line),
            source,
        })?;
        for (word, ..) in text.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            if let Some(count) = self.counts.get_mut(word) {
                *count += 1;
            } else {
                self.counts.insert(word.to_owned(), 1);
            }
        }
        Ok(())
    }

    /// A vocabulary of at most `size` tokens for these words, with BERT's special tokens and splitting.
    ///
    /// # Errors
    /// [`Error::Setting`] when there is no room for the special tokens and every character.
    pub fn train(&self, size: usize) -> Result<Vocabulary> {
        let alphabet = self.alphabet();
        let known = |word: &&String| word.chars().all(|c| alphabet.contains(&c));
        let words = || self.counts.keys().filter(known);
        let starts: BTreeSet<char> = words().filter_map(|word| word.chars().next()).collect();
        let rests: BTreeSet<char> = words().flat_map(|word| word.chars().skip(1)).collect();
        // The trainer numbers the characters within words as it meets them, in the order of a hash map, unless they are
        // in the vocabulary before; and it takes both forms of each.
        let mut fixed: Vec<String> = SPECIAL.map(str::to_owned).to_vec();
        fixed.extend(starts.union(&rests).map(char::to_string));
        fixed.extend(rests.iter().map(|c| format!("##{c}")));
        if size < fixed.len() {
            let wanted = format!(
                "{} or more, for the special tokens and each character",
                fixed.len()
            );
            return Err(Error::setting("vocabulary size", wanted, &size));
        }
        let special = |token: &String| AddedToken::from(token.clone(), true);
        let mut trainer = WordPieceTrainer::builder()
            .show_progress(false)
            .min_frequency(MIN_FREQUENCY)
            .vocab_size(size)
            .special_tokens(fixed.iter().map(special).collect())
            .build();
        let repeat = |word: &str| Ok(vec![word.to_owned(); self.counts[word] as usize]);
        let mut model = WordPiece::default();
        trainer
            .feed(words(), repeat)
            .and_then(|()| Trainer::train(&trainer, &mut model))
            .map_err(foreign)?;
        self.finish(model)
    }

    /// The most frequent characters; of equally frequent ones the first.
    fn alphabet(&self) -> BTreeSet<char> {
        let mut counts: BTreeMap<char, u64> = BTreeMap::new();
        for (word, count) in &self.counts {
            for c in word.chars() {
                *counts.entry(c).or_default() += count;
            }
        }
        let mut chars: Vec<(char, u64)> = counts.into_iter().collect();
        chars.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        chars
            .into_iter()
            .take(MAX_ALPHABET)
            .map(|(c, _)| c)
            .collect()
    }

    fn finish(&self, model: WordPiece) -> Result<Vocabulary> {
        let mut tokens: Vec<(u32, String)> = model
            .get_vocab()
            .into_iter()
            .map(|(token, id)| (id, token))
            .collect();
        tokens.sort_unstable();
        let id = |token: &str| (token.to_owned(), position(&tokens, token));
        let template = TemplateProcessing::builder()
            .try_single("[CLS]:0 $A:0 [SEP]:0")
            .and_then(|builder| builder.try_pair("[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"))
            .map(|builder| {
                builder
                    .special_tokens(vec![id("[CLS]"), id("[SEP]")])
                    .build()
            });
        let template = template
            .map_err(Into::into)
            .and_then(|template| template.map_err(Into::into))
            .map_err(foreign)?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        tokenizer
            .with_normalizer(Some(self.normalizer))
            .map_err(foreign)?;
        tokenizer
            .with_pre_tokenizer(Some(BertPreTokenizer))
            .with_post_processor(Some(template))
            .with_decoder(Some(Decoder::default()));
        let special = SPECIAL.map(|token| AddedToken::from(token, true));
        tokenizer.add_special_tokens(special).map_err(foreign)?;
        Ok(Vocabulary {
            json: tokenizer.to_string(true).map_err(foreign)? + "\n",
            tokens: tokens.into_iter().map(|(_, token)| token).collect(),
        })
    }
}

fn position(tokens: &[(u32, String)], wanted: &str) -> u32 {
    let found = tokens.iter().find(|(_, token)| token == wanted);
    found.map_or(0, |(id, _)| *id)
}

/// An error of the library on a vocabulary that is in no file yet.
fn foreign(source: tokenizers::Error) -> Error {
    Error::Tokenizer {
        path: Path::new("tokenizer.json").to_path_buf(),
        source,
    }
}
