//! The outer loop: the same bits at any number of threads and after a resume, and that it learns.

use std::cell::Cell;

use metashot_autograd::{Order, Params, Patterns, Value, grad_params};
use metashot_meta::{
    AdamW, Error, Event, InnerLoop, LossError, Memory, MetaGradient, OuterLoop, Schedule,
    Surroundings, TrainState, Workers, meta_gradient, train, unprepared,
};

use crate::sinusoid::{Wave, start};

fn inner() -> InnerLoop {
    InnerLoop {
        steps: 2,
        lr: 0.05,
        adapt: Patterns::all(),
        order: Order::Higher,
        memory: Memory::Flat,
    }
}

fn outer(total: u64) -> OuterLoop {
    OuterLoop {
        schedule: Schedule {
            peak: 5e-3,
            warmup: 5,
            total,
            floor: 0.1,
        },
        adamw: AdamW::new(0.01),
        clip_norm: 10.0,
        train: Patterns::all(),
        validate_every: 5,
        patience: None,
    }
}

fn waves(seed: u64, first: u64, count: u64) -> Vec<Wave> {
    (first..first + count)
        .map(|index| Wave::new(seed, index))
        .collect()
}

/// The meta-gradient over some waves.
fn gradient(
    params: &Params,
    tasks: &[Wave],
    inner: &InnerLoop,
    workers: &Workers,
) -> metashot_meta::Result<MetaGradient> {
    meta_gradient(
        params,
        tasks,
        |_, p| unprepared(p),
        |t: &Wave, p: &Params<Value>| t.support(p),
        |t: &Wave, p: &Params<Value>| t.query(p),
        (inner, &Patterns::all()),
        workers,
    )
}

/// The mean query loss after adapting, over waves that training does not see.
fn held_out(params: &Params, workers: &Workers) -> f64 {
    let meta = gradient(params, &waves(99, 0, 50), &inner(), workers);
    meta.unwrap().loss
}

/// Trains from a state; returns the end and the state at every validation.
fn run(state: TrainState, outer: &OuterLoop, threads: usize) -> (TrainState, Vec<TrainState>) {
    let workers = Workers::new(threads).unwrap();
    let mut seen = Vec::new();
    let surroundings = Surroundings {
        gradient: |step, p: &Params| gradient(p, &waves(7, step * 5, 5), &inner(), &workers),
        validate: |params: &Params| Ok(-held_out(params, &workers)),
        observe: |event: Event<'_>| -> Result<(), LossError> {
            if let Event::Validation { state, .. } = event {
                seen.push(state.clone());
            }
            Ok(())
        },
    };
    let end = train(state, outer, &workers, surroundings).unwrap();
    (end, seen)
}

