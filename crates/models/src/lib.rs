//! Models that are mappings from parameters and input to logits: BERT, Conv-4 and linear heads.
//!
//! A model owns no weights. It is a small struct of sizes whose `forward` reads [`Params`](metashot_autograd::Params)
//! by name, so that the same model runs on slow weights, on fast weights, or on a mixture of both, and every parameter
//! can be differentiated to any order. Names are those of Hugging Face, and [`checkpoint`] reads and writes its layout.
//!
//! ```
//! use candle_core::{DType, Device};
//! use metashot_autograd::{Order, grad_params, ops::cross_entropy};
//! use metashot_models::{BertConfig, TokenBatch, TokenClassifier};
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//!
//! let config = BertConfig {
//!     hidden_size: 8,
//!     num_hidden_layers: 2,
//!     num_attention_heads: 2,
//!     intermediate_size: 16,
//!     vocab_size: 30,
//!     ..BertConfig::default()
//! };
//! let model = TokenClassifier::new(config, 3)?;
//! let params = model.init(&mut ChaCha8Rng::seed_from_u64(1), DType::F32, &Device::Cpu)?;
//!
//! let sentences = TokenBatch::from_sequences([[2, 17, 9, 3].as_slice(), &[2, 5, 3]]);
//! let fast = params.variables();
//! let logits = model.forward(&fast, &sentences)?;
//! assert_eq!(logits.dims(), [7, 3]);
//! let loss = cross_entropy(&logits, &[0, 1, 2, 0, 0, 1, 0])?;
//! let gradients = grad_params(&loss, &fast, Order::Higher)?;
//! assert_eq!(gradients.len(), params.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Deliberately not here: text and pictures as such (a tokenizer makes the ids), losses, optimisers, dropout (a mapping
//! gives the same bits for the same input).

pub mod bert;
pub mod checkpoint;
pub mod conv4;
mod error;
mod file;
pub mod head;
mod init;
pub mod masked_lm;
pub mod sentence;

pub use bert::{Bert, BertConfig, FrozenLayers, TokenBatch};
pub use conv4::Conv4;
pub use error::{Error, Result};
pub use file::replace_file;
pub use head::{LinearHead, TokenClassifier};
pub use masked_lm::MaskedLm;
pub use sentence::{Pooling, SentenceClassifier};

/// Names and shapes of parameters, in the order in which a model draws their first values.
pub type Shapes = Vec<(String, Vec<usize>)>;
