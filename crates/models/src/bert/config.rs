//! The sizes of a BERT, as `config.json` has them.
//!
//! Deliberately not here: settings that do not change what a deterministic encoder computes. They are kept as they are,
//! so that a configuration that is read and written says what it said.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{Error, Result, file};

/// A `config.json` of Hugging Face.
///
/// Sizes must be there; what is optional has the default that `transformers` gives it. The default of the whole is
/// the published base size (Devlin et al. 2019, section 3).
///
/// ```
/// use metashot_models::BertConfig;
///
/// let mut config = BertConfig { num_hidden_layers: 6, ..BertConfig::default() };
/// config.set_labels(&["O", "B-PER", "I-PER"]);
/// assert_eq!(config.labels().unwrap()[1], "B-PER");
/// config.num_attention_heads = 7;
/// let error = config.validate().unwrap_err().to_string();
/// assert_eq!(error, "`hidden_size`: expected a multiple of 7 (`num_attention_heads`), found 768");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Numbers in a hidden state.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// Numbers between the two linear layers of a feed-forward block.
    pub intermediate_size: usize,
    /// Token ids are below it.
    pub vocab_size: usize,
    /// The longest sentence, in tokens.
    #[serde(default = "max_position_embeddings")]
    pub max_position_embeddings: usize,
    /// Segment ids are below it.
    #[serde(default = "type_vocab_size")]
    pub type_vocab_size: usize,
    /// What layer normalisation adds to the variance.
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// The activation; `gelu`, by the error function, is the one there is.
    #[serde(default = "hidden_act")]
    pub hidden_act: String,
    /// The standard deviation of weights before training.
    #[serde(default = "initializer_range")]
    pub initializer_range: f64,
    /// The padding token, whose embedding starts at 0.
    #[serde(default = "pad_token_id")]
    pub pad_token_id: Option<u32>,
    /// The architecture's name in `transformers`; `bert` is the one there is.
    #[serde(default = "model_type")]
    pub model_type: String,
    /// Everything else in the file.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            vocab_size: 30522,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            hidden_act: "gelu".into(),
            initializer_range: 0.02,
            pad_token_id: Some(0),
            model_type: "bert".into(),
            extra: Map::new(),
        }
    }
}

impl BertConfig {
    /// Reads and validates a `config.json`.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Json`] for a file that is no configuration or lacks a size; [`Error::Unusable`] for one of
    /// a model that this crate does not have.
    pub fn read(path: &Path) -> Result<Self> {
        let config: Self = file::read_json(path, "the JSON configuration of a BERT model")?;
        config.validate().map_err(|error| error.said_by(path))?;
        Ok(config)
    }

    /// Fails if no model can have these sizes, or if it would compute something else than [`Bert`](super::Bert) does.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn validate(&self) -> Result<()> {
        let exactly = |name: &str, wanted: &str, found: &str| match found {
            _ if found == wanted => Ok(()),
            _ => Err(Error::setting(
                name,
                format!("`{wanted}`"),
                &format!("`{found}`"),
            )),
        };
        exactly("model_type", "bert", &self.model_type)?;
        exactly("hidden_act", "gelu", &self.hidden_act)?;
        if let Some(Value::String(kind)) = self.extra.get("position_embedding_type") {
            exactly("position_embedding_type", "absolute", kind)?;
        }
        // A decoder masks what comes after a token.
        if self.extra.get("is_decoder") == Some(&Value::Bool(true)) {
            exactly("is_decoder", "false", "true")?;
        }
        for (name, size) in [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            if size == 0 || u32::try_from(size).is_err() {
                return Err(Error::setting(name, format!("1 to {}", u32::MAX), &size));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let wanted = format!(
                "a multiple of {} (`num_attention_heads`)",
                self.num_attention_heads
            );
            return Err(Error::setting("hidden_size", wanted, &self.hidden_size));
        }
        for (name, number) in [
            ("layer_norm_eps", self.layer_norm_eps),
            ("initializer_range", self.initializer_range),
        ] {
            if !(number.is_finite() && number >= 0.0) {
                return Err(Error::setting(
                    name,
                    "a finite number of 0 or more",
                    &number,
                ));
            }
        }
        match self.pad_token_id {
            Some(id) if id as usize >= self.vocab_size => Err(Error::setting(
                "pad_token_id",
                format!("below {} (`vocab_size`)", self.vocab_size),
                &id,
            )),
            _ => Ok(()),
        }
    }

    /// The names of a token classifier's labels, in the order of its logits, if the configuration has them.
    pub fn labels(&self) -> Option<Vec<String>> {
        let names = self.extra.get("id2label")?.as_object()?;
        (0..names.len())
            .map(|id| Some(names.get(&id.to_string())?.as_str()?.to_owned()))
            .collect()
    }

    /// Names the labels of a token classifier, as `id2label` and `label2id`.
    pub fn set_labels<S: AsRef<str>>(&mut self, labels: &[S]) {
        let labels = || labels.iter().map(AsRef::as_ref).enumerate();
        let names: Map<_, _> = labels()
            .map(|(id, name)| (id.to_string(), json!(name)))
            .collect();
        let ids: Map<_, _> = labels()
            .map(|(id, name)| (name.to_owned(), json!(id)))
            .collect();
        self.extra.insert("id2label".into(), names.into());
        self.extra.insert("label2id".into(), ids.into());
    }
}

// What `transformers` takes where the file says nothing.

fn max_position_embeddings() -> usize {
    BertConfig::default().max_position_embeddings
}

fn type_vocab_size() -> usize {
    BertConfig::default().type_vocab_size
}

fn layer_norm_eps() -> f64 {
    BertConfig::default().layer_norm_eps
}

fn hidden_act() -> String {
    BertConfig::default().hidden_act
}

fn initializer_range() -> f64 {
    BertConfig::default().initializer_range
}

fn pad_token_id() -> Option<u32> {
    BertConfig::default().pad_token_id
}

fn model_type() -> String {
    BertConfig::default().model_type
}
