//! Words to token ids, with each word's label at its first sub-word.
//!
//! Deliberately not here: training a tokenizer (`vocabulary`), padding, tensors.

use std::{ops::Range, path::Path};

use tokenizers::{EncodeInput, ModelWrapper};

use crate::{
    Error, Result,
    file::{excerpt, read},
    text::Passage,
};

/// The label of positions that carry none: later sub-words and special tokens. Losses skip it.
pub const IGNORE_INDEX: i64 = -100;

/// A model's own tokenizer. Truncation and padding that its file switches on are switched off: the one would cut
/// sentences through a word, and the other would put padding into every sentence.
///
/// Text that spells a special token, such as a word `[SEP]`, becomes that token, as it does in `transformers`.
///
/// ```no_run
/// use std::path::Path;
/// use metashot_data::text::Tokenizer;
///
/// let tokenizer = Tokenizer::from_file(Path::new("minilm/tokenizer.json"))?;
/// let words = ["Cholsey", "Railway"].map(String::from);
/// let encoded = tokenizer.encode_words(&words, 64)?;
/// let labels = encoded.align(&[1, 2]);
/// assert_eq!(labels.len(), encoded.ids.len());
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// Special tokens before and after the words, as `[CLS]` and `[SEP]`.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// What stands for a word without sub-words.
    unknown: u32,
}

/// The token ids of one sentence, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The token ids.
    pub ids: Vec<u32>,
    /// For each token the word that it begins; `None` at later sub-words and special tokens.
    pub first_subword: Vec<Option<usize>>,
    /// How many words fit whole, from the first: fewer than there were when the sentence was cut.
    pub n_words: usize,
    /// How many sub-words are left out at the end of a word that is longer than all there was room for.
    pub n_cut: usize,
}

