//! Convolution in `f32`, where register tiles run, against `f64`, where plain loops do.

use candle_core::{DType, Device, Tensor};
use metashot_autograd::{Order, Value, grad, ops};

fn numbers(shape: &[usize], salt: usize) -> Tensor {
    let count: usize = shape.iter().product();
    let numbers = (0..count).map(|i| ((i * 7919 + salt * 104_729) % 1009) as f64 / 504.5 - 1.0);
    Tensor::from_iter(numbers, &Device::Cpu)
        .unwrap()
        .reshape(shape)
        .unwrap()
}

/// The output, the gradients of input, weight and bias, and those of their squares.
fn all(x: &[usize], kernel: (usize, usize), n_out: usize, dtype: DType) -> Vec<Tensor> {
    let weight = [kernel.0, kernel.1, x[3], n_out];
    let inputs = [numbers(x, 1), numbers(&weight, 2), numbers(&[n_out], 3)]
        .map(|tensor| Value::variable(tensor.to_dtype(dtype).unwrap()));
    let variables: Vec<&Value> = inputs.iter().collect();
    let y = ops::conv2d(&inputs[0], &inputs[1], &inputs[2]).unwrap();
    let loss = y.mul(&y).unwrap().mean_all().unwrap();
    let first = grad(&loss, &variables, Order::Higher).unwrap();
    let squares = first
        .iter()
        .map(|g| g.mul(g).unwrap().sum_all().unwrap())
        .reduce(|a, b| a.add(&b).unwrap());
    let second = grad(squares.unwrap(), &variables, Order::First).unwrap();
    [y].into_iter()
        .chain(first)
        .chain(second)
        .map(Value::into_tensor)
        .collect()
}

#[test]
fn tiles_agree_with_loops_on_all_remainders() {
    let cases: [([usize; 4], (usize, usize), usize); 6] = [
        ([1, 1, 1, 1], (3, 3), 1),
        ([2, 5, 7, 3], (3, 3), 64),
        ([3, 7, 7, 64], (3, 3), 64),
        ([1, 6, 5, 16], (3, 3), 70),
        ([2, 4, 4, 5], (1, 1), 33),
        ([1, 3, 9, 2], (3, 5), 130),
    ];
    for (x, kernel, n_out) in cases {
        for (index, (a, b)) in all(&x, kernel, n_out, DType::F32)
            .iter()
            .zip(all(&x, kernel, n_out, DType::F64))
            .enumerate()
        {
            let a = a.to_dtype(DType::F64).unwrap();
            let norm = |x: &Tensor| {
                x.sqr()
                    .unwrap()
                    .sum_all()
                    .unwrap()
                    .to_scalar::<f64>()
                    .unwrap()
                    .sqrt()
            };
            let error = norm(&(&a - &b).unwrap()) / norm(&b).max(1e-12);
            assert!(
                error < 1e-5,
                "{x:?} {kernel:?} {n_out}: tensor {index} is off by {error:e}"
            );
        }
    }
}
