//! Linear heads, and the token classifier: an encoder with one.
//!
//! Deliberately not here: labels and their alignment to tokens.

use candle_core::{DType, Device, Tensor};
use metashot_autograd::{Params, Value, ops::linear};
use rand_chacha::ChaCha8Rng;

use crate::{Bert, BertConfig, Error, Result, Shapes, TokenBatch, init::Init};

/// A linear layer from features to logits, with the parameters `{name}.weight` and `{name}.bias`.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use metashot_autograd::Value;
/// use metashot_models::LinearHead;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let head = LinearHead::new("head", 4, 2);
/// let params = head.init_glorot(&mut ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)?;
/// let features = Value::constant(Tensor::zeros((3, 4), DType::F32, &Device::Cpu)?);
/// assert_eq!(head.forward(&params.constants(), &features)?.dims(), [3, 2]);
/// # Ok::<(), metashot_models::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearHead {
    /// What the names of its parameters start with.
    pub name: String,
    /// Features.
    pub n_in: usize,
    /// Logits.
    pub n_out: usize,
}

impl LinearHead {
    /// A head of these sizes.
    pub fn new(name: impl Into<String>, n_in: usize, n_out: usize) -> Self {
        Self {
            name: name.into(),
            n_in,
            n_out,
        }
    }

    /// The logits.
    ///
    /// # Shapes
    /// - `features`: `(rows, n_in)`
    /// - result: `(rows, n_out)`
    ///
    /// # Errors
    /// When a parameter is missing or does not fit.
    pub fn forward(&self, params: &Params<Value>, features: &Value) -> Result<Value> {
        let [weight, bias] = self.names();
        Ok(linear(features, params.get(&weight)?, params.get(&bias)?)?)
    }

    /// The names and shapes of its parameters.
    pub fn shapes(&self) -> Shapes {
        let [weight, bias] = self.names();
        vec![
            (weight, vec![self.n_out, self.n_in]),
            (bias, vec![self.n_out]),
        ]
    }

    /// First values: weights normal with this standard deviation, biases 0.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init_normal(
        &self,
        rng: &mut ChaCha8Rng,
        deviation: f64,
        dtype: DType,
        device: &Device,
    ) -> Result<Params> {
        let mut init = Init { rng, dtype, device };
        let weight = init.normal(&[self.n_out, self.n_in], deviation)?;
        self.with_bias(weight, &init)
    }

    /// First values: weights uniform as by Glorot, biases 0.
    ///
    /// # Source
    /// Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", equation 16.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init_glorot(
        &self,
        rng: &mut ChaCha8Rng,
        dtype: DType,
        device: &Device,
    ) -> Result<Params> {
        let mut init = Init { rng, dtype, device };
        let weight = init.glorot(&[self.n_out, self.n_in], self.n_in, self.n_out)?;
        self.with_bias(weight, &init)
    }

    fn with_bias(&self, weight: Tensor, init: &Init<'_>) -> Result<Params> {
        let bias = init.fill(&[self.n_out], 0.0)?;
        Ok(self.names().into_iter().zip([weight, bias]).collect())
    }

    fn names(&self) -> [String; 2] {
        ["weight", "bias"].map(|part| format!("{}.{part}", self.name))
    }
}

/// A [`Bert`] with the [`LinearHead`] `classifier` on every token: `BertForTokenClassification` of `transformers`.
///
/// ```
/// use metashot_models::{BertConfig, TokenClassifier};
///
/// let model = TokenClassifier::new(BertConfig::default(), 5)?;
/// assert_eq!(model.shapes().last().unwrap(), &("classifier.bias".to_owned(), vec![5]));
/// # Ok::<(), metashot_models::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TokenClassifier {
    /// The encoder.
    pub bert: Bert,
    /// Logits of each token.
    pub n_labels: usize,
}

impl TokenClassifier {
    /// The name of the head: what the names of its parameters start with.
    pub const HEAD: &str = "classifier";

    /// A classifier of these sizes.
    ///
    /// # Errors
    /// As [`BertConfig::validate`], and when there are no labels.
    pub fn new(config: BertConfig, n_labels: usize) -> Result<Self> {
        if n_labels == 0 {
            return Err(Error::setting("n_labels", "1 or more", &n_labels));
        }
        Ok(Self {
            bert: Bert::new(config)?,
            n_labels,
        })
    }

    /// The head alone, for hidden states that were computed before.
    pub fn head(&self) -> LinearHead {
        LinearHead::new(Self::HEAD, self.bert.config.hidden_size, self.n_labels)
    }

    /// The logits of every token.
    ///
    /// # Shapes
    /// - result: `(tokens, n_labels)`, in the order of the batch
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn forward(&self, params: &Params<Value>, batch: &TokenBatch) -> Result<Value> {
        self.head()
            .forward(params, &self.bert.forward(params, batch)?)
    }

    /// The logits from the input of some layer, or from the last hidden states with the number of layers.
    ///
    /// # Shapes
    /// - `hidden`: `(tokens, hidden)`
    /// - `lengths`: tokens of each sentence
    /// - result: `(tokens, n_labels)`
    ///
    /// # Errors
    /// As [`Bert::layers`].
    pub fn forward_from(
        &self,
        layer: usize,
        params: &Params<Value>,
        hidden: &Value,
        lengths: &[usize],
    ) -> Result<Value> {
        let layers = layer..self.bert.config.num_hidden_layers;
        self.head()
            .forward(params, &self.bert.layers(params, hidden, lengths, layers)?)
    }

    /// The names and shapes of all parameters.
    pub fn shapes(&self) -> Shapes {
        let mut shapes = self.bert.shapes();
        shapes.extend(self.head().shapes());
        shapes
    }

    /// First values of all parameters: those of [`Bert::init`], then those of [`TokenClassifier::init_head`].
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init(&self, rng: &mut ChaCha8Rng, dtype: DType, device: &Device) -> Result<Params> {
        let bert = self.bert.init(rng, dtype, device)?;
        Ok(bert.overlaid(&self.init_head(rng, dtype, device)?))
    }

    /// First values of the head, to put on an encoder that was trained before: as `transformers` draws them.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init_head(&self, rng: &mut ChaCha8Rng, dtype: DType, device: &Device) -> Result<Params> {
        self.head()
            .init_normal(rng, self.bert.config.initializer_range, dtype, device)
    }
}
