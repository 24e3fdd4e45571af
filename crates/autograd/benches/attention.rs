//! Attention of a BERT of `MiniLM`'s size, forward and both derivatives.
//!
//! Figures, not limits, of the calling thread; an element is an addition or a multiplication of its products, of which there
//! are 2 forward, 4 in the gradient and 11 in the gradient's gradient. `MIMALLOC_PURGE_DELAY=-1 cargo bench` has the
//! allocator keep what was freed, as the program does. Not here: the projections (`products`).

use candle_core::{Device, Tensor};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use metashot_autograd::{Order, Value, ops::attention, pull_back};

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HIDDEN: usize = 384;
const HEADS: usize = 12;

/// Tokens of a task, about.
const TOKENS: usize = 640;

fn attentions(c: &mut Criterion) {
    for length in [25, 64] {
        let lengths = vec![length; TOKENS / length];
        let tokens: usize = lengths.iter().sum();
        let mut group =
            c.benchmark_group(format!("{} sentences of {length} tokens", lengths.len()));
        let flop = |products: usize| {
            Throughput::Elements((products * 2 * tokens * length * HIDDEN) as u64)
        };
        let operand = |salt| numbers(&[tokens, HIDDEN], salt);
        let attend = |x: &[Value; 3]| {
            let [q, k, v] = x;
            attention(q, k, v, &lengths, HEADS).expect("the shapes fit")
        };
        let constants = [0, 1, 2].map(|salt| Value::constant(operand(salt)));
        group.throughput(flop(2));
        group.bench_function("output", |b| b.iter(|| attend(&constants)));

        let variables = [0, 1, 2].map(|salt| Value::variable(operand(salt)));
        let inputs: Vec<&Value> = variables.iter().collect();
        let cotangent = Value::variable(operand(3));
        let gradients = |order| {
            let pairs = vec![(attend(&variables), cotangent.clone())];
            pull_back(pairs, &inputs, order).expect("the graph reaches the inputs")
        };
        group.throughput(flop(2 + 4));
        group.bench_function("output and gradient", |b| {
            b.iter(|| gradients(Order::First));
        });

        let wanted: Vec<&Value> = inputs.iter().copied().chain([&cotangent]).collect();
        let cotangents = [4, 5, 6].map(|salt| Value::constant(operand(salt)));
        group.throughput(flop(11));
        group.bench_function("gradient of the gradient", |b| {
            b.iter_batched(
                || {
                    let gradients = gradients(Order::Higher).into_iter().flatten();
                    gradients.zip(cotangents.clone()).collect()
                },
                |pairs| {
                    pull_back(pairs, &wanted, Order::First).expect("the graph reaches the inputs")
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

/// Numbers that look random.
fn numbers(dims: &[usize], salt: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let numbers: Vec<f32> = (0..n)
        .map(|i| ((i * 7919 + salt * 104_729) % 1009) as f32 / 1009.0 - 0.5)
        .collect();
    Tensor::from_vec(numbers, dims, &Device::Cpu).expect("the count fits the shape")
}

criterion_group!(benches, attentions);
criterion_main!(benches);
