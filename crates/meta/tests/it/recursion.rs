//! The step-wise recursion against one big graph and against central differences.

use candle_core::{Device, Tensor};
use metashot_autograd::{Order, Params, Patterns, Value, grad_or_none, grad_params, ops::dot};
use metashot_meta::{
    Error, InnerLoop, LossError, Memory, Prepared, adapt, task_gradient, unprepared,
};

use crate::sinusoid::{Wave, start};

fn inner(steps: usize, adapt: &[&str], order: Order) -> InnerLoop {
    InnerLoop {
        steps,
        lr: 0.05,
        adapt: Patterns::new(adapt.iter().copied()),
        order,
        memory: Memory::Flat,
    }
}

fn gradient(slow: &Params, inner: &InnerLoop) -> (f64, Params, f64) {
    let wave = Wave::new(3, 0);
    let task = task_gradient(
        slow,
        unprepared,
        |p| wave.support(p),
        |p| wave.query(p),
        inner,
        &Patterns::all(),
    )
    .unwrap();
    (task.query_loss, task.gradient, task.lr_gradient)
}

/// The same with every step on one graph, as other libraries do it; the learning rate is a variable too.
fn unrolled(slow: &Params, inner: &InnerLoop) -> (Params<Option<Value>>, Option<Value>) {
    let wave = Wave::new(3, 0);
    let leaves = slow.variables();
    let lr = Value::variable(Tensor::new(inner.lr, &Device::Cpu).unwrap());
    let (mut fast, rest) = leaves.split(&inner.adapt).unwrap();
    for _ in 0..inner.steps {
        let support = wave.support(&rest.overlaid(&fast)).unwrap();
        let gradients = grad_params(&support, &fast, inner.order).unwrap();
        let step = |w: &Value, g: &Value| w.sub(&g.mul(&lr)?);
        fast = fast.zip_with(&gradients, step).unwrap();
    }
    let query = wave.query(&rest.overlaid(&fast)).unwrap();
    let inputs: Vec<&Value> = leaves.values().chain([&lr]).collect();
    let mut gradients = grad_or_none(&query, &inputs, Order::First).unwrap();
    let lr_gradient = gradients.pop().unwrap();
    let gradients = leaves.names().map(str::to_owned).zip(gradients).collect();
    (gradients, lr_gradient)
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
            for (order, lr) in [
                (Order::Higher, 0.05),
                (Order::First, 0.05),
                (Order::Higher, 0.0),
                (Order::First, 0.0),
            ] {
                let inner = InnerLoop {
                    lr,
                    ..inner(steps, adapt, order)
                };
                let (_, found, lr_gradient) = gradient(&slow, &inner);
                let (reference, lr_reference) = unrolled(&slow, &inner);
                let lr_reference = lr_reference.map_or(0.0, |value| value.to_f64().unwrap());
                assert!(
                    (lr_gradient - lr_reference).abs() < 1e-12,
                    "{adapt:?}, {steps} steps of {lr}, {order:?}, rate: {lr_gradient} for {lr_reference}"
                );
                for (name, reference) in reference.iter() {
                    let reference = reference.as_ref().unwrap().tensor();
                    let difference = (found.get(name).unwrap() - reference).unwrap();
                    let error = dot([(&difference, &difference)]).unwrap().sqrt();
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
fn keeping_the_graphs_changes_no_bit() {
    let slow = start(1, 8);
    let flat = inner(4, &["*"], Order::Higher);
    let fast = InnerLoop {
        memory: Memory::Fast,
        ..flat.clone()
    };
    let ((loss, flat, _), (fast_loss, fast, _)) = (gradient(&slow, &flat), gradient(&slow, &fast));
    assert_eq!(loss.to_bits(), fast_loss.to_bits());
    for (name, flat) in flat.iter() {
        assert_eq!(numbers(flat), numbers(fast.get(name).unwrap()), "{name}");
    }
}

#[test]
fn what_is_prepared_once_is_what_every_step_computes() {
    let (slow, wave) = (start(1, 8), Wave::new(3, 0));
    let prepare = |p: &Params<Value>| -> Result<Prepared, LossError> {
        let mut prepared = Prepared::default();
        prepared.fixed.insert("support.hidden", wave.hidden(p)?);
        Ok(prepared)
    };
    for train in [&["*"][..], &["head"], &["!body.0"]] {
        for order in [Order::Higher, Order::First] {
            let inner = inner(3, &["head", "body.1.weight"], order);
            let train = Patterns::new(train.iter().copied());
            let (support, query) = (
                |p: &Params<Value>| Ok(wave.support(p)?),
                |p: &Params<Value>| Ok(wave.query(p)?),
            );
            let once = task_gradient(&slow, prepare, support, query, &inner, &train).unwrap();
            let every = task_gradient(
                &slow,
                unprepared::<LossError>,
                support,
                query,
                &inner,
                &train,
            )
            .unwrap();
            assert_eq!(once.gradient.len(), every.gradient.len());
            for (name, every) in every.gradient.iter() {
                let pairs = numbers(every)
                    .into_iter()
                    .zip(numbers(once.gradient.get(name).unwrap()));
                for (every, once) in pairs {
                    assert!(
                        (every - once).abs() < 1e-14,
                        "`{name}`, {train:?}, {order:?}: {once} for {every}"
                    );
                }
            }
        }
    }
    let support = |p: &Params<Value>| Ok(wave.support(p)?);
    let inner = inner(5, &["head"], Order::First);
    let once = adapt(&slow, prepare, support, &inner).unwrap();
    let every = adapt(&slow, unprepared::<LossError>, support, &inner).unwrap();
    assert_eq!(once.support_losses, every.support_losses);
    assert!(!once.fast.contains("support.hidden"));
}

#[test]
fn the_gradient_goes_back_through_a_prepared_start() {
    let (slow, wave) = (start(1, 8), Wave::new(3, 0));
    // The head starts from the support set and from its own slow weights, and the layer below it adapts too.
    let prepare = |p: &Params<Value>| -> Result<Prepared, LossError> {
        let mean = wave.hidden(p)?.mean_keepdim(&[0])?;
        let mut prepared = Prepared::default();
        prepared
            .start
            .insert("head.weight", mean.mul(p.get("head.weight")?)?.tanh()?);
        Ok(prepared)
    };
    let (support, query) = (
        |p: &Params<Value>| Ok(wave.support(p)?),
        |p: &Params<Value>| Ok(wave.query(p)?),
    );
    let inner = inner(3, &["head", "body"], Order::Higher);
    let run = |slow: &Params| {
        task_gradient(slow, prepare, support, query, &inner, &Patterns::all()).unwrap()
    };
    let exact = run(&slow).gradient;
    let h = 1e-6;
    for (name, tensor) in slow.iter() {
        let direction = (tensor.ones_like().unwrap() * h).unwrap();
        let at = |moved: Tensor| {
            let mut slow = slow.clone();
            slow.insert(name, moved);
            run(&slow).query_loss
        };
        let (up, down) = (
            at((tensor + &direction).unwrap()),
            at((tensor - &direction).unwrap()),
        );
        let derivative: f64 = numbers(exact.get(name).unwrap()).iter().sum();
        let difference = (up - down) / (2.0 * h);
        assert!(
            (difference - derivative).abs() < 1e-7,
            "`{name}`: {difference} for {derivative}"
        );
    }
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
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
        unprepared,
        |p| wave.support(p),
        &inner(20, &["*"], Order::First),
    )
    .unwrap();
    assert_eq!(adapted.support_losses.len(), 20);
    let after = wave.support(&adapted.fast.constants()).unwrap();
    assert!(
        after.to_f64().unwrap() < 0.9 * adapted.support_losses[0],
        "{:?}",
        adapted.support_losses
    );
}

#[test]
fn names_what_cannot_be_done() {
    let slow = start(1, 8);
    let wave = Wave::new(3, 0);
    let run = |inner: &InnerLoop, train: &Patterns| {
        task_gradient(
            &slow,
            unprepared,
            |p| wave.support(p),
            |p| wave.query(p),
            inner,
            train,
        )
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
    for (lr, found) in [(f64::NAN, "NaN"), (-0.1, "-0.1"), (f64::INFINITY, "inf")] {
        let inner = inner(1, &["*"], Order::First);
        let message = run(&InnerLoop { lr, ..inner }, &all);
        assert_eq!(
            message,
            format!("`inner_lr` must be a number that is not negative, found `{found}`")
        );
    }

    let mut extra = slow.clone();
    extra.insert("unused", slow.get("head.bias").unwrap().clone());
    let heads = inner(1, &["head"], Order::Higher);
    let error = task_gradient(
        &extra,
        unprepared,
        |p| wave.support(p),
        |p| wave.query(p),
        &heads,
        &all,
    )
    .unwrap_err();
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
    let error = adapt(&start(1, 8), unprepared, |p| wave.support(p), &inner).unwrap_err();
    let Error::NotFinite { what, step } = error else {
        panic!("{error}")
    };
    assert_eq!(what, "support loss");
    assert!((1..5).contains(&step), "step {step}");
}

#[test]
fn says_what_is_not_finite_and_where() {
    let check = |support: fn(&Value) -> Value, query: fn(&Value) -> Value, expected| {
        for order in [Order::First, Order::Higher] {
            let mut slow = Params::new();
            slow.insert("w", Tensor::new(0f64, &Device::Cpu).unwrap());
            let loss = |f: fn(&Value) -> Value| {
                move |p: &Params<Value>| Ok::<_, metashot_autograd::Error>(f(p.get("w")?))
            };
            let inner = inner(2, &["*"], order);
            let all = Patterns::all();
            let error = task_gradient(&slow, unprepared, loss(support), loss(query), &inner, &all)
                .unwrap_err();
            let Error::NotFinite { what, step } = error else {
                panic!("{error}")
            };
            assert_eq!((what, step), expected, "{order:?}");
        }
    };
    let square = |w: &Value| w.mul(w).unwrap();
    // The root of a square is finite at 0, its gradient by the rules is 0 / 0.
    let root = |w: &Value| w.mul(w).unwrap().sqrt().unwrap();
    let infinite = |w: &Value| w.recip().unwrap();
    check(infinite, square, ("support loss", 0));
    check(root, square, ("support gradient", 0));
    check(square, infinite, ("query loss", 2));
    check(square, root, ("meta-gradient", 2));
}

#[test]
fn a_gradient_that_the_next_loss_hides_is_found() {
    // One step makes `w` NaN, and the relu of NaN is 0: the loss after it looks well.
    let mut slow = Params::new();
    slow.insert("w", Tensor::new(0f64, &Device::Cpu).unwrap());
    let support = |p: &Params<Value>| p.get("w")?.mul(p.get("w")?)?.sqrt()?.relu();
    let error = adapt(&slow, unprepared, support, &inner(1, &["*"], Order::First)).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the support gradient is not finite at inner step 0"),
        "{error}"
    );
}
