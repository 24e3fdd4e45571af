//! BERT: token ids to one hidden state a token, every parameter reached by its gradient.
//!
//! Sentences are packed one after another, so nothing is padded, masked or computed in vain. Deliberately not here: the
//! pooler, which no token head reads; heads (`head`); weights (`checkpoint`); dropout.

mod batch;
mod config;
mod frozen;

use std::ops::Range;

use candle_core::{DType, Device};
use metashot_autograd::{
    Params, Patterns, Value,
    ops::{Weight, attention, layer_norm, layer_norm_of_sum, linear, linear_gelu, panels},
};
use rand_chacha::ChaCha8Rng;

pub use self::{batch::TokenBatch, config::BertConfig, frozen::FrozenLayers};
use crate::{Error, Result, Shapes, init::Init};

/// Tokens that go through the layers at once where no gradient is wanted, unless one sentence has more.
const MOST_AT_ONCE: usize = 4096;

/// The encoder as a mapping `(params, tokens) -> hidden states`.
///
/// Parameters have Hugging Face's names without the prefix `bert.`.
///
/// # Source
/// Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", section 3; layer normalisation after
/// each residual sum, gelu by the error function, as in its published code and in `transformers`.
///
/// ```
/// use candle_core::{DType, Device};
/// use metashot_models::{Bert, BertConfig, TokenBatch};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let sizes = BertConfig { hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 3, ..BertConfig::default() };
/// let bert = Bert::new(sizes)?;
/// let params = bert.init(&mut ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)?.constants();
/// let batch = TokenBatch::from_sequences([[101, 7592, 102]]);
///
/// // The lower layers once, the last one as often as it changes.
/// let lower = bert.layers(&params, &bert.embed(&params, &batch)?, &batch.lengths, 0..2)?;
/// let hidden = bert.layers(&params, &lower, &batch.lengths, 2..3)?;
/// assert_eq!(hidden.dims(), [3, 8]);
/// # Ok::<(), metashot_models::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Bert {
    /// The sizes.
    pub config: BertConfig,
}

