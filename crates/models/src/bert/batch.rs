//! Sentences as one packed array of tokens.
//!
//! Deliberately not here: a padding token or a mask; what is padding never gets in.

use std::collections::BTreeSet;

use super::BertConfig;
use crate::{Error, Result, error::show};

/// Sentences as token ids, one after another, without padding.
///
/// ```
/// use metashot_models::TokenBatch;
///
/// let padded = TokenBatch::from_padded(&[5, 6, 7, 8, 0, 0], &[1, 1, 1, 1, 0, 0], (2, 3))?;
/// assert_eq!(padded, TokenBatch::from_sequences([vec![5, 6, 7], vec![8]]));
/// assert_eq!(padded.lengths, [3, 1]);
/// # Ok::<(), metashot_models::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenBatch {
    /// The token ids.
    pub ids: Vec<u32>,
    /// Each token's place in its sentence.
    pub positions: Vec<u32>,
    /// Each token's segment; 0 where there is one.
    pub type_ids: Vec<u32>,
    /// How many tokens each sentence has.
    pub lengths: Vec<usize>,
}

impl TokenBatch {
    /// Sentences of one segment each.
    pub fn from_sequences<S: AsRef<[u32]>>(sequences: impl IntoIterator<Item = S>) -> Self {
        let mut batch = Self::default();
        for sequence in sequences {
            let ids = sequence.as_ref();
            batch.ids.extend(ids);
            batch.positions.extend(0..ids.len() as u32);
            batch.lengths.push(ids.len());
        }
        batch.type_ids = vec![0; batch.ids.len()];
        batch
    }

    /// Sentences from a padded rectangle: tokens with mask 0 are left out, the others keep their positions.
    ///
    /// # Shapes
    /// - `ids`, `mask`: `(batch, seq)`, row by row
    ///
    /// # Errors
    /// [`Error::Setting`] when the numbers of ids and of mask entries are not `batch * seq`.
    pub fn from_padded(ids: &[u32], mask: &[u32], (batch, seq): (usize, usize)) -> Result<Self> {
        let n = batch.saturating_mul(seq);
        if ids.len() != n || mask.len() != n {
            let wanted = format!("{n} ids and {n} mask entries in {}", show(&[batch, seq]));
            let found = format!("{} and {}", ids.len(), mask.len());
            return Err(Error::setting("padded batch", wanted, &found));
        }
        let mut packed = Self {
            lengths: vec![0; batch],
            ..Self::default()
        };
        for (at, (&id, &mask)) in ids.iter().zip(mask).enumerate() {
            if mask == 0 {
                continue;
            }
            packed.ids.push(id);
            packed.positions.push((at % seq) as u32);
            packed.lengths[at / seq] += 1;
        }
        packed.type_ids = vec![0; packed.ids.len()];
        Ok(packed)
    }

    /// The batches of several tasks as one, each filled up to as many tokens as the longest has, as parameters with a task
    /// axis want it; and for each task its first sentence.
    ///
    /// What fills up is sentences of token 0, none longer than the longest there is. They are no part of any loss as long
    /// as nobody reads their rows.
    ///
    /// ```
    /// use metashot_models::TokenBatch;
    ///
    /// let a = TokenBatch::from_sequences([vec![5, 6], vec![7, 8]]);
    /// let b = TokenBatch::from_sequences([[9]]);
    /// let (both, first) = TokenBatch::task_after_task(&[a, b]);
    /// assert_eq!(both.ids, [5, 6, 7, 8, 9, 0, 0, 0]);
    /// assert_eq!(both.lengths, [2, 2, 1, 2, 1]);
    /// assert_eq!(first, [0, 2]);
    /// ```
    pub fn task_after_task(tasks: &[Self]) -> (Self, Vec<usize>) {
        let n_tokens = tasks.iter().map(Self::n_tokens).max().unwrap_or(0);
        let lengths = tasks.iter().flat_map(|task| &task.lengths);
        let longest = lengths.copied().max().unwrap_or(0).max(1);
        let (mut all, mut first) = (Self::default(), Vec::with_capacity(tasks.len()));
        for task in tasks {
            first.push(all.lengths.len());
            let mut missing = n_tokens - task.n_tokens();
            let mut fill = Vec::new();
            while missing > 0 {
                fill.push(vec![0; missing.min(longest)]);
                missing -= missing.min(longest);
            }
            for part in [task, &Self::from_sequences(fill)] {
                all.ids.extend(&part.ids);
                all.positions.extend(&part.positions);
                all.type_ids.extend(&part.type_ids);
                all.lengths.extend(&part.lengths);
            }
        }
        (all, first)
    }

