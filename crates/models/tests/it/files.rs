//! Checkpoints: what is written is read again bit by bit, in every dress that a BERT comes in.

use std::{fs, path::Path};

use candle_core::{DType, Device, Tensor};
use metashot_autograd::{Params, Patterns};
use metashot_models::{
    Bert, BertConfig, Conv4, MaskedLm, TokenClassifier,
    checkpoint::{
        Metadata, load_bert, load_masked_lm_head, load_params, load_token_classifier, save_bert,
        save_params,
    },
    conv4::{from_disk, to_disk},
    replace_file,
};
use serde_json::{Value, json};

use crate::{data, rng, same_bits, small_config};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn small_params(dtype: DType) -> Params {
    Bert::new(small_config())
        .unwrap()
        .init(&mut rng(1), dtype, &Device::Cpu)
        .unwrap()
}

#[test]
fn parameters_and_metadata_come_back_bit_by_bit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let metadata = Metadata::from([
        ("step".into(), "12".into()),
        ("ä \"".into(), "\n".into()),
        ("b".into(), String::new()),
    ]);
    let cpu = &Device::Cpu;
    let mut params = small_params(DType::F32);
    params.insert("odd", Tensor::new(&[1u8, 2, 255], cpu).unwrap());
    params.insert(
        "wide",
        Tensor::new(&[f64::NAN, -0.0, f64::INFINITY], cpu).unwrap(),
    );
    params.insert(
        "half",
        Tensor::new(&[0.1f32, 3e4], cpu)
            .unwrap()
            .to_dtype(DType::F16)
            .unwrap(),
    );
    params.insert(
        "brain",
        Tensor::new(&[0.1f32, 3e38], cpu)
            .unwrap()
            .to_dtype(DType::BF16)
            .unwrap(),
    );
    params.insert("ids", Tensor::new(&[i64::MIN, 7], cpu).unwrap());
    params.insert("scalar", Tensor::new(2.5f32, cpu).unwrap());
    params.insert("empty", Tensor::zeros((0, 3), DType::F32, cpu).unwrap());
    params.insert(
        "turned",
        Tensor::arange(0f32, 6.0, cpu)
            .unwrap()
            .reshape((2, 3))
            .unwrap()
            .t()
            .unwrap(),
    );
    save_params(&path, &params, &metadata).unwrap();
    let (loaded, said) = load_params(&path).unwrap();
    assert!(same_bits(&loaded, &params));
    assert_eq!(said, metadata);

    let bytes = fs::read(&path).unwrap();
    save_params(&path, &loaded, &said).unwrap();
    assert_eq!(
        fs::read(&path).unwrap(),
        bytes,
        "the same values give the same bytes"
    );
    assert_eq!(names(dir.path()), ["a.safetensors"]);
}

#[test]
fn nothing_is_replaced_by_a_write_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    replace_file(&path, |file| file.write_all(b"old")).unwrap();
    let result = replace_file(&path, |file| {
        file.write_all(b"new")?;
        Err(std::io::Error::other("the disk is full"))
    });
    assert!(result.is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(dir.path()), ["a.txt"]);
}

#[test]
fn encoder_comes_back_with_its_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (config, params) = load_bert(&data("tiny-bert"), DType::F32, &Device::Cpu).unwrap();
    save_bert(dir.path(), &config, &params).unwrap();
    assert_eq!(names(dir.path()), ["config.json", "model.safetensors"]);
    let (saved_config, saved) = load_bert(dir.path(), DType::F32, &Device::Cpu).unwrap();
    assert!(same_bits(&saved, &params));

    // What the file said that this crate does not read is still there, save the names of what was saved and how.
    let json = |config: &BertConfig| {
        let mut json = serde_json::to_value(config).unwrap();
        for key in ["architectures", "dtype", "torch_dtype"] {
            json.as_object_mut().unwrap().remove(key);
        }
        json
    };
    assert_eq!(json(&saved_config), json(&config));
    assert_eq!(config.extra["classifier_dropout"], Value::Null);
    assert_eq!(saved_config.extra["architectures"], json!(["BertModel"]));
    assert_eq!(saved_config.extra["torch_dtype"], "float32");
}

#[test]
fn classifier_comes_back_with_its_labels() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = TokenClassifier::new(small_config(), 12).unwrap();
    let labels: Vec<String> = (0..12).map(|id| format!("B-type {id}")).collect();
    model.bert.config.set_labels(&labels);
    let params = model.init(&mut rng(1), DType::F64, &Device::Cpu).unwrap();
    save_bert(dir.path(), &model.bert.config, &params).unwrap();

    let (loaded, weights) = load_token_classifier(dir.path(), DType::F64, &Device::Cpu).unwrap();
    assert_eq!(loaded.n_labels, 12);
    assert_eq!(loaded.bert.config.labels().unwrap(), labels);
    assert!(same_bits(&weights, &params));
    let (_, encoder) = load_bert(dir.path(), DType::F64, &Device::Cpu).unwrap();
    assert_eq!(encoder.len() + 2, params.len());

    let (on_disk, metadata) = load_params(&dir.path().join("model.safetensors")).unwrap();
    assert!(
        on_disk.contains("bert.embeddings.LayerNorm.weight") && on_disk.contains("classifier.bias")
    );
    assert_eq!(metadata["format"], "pt");
}

