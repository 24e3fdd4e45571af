//! The two halves of an episode of texts on their way through a BERT, and the layers that are computed once.
//!
//! Deliberately not here: what is read off the hidden states.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use candle_core::{Device, Tensor};
use metashot_autograd::{Params, Patterns, Value};
use metashot_meta::Prepared;
use metashot_models::{Bert, Result, TokenBatch};

use super::Half;

/// The tokens of an episode's two halves, or of some episodes' as a batch.
pub(super) struct Halves {
    support: Tokens,
    query: Tokens,
    n_tasks: usize,
    input: Input,
}

/// The tokens of one half.
struct Tokens {
    batch: TokenBatch,
    /// The first sequence of each episode.
    first: Vec<usize>,
}

/// What the first layer to compute reads.
enum Input {
    /// Tokens, numbered by these rows of the word table.
    Words(Tensor),
    /// The hidden states below a layer, of the support and the query half.
    Hidden {
        layer: usize,
        support: Value,
        query: Value,
    },
}

impl Halves {
    /// The support and the query halves of some episodes.
    pub(super) fn new(
        bert: &Bert,
        [support, query]: [&[TokenBatch]; 2],
        frozen: Option<&FrozenLayers>,
        device: &Device,
    ) -> Result<Self> {
        let n_tasks = support.len();
        let [mut support, mut query] = [support, query].map(|half| {
            let (batch, first) = TokenBatch::task_after_task(half);
            Tokens { batch, first }
        });
        let input = if let Some(frozen) = frozen {
            Input::Hidden {
                layer: frozen.layer,
                support: frozen.hidden(bert, &support.batch)?,
                query: frozen.hidden(bert, &query.batch)?,
            }
        } else {
            let words = TokenBatch::renumber(&mut [&mut support.batch, &mut query.batch]);
            Input::Words(Tensor::new(words, device)?)
        };
        Ok(Self {
            support,
            query,
            n_tasks,
            input,
        })
    }

    /// How many episodes they are of.
    pub(super) fn n_tasks(&self) -> usize {
        self.n_tasks
    }

    /// The first sequence of each episode in one half.
    pub(super) fn first_sequences(&self, half: Half) -> &[usize] {
        &self.half(half).first
    }

    /// How many tokens each episode has in one half, with those that fill it up.
    pub(super) fn n_tokens(&self, half: Half) -> usize {
        self.half(half).batch.n_tokens() / self.n_tasks
    }

    /// What a task computes once: the rows of the word table that it reads, and the support set's hidden states below
    /// the first layer that adapts.
    pub(super) fn prepare(
        &self,
        bert: &Bert,
        params: &Params<Value>,
        adapt: &Patterns,
    ) -> Result<Prepared> {
        let mut prepared = Prepared::default();
        if let Input::Words(words) = &self.input {
            let words = params.get(Bert::WORDS)?.rows(words)?;
            let each = self.n_tasks > 1 && adapt.matches(Bert::WORDS);
            let words = if each {
                words.for_each_task(self.n_tasks)?
            } else {
                words
            };
            prepared.start.insert(Bert::WORDS, words);
        }
        if let Some(layer) = bert.first_adapting_layer(adapt) {
            let params = params.overlaid(&prepared.start);
            let (from, input) = self.input(bert, Half::Support, &params)?;
            // What is frozen may reach higher than what adapts.
            if from < layer {
                let lengths = &self.support.batch.lengths;
                let hidden = bert.layers(&params, &input, lengths, from..layer)?;
                prepared.fixed.insert(support_input(layer), hidden);
            }
        }
        Ok(prepared)
    }

