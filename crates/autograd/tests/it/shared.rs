//! Kernels whose parts idle threads take over: the same bits as on one thread.

use candle_core::{Device, Tensor};
use metashot_autograd::{Order, Result, Value, grad, ops};

fn numbers(shape: &[usize], salt: usize) -> Value {
    let count: usize = shape.iter().product();
    let numbers = (0..count).map(|i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 1009.0 - 0.5);
    let tensor = Tensor::from_iter(numbers, &Device::Cpu).unwrap();
    Value::variable(tensor.reshape(shape).unwrap())
}

/// The bits of the loss's gradients, and of the gradients of their squares.
fn bits(inputs: &[Value], loss: impl Fn(&[Value]) -> Result<Value>) -> Vec<Vec<u32>> {
    let variables: Vec<&Value> = inputs.iter().collect();
    let first = grad(loss(inputs).unwrap(), &variables, Order::Higher).unwrap();
    let squares = first
        .iter()
        .map(|g| g.mul(g).unwrap().sum_all().unwrap())
        .reduce(|a, b| a.add(&b).unwrap());
    let second = grad(squares.unwrap(), &variables, Order::First).unwrap();
    let bits = |value: &Value| {
        let numbers = value.tensor().flatten_all().unwrap();
        let numbers = numbers.to_vec1::<f32>().unwrap();
        numbers.into_iter().map(f32::to_bits).collect()
    };
    first.iter().chain(&second).map(bits).collect()
}

fn check(shapes: &[&[usize]], loss: impl Fn(&[Value]) -> Result<Value> + Sync) {
    let inputs: Vec<Value> = shapes
        .iter()
        .enumerate()
        .map(|(salt, shape)| numbers(shape, salt))
        .collect();
    let alone = bits(&inputs, &loss);
    for threads in [1, 2, 3] {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        let pool = builder.build().unwrap();
        for _ in 0..3 {
            let shared = pool.install(|| bits(&inputs, &loss));
            assert!(shared == alone, "{threads} threads change bits");
        }
    }
}

#[test]
fn a_layer_of_a_transformer() {
    // As many tokens as have more than one piece of elements.
    let (hidden, wide, lengths) = (96, 400, [150, 1, 133, 116]);
    let shapes: [&[usize]; 9] = [
        &[400, hidden],
        &[hidden, hidden],
        &[hidden],
        &[wide, hidden],
        &[wide],
        &[hidden, wide],
        &[hidden],
        &[hidden],
        &[hidden],
    ];
    check(&shapes, |p| {
        let projected = ops::linear(&p[0], &p[1], &p[2])?;
        let x = ops::attention(&projected, &p[0], &projected, &lengths, 4)?;
        let x = ops::linear(&x, &p[3], &p[4])?.gelu()?;
        let x = ops::linear(&x, &p[5], &p[6])?.add(&projected)?;
        let x = ops::layer_norm(&x, &p[7], &p[8], 1e-5)?;
        x.mul(&x)?.mean_all()
    });
}

#[test]
fn a_block_of_a_convolutional_network() {
    let shapes: [&[usize]; 5] = [&[3, 12, 11, 5], &[3, 3, 5, 70], &[70], &[70], &[70]];
    check(&shapes, |p| {
        let x = ops::conv2d(&p[0], &p[1], &p[2])?;
        let x = ops::norm_relu_pool(&x, &p[3], &p[4], 1e-5)?;
        x.mul(&x)?.mean_all()
    });
}