#[test]
fn names_of_all_ages_and_heads_are_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("config.json"),
        serde_json::to_vec(&small_config()).unwrap(),
    )
    .unwrap();
    let params = small_params(DType::F32);
    let check = |dress: &dyn Fn(&str) -> String, others: &[(&str, Tensor)]| {
        let mut dressed: Params = params
            .iter()
            .map(|(name, tensor)| (dress(name), tensor.clone()))
            .collect();
        for (name, tensor) in others {
            dressed.insert(*name, tensor.clone());
        }
        save_params(
            &dir.path().join("model.safetensors"),
            &dressed,
            &Metadata::new(),
        )
        .unwrap();
        let (_, loaded) = load_bert(dir.path(), DType::F32, &Device::Cpu).unwrap();
        assert!(same_bits(&loaded, &params));
    };
    let some = Tensor::zeros((2, 8), DType::F32, &Device::Cpu).unwrap();
    let positions = Tensor::arange(0i64, 6, &Device::Cpu).unwrap();
    check(&str::to_owned, &[]);
    check(&|name| format!("bert.{name}"), &[]);
    check(
        &|name| {
            name.replace("LayerNorm.weight", "LayerNorm.gamma")
                .replace("LayerNorm.bias", "LayerNorm.beta")
        },
        &[],
    );
    check(
        &str::to_owned,
        &[
            ("embeddings.position_ids", positions.clone()),
            ("pooler.dense.weight", some.clone()),
        ],
    );
    check(
        &|name| format!("bert.{name}"),
        &[
            ("bert.embeddings.position_ids", positions),
            ("bert.pooler.dense.bias", some.clone()),
            ("cls.predictions.bias", some.clone()),
            ("cls.seq_relationship.weight", some.clone()),
            ("classifier.weight", some),
        ],
    );
}

#[test]
fn weights_are_converted_to_the_asked_type() {
    let dir = tempfile::tempdir().unwrap();
    let exact = small_params(DType::F64);
    for stored in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let stored = exact.to_dtype(stored).unwrap();
        save_bert(dir.path(), &small_config(), &stored).unwrap();
        for asked in [DType::F32, DType::F64] {
            let (_, loaded) = load_bert(dir.path(), asked, &Device::Cpu).unwrap();
            assert!(same_bits(&loaded, &stored.to_dtype(asked).unwrap()));
        }
    }
}

#[test]
fn conv4_goes_to_disk_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("conv4.safetensors");
    let model = Conv4 {
        in_channels: 3,
        filters: 4,
        height: 33,
        width: 20,
        n_classes: 5,
    };
    let params = model.init(&mut rng(1), DType::F32, &Device::Cpu).unwrap();
    save_params(&path, &to_disk(&params).unwrap(), &Metadata::new()).unwrap();
    assert!(same_bits(
        &from_disk(&load_params(&path).unwrap().0).unwrap(),
        &params
    ));
}

#[test]
fn first_values_depend_on_the_seed_alone() {
    let model = TokenClassifier::new(small_config(), 3).unwrap();
    let init = |seed, dtype| model.init(&mut rng(seed), dtype, &Device::Cpu).unwrap();
    assert!(same_bits(&init(1, DType::F32), &init(1, DType::F32)));
    assert!(same_bits(
        &init(1, DType::F32),
        &init(1, DType::F64).to_dtype(DType::F32).unwrap()
    ));
    assert!(!same_bits(&init(1, DType::F32), &init(2, DType::F32)));
    let words = init(1, DType::F32);
    let words = words
        .get("embeddings.word_embeddings.weight")
        .unwrap()
        .to_vec2::<f32>()
        .unwrap();
    assert_eq!(words[0], [0.0; 8]);
    assert!(words[1].iter().all(|x| *x != 0.0));
}

#[test]
fn a_masked_lm_head_survives_the_disk_and_stays_out_of_the_encoder() {
    let model = MaskedLm::new(small_config()).unwrap();
    let params = model.init(&mut rng(5), DType::F32, &Device::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    save_bert(dir.path(), &model.bert.config, &params).unwrap();
    let (_, encoder) = load_bert(dir.path(), DType::F32, &Device::Cpu).unwrap();
    let head = load_masked_lm_head(dir.path(), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(encoder.len(), model.bert.shapes().len());
    assert!(same_bits(&encoder.overlaid(&head.unwrap()), &params));

    let half = tempfile::tempdir().unwrap();
    let lower = params.to_dtype(DType::F16).unwrap();
    save_bert(half.path(), &model.bert.config, &lower).unwrap();
    let (_, read) = load_bert(half.path(), DType::F32, &Device::Cpu).unwrap();
    let (encoder, _) = lower
        .to_dtype(DType::F32)
        .unwrap()
        .split(&Patterns::new(["!cls"]))
        .unwrap();
    assert!(same_bits(&read, &encoder), "float16 reads as what it holds");

    let none = load_masked_lm_head(&data("tiny-bert"), DType::F32, &Device::Cpu);
    assert!(none.unwrap().is_none(), "a bare encoder has no such head");
}

#[test]
fn half_a_masked_lm_head_is_refused() {
    let model = MaskedLm::new(small_config()).unwrap();
    let mut params = model.init(&mut rng(5), DType::F32, &Device::Cpu).unwrap();
    let dir = tempfile::tempdir().unwrap();
    save_bert(dir.path(), &model.bert.config, &params).unwrap();
    params.remove("cls.predictions.bias");
    save_params(
        &dir.path().join("model.safetensors"),
        &params,
        &Metadata::new(),
    )
    .unwrap();
    let error = load_masked_lm_head(dir.path(), DType::F32, &Device::Cpu).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no parameter `cls.predictions.bias`"),
        "{error}"
    );
    let mut config = model.bert.config;
    config
        .extra
        .insert("tie_word_embeddings".into(), false.into());
    let text = serde_json::to_string(&config).unwrap();
    std::fs::write(dir.path().join("config.json"), text).unwrap();
    let error = load_masked_lm_head(dir.path(), DType::F32, &Device::Cpu).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        source,
        "`tie_word_embeddings`: expected `true`, found `false`"
    );
}
