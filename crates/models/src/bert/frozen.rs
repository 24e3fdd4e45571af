//! The layers of an encoder that do not change, and what they make of the sentences that were seen.
//!
//! Deliberately not here: which layers change, which is for whoever trains to say.

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use candle_core::Tensor;
use metashot_autograd::{Params, Patterns, Value};

use super::{Bert, TokenBatch};
use crate::Result;

/// The lowest layers of an encoder, while nothing changes them: what they make of a sentence is computed once, however
/// many episodes it stands in. Threads may share it.
///
/// ```
/// use candle_core::{DType, Device};
/// use metashot_autograd::Patterns;
/// use metashot_models::{Bert, BertConfig, FrozenLayers, TokenBatch};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let sizes = BertConfig { hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 3, ..BertConfig::default() };
/// let bert = Bert::new(sizes)?;
/// let params = bert.init(&mut ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)?;
/// let adapt = Patterns::new(["encoder.layer.2", "classifier"]);
/// let frozen = FrozenLayers::new(&bert, &params, &[&adapt]).expect("the embeddings do not adapt");
/// assert_eq!(frozen.layer(), 2);
///
/// let batch = TokenBatch::from_sequences([[101, 7592, 102]]);
/// let [lower] = frozen.hidden(&bert, [&batch])?;
/// let hidden = bert.layers(&params.constants(), &lower, &batch.lengths, 2..3)?;
/// assert_eq!(hidden.tensor().to_vec2::<f32>()?, bert.forward(&params.constants(), &batch)?.tensor().to_vec2::<f32>()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FrozenLayers {
    params: Params<Value>,
    layer: usize,
    most: usize,
    held: RwLock<Held>,
}

/// The hidden states of the sentences seen so far.
#[derive(Default)]
struct Held {
    hidden: HashMap<Sentence, Tensor>,
    numbers: usize,
}

/// Token ids, positions and segments.
type Sentence = [Vec<u32>; 3];

/// Numbers that are held at most, unless told: 2 GiB of `f32`.
const MOST: usize = 1 << 29;

impl FrozenLayers {
    /// The layers of `params` below the first that one of `changing` names; `None` where the embeddings change.
    pub fn new(bert: &Bert, params: &Params, changing: &[&Patterns]) -> Option<Self> {
        let mut layer = bert.config.num_hidden_layers;
        for patterns in changing {
            layer = layer.min(bert.first_adapting_layer(patterns)?);
        }
        Some(Self {
            params: params.constants(),
            layer,
            most: MOST,
            held: RwLock::default(),
        })
    }

