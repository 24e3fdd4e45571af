//! Hidden states and logits equal to those of Python's `transformers`, on files that it wrote and on files that it reads.
//!
//! The references beside the models were made by `tests/data/make_reference.py`.

use std::{env, path::Path, process::Command};

use candle_core::{DType, Device, Tensor};
use metashot_autograd::{Params, Value};
use metashot_models::{
    Bert, BertConfig, MaskedLm, TokenBatch,
    checkpoint::{Metadata, load_bert, load_params, load_token_classifier, save_bert, save_params},
};

use crate::{data, max_difference, rng, small_config, stirred};

fn batch(reference: &Params, prefix: &str) -> TokenBatch {
    let get = |name: &str| reference.get(&format!("{prefix}{name}")).unwrap();
    let flat = |name| {
        get(name)
            .to_dtype(DType::U32)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1::<u32>()
            .unwrap()
    };
    TokenBatch::from_padded(&flat("ids"), &flat("mask"), get("ids").dims2().unwrap()).unwrap()
}

/// Runs every batch of a reference; `f` gives the tensor that is called `name` there.
fn check(reference: &Path, name: &str, tolerance: f64, f: impl Fn(&TokenBatch) -> Tensor) {
    let (reference, _) = load_params(reference).unwrap();
    let prefixes: Vec<&str> = reference
        .names()
        .filter_map(|key| key.strip_suffix("ids"))
        .collect();
    assert!(!prefixes.is_empty());
    for prefix in prefixes {
        let expected = reference.get(&format!("{prefix}{name}")).unwrap();
        let difference = max_difference(&f(&batch(&reference, prefix)), expected);
        assert!(difference < tolerance, "{prefix}{name}: {difference:e}");
    }
}

#[test]
fn hidden_states_are_those_of_transformers() {
    let dir = data("tiny-bert");
    let (config, params) = load_bert(&dir, DType::F32, &Device::Cpu).unwrap();
    let (bert, params) = (Bert::new(config).unwrap(), params.constants());
    let reference = dir.join("reference.safetensors");
    check(&reference, "hidden", 1e-5, |batch| {
        bert.forward(&params, batch).unwrap().into_tensor()
    });
    check(&reference, "embeddings", 1e-5, |batch| {
        bert.embed(&params, batch).unwrap().into_tensor()
    });
}

#[test]
fn logits_of_sharded_half_precision_weights_are_those_of_transformers() {
    let dir = data("tiny-bert-tagger");
    let (model, params) = load_token_classifier(&dir, DType::F32, &Device::Cpu).unwrap();
    assert_eq!(model.bert.config.labels().unwrap(), ["O", "B-X", "I-X"]);
    let params = params.constants();
    let reference = dir.join("reference.safetensors");
    check(&reference, "logits", 1e-5, |batch| {
        model.forward(&params, batch).unwrap().into_tensor()
    });
}

#[test]
fn real_hidden_states_are_those_of_transformers() {
    let Some(root) = env::var_os("METASHOT_DATA") else {
        return skip("METASHOT_DATA names no directory with minilm-l6-v2");
    };
    let dir = Path::new(&root).join("minilm-l6-v2");
    let (config, params) = load_bert(&dir, DType::F32, &Device::Cpu).unwrap();
    let (bert, params) = (Bert::new(config).unwrap(), params.constants());
    check(&data("minilm.safetensors"), "hidden", 1e-4, |batch| {
        bert.forward(&params, batch).unwrap().into_tensor()
    });
}

#[test]
fn transformers_loads_a_saved_token_classifier() {
    let (mut model, mut params) =
        load_token_classifier(&data("tiny-bert-tagger"), DType::F32, &Device::Cpu).unwrap();
    // Another head than the one that was read, and weights that half precision cannot hold.
    params = params.overlaid(
        &model
            .init_head(&mut rng(1), DType::F32, &Device::Cpu)
            .unwrap(),
    );
    params = params
        .try_map(|_, tensor| tensor.affine(1.001, 0.0))
        .unwrap();
    model.bert.config.set_labels(&["O", "B-X", "I-X"]);
    check_saved(&model.bert.config, &params, |batch| {
        model.forward(&params.constants(), batch).unwrap()
    });
}

#[test]
fn transformers_loads_a_saved_masked_language_model() {
    let model = MaskedLm::new(small_config()).unwrap();
    let params = model.init(&mut rng(2), DType::F32, &Device::Cpu).unwrap();
    let params = stirred(&params, 3).to_dtype(DType::F32).unwrap();
    check_saved(&model.bert.config, &params, |batch| {
        let rows: Vec<u32> = (0..batch.n_tokens() as u32).collect();
        model.forward(&params.constants(), batch, &rows).unwrap()
    });
}

/// Saves a model and compares its logits with Python's: runs `METASHOT_PYTHON`, or `python3`, if it has the packages.
fn check_saved(config: &BertConfig, params: &Params, forward: impl Fn(&TokenBatch) -> Value) {
    let dir = tempfile::tempdir().unwrap();
    save_bert(dir.path(), config, params).unwrap();

    let (ids, mask) = ([5u32, 9, 13, 2, 8, 0, 0, 0], [1u32, 1, 1, 1, 1, 0, 0, 0]);
    let batch = TokenBatch::from_padded(&ids, &mask, (2, 4)).unwrap();
    let rectangle = |numbers: &[u32]| {
        Tensor::from_slice(numbers, (2, 4), &Device::Cpu)
            .unwrap()
            .to_dtype(DType::I64)
            .unwrap()
    };
    let expected = [
        ("ids", rectangle(&ids)),
        ("mask", rectangle(&mask)),
        ("logits", forward(&batch).into_tensor()),
    ];
    let expected = expected
        .into_iter()
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect();
    let path = dir.path().join("expected.safetensors");
    save_params(&path, &expected, &Metadata::new()).unwrap();

    let python = env::var_os("METASHOT_PYTHON").unwrap_or_else(|| "python3".into());
    let run = Command::new(python)
        .arg(data("load_saved.py"))
        .arg(dir.path())
        .arg(path)
        .env("HF_HUB_OFFLINE", "1")
        .output();
    match run {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() == Some(77) => skip("python has no transformers"),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => skip(&format!("python does not start: {error}")),
    }
}

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
