//! Every bad input and what it is told.

use std::{error::Error as _, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use expect_test::{Expect, expect};
use metashot_autograd::{Params, Value};
use metashot_models::{
    Bert, BertConfig, Conv4, Error, Result, TokenBatch, TokenClassifier,
    checkpoint::{
        Metadata, conform, load_bert, load_params, load_token_classifier, save_bert, save_params,
    },
};
use serde_json::json;

use crate::{rng, small_config};

/// The message of an error, and of its cause if that is of this crate; `dir` is written as `DIR`.
fn message<T>(result: Result<T>, dir: Option<&Path>) -> String {
    let error = result.err().expect("an error is expected");
    let mut message = error.to_string();
    if let Some(cause) = error.source() {
        let ours = cause.is::<Error>() || cause.is::<Box<Error>>();
        let cause = if ours {
            format!(": {cause}")
        } else {
            " (and the cause)".into()
        };
        message.push_str(&cause);
    }
    dir.map_or(message.clone(), |dir| {
        message.replace(&dir.display().to_string(), "DIR")
    })
}

fn check<T>(result: Result<T>, dir: Option<&Path>, expected: &Expect) {
    expected.assert_eq(&message(result, dir));
}

fn params() -> Params {
    Bert::new(small_config())
        .unwrap()
        .init(&mut rng(1), DType::F32, &Device::Cpu)
        .unwrap()
}

#[test]
fn settings_that_no_model_can_have() {
    let case = |change: &dyn Fn(&mut BertConfig), expected: &Expect| {
        let mut config = small_config();
        change(&mut config);
        check(Bert::new(config), None, expected);
    };
    case(
        &|c| c.num_attention_heads = 3,
        &expect!["`hidden_size`: expected a multiple of 3 (`num_attention_heads`), found 8"],
    );
    case(
        &|c| c.num_attention_heads = 0,
        &expect!["`num_attention_heads`: expected 1 to 4294967295, found 0"],
    );
    case(
        &|c| c.vocab_size = 1 << 40,
        &expect!["`vocab_size`: expected 1 to 4294967295, found 1099511627776"],
    );
    case(
        &|c| c.hidden_act = "relu".into(),
        &expect!["`hidden_act`: expected `gelu`, found `relu`"],
    );
    case(
        &|c| c.model_type = "roberta".into(),
        &expect!["`model_type`: expected `bert`, found `roberta`"],
    );
    case(
        &|c| {
            let relative = json!("relative_key");
            c.extra.insert("position_embedding_type".into(), relative);
        },
        &expect!["`position_embedding_type`: expected `absolute`, found `relative_key`"],
    );
    case(
        &|c| _ = c.extra.insert("is_decoder".into(), json!(true)),
        &expect!["`is_decoder`: expected `false`, found `true`"],
    );
    case(
        &|c| c.layer_norm_eps = f64::NAN,
        &expect!["`layer_norm_eps`: expected a finite number of 0 or more, found NaN"],
    );
    case(
        &|c| c.pad_token_id = Some(15),
        &expect!["`pad_token_id`: expected below 15 (`vocab_size`), found 15"],
    );
    check(
        TokenClassifier::new(small_config(), 0),
        None,
        &expect!["`n_labels`: expected 1 or more, found 0"],
    );
}

#[test]
fn configuration_files_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let case = |text: &[u8], expected: &Expect| {
        fs::write(&path, text).unwrap();
        check(BertConfig::read(&path), Some(dir.path()), expected);
    };
    case(
        b"",
        &expect![
            "DIR/config.json:1: expected the JSON configuration of a BERT model (and the cause)"
        ],
    );
    case(
        b"{\n\"hidden_size\": 8,\n oops",
        &expect![
            "DIR/config.json:3: expected the JSON configuration of a BERT model (and the cause)"
        ],
    );
    case(
        b"{\"hidden_size\": 8}\n",
        &expect![
            "DIR/config.json:1: expected the JSON configuration of a BERT model (and the cause)"
        ],
    );
    case(
        b"{\"hidden_size\": \"8\"}",
        &expect![
            "DIR/config.json:1: expected the JSON configuration of a BERT model (and the cause)"
        ],
    );
    case(
        b"\xff",
        &expect![
            "DIR/config.json:1: expected the JSON configuration of a BERT model (and the cause)"
        ],
    );
    let relu = BertConfig {
        hidden_act: "relu".into(),
        ..small_config()
    };
    case(
        &serde_json::to_vec(&relu).unwrap(),
        &expect!["`DIR/config.json` cannot be used: `hidden_act`: expected `gelu`, found `relu`"],
    );
    check(
        BertConfig::read(&dir.path().join("none.json")),
        Some(dir.path()),
        &expect!["failed to read `DIR/none.json` (and the cause)"],
    );
}