    /// The same, that holds at most so many numbers, `hidden_size` for each token, in place of 2^29: what comes later is
    /// computed each time.
    #[must_use]
    pub fn holding(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// The first layer that may change.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// The hidden states of some batches below that layer, without a graph: those that are not held are computed as one
    /// batch.
    ///
    /// # Shapes
    /// - result: `(tokens, hidden)` each
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn hidden<const N: usize>(
        &self,
        bert: &Bert,
        batches: [&TokenBatch; N],
    ) -> Result<[Value; N]> {
        for batch in batches {
            batch.check(&bert.config)?;
        }
        let sentences = batches.map(sentences);
        let mut missing = TokenBatch::default();
        {
            let held = self.read();
            let mut seen = HashSet::new();
            for sentence in sentences.iter().flatten() {
                if !held.hidden.contains_key(sentence) && seen.insert(sentence) {
                    let [ids, positions, type_ids] = sentence;
                    missing.ids.extend(ids);
                    missing.positions.extend(positions);
                    missing.type_ids.extend(type_ids);
                    missing.lengths.push(ids.len());
                }
            }
        }
        // What does not fit is known for these batches only.
        let mut beyond = HashMap::new();
        if !missing.lengths.is_empty() {
            let embedded = bert.embed(&self.params, &missing)?;
            let hidden = bert.layers(&self.params, &embedded, &missing.lengths, 0..self.layer)?;
            let mut start = 0;
            for sentence in self::sentences(&missing) {
                let rows = hidden.tensor().narrow(0, start, sentence[0].len())?;
                start += sentence[0].len();
                if !self.hold(&sentence, &rows)? {
                    beyond.insert(sentence, rows);
                }
            }
        }
        let held = self.read();
        let mut values = batches.map(|_| None);
        for (value, sentences) in values.iter_mut().zip(&sentences) {
            let known = |sentence| held.hidden.get(sentence).or_else(|| beyond.get(sentence));
            let parts: Vec<&Tensor> = sentences.iter().filter_map(known).collect();
            *value = Some(Value::constant(Tensor::cat(&parts, 0)?));
        }
        Ok(values.map(|value| value.expect("one for each batch")))
    }

    /// Holds what the layers made of a sentence, if there is room.
    fn hold(&self, sentence: &Sentence, rows: &Tensor) -> Result<bool> {
        let n = rows.elem_count();
        if self.read().numbers + n > self.most {
            return Ok(false);
        }
        // Rows of its own: a view would hold the whole batch, and candle's `copy` copies all of it.
        let rows = rows.force_contiguous()?;
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.numbers + n > self.most {
            return Ok(false);
        }
        // Another thread may have been first, with the same bits.
        if held.hidden.insert(sentence.clone(), rows).is_none() {
            held.numbers += n;
        }
        Ok(true)
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sentences(batch: &TokenBatch) -> Vec<Sentence> {
    let mut start = 0;
    let mut sentences = Vec::with_capacity(batch.lengths.len());
    for &length in &batch.lengths {
        let parts = [&batch.ids, &batch.positions, &batch.type_ids];
        sentences.push(parts.map(|part| part[start..start + length].to_vec()));
        start += length;
    }
    sentences
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Storage};
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    use super::*;
    use crate::BertConfig;

    fn small() -> (Bert, Params) {
        let config = BertConfig {
            hidden_size: 8,
            num_hidden_layers: 3,
            num_attention_heads: 2,
            intermediate_size: 16,
            vocab_size: 12,
            ..BertConfig::default()
        };
        let bert = Bert::new(config).unwrap();
        let rng = &mut ChaCha8Rng::seed_from_u64(3);
        let params = bert.init(rng, DType::F32, &Device::Cpu).unwrap();
        (bert, params)
    }

    fn bits(value: &Value) -> Vec<u32> {
        let numbers: Vec<f32> = value.tensor().flatten_all().unwrap().to_vec1().unwrap();
        numbers.iter().map(|number| number.to_bits()).collect()
    }

    #[test]
    fn what_is_held_is_what_the_layers_compute() {
        let (bert, params) = small();
        let adapt = Patterns::new(["encoder.layer.2"]);
        let support = TokenBatch::from_sequences([vec![1, 7, 9, 2], vec![1, 8, 2]]);
        // A sentence of the other batch, and one that stands twice.
        let query = TokenBatch::from_sequences([vec![1, 8, 2], vec![1, 5, 2], vec![1, 5, 2]]);
        let expected = [&support, &query].map(|batch| {
            let params = params.constants();
            let embedded = bert.embed(&params, batch).unwrap();
            bits(
                &bert
                    .layers(&params, &embedded, &batch.lengths, 0..2)
                    .unwrap(),
            )
        });
        // Room for all three sentences, for the first of them, and for none.
        for (most, held) in [(10 * 8, 10 * 8), (5 * 8, 4 * 8), (0, 0)] {
            let frozen = FrozenLayers::new(&bert, &params, &[&adapt]).unwrap();
            let frozen = frozen.holding(most);
            for _ in 0..2 {
                let found = frozen.hidden(&bert, [&support, &query]).unwrap();
                assert_eq!(found.each_ref().map(bits), expected, "{most}");
            }
            // However often they come, and nothing of their neighbours.
            assert_eq!(frozen.read().numbers, held);
            let frozen = frozen.read();
            let stored = frozen
                .hidden
                .values()
                .map(|rows| match &*rows.storage_and_layout().0 {
                    Storage::Cpu(storage) => storage.as_slice::<f32>().unwrap().len(),
                    _ => unreachable!("the device is a CPU"),
                });
            assert_eq!(stored.sum::<usize>(), held);
        }
    }

    #[test]
    fn a_sentence_elsewhere_is_another() {
        let (bert, params) = small();
        let frozen = FrozenLayers::new(&bert, &params, &[]).unwrap();
        let first = TokenBatch::from_padded(&[5, 6, 7], &[1, 1, 1], (1, 3)).unwrap();
        let mut later = first.clone();
        later.positions = vec![3, 4, 5];
        let [of_first, of_later] = frozen.hidden(&bert, [&first, &later]).unwrap();
        assert_ne!(bits(&of_first), bits(&of_later));
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_an_error() {
        let (bert, params) = small();
        let frozen = FrozenLayers::new(&bert, &params, &[]).unwrap();
        let mut short = TokenBatch::from_sequences([[5, 6, 7]]);
        short.lengths = vec![4];
        for batch in [short, TokenBatch::default()] {
            let expected = bert.forward(&params.constants(), &batch).unwrap_err();
            let found = frozen.hidden(&bert, [&batch]).unwrap_err();
            assert_eq!(found.to_string(), expected.to_string());
        }
    }

    #[test]
    fn nothing_is_frozen_above_what_changes() {
        let bert = Bert::new(BertConfig::default()).unwrap();
        let layer = |changing: &[&[&str]]| {
            let changing: Vec<Patterns> = changing
                .iter()
                .map(|patterns| Patterns::new(patterns.iter().copied()))
                .collect();
            let changing: Vec<&Patterns> = changing.iter().collect();
            FrozenLayers::new(&bert, &Params::new(), &changing).map(|frozen| frozen.layer())
        };
        assert_eq!(layer(&[]), Some(12));
        assert_eq!(layer(&[&["classifier"], &["encoder.layer.7"]]), Some(7));
        assert_eq!(layer(&[&["classifier"], &["*"]]), None);
        assert_eq!(layer(&[&["embeddings.LayerNorm"]]), None);
    }
}
