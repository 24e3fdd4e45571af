//! Directories as `transformers` reads and writes them: `config.json` beside `model.safetensors`.
//!
//! Deliberately not here: `tokenizer.json`, which is copied as it is by whoever has it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device};
use metashot_autograd::Params;
use serde::Deserialize;
use serde_json::json;

use super::{Metadata, conform, load_some, stage_params};
use crate::{
    Bert, BertConfig, Error, MaskedLm, Result, Shapes, TokenClassifier,
    file::{self, Staged},
};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const PREFIX: &str = "bert.";

/// Reads the encoder of any BERT directory of Hugging Face, whatever head it was saved with.
///
/// Weights may be in one file or in several, in `f16`, `bf16`, `f32` or `f64`, with or without the prefix `bert.`, and
/// may use the old names `gamma` and `beta`. Heads and the pooler are left out.
///
/// # Errors
/// [`BertConfig::read`]'s; [`Error::NoWeights`], [`Error::Read`], [`Error::Safetensors`], [`Error::Json`] for the index
/// of several files; what [`conform`] says where the weights are not those of the configuration.
pub fn load_bert(dir: &Path, dtype: DType, device: &Device) -> Result<(BertConfig, Params)> {
    let bert = Bert::new(BertConfig::read(&dir.join(CONFIG))?)?;
    let (path, params) = read_weights(dir, is_encoder)?;
    let params = finish(&path, &params, &bert.shapes(), dtype, device)?;
    Ok((bert.config, params))
}

/// Reads a `BertForTokenClassification` with as many labels as its head has.
///
/// # Errors
/// As [`load_bert`]; [`Error::MissingParameter`] where there is no `classifier`.
pub fn load_token_classifier(
    dir: &Path,
    dtype: DType,
    device: &Device,
) -> Result<(TokenClassifier, Params)> {
    let config_path = dir.join(CONFIG);
    let config = BertConfig::read(&config_path)?;
    let (path, params) = read_weights(dir, |name| is_encoder(name) || is_classifier(name))?;
    let n_labels = n_labels(&params);
    if let (Some(n_labels), Some(labels)) = (n_labels, config.labels()) {
        check_labels(labels.len(), n_labels).map_err(|error| error.said_by(&config_path))?;
    }
    // Without a head any number will do: what is reported is its absence.
    let model = TokenClassifier::new(config, n_labels.unwrap_or(1))?;
    let params = finish(&path, &params, &model.shapes(), dtype, device)?;
    Ok((model, params))
}

/// Reads the head of a `BertForMaskedLM`, to go with the encoder of [`load_bert`]; `None` where the directory has none.
///
/// The last layer of a checkpoint is passed over where it is the table of word embeddings once more.
///
/// # Errors
/// As [`load_bert`]; [`Error::Unusable`] for a last layer of its own (`tie_word_embeddings`), which [`MaskedLm`] does not
/// have.
pub fn load_masked_lm_head(dir: &Path, dtype: DType, device: &Device) -> Result<Option<Params>> {
    let config_path = dir.join(CONFIG);
    let model = MaskedLm::new(BertConfig::read(&config_path)?)?;
    let tied = model.bert.config.extra.get("tie_word_embeddings");
    if tied == Some(&json!(false)) {
        let error = Error::setting("tie_word_embeddings", "`true`", &"`false`");
        return Err(error.said_by(&config_path));
    }
    let (path, params) = read_weights(dir, is_masked_lm_head)?;
    if params.is_empty() {
        return Ok(None);
    }
    finish(&path, &params, &model.head_shapes(), dtype, device).map(Some)
}

/// Writes `config.json` and `model.safetensors` so that `transformers` loads them: as `BertForTokenClassification` if
/// there is a `classifier`, whose labels the configuration must name ([`BertConfig::set_labels`]); as `BertForMaskedLM`
/// if there is a head of [`MaskedLm`]; else as `BertModel`.
///
/// Both files are written in full before either takes its name.
///
/// # Errors
/// [`Error::Setting`] when the labels are not those of the classifier, what [`conform`] says of parameters that are not
/// the model's, [`Error::Write`].
pub fn save_bert(dir: &Path, config: &BertConfig, params: &Params) -> Result<()> {
    let weights = dir.join(WEIGHTS);
    let mut config = config.clone();
    let (shapes, architecture) = match n_labels(params) {
        None if params.names().any(is_masked_lm_head) => {
            (MaskedLm::new(config.clone())?.shapes(), "BertForMaskedLM")
        }
        None => (Bert::new(config.clone())?.shapes(), "BertModel"),
        Some(n_labels) => {
            check_labels(config.labels().map_or(0, |labels| labels.len()), n_labels)?;
            (
                TokenClassifier::new(config.clone(), n_labels)?.shapes(),
                "BertForTokenClassification",
            )
        }
    };
    conform(&weights, params, &shapes)?;
    config
        .extra
        .insert("architectures".into(), json!([architecture]));
    // `transformers` loads in the type that the configuration names, under an old key and a new one.
    config.extra.remove("dtype");
    if let Some(tensor) = params.values().next() {
        config
            .extra
            .insert("torch_dtype".into(), torch_name(tensor.dtype()).into());
    }
    let on_disk = |name: &str| match architecture {
        "BertModel" => name.to_owned(),
        _ if is_encoder(name) => format!("{PREFIX}{name}"),
        _ => name.to_owned(),
    };
    let named = params
        .iter()
        .map(|(name, tensor)| (on_disk(name), tensor.clone()))
        .collect();
    fs::create_dir_all(dir).map_err(|source| Error::Write {
        path: dir.to_owned(),
        source,
    })?;
    let format = Metadata::from([("format".to_owned(), "pt".to_owned())]);
    let weights = stage_params(&weights, &named, &format)?;
    let config = Staged::new(&dir.join(CONFIG), |file| {
        serde_json::to_writer_pretty(&mut *file, &json!(config))?;
        file.write_all(b"\n")
    })?;
    weights.commit()?;
    config.commit()
}

