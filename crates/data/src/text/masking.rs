//! Hiding whole words, for a model that learns to guess them.
//!
//! Deliberately not here: the guessing. What is hidden is drawn anew whenever it is asked for, from the generator that is
//! handed in.

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{Error, Result, text::Tokenizer};

/// Text as token ids, special tokens included, that knows where its words are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The token ids.
    pub ids: Vec<u32>,
    /// The tokens of each word that can be hidden: all but those that the vocabulary cannot spell.
    pub words: Vec<Range<u32>>,
}

/// How words are hidden.
///
/// # Source
/// Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", section 3.1, with the whole words of the
/// authors' later release. There a fixed number of tokens of a passage is drawn; here each word is drawn on its own, so
/// that long words are drawn as often as short ones, and one word at least.
#[derive(Debug, Clone)]
pub struct Masking {
    share: f64,
    mask: u32,
    /// What may stand in for a token: the vocabulary without its special tokens.
    stand_ins: Vec<u32>,
}

/// A passage of which some words are hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The token ids as a model sees them.
    pub ids: Vec<u32>,
    /// The places of the tokens to guess, in ascending order.
    pub positions: Vec<u32>,
    /// The tokens to guess.
    pub targets: Vec<u32>,
}

impl Masking {
    /// Hides each word with the probability `share`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a share that is not between 0 and 1, and a tokenizer without `[MASK]`.
    pub fn new(tokenizer: &Tokenizer, share: f64) -> Result<Self> {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::setting(
                "mask share",
                "a number between 0 and 1",
                &share,
            ));
        }
        let mask = tokenizer
            .token_id("[MASK]")
            .ok_or_else(|| Error::setting("tokenizer", "the token `[MASK]`", &"none"))?;
        Ok(Self {
            share,
            mask,
            stand_ins: tokenizer.ordinary_ids(),
        })
    }

    /// Hides words: of their tokens, 80 in a hundred become `[MASK]`, 10 another token, and 10 stay as they are. At least
    /// one word is drawn where there is any.
    pub fn hide(&self, passage: &Passage, rng: &mut ChaCha8Rng) -> Hidden {
        let words = &passage.words;
        let mut drawn: Vec<&Range<u32>> = words
            .iter()
            .filter(|_| rng.random_bool(self.share))
            .collect();
        if drawn.is_empty() && !words.is_empty() {
            drawn.push(&words[rng.random_range(0..words.len())]);
        }
        let mut hidden = Hidden {
            ids: passage.ids.clone(),
            positions: Vec::new(),
            targets: Vec::new(),
        };
        for position in drawn.into_iter().cloned().flatten() {
            let id = &mut hidden.ids[position as usize];
            hidden.positions.push(position);
            hidden.targets.push(*id);
            match rng.random_range(0..10) {
                0 => {}
                1 => *id = self.stand_ins[rng.random_range(0..self.stand_ins.len())],
                _ => *id = self.mask,
            }
        }
        hidden
    }
}