#[test]
fn files_that_are_not_whole_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    save_params(&path, &params(), &Metadata::new()).unwrap();
    let whole = fs::read(&path).unwrap();
    let cut = "`DIR/a.safetensors` is not a whole safetensors file (and the cause)";
    // Cut anywhere, with something after it, and other things altogether.
    for len in (0..whole.len()).step_by(97) {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(message(load_params(&path), Some(dir.path())), cut);
    }
    for bytes in [
        [&whole[..], b"x"].concat(),
        b"\x80\x02}q\x00(X".repeat(20),
        vec![0xff; 64],
        vec![0; 64],
    ] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(message(load_params(&path), Some(dir.path())), cut);
    }
    check(
        load_params(&dir.path().join("none")),
        Some(dir.path()),
        &expect!["failed to read `DIR/none` (and the cause)"],
    );
    check(
        load_params(dir.path()),
        Some(dir.path()),
        &expect!["failed to read `DIR` (and the cause)"],
    );

    let header = br#"{"a":{"dtype":"BOOL","shape":[8],"data_offsets":[0,8]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &[1; 8]].concat();
    fs::write(&path, bytes).unwrap();
    check(
        load_params(&path),
        Some(dir.path()),
        &expect![
            "`DIR/a.safetensors`: tensor `a`: expected F16, BF16, F32, F64, U8, U32, I16, I32 or I64, found BOOL"
        ],
    );
}

#[test]
fn directories_whose_weights_are_not_those_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let load = || load_bert(dir.path(), DType::F32, &Device::Cpu);
    let case = |result, expected: &Expect| {
        check::<(BertConfig, Params)>(result, Some(dir.path()), expected);
    };
    let weights = dir.path().join("model.safetensors");
    let write = |params: &Params| save_params(&weights, params, &Metadata::new()).unwrap();
    let configure = |config: &BertConfig| {
        fs::write(
            dir.path().join("config.json"),
            serde_json::to_vec(config).unwrap(),
        )
        .unwrap();
    };
    case(
        load(),
        &expect!["failed to read `DIR/config.json` (and the cause)"],
    );
    configure(&small_config());
    case(
        load(),
        &expect![
            "`DIR`: expected `model.safetensors` or `model.safetensors.index.json`, found neither"
        ],
    );
    fs::write(dir.path().join("pytorch_model.bin"), b"").unwrap();
    case(
        load(),
        &expect![
            "`DIR`: expected `model.safetensors` or `model.safetensors.index.json`, found only `pytorch_model.bin`, a pickled checkpoint"
        ],
    );
    fs::write(&weights, b"<html>").unwrap();
    case(
        load(),
        &expect!["`DIR/model.safetensors` is not a whole safetensors file (and the cause)"],
    );

    write(&params());
    configure(&BertConfig {
        hidden_size: 16,
        ..small_config()
    });
    case(
        load(),
        &expect![
            "`DIR/model.safetensors`: parameter `embeddings.word_embeddings.weight`: expected shape (15, 16), found (15, 8)"
        ],
    );
    configure(&BertConfig {
        num_hidden_layers: 3,
        ..small_config()
    });
    case(
        load(),
        &expect![
            "`DIR/model.safetensors`: no parameter `encoder.layer.2.attention.self.query.weight`; near it is `encoder.layer.1.attention.self.query.weight`"
        ],
    );
    configure(&BertConfig {
        num_hidden_layers: 1,
        ..small_config()
    });
    case(
        load(),
        &expect![
            "`DIR/model.safetensors`: parameter `encoder.layer.1.attention.output.LayerNorm.bias` is none of the model's 21"
        ],
    );
    configure(&small_config());
    let mut other = params();
    let key = other
        .remove("encoder.layer.1.attention.self.key.bias")
        .unwrap();
    write(&other);
    case(
        load(),
        &expect![
            "`DIR/model.safetensors`: no parameter `encoder.layer.1.attention.self.key.bias`; near it is `encoder.layer.0.attention.self.key.bias`"
        ],
    );
    other.insert(
        "encoder.layer.1.attention.self.key.bias",
        key.to_dtype(DType::U32).unwrap(),
    );
    write(&other);
    case(
        load(),
        &expect![
            "`DIR/model.safetensors`: tensor `encoder.layer.1.attention.self.key.bias`: expected a floating-point type, found U32"
        ],
    );
    write(&Params::from_iter([(
        "transformer.wte.weight".to_owned(),
        key.clone(),
    )]));
    case(
        load(),
        &expect!["`DIR/model.safetensors`: no parameter `embeddings.word_embeddings.weight`"],
    );

    write(&params());
    check(
        load_token_classifier(dir.path(), DType::F32, &Device::Cpu),
        Some(dir.path()),
        &expect![
            "`DIR/model.safetensors`: no parameter `classifier.weight`; near it is `encoder.layer.1.output.dense.weight`"
        ],
    );
    let mut config = small_config();
    config.set_labels(&["O", "B-X"]);
    configure(&config);
    let head = TokenClassifier::new(config, 3)
        .unwrap()
        .init_head(&mut rng(1), DType::F32, &Device::Cpu)
        .unwrap();
    write(&params().overlaid(&head));
    check(
        load_token_classifier(dir.path(), DType::F32, &Device::Cpu),
        Some(dir.path()),
        &expect![
            "`DIR/config.json` cannot be used: `id2label`: expected 3 labels, one for each row of `classifier.weight`, found 2"
        ],
    );
}