/// The tensors whose names are kept, and the file that lists them.
fn read_weights(dir: &Path, keep: impl Fn(&str) -> bool) -> Result<(PathBuf, Params)> {
    let (path, files) = weight_files(dir)?;
    let mut params = Params::new();
    for file in files {
        let some = load_some(&file, &file::read(&file)?, |name| {
            Some(canonical(name)).filter(|name| keep(name))
        })?;
        params = params.overlaid(&some);
    }
    Ok((path, params))
}

fn finish(
    path: &Path,
    params: &Params,
    shapes: &Shapes,
    dtype: DType,
    device: &Device,
) -> Result<Params> {
    conform(path, params, shapes)?;
    Ok(params.to_dtype(dtype)?.to_device(device)?)
}

/// The file to name in messages, and the files with the weights.
fn weight_files(dir: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let (weights, index) = (dir.join(WEIGHTS), dir.join(INDEX));
    if weights.exists() {
        return Ok((weights.clone(), vec![weights]));
    }
    if !index.exists() {
        let pickled = dir.join("pytorch_model.bin").exists();
        let found = if pickled {
            "only `pytorch_model.bin`, a pickled checkpoint"
        } else {
            "neither"
        };
        return Err(Error::NoWeights {
            dir: dir.to_owned(),
            found,
        });
    }
    let Index { weight_map } = file::read_json(
        &index,
        "an index with a `weight_map` from parameters to files",
    )?;
    let names: BTreeSet<String> = weight_map.into_values().collect();
    // An index may not name files elsewhere.
    if let Some(name) = names
        .iter()
        .find(|name| Path::new(name).file_name() != Some(name.as_ref()))
    {
        let error = Error::setting(
            "weight_map",
            "names of files beside the index",
            &format!("`{name}`"),
        );
        return Err(error.said_by(&index));
    }
    Ok((index, names.iter().map(|name| dir.join(name)).collect()))
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// A parameter's name as [`Bert`] has it.
fn canonical(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    match name.rsplit_once('.') {
        Some((norm, "gamma")) if norm.ends_with("LayerNorm") => format!("{norm}.weight"),
        Some((norm, "beta")) if norm.ends_with("LayerNorm") => format!("{norm}.bias"),
        _ => name.to_owned(),
    }
}

/// Whether a name is one that must have a place in the encoder: nothing of it is passed over, but for two tables of
/// constants that some versions saved.
fn is_encoder(name: &str) -> bool {
    let constant = ["embeddings.position_ids", "embeddings.token_type_ids"].contains(&name);
    !constant && (name.starts_with("embeddings.") || name.starts_with("encoder."))
}

fn is_classifier(name: &str) -> bool {
    is_below(TokenClassifier::HEAD, name)
}

/// Whether a name must have a place in the head of [`MaskedLm`]: its last layer is the encoder's word embeddings.
fn is_masked_lm_head(name: &str) -> bool {
    is_below(MaskedLm::HEAD, name) && !is_below("cls.predictions.decoder", name)
}

fn is_below(path: &str, name: &str) -> bool {
    name.strip_prefix(path)
        .is_some_and(|rest| rest.starts_with('.'))
}

/// How many rows the head has, if there is one.
fn n_labels(params: &Params) -> Option<usize> {
    params
        .get("classifier.weight")
        .ok()?
        .dims()
        .first()
        .copied()
}

fn check_labels(named: usize, n_labels: usize) -> Result<()> {
    if named == n_labels {
        return Ok(());
    }
    Err(Error::setting(
        "id2label",
        format!("{n_labels} labels, one for each row of `classifier.weight`"),
        &named,
    ))
}

fn torch_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::F64 => "float64",
        _ => "float32",
    }
}
