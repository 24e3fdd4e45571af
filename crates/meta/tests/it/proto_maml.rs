//! A head that starts from prototypes and adapts, against central differences and one big graph.

use candle_core::{Device, Tensor};
use metashot_autograd::{
    Order, Params, Patterns, Value, grad_params,
    ops::{cross_entropy, linear},
};
use metashot_meta::{
    InnerLoop, LossError, Memory, Prepared, TaskGradient, class_means, prototype_head,
    task_gradient,
};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const CLASSES: usize = 3;

/// Points with classes, a hidden layer below the head.
struct Task {
    support: (Value, Vec<i64>),
    query: (Value, Vec<i64>),
}

fn draw(rng: &mut ChaCha8Rng, dims: (usize, usize)) -> Tensor {
    let numbers: Vec<f64> = (0..dims.0 * dims.1)
        .map(|_| rng.random_range(-1.0..1.0))
        .collect();
    Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap()
}

impl Task {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let mut half = |n: usize| {
            let labels = (0..n).map(|at| (at % CLASSES) as i64).collect();
            (Value::constant(draw(rng, (n, 4))), labels)
        };
        Self {
            support: half(6),
            query: half(5),
        }
    }

    fn loss(
        (points, labels): &(Value, Vec<i64>),
        params: &Params<Value>,
    ) -> Result<Value, LossError> {
        let hidden = hidden(points, params)?;
        let logits = linear(
            &hidden,
            params.get("head.weight")?,
            params.get("head.bias")?,
        )?;
        Ok(cross_entropy(&logits, labels)?)
    }

    fn prepare(&self, params: &Params<Value>) -> Result<Prepared, LossError> {
        let (points, labels) = &self.support;
        let rows: Vec<Vec<usize>> = (0..CLASSES as i64)
            .map(|class| {
                (0..labels.len())
                    .filter(|&row| labels[row] == class)
                    .collect()
            })
            .collect();
        let centres = class_means(&hidden(points, params)?, &rows)?;
        let [weight, bias] = prototype_head(&centres, 0.7)?;
        let mut prepared = Prepared::default();
        prepared.start.insert("head.weight", weight);
        prepared.start.insert("head.bias", bias);
        Ok(prepared)
    }

    fn gradient(&self, slow: &Params, inner: &InnerLoop) -> TaskGradient {
        task_gradient(
            slow,
            |p: &Params<Value>| self.prepare(p),
            |p: &Params<Value>| Self::loss(&self.support, p),
            |p: &Params<Value>| Self::loss(&self.query, p),
            inner,
            &Patterns::all(),
        )
        .unwrap()
    }
}

fn hidden(points: &Value, params: &Params<Value>) -> Result<Value, LossError> {
    Ok(linear(points, params.get("body.weight")?, params.get("body.bias")?)?.tanh()?)
}

fn start(rng: &mut ChaCha8Rng) -> Params {
    let bias = draw(rng, (5, 1)).squeeze(1).unwrap();
    Params::from_iter([
        ("body.weight".to_owned(), draw(rng, (5, 4))),
        ("body.bias".to_owned(), bias),
    ])
}

fn inner(steps: usize, adapt: &[&str], order: Order) -> InnerLoop {
    InnerLoop {
        steps,
        lr: 0.3,
        adapt: Patterns::new(adapt.iter().copied()),
        order,
        memory: Memory::Flat,
    }
}

#[test]
fn the_meta_gradient_through_the_heads_start_is_exact() {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let (slow, task) = (start(rng), Task::new(rng));
    let h = 1e-6;
    // No step is a prototypical network; the head alone adapts, or all does.
    for (steps, adapt) in [
        (0, &["*"][..]),
        (1, &["*"]),
        (3, &["*"]),
        (3, &["head"]),
        (2, &["body"]),
    ] {
        let inner = inner(steps, adapt, Order::Higher);
        let exact = task.gradient(&slow, &inner).gradient;
        assert_eq!(exact.len(), 2);
        for (name, tensor) in slow.iter() {
            let direction = draw(rng, (tensor.elem_count(), 1))
                .reshape(tensor.dims())
                .unwrap();
            let at = |step: f64| {
                let mut slow = slow.clone();
                let moved = (tensor + (&direction * step).unwrap()).unwrap();
                slow.insert(name, moved);
                task.gradient(&slow, &inner).query_loss
            };
            let difference = (at(h) - at(-h)) / (2.0 * h);
            let along = (exact.get(name).unwrap() * &direction).unwrap();
            let derivative = along.sum_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(
                (difference - derivative).abs() < 1e-7,
                "{steps} steps, {adapt:?}, `{name}`: {difference} for {derivative}"
            );
        }
    }
}

#[test]
fn it_equals_one_big_graph() {
    let rng = &mut ChaCha8Rng::seed_from_u64(6);
    let (slow, task) = (start(rng), Task::new(rng));
    for order in [Order::Higher, Order::First] {
        let inner = inner(3, &["*"], order);
        let leaves = slow.variables();
        // Of their own, so that a step's gradient does not go on to what the head was made from.
        let body = leaves.map(|leaf| leaf.affine(1.0, 0.0).unwrap());
        let mut fast = body.overlaid(&task.prepare(&leaves).unwrap().start);
        for _ in 0..inner.steps {
            let loss = Task::loss(&task.support, &fast).unwrap();
            let gradients = grad_params(&loss, &fast, order).unwrap();
            let step = |w: &Value, g: &Value| w.sub(&g.affine(inner.lr, 0.0)?);
            fast = fast.zip_with(&gradients, step).unwrap();
        }
        let query = Task::loss(&task.query, &fast).unwrap();
        let expected = grad_params(&query, &leaves, Order::First).unwrap();
        let found = task.gradient(&slow, &inner).gradient;
        for (name, expected) in expected.iter() {
            let difference = (expected.tensor() - found.get(name).unwrap()).unwrap();
            let largest: f64 = difference
                .abs()
                .unwrap()
                .max_all()
                .unwrap()
                .to_scalar()
                .unwrap();
            assert!(largest < 1e-12, "{order:?}, `{name}`: off by {largest:e}");
        }
    }
}