/// A stretch of a sentence that a model can read at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The token ids of its words; their `first_subword` counts from the first of them.
    pub encoded: Encoded,
    /// Its words.
    pub words: Range<usize>,
    /// The words whose labels are read from this window: each word of the sentence is read from one.
    pub read: Range<usize>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// A file that cannot be read, is no tokenizer, or has no unknown token.
    pub fn from_file(path: &Path) -> Result<Self> {
        Self::from_bytes(&read(path)?, path)
    }

    /// A tokenizer from the content of a `tokenizer.json`; `name` stands for the file in errors.
    ///
    /// # Errors
    /// Content that is no tokenizer, or has no unknown token.
    pub fn from_bytes(bytes: &[u8], name: &Path) -> Result<Self> {
        let foreign = |source| Error::Tokenizer {
            path: name.to_path_buf(),
            source,
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(foreign)?;
        inner.with_truncation(None).map_err(foreign)?;
        inner.with_padding(None);

        let unknown_token = match inner.get_model() {
            ModelWrapper::WordPiece(model) => model.unk_token.clone(),
            ModelWrapper::WordLevel(model) => model.unk_token.clone(),
            ModelWrapper::BPE(model) => model
                .unk_token
                .clone()
                .unwrap_or_else(|| "<unk>".to_owned()),
            ModelWrapper::Unigram(_) => "<unk>".to_owned(),
        };
        let unknown = inner
            .token_to_id(&unknown_token)
            .ok_or_else(|| Error::Nothing {
                path: name.to_path_buf(),
                wanted: format!("the unknown token `{unknown_token}` in the vocabulary"),
            })?;

        // Where the special tokens go is seen on one word: they are the tokens that belong to no word.
        let probe = inner
            .encode(vec![unknown_token.as_str()], true)
            .map_err(foreign)?;
        let of_word = probe.get_word_ids();
        let start = of_word.iter().take_while(|word| word.is_none()).count();
        let end = of_word.len()
            - of_word
                .iter()
                .rev()
                .take_while(|word| word.is_none())
                .count();
        let (prefix, suffix) = (
            probe.get_ids()[..start].to_vec(),
            probe.get_ids()[end.max(start)..].to_vec(),
        );
        Ok(Self {
            inner,
            prefix,
            suffix,
            unknown,
        })
    }

    /// One more than the highest id: the number of rows that a model's embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.inner
            .get_vocab(true)
            .into_values()
            .max()
            .map_or(0, |highest| highest as usize + 1)
    }

    /// Whether each token has the same id in both.
    pub fn has_vocabulary_of(&self, other: &Self) -> bool {
        self.inner.get_vocab(true) == other.inner.get_vocab(true)
    }

    /// The content of a `tokenizer.json` that says the same, without truncation and padding.
    ///
    /// # Errors
    /// When the tokenizers library has no JSON for it.
    pub fn to_json(&self) -> Result<String> {
        self.inner
            .to_string(true)
            .map_err(|source| Error::Tokenizer {
                path: "tokenizer.json".into(),
                source,
            })
    }

    /// The id of a token such as `[PAD]` or `[MASK]`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The ids that are no special tokens, in order.
    pub(super) fn ordinary_ids(&self) -> Vec<u32> {
        let special = self.inner.get_added_tokens_decoder();
        let vocabulary = self.inner.get_vocab(true);
        let mut ids: Vec<u32> = vocabulary
            .into_values()
            .filter(|id| !special.contains_key(id))
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Text as passages of at most `max_len` tokens, special tokens included. Text that is too long is cut between words,
    /// or within one that is too long by itself; nothing is left out.
    ///
    /// # Errors
    /// A `max_len` that leaves no room for a token; text that the tokenizer fails on.
    pub fn passages(&self, text: &str, max_len: usize) -> Result<Vec<Passage>> {
        let room = self.room(max_len)?;
        let pieces = self
            .inner
            .encode(text, false)
            .map_err(|source| Error::Tokenize {
                words: excerpt(text),
                source,
            })?;
        let pieces: Vec<_> = pieces.get_ids().iter().zip(pieces.get_word_ids()).collect();
        let mut passages: Vec<Passage> = Vec::new();
        let words = pieces.chunk_by(|a, b| a.1 == b.1);
        for part in words.flat_map(|word| word.chunks(room)) {
            let full =
                |passage: &Passage| passage.ids.len() + part.len() > self.prefix.len() + room;
            if passages.last().is_none_or(full) {
                passages.push(Passage {
                    ids: self.prefix.clone(),
                    words: Vec::new(),
                });
            }
            let Some(passage) = passages.last_mut() else {
                continue;
            };
            let start = passage.ids.len() as u32;
            passage.ids.extend(part.iter().map(|(id, _)| **id));
            if part.iter().all(|(id, _)| **id != self.unknown) {
                passage.words.push(start..passage.ids.len() as u32);
            }
        }
        for passage in &mut passages {
            passage.ids.extend(&self.suffix);
        }
        Ok(passages)
    }

    /// How many tokens of at most `max_len` are no special tokens.
    fn room(&self, max_len: usize) -> Result<usize> {
        let n_special = self.prefix.len() + self.suffix.len();
        if max_len <= n_special {
            let wanted = format!("more than the {n_special} special tokens of a sentence");
            return Err(Error::setting("max_len", wanted, &max_len));
        }
        Ok(max_len - n_special)
    }

    /// The token ids of a sentence, at most `max_len` of them, special tokens included.
    ///
    /// A sentence that is too long loses whole words at its end. A word without any sub-word, such as a lone
    /// zero-width character that the normalizer drops, becomes the unknown token, so that every word that is kept has
    /// exactly one first sub-word.
    ///
    /// # Errors
    /// A `max_len` that leaves no room for a word; words that the tokenizer fails on.
    pub fn encode_words(&self, words: &[String], max_len: usize) -> Result<Encoded> {
        let room = self.room(max_len)?;
        let pieces = self.pieces(words)?;
        let n_words = pieces.prefix_within(0, room);
        Ok(self.join(&pieces, 0..n_words, room))
    }

    /// The token ids of a sentence of any length, in windows of at most `max_len` of them, special tokens included.
    ///
    /// A sentence that fits is one window. Of a longer one, two windows that follow one another share about a quarter
    /// of their words, so that every word has context on both sides in the window that it is read from. A window holds
    /// whole words; only a word that is longer than a whole window is cut, to its first sub-words.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_words`].
    pub fn encode_windows(&self, words: &[String], max_len: usize) -> Result<Vec<Window>> {
        let room = self.room(max_len)?;
        let pieces = self.pieces(words)?;
        let mut windows: Vec<Window> = Vec::new();
        let mut start = 0;
        loop {
            let end = (start + pieces.prefix_within(start, room)).max((start + 1).min(words.len()));
            let mut read = 0;
            if let Some(before) = windows.last_mut() {
                // Where both have the same words, each is read for the half that lies deeper in it.
                read = start.midpoint(before.words.end);
                before.read.end = read;
            }
            windows.push(Window {
                encoded: self.join(&pieces, start..end, room),
                words: start..end,
                read: read..end,
            });
            if end == words.len() {
                return Ok(windows);
            }
            let shared = pieces.suffix_within(end, room / 4);
            start = (end - shared).max(start + 1);
        }
    }

    /// The token ids of a text or of a pair of texts, special tokens included, and for each token which of the two it
    /// belongs to.
    ///
    /// # Errors
    /// A text that the tokenizer fails on.
    pub fn encode_text(&self, text: &str, pair: Option<&str>) -> Result<(Vec<u32>, Vec<u32>)> {
        let input = match pair {
            None => EncodeInput::Single(text.into()),
            Some(pair) => EncodeInput::Dual(text.into(), pair.into()),
        };
        let encoding = self
            .inner
            .encode(input, true)
            .map_err(|source| Error::Tokenize {
                words: excerpt(text),
                source,
            })?;
        Ok((
            encoding.get_ids().to_vec(),
            encoding.get_type_ids().to_vec(),
        ))
    }

    /// Splits words into sub-words.
    fn pieces(&self, words: &[String]) -> Result<Pieces> {
        let input: Vec<&str> = words.iter().map(String::as_str).collect();
        let encoding = self
            .inner
            .encode(EncodeInput::Single(input.into()), false)
            .map_err(|source| Error::Tokenize {
                words: excerpt(&words.join(" ")),
                source,
            })?;
        let mut tokens = encoding
            .get_ids()
            .iter()
            .zip(encoding.get_word_ids())
            .peekable();
        let mut pieces = Pieces {
            ids: Vec::with_capacity(encoding.get_ids().len()),
            starts: Vec::with_capacity(words.len() + 1),
        };
        for word in 0..words.len() {
            let start = pieces.ids.len();
            pieces.starts.push(start);
            while let Some((&id, _)) = tokens.next_if(|(_, of_word)| **of_word == Some(word as u32))
            {
                pieces.ids.push(id);
            }
            if pieces.ids.len() == start {
                pieces.ids.push(self.unknown);
            }
        }
        pieces.starts.push(pieces.ids.len());
        Ok(pieces)
    }

    /// Some of the words between the special tokens; a word that is longer than `room` loses its end.
    fn join(&self, pieces: &Pieces, words: Range<usize>, room: usize) -> Encoded {
        let mut encoded = Encoded {
            ids: self.prefix.clone(),
            first_subword: vec![None; self.prefix.len()],
            n_words: words.len(),
            n_cut: 0,
        };
        for (at, word) in words.enumerate() {
            let (ids, cut) = pieces.of(word).split_at(room.min(pieces.of(word).len()));
            encoded.ids.extend(ids);
            encoded.n_cut += cut.len();
            encoded.first_subword.push(Some(at));
            encoded.first_subword.resize(encoded.ids.len(), None);
        }
        encoded.ids.extend(&self.suffix);
        encoded.first_subword.resize(encoded.ids.len(), None);
        encoded
    }
}

