//! Parameters in files: safetensors, and directories in Hugging Face's layout.
//!
//! Deliberately not here: pickled checkpoints, which can run code; downloads; moments of optimisers as a concept, though
//! they are parameters too and go through [`save_params`].

mod hugging_face;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use candle_core::{Device, Tensor, safetensors::Load};
use metashot_autograd::Params;
use safetensors::{Dtype, SafeTensorError, SafeTensors, tensor::TensorView};
use serde_json::{Map, Value, json};

pub use self::hugging_face::{load_bert, load_masked_lm_head, load_token_classifier, save_bert};
use crate::{
    Error, Result,
    error::show,
    file::{self, Staged},
};

const ELEMENT_TYPES: &str = "F16, BF16, F32, F64, U8, U32, I16, I32 or I64";

/// What a safetensors file says about itself, by key.
pub type Metadata = BTreeMap<String, String>;

/// All tensors of a safetensors file, in their own element types, and its metadata.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::Params;
/// use metashot_models::checkpoint::{Metadata, load_params, save_params};
///
/// let dir = tempfile::tempdir()?;
/// let params = Params::from_iter([("head.bias".to_owned(), Tensor::new(&[1f32, 2.0], &Device::Cpu)?)]);
/// let metadata = Metadata::from([("step".to_owned(), "7".to_owned())]);
/// save_params(&dir.path().join("head.safetensors"), &params, &metadata)?;
///
/// let (loaded, said) = load_params(&dir.path().join("head.safetensors"))?;
/// assert_eq!(loaded.get("head.bias")?.to_vec1::<f32>()?, [1.0, 2.0]);
/// assert_eq!(said["step"], "7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Read`], [`Error::Safetensors`] for another format or a file cut short, [`Error::ElementType`] for elements
/// that tensors cannot have.
pub fn load_params(path: &Path) -> Result<(Params, Metadata)> {
    let bytes = file::read(path)?;
    let (_, header) =
        SafeTensors::read_metadata(&bytes).map_err(|error| not_safetensors(path, error))?;
    let metadata = header
        .metadata()
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    let params = load_some(path, &bytes, |name| Some(name.to_owned()))?;
    Ok((params, metadata))
}

/// Writes parameters and metadata as a safetensors file, whole or not at all; the same values give the same bytes.
///
/// # Errors
/// [`Error::Write`].
pub fn save_params(path: &Path, params: &Params, metadata: &Metadata) -> Result<()> {
    stage_params(path, params, metadata)?.commit()
}

/// Fails unless the parameters are exactly those of a model, and names the first one that is not; `path` is where they
/// came from.
///
/// ```
/// use std::path::Path;
/// use candle_core::{DType, Device, Tensor};
/// use metashot_autograd::Params;
/// use metashot_models::{LinearHead, checkpoint::conform};
///
/// let bias = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
/// let params = Params::from_iter([("head.bias".to_owned(), bias)]);
/// let error = conform(Path::new("a.safetensors"), &params, &LinearHead::new("head", 4, 2).shapes()).unwrap_err();
/// assert_eq!(error.to_string(), "`a.safetensors`: no parameter `head.weight`; near it is `head.bias`");
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::MissingParameter`], [`Error::Shape`], [`Error::ElementType`] or [`Error::SurplusParameter`].
pub fn conform(path: &Path, params: &Params, shapes: &[(String, Vec<usize>)]) -> Result<()> {
    let path = || path.to_owned();
    for (name, dims) in shapes {
        let name = || name.clone();
        if !params.contains(&name()) {
            let near = params
                .names()
                .max_by_key(|known| likeness(known, &name()))
                .map(str::to_owned);
            return Err(Error::MissingParameter {
                path: path(),
                name: name(),
                near,
            });
        }
        let tensor = params.get(&name())?;
        if tensor.dims() != dims {
            let (wanted, found) = (show(dims), show(tensor.dims()));
            return Err(Error::Shape {
                path: path(),
                name: name(),
                wanted,
                found,
            });
        }
        if !tensor.dtype().is_float() {
            let found = format!("{:?}", tensor.dtype());
            return Err(Error::ElementType {
                path: path(),
                name: name(),
                wanted: "a floating-point type",
                found,
            });
        }
    }
    let known: BTreeSet<&str> = shapes.iter().map(|(name, _)| name.as_str()).collect();
    match params.names().find(|name| !known.contains(name)) {
        Some(name) => Err(Error::SurplusParameter {
            path: path(),
            name: name.to_owned(),
            wanted: known.len(),
        }),
        None => Ok(()),
    }
}

/// The tensors of a file for which `rename` has a name, on the CPU in their own element types.
fn load_some(path: &Path, bytes: &[u8], rename: impl Fn(&str) -> Option<String>) -> Result<Params> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| not_safetensors(path, error))?;
    let views: BTreeMap<&str, TensorView<'_>> = file.iter().collect();
    let mut params = Params::new();
    for (name, view) in views {
        let Some(new_name) = rename(name) else {
            continue;
        };
        let usable = matches!(
            view.dtype(),
            Dtype::F16
                | Dtype::BF16
                | Dtype::F32
                | Dtype::F64
                | Dtype::U8
                | Dtype::U32
                | Dtype::I16
                | Dtype::I32
                | Dtype::I64
        );
        if !usable {
            return Err(Error::ElementType {
                path: path.to_owned(),
                name: name.to_owned(),
                wanted: ELEMENT_TYPES,
                found: format!("{:?}", view.dtype()),
            });
        }
        params.insert(new_name, view.load(&Device::Cpu)?);
    }
    Ok(params)
}

/// The file, written in full under a temporary name.
///
/// The header is written here and not by the safetensors crate, whose metadata has the order of a hash map.
fn stage_params(path: &Path, params: &Params, metadata: &Metadata) -> Result<Staged> {
    let mut tensors: Vec<(&str, &Tensor)> = params.iter().collect();
    // Larger elements first, so that each tensor starts at a multiple of its element size.
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size_in_bytes()));
    let mut header = Map::new();
    if !metadata.is_empty() {
        header.insert("__metadata__".into(), json!(metadata));
    }
    let mut end = 0;
    for (name, tensor) in &tensors {
        let start = end;
        end += tensor.elem_count() * tensor.dtype().size_in_bytes();
        let dtype = Dtype::from(tensor.dtype());
        header.insert(
            (*name).into(),
            json!({ "dtype": dtype, "shape": tensor.dims(), "data_offsets": [start, end] }),
        );
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    Staged::new(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        let mut bytes = Vec::new();
        for (_, tensor) in tensors {
            bytes.clear();
            tensor.write_bytes(&mut bytes).map_err(io::Error::other)?;
            file.write_all(&bytes)?;
        }
        Ok(())
    })
}

fn not_safetensors(path: &Path, error: SafeTensorError) -> Error {
    Error::Safetensors {
        path: path.to_owned(),
        source: error.into(),
    }
}

/// How many bytes two names share at their ends.
fn likeness(a: &str, b: &str) -> usize {
    let front = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let back = a
        .bytes()
        .rev()
        .zip(b.bytes().rev())
        .take_while(|(a, b)| a == b)
        .count();
    front + back
}