    /// Renumbers the tokens of some batches to count only the words that occur in them, and returns those: the row of
    /// the word table that each new number stands for, in ascending order.
    ///
    /// A task reads a small part of the table. With these rows in the table's place, its gradient and its fast weights
    /// are as small.
    ///
    /// ```
    /// use metashot_models::TokenBatch;
    ///
    /// let mut a = TokenBatch::from_sequences([[101, 2054, 102]]);
    /// let mut b = TokenBatch::from_sequences([[101, 9, 102]]);
    /// assert_eq!(TokenBatch::renumber(&mut [&mut a, &mut b]), [9, 101, 102, 2054]);
    /// assert_eq!((a.ids, b.ids), (vec![1, 3, 2], vec![1, 0, 2]));
    /// ```
    pub fn renumber(batches: &mut [&mut Self]) -> Vec<u32> {
        let words: BTreeSet<u32> = batches
            .iter()
            .flat_map(|batch| batch.ids.iter().copied())
            .collect();
        let words: Vec<u32> = words.into_iter().collect();
        for id in batches.iter_mut().flat_map(|batch| &mut batch.ids) {
            // Every id is there: the set was made of them.
            *id = words.partition_point(|word| word < id) as u32;
        }
        words
    }

    /// How many tokens there are in all sentences.
    pub fn n_tokens(&self) -> usize {
        self.ids.len()
    }

    /// Fails at the first thing that a model of these sizes cannot read.
    pub(super) fn check(&self, config: &BertConfig) -> Result<()> {
        let n = self.ids.len();
        if self.lengths.is_empty() {
            let wanted = "one sentence or more";
            return Err(Error::setting("token batch", wanted, &"none"));
        }
        let sum = |sum: usize, &len: &usize| sum.saturating_add(len);
        let in_sentences = self.lengths.iter().fold(0, sum);
        let (positions, types) = (self.positions.len(), self.type_ids.len());
        if [positions, types, in_sentences] != [n; 3] {
            let wanted = format!("{n} positions, {n} type ids and {n} tokens in its sentences");
            let found = format!("{positions}, {types} and {in_sentences}");
            return Err(Error::setting("token batch", wanted, &found));
        }
        let limits = [
            (&self.ids, config.vocab_size, "token ids", "vocab_size"),
            (
                &self.type_ids,
                config.type_vocab_size,
                "type ids",
                "type_vocab_size",
            ),
            (
                &self.positions,
                config.max_position_embeddings,
                "positions",
                "max_position_embeddings",
            ),
        ];
        let mut start = 0;
        for (index, &len) in self.lengths.iter().enumerate() {
            let sentence = |wanted: String, found: &dyn ToString| {
                Err(Error::Sentence {
                    index,
                    wanted,
                    found: found.to_string(),
                })
            };
            let longest = config.max_position_embeddings;
            if len == 0 || len > longest {
                return sentence(
                    format!("1 to {longest} tokens (`max_position_embeddings`)"),
                    &len,
                );
            }
            for (numbers, limit, what, setting) in limits {
                let mut numbers = numbers[start..start + len].iter();
                if let Some(number) = numbers.find(|&&number| number as usize >= limit) {
                    return sentence(format!("{what} below {limit} (`{setting}`)"), number);
                }
            }
            start += len;
        }
        Ok(())
    }
}