#[test]
fn indices_of_shards_that_lead_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("config.json"),
        serde_json::to_vec(&small_config()).unwrap(),
    )
    .unwrap();
    let case = |text: &str, expected: &Expect| {
        fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
        check(
            load_bert(dir.path(), DType::F32, &Device::Cpu),
            Some(dir.path()),
            expected,
        );
    };
    case(
        "{}",
        &expect![
            "DIR/model.safetensors.index.json:1: expected an index with a `weight_map` from parameters to files (and the cause)"
        ],
    );
    case(
        r#"{"weight_map": {"a": "../a.safetensors"}}"#,
        &expect![
            "`DIR/model.safetensors.index.json` cannot be used: `weight_map`: expected names of files beside the index, found `../a.safetensors`"
        ],
    );
    case(
        r#"{"weight_map": {"a": "a.safetensors"}}"#,
        &expect!["failed to read `DIR/a.safetensors` (and the cause)"],
    );
    case(
        r#"{"weight_map": {}}"#,
        &expect![
            "`DIR/model.safetensors.index.json`: no parameter `embeddings.word_embeddings.weight`"
        ],
    );
}

#[test]
fn directories_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let at = Some(dir.path());
    check(
        save_params(&file.join("a"), &params(), &Metadata::new()),
        at,
        &expect!["failed to write `DIR/file/a` (and the cause)"],
    );
    check(
        save_bert(&file, &small_config(), &params()),
        at,
        &expect!["failed to write `DIR/file` (and the cause)"],
    );

    // Parameters that are not those of the configuration are not written at all.
    let target = dir.path().join("new");
    let wider = BertConfig {
        intermediate_size: 13,
        ..small_config()
    };
    check(
        save_bert(&target, &wider, &params()),
        at,
        &expect![
            "`DIR/new/model.safetensors`: parameter `encoder.layer.0.intermediate.dense.weight`: expected shape (13, 8), found (12, 8)"
        ],
    );
    let head = TokenClassifier::new(small_config(), 3)
        .unwrap()
        .init_head(&mut rng(1), DType::F32, &Device::Cpu)
        .unwrap();
    check(
        save_bert(&target, &small_config(), &params().overlaid(&head)),
        at,
        &expect!["`id2label`: expected 3 labels, one for each row of `classifier.weight`, found 0"],
    );
    let mut surplus = params();
    surplus.insert(
        "pooler.dense.bias",
        surplus.get("embeddings.LayerNorm.bias").unwrap().clone(),
    );
    check(
        save_bert(&target, &small_config(), &surplus),
        at,
        &expect![
            "`DIR/new/model.safetensors`: parameter `pooler.dense.bias` is none of the model's 37"
        ],
    );
    assert!(!target.exists());
}

