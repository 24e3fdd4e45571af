//! What the graph promises: errors that name, no graph where none is wanted, no stack overflow.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use candle_core::{DType, Device, Tensor};
use metashot_autograd::{
    Op, Order, Params, Patterns, Result, Rule, Value, grad, grad_or_none, grad_params, graph_bytes,
    ops::linear, pull_back, pull_back_onto,
};

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
    let error = grad(x.sum_all().unwrap(), &[&x], Order::First).unwrap_err();
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

/// Products add to what is there, whatever else arrives before or after them, and whichever input it is.
#[test]
fn gradients_begin_with_what_is_there() {
    let numbers = |rows: usize, columns: usize, salt: usize| {
        let numbers = (0..rows * columns).map(|i| ((i * 7919 + salt * 104_729) % 1009) as f64);
        let tensor = Tensor::from_iter(numbers, &Device::Cpu).unwrap();
        let tensor = tensor.reshape((rows, columns)).unwrap();
        tensor.affine(1.0 / 504.5, -1.0).unwrap()
    };
    // Sizes with tiles and without.
    for (rows, n_in, n_out) in [(3, 4, 5), (70, 66, 130)] {
        for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
            let value = |tensor: Tensor| Value::variable(tensor.to_dtype(dtype).unwrap());
            let x = value(numbers(rows, n_in, 0));
            let weight = value(numbers(n_out, n_in, 1));
            let bias = value(numbers(1, n_out, 2).squeeze(0).unwrap());
            let unread = value(numbers(2, 2, 3));
            let y = linear(&x, &weight, &bias).unwrap();
            let z = linear(&x.gelu().unwrap(), &weight, &bias).unwrap();
            let back = y.matmul(&weight).unwrap();
            let sum = back.add(&x).unwrap();
            let outputs = || {
                let pairs = [(&y, 4), (&z, 5), (&back, 6), (&sum, 7)];
                pairs
                    .map(|(output, salt)| {
                        let cotangent = numbers(rows, output.dims()[1], salt);
                        (output.clone(), value(cotangent).detach())
                    })
                    .to_vec()
            };
            let inputs = [&x, &weight, &bias, &unread, &y];
            let begun: Vec<Option<Value>> = inputs
                .iter()
                .enumerate()
                .map(|(salt, input)| {
                    let there = (input.tensor() * (salt + 2) as f64).unwrap();
                    (salt != 2).then(|| Value::constant(there))
                })
                .collect();
            let apart = pull_back(outputs(), &inputs, Order::First).unwrap();
            let onto = pull_back_onto(outputs(), &inputs, begun.clone()).unwrap();
            for (input, ((apart, begun), onto)) in
                apart.into_iter().zip(begun).zip(onto).enumerate()
            {
                let expected = match (apart, begun) {
                    (Some(apart), Some(begun)) => begun.add(&apart).unwrap(),
                    (apart, begun) => apart.or(begun).unwrap(),
                };
                let off = (onto.unwrap().tensor() - expected.tensor()).unwrap();
                let squares = |x: &Tensor| Value::constant(x.sqr().unwrap().sum_all().unwrap());
                let off = number(&squares(&off)) / number(&squares(expected.tensor()));
                assert!(
                    off.sqrt() < tolerance,
                    "input {input} of {rows} rows, {dtype:?}: off by {:e}",
                    off.sqrt()
                );
            }
        }
    }
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

/// The identity; its rule notes how many of its kind are there while it runs.
struct Counted {
    alive: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<usize>>>,
}

impl Op for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let alive = self.alive.load(Ordering::Relaxed);
        self.seen.lock().unwrap().push(alive);
        Ok(grads.to_vec())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn a_loss_that_is_given_away_is_freed_as_it_is_walked() {
    let (alive, seen) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let x = scalar(3.0);
    let chain = || {
        let mut y = x.clone();
        for _ in 0..3 {
            y = Value::from_op(y.tensor().clone(), &[&y], || {
                alive.fetch_add(1, Ordering::Relaxed);
                let (alive, seen) = (Arc::clone(&alive), Arc::clone(&seen));
                Box::new(Counted { alive, seen })
            });
        }
        y
    };
    let lent = chain();
    for loss in [lent.clone(), chain()] {
        // Of the first, one stays behind.
        let gradient = grad(loss, &[&x], Order::First).unwrap();
        assert_eq!(number(&gradient[0]).to_bits(), 1f64.to_bits());
    }
    assert_eq!(*seen.lock().unwrap(), [6, 6, 6, 6, 5, 4]);
    drop(lent);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn what_is_computed_again_is_not_kept() {
    let rows = |n: usize, width: usize| {
        Value::variable(Tensor::zeros((n, width), DType::F32, &Device::Cpu).unwrap())
    };
    let bias = |n: usize| Value::variable(Tensor::zeros(n, DType::F32, &Device::Cpu).unwrap());
    let (x, wide, narrow) = (rows(5, 4), rows(64, 4), rows(3, 64));
    let before = linear(&x, &wide, &bias(64)).unwrap();
    let gelu = before.gelu().unwrap();
    let out = linear(&gelu, &narrow, &bias(3)).unwrap();
    assert_eq!(graph_bytes([&out]), (5 * 64 + 5 * 3) * 4);
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