impl Bert {
    /// A model of these sizes.
    ///
    /// # Errors
    /// As [`BertConfig::validate`].
    pub fn new(config: BertConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { config })
    }

    /// The name of the word table.
    pub const WORDS: &str = "embeddings.word_embeddings.weight";

    /// The first layer that `adapt` changes or the number of layers if it changes none; `None` if it changes the
    /// embeddings. What lies below that layer has the same output at every step of an inner loop.
    pub fn first_adapting_layer(&self, adapt: &Patterns) -> Option<usize> {
        let n_layers = self.config.num_hidden_layers;
        let mut first = n_layers;
        for (name, _) in self.shapes() {
            if adapt.matches(&name) {
                let layer = name.strip_prefix("encoder.layer.")?;
                let layer = layer
                    .split('.')
                    .next()
                    .and_then(|number| number.parse().ok());
                first = first.min(layer.unwrap_or(n_layers));
            }
        }
        Some(first)
    }

    /// The parameters of a model that only reads: the weights of the layers lie as products read them
    /// ([`panels`]), which is faster and gives the same bits.
    ///
    /// They are for this machine and no longer have the names of a checkpoint; where products have no use for panels,
    /// nothing changes.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use metashot_models::{Bert, BertConfig, TokenBatch};
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    ///
    /// let bert = Bert::new(BertConfig { hidden_size: 8, num_attention_heads: 2, ..BertConfig::default() })?;
    /// let params = bert.init(&mut ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)?;
    /// let batch = TokenBatch::from_sequences([[101, 7592, 102]]);
    /// let hidden = bert.forward(&params.constants(), &batch)?;
    /// let same = bert.forward(&bert.for_reading(params)?.constants(), &batch)?;
    /// assert_eq!(hidden.tensor().to_vec2::<f32>()?, same.tensor().to_vec2::<f32>()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When a weight is no matrix.
    pub fn for_reading(&self, params: Params) -> Result<Params> {
        params
            .into_iter()
            .map(|(name, tensor)| {
                let dense = name
                    .strip_prefix("encoder.layer.")
                    .filter(|rest| !rest.contains("LayerNorm"))
                    .and_then(|_| name.strip_suffix("weight"));
                if let Some(dense) = dense
                    && let Some(in_panels) = panels(&tensor)?
                {
                    return Ok((format!("{dense}{PANELS}"), in_panels));
                }
                Ok((name, tensor))
            })
            .collect()
    }

    /// The hidden states of the last layer.
    ///
    /// # Shapes
    /// - result: `(tokens, hidden)`, in the order of the batch
    ///
    /// # Errors
    /// [`Error::Sentence`] for a sentence that the model cannot read, or a parameter that is missing or does not fit.
    pub fn forward(&self, params: &Params<Value>, batch: &TokenBatch) -> Result<Value> {
        let hidden = self.embed(params, batch)?;
        self.layers(
            params,
            &hidden,
            &batch.lengths,
            0..self.config.num_hidden_layers,
        )
    }

    /// Some rows of [`Bert::forward`]: of the last layer, only attention reads the other tokens, and nothing else is
    /// computed of them.
    ///
    /// # Shapes
    /// - `rows`: the places of those tokens in the batch, in ascending order
    /// - result: `(rows, hidden)`
    ///
    /// # Errors
    /// As [`Bert::forward`], when a row is beyond the tokens or not after the one before it, and with parameters of
    /// tasks, whose rows could not be told apart.
    pub fn forward_rows(
        &self,
        params: &Params<Value>,
        batch: &TokenBatch,
        rows: &[u32],
    ) -> Result<Value> {
        let n_tokens = batch.ids.len();
        let ascend = rows.is_sorted_by(|a, b| a < b);
        if !ascend || rows.last().is_some_and(|&row| row as usize >= n_tokens) {
            let wanted = format!("ascending numbers below {n_tokens}");
            let found = if ascend {
                "a larger one"
            } else {
                "another order"
            };
            return Err(Error::setting("rows", wanted, &found));
        }
        for (name, dims) in self.shapes() {
            if params.contains(&name) && params.get(&name)?.dims().len() != dims.len() {
                let wanted = "parameters without an axis of tasks";
                return Err(Error::setting(
                    "rows",
                    wanted,
                    &format!("`{name}` with one"),
                ));
            }
        }
        let hidden = self.embed(params, batch)?;
        let all = 0..self.config.num_hidden_layers;
        self.rows_of_layers(params, &hidden, &batch.lengths, all, Some(rows))
    }

    /// The embeddings: what the first layer reads.
    ///
    /// # Shapes
    /// - result: `(tokens, hidden)`
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn embed(&self, params: &Params<Value>, batch: &TokenBatch) -> Result<Value> {
        batch.check(&self.config)?;
        let rows = |table: &str, indices: &[u32]| -> Result<Value> {
            let table = params.get(&format!("embeddings.{table}.weight"))?;
            Ok(table.lookup(indices)?)
        };
        let sum = rows("word_embeddings", &batch.ids)?
            .add(&rows("position_embeddings", &batch.positions)?)?
            .add(&rows("token_type_embeddings", &batch.type_ids)?)?;
        let weight = params.get("embeddings.LayerNorm.weight")?;
        let bias = params.get("embeddings.LayerNorm.bias")?;
        Ok(layer_norm(&sum, weight, bias, self.config.layer_norm_eps)?)
    }

    /// Some of the layers, one after another: `0..1` is the first alone, and an empty range changes nothing.
    ///
    /// Where nobody wants a gradient, many sentences are read a few thousand tokens at a time, with the same result: a
    /// whole test file at once would need many times the memory of its hidden states.
    ///
    /// # Shapes
    /// - `hidden` and result: `(tokens, hidden)`
    /// - `lengths`: tokens of each sentence
    ///
    /// # Errors
    /// When the range or a shape does not fit, or a parameter is missing.
    pub fn layers(
        &self,
        params: &Params<Value>,
        hidden: &Value,
        lengths: &[usize],
        range: Range<usize>,
    ) -> Result<Value> {
        let n_layers = self.config.num_hidden_layers;
        if range.start > range.end || range.end > n_layers {
            let found = format!("{}..{}", range.start, range.end);
            return Err(Error::setting(
                "layers",
                format!("a range within 0..{n_layers}"),
                &found,
            ));
        }
        self.rows_of_layers(params, hidden, lengths, range, None)
    }

    /// [`Bert::layers`], with some rows of the last one alone if `rows` names them.
    fn rows_of_layers(
        &self,
        params: &Params<Value>,
        hidden: &Value,
        lengths: &[usize],
        range: Range<usize>,
        rows: Option<&[u32]>,
    ) -> Result<Value> {
        let run = |hidden: &Value, lengths: &[usize], rows: Option<&[u32]>| -> Result<Value> {
            let mut range = range.clone();
            let last = range.end.saturating_sub(1);
            range.try_fold(hidden.clone(), |hidden, layer| {
                let rows = rows.filter(|_| layer == last);
                self.layer(params, &hidden, lengths, layer, rows)
            })
        };
        let n_tokens = lengths.iter().sum::<usize>();
        if n_tokens <= MOST_AT_ONCE
            || hidden.dims().first() != Some(&n_tokens)
            || !is_constant(params, hidden, range.clone())
        {
            return run(hidden, lengths, rows);
        }
        let mut parts = Vec::new();
        let (mut first, mut start) = (0, 0);
        let mut rest = rows;
        while first < lengths.len() {
            let (mut end, mut n) = (first + 1, lengths[first]);
            while end < lengths.len() && n + lengths[end] <= MOST_AT_ONCE {
                n += lengths[end];
                end += 1;
            }
            let rows = rest.map(|rows| {
                let here = rows.partition_point(|&row| (row as usize) < start + n);
                let (here, later) = rows.split_at(here);
                rest = Some(later);
                here.iter()
                    .map(|row| row - start as u32)
                    .collect::<Vec<_>>()
            });
            let part = hidden.narrow(0, start, n)?;
            parts.push(run(&part, &lengths[first..end], rows.as_deref())?);
            (first, start) = (end, start + n);
        }
        Ok(Value::cat(&parts, 0)?)
    }

    /// The names and shapes of all parameters.
    pub fn shapes(&self) -> Shapes {
        let BertConfig {
            hidden_size: hidden,
            intermediate_size: wide,
            vocab_size,
            max_position_embeddings,
            type_vocab_size,
            num_hidden_layers,
            ..
        } = self.config;
        let mut shapes = Shapes::new();
        let mut add = |name: String, dims: &[usize]| shapes.push((name, dims.to_vec()));
        add(
            "embeddings.word_embeddings.weight".into(),
            &[vocab_size, hidden],
        );
        add(
            "embeddings.position_embeddings.weight".into(),
            &[max_position_embeddings, hidden],
        );
        add(
            "embeddings.token_type_embeddings.weight".into(),
            &[type_vocab_size, hidden],
        );
        add("embeddings.LayerNorm.weight".into(), &[hidden]);
        add("embeddings.LayerNorm.bias".into(), &[hidden]);
        for layer in 0..num_hidden_layers {
            let mut pair = |name: &str, weight: &[usize]| {
                add(format!("encoder.layer.{layer}.{name}.weight"), weight);
                add(format!("encoder.layer.{layer}.{name}.bias"), &weight[..1]);
            };
            pair("attention.self.query", &[hidden, hidden]);
            pair("attention.self.key", &[hidden, hidden]);
            pair("attention.self.value", &[hidden, hidden]);
            pair("attention.output.dense", &[hidden, hidden]);
            pair("attention.output.LayerNorm", &[hidden]);
            pair("intermediate.dense", &[wide, hidden]);
            pair("output.dense", &[hidden, wide]);
            pair("output.LayerNorm", &[hidden]);
        }
        shapes
    }

    /// First values as `transformers` draws them: weights normal with the standard deviation `initializer_range`, the
    /// padding token's row 0, biases 0, layer normalisation the identity.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init(&self, rng: &mut ChaCha8Rng, dtype: DType, device: &Device) -> Result<Params> {
        let mut init = Init { rng, dtype, device };
        let mut params = Params::new();
        for (name, dims) in self.shapes() {
            let tensor = if name.ends_with("LayerNorm.weight") {
                init.fill(&dims, 1.0)?
            } else if name.ends_with("bias") {
                init.fill(&dims, 0.0)?
            } else {
                let pad = self.config.pad_token_id.filter(|_| name == Self::WORDS);
                let zeros = pad.map_or(0..0, |id| {
                    id as usize * dims[1]..(id as usize + 1) * dims[1]
                });
                init.normal_but(&dims, self.config.initializer_range, zeros)?
            };
            params.insert(name, tensor);
        }
        Ok(params)
    }

    /// One layer, of which `rows` names the tokens that are read if not all are.
    fn layer(
        &self,
        params: &Params<Value>,
        hidden: &Value,
        lengths: &[usize],
        layer: usize,
        rows: Option<&[u32]>,
    ) -> Result<Value> {
        let name = |part: &str, kind: &str| format!("encoder.layer.{layer}.{part}.{kind}");
        let param = |part: &str, kind: &str| params.get(&name(part, kind));
        let weight = |part: &str| -> Result<Weight<'_>> {
            Ok(if params.contains(&name(part, PANELS)) {
                Weight::Panels(param(part, PANELS)?)
            } else {
                Weight::Rows(param(part, "weight")?)
            })
        };
        let dense = |part: &str, x: &Value| -> Result<Value> {
            Ok(linear(x, weight(part)?, param(part, "bias")?)?)
        };
        let norm_of_sum = |part: &str, terms: [&Value; 2]| -> Result<Value> {
            let (weight, bias) = (param(part, "weight")?, param(part, "bias")?);
            let eps = self.config.layer_norm_eps;
            Ok(layer_norm_of_sum(terms, weight, bias, eps)?)
        };
        // Without a graph nothing is held longer than it is needed.
        let context = {
            let q = dense("attention.self.query", hidden)?;
            let k = dense("attention.self.key", hidden)?;
            let v = dense("attention.self.value", hidden)?;
            attention(&q, &k, &v, lengths, self.config.num_attention_heads)?
        };
        let (context, hidden) = match rows {
            Some(rows) => (context.lookup(rows)?, &hidden.lookup(rows)?),
            None => (context, hidden),
        };
        let attended = dense("attention.output.dense", &context)?;
        drop(context);
        let attended = norm_of_sum("attention.output.LayerNorm", [&attended, hidden])?;
        let (weight, bias) = (
            weight("intermediate.dense")?,
            param("intermediate.dense", "bias")?,
        );
        let wide = linear_gelu(&attended, weight, bias)?;
        let hidden = dense("output.dense", &wide)?;
        drop(wide);
        norm_of_sum("output.LayerNorm", [&hidden, &attended])
    }
}

/// What a weight's name ends with where it lies in panels.
const PANELS: &str = "panels";

/// Whether nobody wants the gradient of what these layers make of `hidden`.
fn is_constant(params: &Params<Value>, hidden: &Value, range: Range<usize>) -> bool {
    let of_range = |name: &str| {
        let rest = name.strip_prefix("encoder.layer.")?;
        let layer: usize = rest.split('.').next()?.parse().ok()?;
        Some(range.contains(&layer))
    };
    hidden.is_constant()
        && params
            .iter()
            .filter(|(name, _)| of_range(name) == Some(true))
            .all(|(_, value)| value.is_constant())
}
