//! The products of a layer of a BERT of `MiniLM`'s size, with operands that are in no cache.
//!
//! Figures, not limits, of the calling thread; an element is an addition or a multiplication. `MIMALLOC_PURGE_DELAY=-1` has
//! the allocator keep what was freed, as the program does. Not here: whole models (`metashot-meta`).

use candle_core::{Device, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use metashot_autograd::{
    Value,
    ops::{Weight, linear, panels},
};

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tokens of a task.
const TOKENS: usize = 640;

/// So many operands take turns.
const OPERANDS: usize = 16;

fn products(c: &mut Criterion) {
    for (n_in, n_out) in [(384, 384), (384, 1536), (1536, 384)] {
        let mut group = c.benchmark_group(format!("{n_in} to {n_out}"));
        let flop = 2 * TOKENS * n_in * n_out;
        group.throughput(Throughput::Elements(flop as u64));
        let (weight, bias) = (numbers(&[n_out, n_in]), numbers(&[n_out]));
        let inputs: Vec<Value> = (0..OPERANDS).map(|_| numbers(&[TOKENS, n_in])).collect();
        let gradients: Vec<Value> = (0..OPERANDS).map(|_| numbers(&[TOKENS, n_out])).collect();
        in_turn(&mut group, "output", |i| {
            linear(&inputs[i], &weight, &bias).expect("the shapes fit")
        });
        if let Some(panels) = panels(weight.tensor()).expect("the weight is a matrix") {
            let panels = Value::constant(panels);
            in_turn(&mut group, "output, weight in panels", |i| {
                linear(&inputs[i], Weight::Panels(&panels), &bias).expect("the shapes fit")
            });
        }
        in_turn(&mut group, "gradient of the input", |i| {
            gradients[i].matmul(&weight).expect("the shapes fit")
        });
        in_turn(&mut group, "gradient of the weight", |i| {
            let turned = gradients[i].t().expect("a matrix has two axes");
            turned.matmul(&inputs[i]).expect("the shapes fit")
        });
        group.finish();
    }
}

/// Measures a product that is given the number of its operands; as many results are kept as there are operands.
fn in_turn(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, product: impl Fn(usize) -> Value) {
    let mut kept: Vec<Option<Value>> = vec![None; OPERANDS];
    let mut turn = 0;
    group.bench_function(name, |b| {
        b.iter(|| {
            turn = (turn + 1) % OPERANDS;
            kept[turn] = Some(product(turn));
        });
    });
}

/// Numbers that look random.
fn numbers(dims: &[usize]) -> Value {
    let n: usize = dims.iter().product();
    let numbers: Vec<f32> = (0..n)
        .map(|i| (i * 7919 % 1009) as f32 / 1009.0 - 0.5)
        .collect();
    let tensor = Tensor::from_vec(numbers, dims, &Device::Cpu).expect("the count fits the shape");
    Value::constant(tensor)
}

criterion_group!(benches, products);
criterion_main!(benches);
