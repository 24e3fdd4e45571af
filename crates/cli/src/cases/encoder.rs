//! The two halves of an episode of texts on their way through a BERT.
//!
//! Deliberately not here: what is read off the hidden states.

use candle_core::{Device, Tensor};
use metashot_autograd::{Params, Patterns, Value};
use metashot_meta::Prepared;
use metashot_models::{Bert, FrozenLayers, Result, TokenBatch};

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
            let [support, query] = frozen.hidden(bert, [&support.batch, &query.batch])?;
            Input::Hidden {
                layer: frozen.layer(),
                support,
                query,
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

#[cfg(test)]
mod tests {
    use candle_core::DType;
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
        }
    }
}