fn bits(params: &Params) -> Vec<(String, Vec<u64>)> {
    let tensor = |tensor: &candle_core::Tensor| {
        let numbers: Vec<f64> = tensor.flatten_all().unwrap().to_vec1().unwrap();
        numbers.into_iter().map(f64::to_bits).collect()
    };
    params
        .iter()
        .map(|(name, numbers)| (name.to_owned(), tensor(numbers)))
        .collect()
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let outer = outer(10);
    let fresh = || TrainState::new(start(1, 16), &outer).unwrap();
    let reference = bits(&run(fresh(), &outer, 1).0.params);
    for threads in 2..=4 {
        assert_eq!(
            bits(&run(fresh(), &outer, threads).0.params),
            reference,
            "{threads} threads"
        );
    }
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() {
    let outer = outer(20);
    let (end, states) = run(TrainState::new(start(1, 16), &outer).unwrap(), &outer, 2);
    assert_eq!(
        states.iter().map(|state| state.step).collect::<Vec<_>>(),
        [5, 10, 15, 20]
    );
    let (resumed, _) = run(states[1].clone(), &outer, 2);
    assert_eq!(bits(&resumed.params), bits(&end.params));
    assert_eq!(bits(&resumed.best), bits(&end.best));
    assert_eq!(bits(&resumed.optimizer.v), bits(&end.optimizer.v));
}

#[test]
fn training_without_inner_steps_is_ordinary_training() {
    let slow = start(1, 16);
    let tasks = waves(7, 0, 5);
    let workers = Workers::new(2).unwrap();
    let never = |_: &Wave, _: &Params<Value>| -> Result<Value, LossError> {
        Err("nothing is adapted to".into())
    };
    let meta = meta_gradient(
        &slow,
        &tasks,
        |_: &Wave, p: &Params<Value>| unprepared(p),
        never,
        |t: &Wave, p: &Params<Value>| t.query(p).map_err(LossError::from),
        (&InnerLoop::none(), &Patterns::all()),
        &workers,
    )
    .unwrap();
    let variables = slow.variables();
    let losses = tasks.iter().map(|t| t.query(&variables).unwrap());
    let loss = losses.reduce(|a, b| a.add(&b).unwrap()).unwrap();
    let loss = loss.affine(0.2, 0.0).unwrap();
    assert!((meta.loss - loss.to_f64().unwrap()).abs() < 1e-12);
    let gradient = grad_params(&loss, &variables, Order::First).unwrap();
    for (name, wanted) in gradient.iter() {
        let found = meta.gradient.get(name).unwrap();
        let difference = (found - wanted.tensor()).unwrap().abs().unwrap();
        let largest: f64 = difference
            .flatten_all()
            .unwrap()
            .max(0)
            .unwrap()
            .to_scalar()
            .unwrap();
        assert!(largest < 1e-12, "{name}: {largest:e}");
    }
}

#[test]
fn training_stops_when_patience_runs_out_and_stays_stopped() {
    let outer = OuterLoop {
        patience: Some(2),
        ..outer(100)
    };
    let workers = Workers::new(1).unwrap();
    let run = |state: TrainState| {
        let n_validations = Cell::new(0);
        let surroundings = Surroundings {
            gradient: |step, p: &Params| gradient(p, &waves(7, step, 1), &inner(), &workers),
            // Better, worse, best, and never again.
            validate: |_: &Params| {
                n_validations.set(n_validations.get() + 1);
                Ok([0.5, 0.4, 0.6]
                    .get(n_validations.get() - 1)
                    .map_or(0.6, |score| *score))
            },
            observe: |_: Event<'_>| Ok(()),
        };
        train(state, &outer, &workers, surroundings).unwrap()
    };
    let end = run(TrainState::new(start(1, 16), &outer).unwrap());
    assert_eq!((end.step, end.stale), (25, 2));
    assert!((end.best_score - 0.6).abs() < 1e-12);
    assert_ne!(bits(&end.best), bits(&end.params));
    assert_eq!(
        run(end).step,
        25,
        "a stopped run that is resumed ends at once"
    );
}

#[test]
fn meta_training_learns_a_start_that_adapts() {
    let workers = Workers::new(2).unwrap();
    let outer = outer(300);
    let before = start(1, 16);
    let (end, _) = run(TrainState::new(before.clone(), &outer).unwrap(), &outer, 2);
    let (before, after) = (held_out(&before, &workers), held_out(&end.best, &workers));
    assert!(after < 0.6 * before, "from {before} to {after}");
}

#[test]
fn failures_name_step_and_task() {
    let outer = outer(5);
    let workers = Workers::new(2).unwrap();
    let inner = InnerLoop {
        lr: 1e200,
        steps: 5,
        ..inner()
    };
    let surroundings = Surroundings {
        gradient: |step, p: &Params| gradient(p, &waves(7, step * 5, 5), &inner, &workers),
        validate: |_: &Params| Ok(0.0),
        observe: |_: Event<'_>| -> Result<(), LossError> { Ok(()) },
    };
    let state = TrainState::new(start(1, 16), &outer).unwrap();
    let error = train(state, &outer, &workers, surroundings).unwrap_err();
    let chain = causes(&error);
    assert_eq!(chain[0], "meta-training failed at step 0");
    assert_eq!(chain[1], "task 0 failed");
    assert!(
        chain[2].starts_with("the support loss is not finite at inner step"),
        "{chain:?}"
    );
}

#[test]
fn the_failing_task_is_named_at_any_number_of_threads() {
    let settings = (&inner(), &Patterns::all());
    let query = |(wave, scale): &(Wave, f64), p: &Params<Value>| wave.query(p)?.affine(*scale, 0.0);
    let support = |(wave, _): &(Wave, f64), p: &Params<Value>| wave.support(p);
    let tasks: Vec<(Wave, f64)> = waves(7, 0, 6)
        .into_iter()
        .zip([1.0, 1.0, 1.0, f64::NAN, 1.0, f64::NAN])
        .collect();
    for threads in 1..=4 {
        let workers = Workers::new(threads).unwrap();
        let error = meta_gradient(
            &start(1, 8),
            &tasks,
            |_, p| unprepared(p),
            support,
            query,
            settings,
            &workers,
        )
        .unwrap_err();
        let Error::Task { task: 3, source } = error else {
            panic!("{threads} threads: {error}")
        };
        assert!(
            source
                .to_string()
                .starts_with("the query loss is not finite at inner step 2"),
            "{source}"
        );
    }
    let workers = Workers::new(1).unwrap();
    let error = meta_gradient(
        &start(1, 8),
        &[],
        |_, p| unprepared(p),
        support,
        query,
        settings,
        &workers,
    )
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "`tasks_per_step` must be at least 1, found `0`"
    );
}

