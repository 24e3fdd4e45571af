//! A BERT with a linear head on a whole sentence, or a pair of sentences.
//!
//! Deliberately not here: labels, and the pooler that `BertForSequenceClassification` has between encoder and head.

use candle_core::{DType, Device};
use metashot_autograd::{Params, Value};
use rand_chacha::ChaCha8Rng;

use crate::{Bert, BertConfig, Error, LinearHead, Result, Shapes, TokenBatch, TokenClassifier};

/// Which vector stands for a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The last hidden state of the first token, `[CLS]`.
    Cls,
    /// The mean of the last hidden states of all tokens, special tokens included.
    Mean,
}

/// A [`Bert`] with a [`LinearHead`] named `classifier` on each sentence.
///
/// ```
/// use candle_core::{DType, Device};
/// use metashot_models::{BertConfig, Pooling, SentenceClassifier, TokenBatch};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let sizes = BertConfig { hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 1, ..BertConfig::default() };
/// let model = SentenceClassifier::new(sizes, Pooling::Mean, 3)?;
/// let params = model.init(&mut ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)?.constants();
/// let batch = TokenBatch::from_sequences([[101, 7592, 102].as_slice(), &[101, 102]]);
/// assert_eq!(model.forward(&params, &batch)?.dims(), [2, 3]);
/// # Ok::<(), metashot_models::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SentenceClassifier {
    /// The encoder.
    pub bert: Bert,
    /// Which vector stands for a sentence.
    pub pooling: Pooling,
    /// Logits of each sentence.
    pub n_labels: usize,
}

impl SentenceClassifier {
    /// A classifier of these sizes.
    ///
    /// # Errors
    /// As [`BertConfig::validate`], and when there are no labels.
    pub fn new(config: BertConfig, pooling: Pooling, n_labels: usize) -> Result<Self> {
        if n_labels == 0 {
            return Err(Error::setting("n_labels", "1 or more", &n_labels));
        }
        Ok(Self {
            bert: Bert::new(config)?,
            pooling,
            n_labels,
        })
    }

    /// The head alone.
    pub fn head(&self) -> LinearHead {
        let hidden = self.bert.config.hidden_size;
        LinearHead::new(TokenClassifier::HEAD, hidden, self.n_labels)
    }

    /// The logits of every sentence.
    ///
    /// # Shapes
    /// - result: `(sentences, n_labels)`
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn forward(&self, params: &Params<Value>, batch: &TokenBatch) -> Result<Value> {
        self.head().forward(params, &self.embed(params, batch)?)
    }

    /// The vector of every sentence.
    ///
    /// # Shapes
    /// - result: `(sentences, hidden)`
    ///
    /// # Errors
    /// As [`Bert::forward`].
    pub fn embed(&self, params: &Params<Value>, batch: &TokenBatch) -> Result<Value> {
        self.pool(&self.bert.forward(params, batch)?, &batch.lengths)
    }

    /// The logits from the input of some layer, or from the last hidden states with the number of layers.
    ///
    /// # Shapes
    /// - `hidden`: `(tokens, hidden)`
    /// - `lengths`: tokens of each sentence
    /// - result: `(sentences, n_labels)`
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
        let hidden = self.bert.layers(params, hidden, lengths, layers)?;
        self.head().forward(params, &self.pool(&hidden, lengths)?)
    }

    /// First values of all parameters: those of [`Bert::init`], then those of [`SentenceClassifier::init_head`].
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

    /// The names and shapes of all parameters.
    pub fn shapes(&self) -> Shapes {
        let mut shapes = self.bert.shapes();
        shapes.extend(self.head().shapes());
        shapes
    }

    /// One vector for each sentence.
    ///
    /// # Shapes
    /// - `hidden`: `(tokens, hidden)`
    /// - `lengths`: tokens of each sentence
    /// - result: `(sentences, hidden)`
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn pool(&self, hidden: &Value, lengths: &[usize]) -> Result<Value> {
        let mut start = 0;
        let starts: Vec<usize> = lengths
            .iter()
            .map(|length| {
                let this = start;
                start += length;
                this
            })
            .collect();
        match self.pooling {
            Pooling::Cls => {
                let rows: Vec<u32> = starts.iter().map(|&start| start as u32).collect();
                Ok(hidden.lookup(&rows)?)
            }
            Pooling::Mean => {
                // A product with a matrix of shares: its gradient is exact to any order like any product's.
                let n_tokens = start;
                let mut shares = vec![0f64; lengths.len() * n_tokens];
                for (sentence, (&start, &length)) in starts.iter().zip(lengths).enumerate() {
                    let row = sentence * n_tokens + start;
                    shares[row..row + length].fill(1.0 / length as f64);
                }
                let shares = Value::constant_like(&shares, &[lengths.len(), n_tokens], hidden)?;
                Ok(shares.matmul(hidden)?)
            }
        }
    }
}
