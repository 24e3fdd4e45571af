//! One meta-step: Conv-4 exact, and a BERT of `MiniLM`'s size in both orders.
//!
//! Figures, not limits; tasks per second is the batch over the time. Not here: comparisons with other libraries.

use candle_core::{DType, Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use metashot_autograd::{Order, Params, Patterns, Value, ops::cross_entropy};
use metashot_meta::{
    InnerLoop, LossError, Memory, MetaGradient, Workers, meta_gradient, unprepared,
};
use metashot_models::{BertConfig, Conv4, TokenBatch, TokenClassifier};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

fn conv4(c: &mut Criterion) {
    const TASKS: usize = 32;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let model = Conv4 {
        in_channels: 1,
        filters: 64,
        height: 28,
        width: 28,
        n_classes: 5,
    };
    let slow = model
        .init(&mut rng, DType::F32, &Device::Cpu)
        .expect("the model's weights fit in memory");
    let mut pictures = || {
        let pixels: Vec<f32> = (0..5 * 28 * 28).map(|_| rng.random()).collect();
        Value::constant(
            Tensor::from_vec(pixels, (5, 28, 28, 1), &Device::Cpu)
                .expect("the count fits the shape"),
        )
    };
    let tasks: Vec<(Value, Value)> = (0..TASKS).map(|_| (pictures(), pictures())).collect();
    let loss = |x: &Value, p: &Params<Value>| -> Result<Value, LossError> {
        Ok(cross_entropy(&model.forward(p, x)?, &[0, 1, 2, 3, 4])?)
    };
    let inner = InnerLoop {
        steps: 1,
        lr: 0.4,
        adapt: Patterns::all(),
        order: Order::Higher,
        memory: Memory::Flat,
    };
    let workers = Workers::new(0).expect("threads can be started");
    let mut group = c.benchmark_group("conv4");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(TASKS as u64));
    group.bench_function("5-way 1-shot, 1 query, 1 step, exact, 32 tasks", |b| {
        b.iter(|| step(&slow, &tasks, loss, &inner, &workers));
    });
    group.finish();
}

fn bert(c: &mut Criterion) {
    const TASKS: usize = 4;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let config = BertConfig {
        hidden_size: 384,
        num_hidden_layers: 6,
        num_attention_heads: 12,
        intermediate_size: 1536,
        vocab_size: 30522,
        ..BertConfig::default()
    };
    let model = TokenClassifier::new(config, 11).expect("the sizes fit");
    let slow = model
        .init(&mut rng, DType::F32, &Device::Cpu)
        .expect("the model's weights fit in memory");
    let mut sentences = || {
        let ids: Vec<Vec<u32>> = (0..10)
            .map(|_| (0..64).map(|_| rng.random_range(1000..30000)).collect())
            .collect();
        let targets: Vec<i64> = (0..640).map(|_| rng.random_range(0..11)).collect();
        (TokenBatch::from_sequences(&ids), targets)
    };
    let tasks: Vec<_> = (0..TASKS).map(|_| (sentences(), sentences())).collect();
    let loss = |(batch, targets): &(TokenBatch, Vec<i64>),
                p: &Params<Value>|
     -> Result<Value, LossError> {
        Ok(cross_entropy(&model.forward(p, batch)?, targets)?)
    };
    let workers = Workers::new(0).expect("threads can be started");
    let mut group = c.benchmark_group("bert, MiniLM size");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(TASKS as u64));
    for (order, name) in [(Order::First, "first order"), (Order::Higher, "exact")] {
        let inner = InnerLoop {
            steps: 1,
            lr: 0.01,
            adapt: Patterns::new(["*", "!embeddings"]),
            order,
            memory: Memory::Flat,
        };
        group.bench_function(
            format!("10 + 10 sentences of 64 tokens, 1 step, {name}, 4 tasks"),
            |b| {
                b.iter(|| step(&slow, &tasks, loss, &inner, &workers));
            },
        );
    }
    group.finish();
}

/// One meta-gradient over tasks of a support and a query set.
fn step<T: Sync>(
    slow: &Params,
    tasks: &[(T, T)],
    loss: impl Fn(&T, &Params<Value>) -> Result<Value, LossError> + Sync,
    inner: &InnerLoop,
    workers: &Workers,
) -> metashot_meta::Result<MetaGradient> {
    let (support, query) = (
        |t: &(T, T), p: &Params<Value>| loss(&t.0, p),
        |t: &(T, T), p: &Params<Value>| loss(&t.1, p),
    );
    let settings = (inner, &Patterns::all());
    meta_gradient(
        slow,
        tasks,
        |_, p| unprepared(p),
        support,
        query,
        settings,
        workers,
    )
}

criterion_group!(benches, conv4, bert);
criterion_main!(benches);
