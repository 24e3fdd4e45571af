//! Every kernel against its definition, in both element types, at both orders, on sizes that leave remainders.

use candle_core::{DType, Device, Tensor};

use super::{Fused, apply, composed_twice};
use crate::{
    Order, Value,
    grad::pull_back,
    ops::{attention::Attention, block::NormReluPool, layer_norm::LayerNorm},
};

/// Compares output, gradient and gradient's gradient; in `f64` to rounding.
fn check<F: Fused>(fused: &F, shapes: &[&[usize]]) {
    for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-4)] {
        let inputs: Vec<Value> = shapes
            .iter()
            .enumerate()
            .map(|(salt, shape)| Value::variable(numbers(shape, salt).to_dtype(dtype).unwrap()))
            .collect();
        let variables: Vec<&Value> = inputs.iter().collect();
        let by_kernel = apply(fused.clone(), &variables).unwrap();
        let by_definition = fused.composed(&inputs).unwrap();
        close(&by_kernel, &by_definition, tolerance, "output");

        let grad = Value::variable(numbers(by_kernel.dims(), 10).to_dtype(dtype).unwrap());
        let first = |output: &Value, order| {
            pull_back(vec![(output.clone(), grad.clone())], &variables, order).unwrap()
        };
        let by_kernel = first(&by_kernel, Order::Higher);
        for (input, (a, b)) in by_kernel
            .iter()
            .zip(first(&by_definition, Order::First))
            .enumerate()
        {
            close(
                a.as_ref().unwrap(),
                &b.unwrap(),
                tolerance,
                &format!("gradient of input {input}"),
            );
        }

        let cotangents: Vec<Option<Value>> = inputs
            .iter()
            .enumerate()
            .map(|(salt, input)| {
                Some(Value::constant(
                    numbers(input.dims(), 20 + salt).to_dtype(dtype).unwrap(),
                ))
            })
            .collect();
        let pairs: Vec<(Value, Value)> = by_kernel
            .iter()
            .zip(&cotangents)
            .map(|(a, b)| (a.clone().unwrap(), b.clone().unwrap()))
            .collect();
        let wanted: Vec<&Value> = inputs.iter().chain([&grad]).collect();
        let by_definition = composed_twice(fused, &inputs, &grad, &cotangents).unwrap();
        for (order, what) in [(Order::First, "by kernel"), (Order::Higher, "composed")] {
            let twice = pull_back(pairs.clone(), &wanted, order).unwrap();
            for (input, (a, b)) in twice.iter().zip(&by_definition).enumerate() {
                let (Some(a), Some(b)) = (a, b) else {
                    assert!(
                        a.is_none() && b.is_none(),
                        "input {input} is reached by one only"
                    );
                    continue;
                };
                close(
                    a,
                    b,
                    tolerance,
                    &format!("second gradient of input {input}, {what}"),
                );
            }
        }
    }
}

fn close(a: &Value, b: &Value, tolerance: f64, what: &str) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let norm = |x: &Tensor| {
        x.to_dtype(DType::F64)
            .unwrap()
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f64>()
            .unwrap()
    };
    let difference = norm(&(a.tensor() - b.tensor()).unwrap()).sqrt();
    let size = norm(b.tensor()).sqrt().max(1e-6);
    assert!(
        difference / size < tolerance,
        "{what}, {:?}: off by {:e}",
        a.dtype(),
        difference / size
    );
}

fn numbers(shape: &[usize], salt: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let numbers =
        (0..count).map(|i| ((i * 7919 + salt * 104_729 + 13) % 1009) as f64 / 504.5 - 1.0);
    Tensor::from_iter(numbers, &Device::Cpu)
        .unwrap()
        .reshape(shape)
        .unwrap()
}

#[test]
fn layer_norm_kernels_follow_the_definition() {
    for (rows, features) in [(1, 3), (3, 16), (5, 37), (7, 64)] {
        check(
            &LayerNorm { eps: 1e-12 },
            &[&[rows, features], &[features], &[features]],
        );
    }
}

#[test]
fn attention_kernels_follow_the_definition() {
    for (lengths, n_heads, hidden) in [
        (vec![1], 1, 4),
        (vec![4, 4], 2, 6),
        (vec![3, 1, 7], 2, 6),
        (vec![17, 5], 3, 24),
        (vec![25, 66, 16], 2, 64),
    ] {
        let tokens = lengths.iter().sum();
        let shape = [tokens, hidden];
        check(
            &Attention {
                lengths: lengths.into(),
                n_heads,
            },
            &[&shape, &shape, &shape],
        );
    }
}

#[test]
fn block_kernels_follow_the_definition() {
    for shape in [
        [1, 2, 2, 1],
        [2, 5, 7, 3],
        [3, 4, 4, 20],
        [4, 1, 1, 5],
        [2, 1, 6, 16],
        [2, 3, 3, 17],
    ] {
        check(
            &NormReluPool { eps: 1e-5 },
            &[&shape, &[shape[3]], &[shape[3]]],
        );
    }
}