    /// The last hidden states of the tokens of one half.
    ///
    /// # Shapes
    /// - result: `(tokens, hidden)`
    pub(super) fn hidden(&self, bert: &Bert, half: Half, params: &Params<Value>) -> Result<Value> {
        let n_layers = bert.config.num_hidden_layers;
        let prepared = (half == Half::Support)
            .then(|| {
                (0..=n_layers).find_map(|layer| {
                    let hidden = params.get(&support_input(layer)).ok()?;
                    Some((layer, hidden.clone()))
                })
            })
            .flatten();
        let (layer, input) = match prepared {
            Some(prepared) => prepared,
            None => self.input(bert, half, params)?,
        };
        bert.layers(params, &input, self.lengths(half), layer..n_layers)
    }

    /// How many tokens each sequence of a half has.
    pub(super) fn lengths(&self, half: Half) -> &[usize] {
        &self.half(half).batch.lengths
    }

    fn half(&self, half: Half) -> &Tokens {
        match half {
            Half::Support => &self.support,
            Half::Query => &self.query,
        }
    }

    fn input(&self, bert: &Bert, half: Half, params: &Params<Value>) -> Result<(usize, Value)> {
        Ok(match (&self.input, half) {
            (Input::Hidden { layer, support, .. }, Half::Support) => (*layer, support.clone()),
            (Input::Hidden { layer, query, .. }, Half::Query) => (*layer, query.clone()),
            (Input::Words(_), half) => (0, bert.embed(params, &self.half(half).batch)?),
        })
    }
}

/// The name under which a layer's input on the support set is prepared.
fn support_input(layer: usize) -> String {
    format!("support.input.{layer}")
}

/// The lowest layers of an encoder that does not change there: what they make of a sequence is computed once, however
/// many episodes it stands in.
pub struct FrozenLayers {
    params: Params<Value>,
    /// The first layer that may change.
    layer: usize,
    /// The hidden states of the sequences seen so far.
    hidden: RwLock<HashMap<Sequence, Tensor>>,
    /// Numbers held.
    n_held: AtomicUsize,
}

/// Token ids and segments.
type Sequence = (Vec<u32>, Vec<u32>);

/// Numbers that are held at most: 2 GiB of `f32`. What comes later is computed each time.
const MOST_HELD: usize = 1 << 29;

impl FrozenLayers {
    /// The layers of `params` below the first that one of `changing` names; `None` where the embeddings change.
    pub(super) fn new(bert: &Bert, params: &Params, changing: &[&Patterns]) -> Option<Self> {
        let mut layer = bert.config.num_hidden_layers;
        for patterns in changing {
            layer = layer.min(bert.first_adapting_layer(patterns)?);
        }
        Some(Self {
            params: params.constants(),
            layer,
            hidden: RwLock::default(),
            n_held: AtomicUsize::new(0),
        })
    }