/// The sub-words of each word.
struct Pieces {
    ids: Vec<u32>,
    /// Where each word begins, and the end of the last.
    starts: Vec<usize>,
}

impl Pieces {
    fn of(&self, word: usize) -> &[u32] {
        &self.ids[self.starts[word]..self.starts[word + 1]]
    }

    /// How many words from `start` on have together at most `room` sub-words.
    fn prefix_within(&self, start: usize, room: usize) -> usize {
        let most = self.starts[start] + room;
        self.starts[start + 1..].partition_point(|&end| end <= most)
    }

    /// How many words before `end` have together at most `room` sub-words.
    fn suffix_within(&self, end: usize, room: usize) -> usize {
        let least = self.starts[end].saturating_sub(room);
        end - self.starts[..end].partition_point(|&start| start < least)
    }
}

impl Window {
    /// The position of the first sub-word of each word that is read from this window.
    pub fn read_positions(&self) -> Vec<usize> {
        let read = self.read.start - self.words.start..self.read.end - self.words.start;
        self.encoded.word_positions()[read].to_vec()
    }
}

impl Encoded {
    /// The label of each token: its word's at a first sub-word, [`IGNORE_INDEX`] elsewhere. `word_labels` may go on
    /// beyond the words that fit.
    ///
    /// # Panics
    /// When there are fewer labels than words that fit.
    #[expect(clippy::cast_possible_wrap, reason = "no scheme has 2^63 labels")]
    pub fn align(&self, word_labels: &[usize]) -> Vec<i64> {
        self.first_subword
            .iter()
            .map(|word| word.map_or(IGNORE_INDEX, |word| word_labels[word] as i64))
            .collect()
    }

    /// The position of each word's first sub-word, word by word: where to read off a model's answer for the word.
    pub fn word_positions(&self) -> Vec<usize> {
        (0..self.ids.len())
            .filter(|&position| self.first_subword[position].is_some())
            .collect()
    }
}