/// Runs two steps with a score for every validation; returns the error and its causes.
fn failure(outer: &OuterLoop, score: f64) -> Vec<String> {
    let state = TrainState::new(start(1, 8), outer).unwrap();
    let workers = Workers::new(1).unwrap();
    let surroundings = Surroundings {
        gradient: |step, p: &Params| gradient(p, &waves(7, step, 1), &inner(), &workers),
        validate: |_: &Params| Ok(score),
        observe: |_: Event<'_>| -> Result<(), LossError> { Ok(()) },
    };
    causes(&train(state, outer, &workers, surroundings).unwrap_err())
}

fn causes(error: &Error) -> Vec<String> {
    std::iter::successors(Some(error as &dyn std::error::Error), |error| {
        error.source()
    })
    .map(ToString::to_string)
    .collect()
}

#[test]
fn a_score_that_is_no_number_stops_training() {
    let outer = OuterLoop {
        validate_every: 2,
        patience: None,
        ..outer(5)
    };
    assert_eq!(
        failure(&outer, f64::NAN),
        [
            "meta-training failed at step 1",
            "the validation score is not a number"
        ]
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    let check = |change: fn(&mut OuterLoop), expected: &str| {
        let mut outer = outer(5);
        change(&mut outer);
        assert_eq!(failure(&outer, 0.0), [expected]);
    };
    check(
        |outer| outer.validate_every = 0,
        "`validate_every` must be at least 1, found `0`",
    );
    check(
        |outer| outer.patience = Some(0),
        "`patience` must be at least 1, found `0`",
    );
    check(
        |outer| outer.clip_norm = f64::NAN,
        "`clip_norm` must be a positive number, or infinite for no clipping, found `NaN`",
    );
    check(
        |outer| outer.adamw.beta1 = 1.0,
        "`beta1` must be at least 0 and below 1, found `1`",
    );
    check(
        |outer| outer.adamw.eps = 0.0,
        "`eps` must be a positive number, found `0`",
    );
    check(
        |outer| outer.adamw.weight_decay = -0.5,
        "`weight_decay` must be a number that is not negative, found `-0.5`",
    );
    check(
        |outer| outer.schedule.warmup = 6,
        "`warmup_steps` must be at most the number of steps, found `6`",
    );
}