    /// The hidden states of a batch below the first layer that may change, without a graph.
    fn hidden(&self, bert: &Bert, batch: &TokenBatch) -> Result<Value> {
        let sequences = sequences(batch);
        let mut missing = TokenBatch::default();
        {
            let held = self.read();
            let mut seen = HashSet::new();
            for sequence in sequences.iter().filter(|s| !held.contains_key(*s)) {
                if seen.insert(sequence) {
                    missing.ids.extend(&sequence.0);
                    missing.type_ids.extend(&sequence.1);
                    missing.positions.extend(0..sequence.0.len() as u32);
                    missing.lengths.push(sequence.0.len());
                }
            }
        }
        // What does not fit is known for this batch only.
        let mut beyond = HashMap::new();
        if !missing.lengths.is_empty() {
            let embedded = bert.embed(&self.params, &missing)?;
            let hidden = bert.layers(&self.params, &embedded, &missing.lengths, 0..self.layer)?;
            let mut start = 0;
            for sequence in self::sequences(&missing) {
                let length = sequence.0.len();
                // Rows of its own: a view would hold the whole batch, and candle's `copy` copies all of it.
                let rows = hidden.tensor().narrow(0, start, length)?;
                let rows = rows.force_contiguous()?;
                start += length;
                let n = rows.elem_count();
                if self.n_held.fetch_add(n, Ordering::Relaxed) + n <= MOST_HELD {
                    let mut held = self
                        .hidden
                        .write()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    // Another thread may have been first, with the same bits.
                    if held.insert(sequence, rows).is_some() {
                        self.n_held.fetch_sub(n, Ordering::Relaxed);
                    }
                } else {
                    self.n_held.fetch_sub(n, Ordering::Relaxed);
                    beyond.insert(sequence, rows);
                }
            }
        }
        let held = self.read();
        let parts: Vec<&Tensor> = sequences
            .iter()
            .filter_map(|sequence| held.get(sequence).or_else(|| beyond.get(sequence)))
            .collect();
        Ok(Value::constant(Tensor::cat(&parts, 0)?))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Sequence, Tensor>> {
        self.hidden
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn sequences(batch: &TokenBatch) -> Vec<Sequence> {
    let mut start = 0;
    let mut sequences = Vec::with_capacity(batch.lengths.len());
    for &length in &batch.lengths {
        let range = start..start + length;
        sequences.push((
            batch.ids[range.clone()].to_vec(),
            batch.type_ids[range].to_vec(),
        ));
        start += length;
    }
    sequences
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Storage};
    use metashot_models::BertConfig;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    use super::*;

    fn bits(value: &Value) -> Vec<u32> {
        let numbers: Vec<f32> = value.tensor().flatten_all().unwrap().to_vec1().unwrap();
        numbers.iter().map(|number| number.to_bits()).collect()
    }

    /// The hidden states of both halves, with what an inner loop would have prepared.
    fn hidden(
        bert: &Bert,
        params: &Params,
        adapt: &Patterns,
        frozen: Option<&FrozenLayers>,
    ) -> [Vec<u32>; 2] {
        let support = TokenBatch::from_sequences([vec![1, 7, 9, 2], vec![1, 8, 2]]);
        // A sentence of the support set, and one that stands twice.
        let query = TokenBatch::from_sequences([vec![1, 8, 2], vec![1, 5, 2], vec![1, 5, 2]]);
        let halves = Halves::new(bert, [&[support], &[query]], frozen, &Device::Cpu).unwrap();
        let params = params.constants();
        let prepared = halves.prepare(bert, &params, adapt).unwrap();
        let params = params.overlaid(&prepared.start).overlaid(&prepared.fixed);
        [Half::Support, Half::Query].map(|half| bits(&halves.hidden(bert, half, &params).unwrap()))
    }

    #[test]
    fn what_is_computed_once_is_what_every_episode_computes() {
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
        for patterns in [
            &["classifier"][..],
            &["encoder.layer.2", "classifier"],
            &["encoder"],
        ] {
            let adapt = Patterns::new(patterns.iter().copied());
            let expected = hidden(&bert, &params, &adapt, None);
            let frozen = FrozenLayers::new(&bert, &params, &[&adapt]).unwrap();
            for _ in 0..2 {
                assert_eq!(
                    hidden(&bert, &params, &adapt, Some(&frozen)),
                    expected,
                    "{patterns:?}"
                );
            }
            // Three different sentences are held, however often they come, and nothing of their neighbours.
            assert_eq!(frozen.n_held.load(Ordering::Relaxed), 10 * 8);
            let held = frozen.read();
            let stored = held
                .values()
                .map(|rows| match &*rows.storage_and_layout().0 {
                    Storage::Cpu(storage) => storage.as_slice::<f32>().unwrap().len(),
                    _ => unreachable!("the device is a CPU"),
                });
            assert_eq!(stored.sum::<usize>(), 10 * 8);
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
            FrozenLayers::new(&bert, &Params::new(), &changing).map(|frozen| frozen.layer)
        };
        assert_eq!(layer(&[]), Some(12));
        assert_eq!(layer(&[&["classifier"], &["encoder.layer.7"]]), Some(7));
        assert_eq!(layer(&[&["classifier"], &["*"]]), None);
        assert_eq!(layer(&[&["embeddings.LayerNorm"]]), None);
    }
}
