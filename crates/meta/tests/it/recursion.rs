//! The step-wise recursion against one big graph and against central differences.

use candle_core::Tensor;
use metashot_autograd::{Order, Params, Patterns, Value, grad_or_none, grad_params, ops::dot};
use metashot_meta::{Error, InnerLoop, adapt, task_gradient};

use crate::sinusoid::{Wave, start};

fn inner(steps: usize, adapt: &[&str], order: Order) -> InnerLoop {
    InnerLoop {
        steps,
        lr: 0.05,
        adapt: Patterns::new(adapt.iter().copied()),
        order,
    }
}

fn gradient(slow: &Params, inner: &InnerLoop) -> (f64, Params, f64) {
    let wave = Wave::new(3, 0);
    let task = task_gradient(
        slow,
        |p| wave.support(p),
        |p| wave.query(p),
        inner,
        &Patterns::all(),
    )
    .unwrap();
    (task.query_loss, task.gradient, task.lr_gradient)
}

/// The same with every step on one graph, as other libraries do it.
fn unrolled(slow: &Params, inner: &InnerLoop) -> Params<Option<Value>> {
    let wave = Wave::new(3, 0);
    let leaves = slow.variables();
    let (mut fast, rest) = leaves.split(&inner.adapt).unwrap();
    for _ in 0..inner.steps {
        let support = wave.support(&rest.overlaid(&fast)).unwrap();
        let gradients = grad_params(&support, &fast, inner.order).unwrap();
        let step = |w: &Value, g: &Value| w.sub(&g.affine(inner.lr, 0.0)?);
        fast = fast.zip_with(&gradients, step).unwrap();
    }
    let query = wave.query(&rest.overlaid(&fast)).unwrap();
    let gradients =
        grad_or_none(&query, &leaves.values().collect::<Vec<_>>(), Order::First).unwrap();
    leaves.names().map(str::to_owned).zip(gradients).collect()
}

#[test]
fn equals_one_big_graph() {
    let slow = start(1, 8);
    for adapt in [
        &["*"][..],
        &["head"],
        &["body.1", "head.bias"],
        &["*", "!body.0.bias"],
    ] {
        for steps in 0..5 {
            for order in [Order::Higher, Order::First] {
                let inner = inner(steps, adapt, order);
                let (_, found, _) = gradient(&slow, &inner);
                for (name, reference) in unrolled(&slow, &inner).iter() {
                    let reference = reference.as_ref().unwrap().tensor();
                    let difference = (found.get(name).unwrap() - reference).unwrap();
                    let error = dot(&difference, &difference).unwrap().sqrt();
                    assert!(
                        error < 1e-12,
                        "{adapt:?}, {steps} steps, {order:?}, `{name}`: {error:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn equals_central_differences_of_the_meta_loss() {
    let slow = start(1, 8);
    let inner = inner(3, &["body.1", "head"], Order::Higher);
    let (_, exact, lr_gradient) = gradient(&slow, &inner);
    let h = 1e-6;
    for (name, tensor) in slow.iter() {
        let direction = (tensor.ones_like().unwrap() * h).unwrap();
        let at = |moved: Tensor| {
            let mut slow = slow.clone();
            slow.insert(name, moved);
            gradient(&slow, &inner).0
        };
        let difference =
            (at((tensor + &direction).unwrap()) - at((tensor - &direction).unwrap())) / (2.0 * h);
        let derivative = exact
            .get(name)
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f64>()
            .unwrap();
        assert!(
            (difference - derivative).abs() < 1e-7,
            "`{name}`: {difference} for {derivative}"
        );
    }
    let at = |lr: f64| {
        gradient(
            &slow,
            &InnerLoop {
                lr,
                ..inner.clone()
            },
        )
        .0
    };
    let difference = (at(0.05 + h) - at(0.05 - h)) / (2.0 * h);
    assert!(
        (difference - lr_gradient).abs() < 1e-7,
        "rate: {difference} for {lr_gradient}"
    );
}

#[test]
fn orders_agree_when_the_rate_is_zero() {
    let slow = start(1, 8);
    let at = |order| {
        gradient(
            &slow,
            &InnerLoop {
                lr: 0.0,
                ..inner(2, &["*"], order)
            },
        )
    };
    let ((loss, exact, _), (_, first, _)) = (at(Order::Higher), at(Order::First));
    for (name, exact) in exact.iter() {
        assert_eq!(
            exact.flatten_all().unwrap().to_vec1::<f64>().unwrap(),
            first
                .get(name)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f64>()
                .unwrap()
        );
    }
    assert!(loss.is_finite());
}

#[test]
fn adapting_lowers_the_support_loss() {
    let wave = Wave::new(3, 0);
    let adapted = adapt(
        &start(1, 8),
        |p| wave.support(p),
        &inner(20, &["*"], Order::First),
    )
    .unwrap();
    assert_eq!(adapted.support_losses.len(), 21);
    assert!(
        adapted.support_losses[20] < 0.9 * adapted.support_losses[0],
        "{:?}",
        adapted.support_losses
    );
}

#[test]
fn names_what_cannot_be_done() {
    let slow = start(1, 8);
    let wave = Wave::new(3, 0);
    let run = |inner: &InnerLoop, train: &Patterns| {
        task_gradient(&slow, |p| wave.support(p), |p| wave.query(p), inner, train)
            .unwrap_err()
            .to_string()
    };
    let all = Patterns::all();
    let message = run(&inner(1, &["tail"], Order::First), &all);
    assert!(
        message.starts_with("pattern `tail` matches no parameter"),
        "{message}"
    );
    let message = run(&inner(1, &["*"], Order::First), &Patterns::new(["tail"]));
    assert!(
        message.starts_with("pattern `tail` matches no parameter"),
        "{message}"
    );
    let message = run(
        &InnerLoop {
            lr: f64::NAN,
            ..inner(1, &["*"], Order::First)
        },
        &all,
    );
    assert_eq!(
        message,
        "`inner_lr` must be a number that is not negative, found `NaN`"
    );

    let mut extra = slow.clone();
    extra.insert("unused", slow.get("head.bias").unwrap().clone());
    let heads = inner(1, &["head"], Order::Higher);
    let error =
        task_gradient(&extra, |p| wave.support(p), |p| wave.query(p), &heads, &all).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("does not reach parameter `unused`"),
        "{error}"
    );
}

#[test]
fn a_loss_that_diverges_names_the_step() {
    let wave = Wave::new(3, 0);
    let inner = InnerLoop {
        lr: 1e200,
        ..inner(5, &["*"], Order::First)
    };
    let error = adapt(&start(1, 8), |p| wave.support(p), &inner).unwrap_err();
    let Error::NotFinite { what, step } = error else {
        panic!("{error}")
    };
    assert_eq!(what, "support loss");
    assert!((1..5).contains(&step), "step {step}");
}
