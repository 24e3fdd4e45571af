//! The masked language model: an encoder with the head that guesses hidden tokens.
//!
//! Deliberately not here: which tokens are hidden, the loss, and the next-sentence head, which no later model was found to
//! need.

use candle_core::{DType, Device};
use metashot_autograd::{
    Params, Value,
    ops::{layer_norm, linear},
};
use rand_chacha::ChaCha8Rng;

use crate::{Bert, BertConfig, LinearHead, Result, Shapes, TokenBatch, init::Init};

/// A [`Bert`] with a logit for every token of the vocabulary: `BertForMaskedLM` of `transformers`.
///
/// The last layer is the table of word embeddings itself, so it is learned once and has no weight of its own.
///
/// # Source
/// Devlin et al. 2019, "BERT: pre-training of deep bidirectional transformers", section 3.1; tied as in Press and Wolf
/// 2017, "Using the output embedding to improve language models".
///
/// ```
/// use candle_core::{DType, Device};
/// use metashot_models::{BertConfig, MaskedLm, TokenBatch};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let config = BertConfig {
///     hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16, vocab_size: 30,
///     ..BertConfig::default()
/// };
/// let model = MaskedLm::new(config)?;
/// let params = model.init(&mut ChaCha8Rng::seed_from_u64(1), DType::F32, &Device::Cpu)?;
/// // The second token of the first sentence and the third of the other are hidden.
/// let batch = TokenBatch::from_sequences([[2, 4, 9, 3], [2, 5, 4, 3]]);
/// let logits = model.forward(&params.constants(), &batch, &[1, 6])?;
/// assert_eq!(logits.dims(), [2, 30]);
/// # Ok::<(), metashot_models::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MaskedLm {
    /// The encoder.
    pub bert: Bert,
}

const NORM: &str = "cls.predictions.transform.LayerNorm";
const BIAS: &str = "cls.predictions.bias";

impl MaskedLm {
    /// What the names of the head's parameters start with.
    pub const HEAD: &str = "cls.predictions";

    /// A model of these sizes.
    ///
    /// # Errors
    /// As [`BertConfig::validate`].
    pub fn new(config: BertConfig) -> Result<Self> {
        Ok(Self {
            bert: Bert::new(config)?,
        })
    }

    /// The logits of some tokens: those that were hidden, say.
    ///
    /// # Shapes
    /// - `rows`: the places of those tokens in the batch, in ascending order
    /// - result: `(rows, vocab_size)`
    ///
    /// # Errors
    /// As [`Bert::forward_rows`].
    pub fn forward(
        &self,
        params: &Params<Value>,
        batch: &TokenBatch,
        rows: &[u32],
    ) -> Result<Value> {
        let hidden = self.bert.forward_rows(params, batch, rows)?;
        let wide = self.transform().forward(params, &hidden)?.gelu()?;
        let norm = |part: &str| params.get(&format!("{NORM}.{part}"));
        let eps = self.bert.config.layer_norm_eps;
        let features = layer_norm(&wide, norm("weight")?, norm("bias")?, eps)?;
        let table = params.get("embeddings.word_embeddings.weight")?;
        Ok(linear(&features, table, params.get(BIAS)?)?)
    }

    /// The names and shapes of all parameters.
    pub fn shapes(&self) -> Shapes {
        let mut shapes = self.bert.shapes();
        shapes.extend(self.head_shapes());
        shapes
    }

    /// The names and shapes of the head's parameters.
    pub fn head_shapes(&self) -> Shapes {
        let BertConfig {
            hidden_size,
            vocab_size,
            ..
        } = self.bert.config;
        let mut shapes = self.transform().shapes();
        shapes.extend([
            (format!("{NORM}.weight"), vec![hidden_size]),
            (format!("{NORM}.bias"), vec![hidden_size]),
            (BIAS.to_owned(), vec![vocab_size]),
        ]);
        shapes
    }

    /// First values of all parameters: those of [`Bert::init`], then those of [`MaskedLm::init_head`].
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init(&self, rng: &mut ChaCha8Rng, dtype: DType, device: &Device) -> Result<Params> {
        let bert = self.bert.init(rng, dtype, device)?;
        Ok(bert.overlaid(&self.init_head(rng, dtype, device)?))
    }

    /// First values of the head, to put on an encoder that lost its own: as `transformers` draws them.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init_head(&self, rng: &mut ChaCha8Rng, dtype: DType, device: &Device) -> Result<Params> {
        let deviation = self.bert.config.initializer_range;
        let mut params = self
            .transform()
            .init_normal(rng, deviation, dtype, device)?;
        let init = Init { rng, dtype, device };
        for (name, dims) in self.head_shapes() {
            if !params.contains(&name) {
                let number = if name.ends_with("weight") { 1.0 } else { 0.0 };
                params.insert(name, init.fill(&dims, number)?);
            }
        }
        Ok(params)
    }

    fn transform(&self) -> LinearHead {
        let hidden = self.bert.config.hidden_size;
        LinearHead::new("cls.predictions.transform.dense", hidden, hidden)
    }
}