#[test]
fn sentences_that_the_model_cannot_read() {
    let bert = Bert::new(small_config()).unwrap();
    let params = params().constants();
    let case =
        |batch: &TokenBatch, expected: &Expect| check(bert.forward(&params, batch), None, expected);
    let good = || TokenBatch::from_sequences([vec![1, 2], vec![3]]);
    case(
        &TokenBatch::from_sequences([vec![1], vec![2, 15]]),
        &expect!["sentence 1: expected token ids below 15 (`vocab_size`), found 15"],
    );
    case(
        &TokenBatch::from_sequences([vec![1; 7]]),
        &expect!["sentence 0: expected 1 to 6 tokens (`max_position_embeddings`), found 7"],
    );
    case(
        &TokenBatch::from_sequences([vec![1], vec![]]),
        &expect!["sentence 1: expected 1 to 6 tokens (`max_position_embeddings`), found 0"],
    );
    case(
        &TokenBatch::default(),
        &expect!["`token batch`: expected one sentence or more, found none"],
    );
    case(
        &TokenBatch {
            type_ids: vec![0, 0, 2],
            ..good()
        },
        &expect!["sentence 1: expected type ids below 2 (`type_vocab_size`), found 2"],
    );
    case(
        &TokenBatch {
            positions: vec![0, 6, 0],
            ..good()
        },
        &expect!["sentence 0: expected positions below 6 (`max_position_embeddings`), found 6"],
    );
    case(
        &TokenBatch {
            positions: vec![0],
            ..good()
        },
        &expect![
            "`token batch`: expected 3 positions, 3 type ids and 3 tokens in its sentences, found 1, 3 and 3"
        ],
    );
    case(
        &TokenBatch {
            lengths: vec![2, usize::MAX],
            ..good()
        },
        &expect![
            "`token batch`: expected 3 positions, 3 type ids and 3 tokens in its sentences, found 3, 3 and 18446744073709551615"
        ],
    );
    check(
        TokenBatch::from_padded(&[1, 2, 3], &[1, 1, 1], (2, 2)),
        None,
        &expect!["`padded batch`: expected 4 ids and 4 mask entries in (2, 2), found 3 and 3"],
    );
    check(
        bert.layers(
            &params,
            &bert.embed(&params, &good()).unwrap(),
            &[2, 1],
            1..3,
        ),
        None,
        &expect!["`layers`: expected a range within 0..2, found 1..3"],
    );
    check(
        bert.forward(&Params::new(), &good()),
        None,
        &expect!["no parameter `embeddings.word_embeddings.weight`"],
    );
    let rows = |params: &Params<Value>, rows: &[u32], expected: &Expect| {
        check(bert.forward_rows(params, &good(), rows), None, expected);
    };
    rows(
        &params,
        &[0, 3],
        &expect!["`rows`: expected ascending numbers below 3, found a larger one"],
    );
    rows(
        &params,
        &[1, 0],
        &expect!["`rows`: expected ascending numbers below 3, found another order"],
    );
    let name = "encoder.layer.0.output.dense.bias";
    let mut of_tasks = params.clone();
    let two = params.get(name).unwrap().broadcast_to(&[2, 8]).unwrap();
    of_tasks.insert(name, two);
    rows(
        &of_tasks,
        &[0, 2],
        &expect![
            "`rows`: expected parameters without an axis of tasks, found `encoder.layer.0.output.dense.bias` with one"
        ],
    );
}

#[test]
fn pictures_and_sizes_that_conv4_cannot_read() {
    let model = Conv4 {
        in_channels: 1,
        filters: 4,
        height: 6,
        width: 6,
        n_classes: 5,
    };
    let init = |model: &Conv4| model.init(&mut rng(1), DType::F32, &Device::Cpu);
    let params = init(&model).unwrap();
    let zeros =
        |dims: &[usize]| Value::constant(Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap());
    let check_input = |dims: &[usize], expected: &Expect| {
        check(
            model.forward(&params.constants(), &zeros(dims)),
            None,
            expected,
        );
    };
    check_input(
        &[2, 1, 6, 6],
        &expect![
            "`pictures`: expected (batch, height, width, channels) with (6, 6, 1) each, found (2, 1, 6, 6)"
        ],
    );
    check_input(
        &[0, 6, 6, 1],
        &expect![
            "`pictures`: expected (batch, height, width, channels) with (6, 6, 1) each, found (0, 6, 6, 1)"
        ],
    );
    check_input(
        &[6, 6],
        &expect![
            "`pictures`: expected (batch, height, width, channels) with (6, 6, 1) each, found (6, 6)"
        ],
    );
    check(
        init(&Conv4 { height: 0, ..model }),
        None,
        &expect!["`height`: expected 1 or more, found 0"],
    );
    check(
        conform(
            Path::new("a"),
            &params,
            &Conv4 {
                n_classes: 20,
                ..model
            }
            .shapes(),
        ),
        None,
        &expect!["`a`: parameter `head.weight`: expected shape (20, 4), found (5, 4)"],
    );
}
