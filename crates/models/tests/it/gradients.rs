//! First- and second-order gradients of whole models against central differences in `f64`, and that every parameter has
//! one.

use candle_core::{DType, Device, Tensor};
use metashot_autograd::{
    Error, Order, Params, Value, check, grad_params,
    ops::{IGNORE_INDEX, cross_entropy},
};
use metashot_models::{
    Bert, Conv4, MaskedLm, Pooling, Result, SentenceClassifier, TokenBatch, TokenClassifier,
};

use crate::{noise, rng, small_config, stirred, values};

const TOLERANCE: f64 = 1e-6;

/// Checks `loss` at `params`, both orders, and that it reaches exactly the parameters that the model lists.
fn check(
    params: &Params,
    shapes: &[(String, Vec<usize>)],
    loss: impl Fn(&Params<Value>) -> Result<Value>,
) {
    let variables = params.variables();
    let gradients = grad_params(loss(&variables).unwrap(), &variables, Order::First).unwrap();
    let mut listed: Vec<_> = shapes
        .iter()
        .map(|(name, dims)| (name.as_str(), dims.as_slice()))
        .collect();
    listed.sort_unstable();
    let reached: Vec<_> = gradients
        .iter()
        .map(|(name, gradient)| (name, gradient.dims()))
        .collect();
    assert_eq!(reached, listed);

    let inputs: Vec<Tensor> = params.values().cloned().collect();
    let f = |inputs: &[Value]| Ok::<_, Error>(loss(&values(params, inputs)).unwrap());
    let (first, second) = (
        check::first_order(&inputs, f).unwrap(),
        check::second_order(&inputs, f).unwrap(),
    );
    assert!(first < TOLERANCE, "first order: {first:e}");
    assert!(second < TOLERANCE, "second order: {second:e}");
}

fn batch() -> TokenBatch {
    let mut batch = TokenBatch::from_sequences([vec![1, 7, 3, 14, 2], vec![9], vec![7, 7, 4]]);
    batch.type_ids[2] = 1;
    batch
}

#[test]
fn bert_is_differentiable_twice_in_every_parameter() {
    let bert = Bert::new(small_config()).unwrap();
    let params = stirred(
        &bert.init(&mut rng(1), DType::F64, &Device::Cpu).unwrap(),
        2,
    );
    let weights = Value::constant(noise(&mut rng(3), &[9, 8]));
    check(&params, &bert.shapes(), |params| {
        let hidden = bert.forward(params, &batch())?;
        Ok(hidden.mul(&hidden)?.mul(&weights)?.sum_all()?)
    });
}

#[test]
fn some_rows_of_bert_are_differentiable_twice() {
    let bert = Bert::new(small_config()).unwrap();
    let params = stirred(
        &bert.init(&mut rng(1), DType::F64, &Device::Cpu).unwrap(),
        2,
    );
    let weights = Value::constant(noise(&mut rng(3), &[3, 8]));
    check(&params, &bert.shapes(), |params| {
        let hidden = bert.forward_rows(params, &batch(), &[0, 3, 5])?;
        Ok(hidden.mul(&hidden)?.mul(&weights)?.sum_all()?)
    });
}

#[test]
fn token_loss_is_differentiable_twice_in_every_parameter() {
    let model = TokenClassifier::new(small_config(), 3).unwrap();
    let params = stirred(
        &model.init(&mut rng(4), DType::F64, &Device::Cpu).unwrap(),
        5,
    );
    let targets = [IGNORE_INDEX, 0, 2, IGNORE_INDEX, 1, 1, IGNORE_INDEX, 0, 2];
    check(&params, &model.shapes(), |params| {
        Ok(cross_entropy(&model.forward(params, &batch())?, &targets)?)
    });
}

#[test]
fn masked_lm_loss_is_differentiable_twice_in_every_parameter() {
    let model = MaskedLm::new(small_config()).unwrap();
    let params = stirred(
        &model.init(&mut rng(9), DType::F64, &Device::Cpu).unwrap(),
        10,
    );
    check(&params, &model.shapes(), |params| {
        let logits = model.forward(params, &batch(), &[1, 4, 7])?;
        Ok(cross_entropy(&logits, &[3, 14, 7])?)
    });
}

#[test]
fn sentence_loss_is_differentiable_twice_in_every_parameter() {
    for pooling in [Pooling::Cls, Pooling::Mean] {
        let model = SentenceClassifier::new(small_config(), pooling, 3).unwrap();
        let params = stirred(
            &model.init(&mut rng(4), DType::F64, &Device::Cpu).unwrap(),
            5,
        );
        check(&params, &model.shapes(), |params| {
            Ok(cross_entropy(
                &model.forward(params, &batch())?,
                &[2, 0, 1],
            )?)
        });
    }
}

#[test]
fn conv4_loss_is_differentiable_twice_in_every_parameter() {
    // A side that is odd at some block, one that stops pooling early, and one that pools to the end.
    for (height, width, in_channels) in [(7, 9, 1), (5, 2, 3), (16, 16, 1)] {
        let model = Conv4 {
            in_channels,
            filters: 3,
            height,
            width,
            n_classes: 3,
        };
        let params = stirred(
            &model.init(&mut rng(6), DType::F64, &Device::Cpu).unwrap(),
            7,
        );
        let pictures = Value::constant(noise(&mut rng(8), &[4, height, width, in_channels]));
        check(&params, &model.shapes(), |params| {
            Ok(cross_entropy(
                &model.forward(params, &pictures)?,
                &[0, 1, 2, 1],
            )?)
        });
    }
}
