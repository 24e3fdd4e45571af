//! The crate from outside: gradients against differences, hidden states against `transformers`, files in and out, and
//! what each bad input is told.
//!
//! Deliberately not here: private helpers, and anything that needs a network or files from elsewhere, save where
//! `METASHOT_DATA` points or where Python has `transformers`; without them, those tests say that they skip.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it stands"
)]

mod bad_input;
mod batch;
mod conv4;
mod files;
mod gradients;
mod transformers;

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use metashot_autograd::{Params, Value};
use metashot_models::BertConfig;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// A model small enough for differences.
fn small_config() -> BertConfig {
    BertConfig {
        hidden_size: 8,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 12,
        vocab_size: 15,
        max_position_embeddings: 6,
        initializer_range: 0.4,
        ..BertConfig::default()
    }
}

/// Uniform numbers in -1..1, in `f64`.
fn noise(rng: &mut ChaCha8Rng, dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    let numbers = (0..n).map(|_| f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0);
    Tensor::from_iter(numbers, &Device::Cpu)
        .unwrap()
        .reshape(dims)
        .unwrap()
}

/// Parameters in general position: first values have biases and gains at 0 and 1, which would hide a mistake.
fn stirred(params: &Params, seed: u64) -> Params {
    let mut rng = rng(seed);
    params
        .to_dtype(DType::F64)
        .unwrap()
        .try_map(|_, tensor| tensor + (noise(&mut rng, tensor.dims()) * 0.2)?)
        .unwrap()
}

fn max_difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (
        a.to_dtype(DType::F64).unwrap(),
        b.to_dtype(DType::F64).unwrap(),
    );
    let differences = (a - b)
        .unwrap()
        .abs()
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1::<f64>()
        .unwrap();
    assert!(differences.iter().all(|x| x.is_finite()));
    differences.into_iter().fold(0.0, f64::max)
}

/// Whether two sets of parameters have the same names, shapes, types and bits.
fn same_bits(a: &Params, b: &Params) -> bool {
    let bits = |params: &Params| -> Vec<_> {
        let bytes = |tensor: &Tensor| {
            let mut bytes = Vec::new();
            tensor.write_bytes(&mut bytes).unwrap();
            bytes
        };
        params
            .iter()
            .map(|(name, t)| (name.to_owned(), t.dims().to_vec(), t.dtype(), bytes(t)))
            .collect()
    };
    bits(a) == bits(b)
}

fn values(params: &Params, values: &[Value]) -> Params<Value> {
    params
        .names()
        .map(str::to_owned)
        .zip(values.iter().cloned())
        .collect()
}
