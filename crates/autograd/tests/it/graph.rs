//! What the graph promises: errors that name, no graph where none is wanted, no stack overflow.

use candle_core::{Device, Tensor};
use metashot_autograd::{Order, Params, Patterns, Value, grad, grad_or_none, grad_params};

fn scalar(x: f64) -> Value {
    Value::variable(Tensor::new(x, &Device::Cpu).unwrap())
}

fn number(value: &Value) -> f64 {
    value.to_f64().unwrap()
}

#[test]
fn names_what_the_loss_does_not_reach() {
    let params: Params<Value> = [
        ("used".to_owned(), scalar(2.0)),
        ("unused".to_owned(), scalar(3.0)),
    ]
    .into_iter()
    .collect();
    let loss = params.get("used").unwrap().exp().unwrap();
    let error = grad_params(&loss, &params, Order::First).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the loss does not reach parameter `unused`, so it has no gradient with respect to it"
    );
    let error = grad(&loss, &[params.get("unused").unwrap()], Order::First).unwrap_err();
    assert!(error.to_string().contains("input 0"));
    let none = grad_or_none(&loss, &[params.get("unused").unwrap()], Order::First).unwrap();
    assert!(none[0].is_none());
}

#[test]
fn refuses_constants_and_vectors() {
    let x = Value::constant(Tensor::new(&[1f64, 2.0], &Device::Cpu).unwrap());
    let error = grad(&x.sum_all().unwrap(), &[&x], Order::First).unwrap_err();
    assert!(error.to_string().contains("is a constant"));
    let x = Value::variable(x.into_tensor());
    let error = grad(&x, &[&x], Order::First).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a gradient needs a scalar loss, found shape [2]"
    );
}

#[test]
fn differentiates_to_any_order() {
    let x = scalar(2.0);
    let mut y = x.mul(&x).unwrap().mul(&x).unwrap().mul(&x).unwrap();
    for expected in [32.0, 48.0, 48.0, 24.0] {
        y = grad(&y, &[&x], Order::Higher).unwrap().remove(0);
        assert_eq!(number(&y), expected);
    }
}

#[test]
fn first_order_builds_no_graph() {
    let x = scalar(2.0);
    let y = x.mul(&x).unwrap();
    assert!(grad(&y, &[&x], Order::First).unwrap()[0].is_constant());
    assert!(!grad(&y, &[&x], Order::Higher).unwrap()[0].is_constant());
    let c = Value::constant(x.tensor().clone());
    assert!(c.exp().unwrap().is_constant());
}

#[test]
fn gradients_with_respect_to_intermediate_values() {
    let x = scalar(3.0);
    let y = x.mul(&x).unwrap();
    let z = y.mul(&y).unwrap().add(&x).unwrap();
    let gradients = grad(&z, &[&y, &x], Order::First).unwrap();
    assert_eq!(number(&gradients[0]), 18.0);
    assert_eq!(number(&gradients[1]), 109.0);
}

#[test]
fn deep_graphs_do_not_overflow_the_stack() {
    let x = scalar(1.0);
    let mut y = x.clone();
    for _ in 0..200_000 {
        y = y.affine(1.0, 0.0).unwrap();
    }
    assert_eq!(number(&grad(&y, &[&x], Order::First).unwrap()[0]), 1.0);
}

#[test]
fn patterns_that_match_nothing_are_errors() {
    let params: Params<Value> = [("head.weight".to_owned(), scalar(1.0))]
        .into_iter()
        .collect();
    let error = params
        .split(&Patterns::new(["head", "encoder"]))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "pattern `encoder` matches no parameter; there are, for example, `head.weight`"
    );
    let error = params.get("weight").unwrap_err();
    assert_eq!(
        error.to_string(),
        "no parameter `weight`; near it are `head.weight`"
    );
}
