//! Conv-4 on pictures of 28 x 28: a meta-step of MAML, and a training step of a prototypical network.
//!
//! Deliberately not here: the model, the losses and the optimizer, which are the libraries' own.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use clap::Args;
use metashot_autograd::{
    Order, Params, Patterns, Value,
    ops::{cross_entropy_by_task, linear},
};
use metashot_meta::{AdamW, InnerLoop, LossError, Memory, Prepared, prototype_head, prototypes};
use metashot_models::Conv4;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::Serialize;

use crate::{
    arithmetic::{Forward, product},
    draw::Draw,
    keep::Keep,
    measure::Bound,
    step::{Step, Training},
};

const SIDE: usize = 28;
const FILTERS: usize = 64;
const OUTER_LR: f64 = 1e-3;
/// Meta-batches that are made before, and then taken in turn.
const BATCHES: u64 = 4;

#[derive(Args, Serialize)]
pub(crate) struct Maml {
    /// Classes of an episode.
    #[arg(long, default_value_t = 5)]
    way: usize,
    /// Support pictures of a class.
    #[arg(long, default_value_t = 1)]
    shot: usize,
    /// Query pictures of a class.
    #[arg(long, default_value_t = 1)]
    query: usize,
    /// Steps of the inner loop.
    #[arg(long, default_value_t = 5)]
    inner_steps: usize,
    /// The length of an inner step.
    #[arg(long, default_value_t = 0.4)]
    inner_lr: f64,
    /// Tasks of a meta-step.
    #[arg(long, default_value_t = 32)]
    meta_batch: usize,
    /// First-order MAML in place of the exact meta-gradient.
    #[arg(long)]
    first_order: bool,
    /// What is kept of the inner steps; the default is what the program chooses where memory is free.
    #[arg(long, value_enum, default_value_t = Keep::Fast)]
    memory: Keep,
}

#[derive(Args, Serialize)]
pub(crate) struct Proto {
    /// Classes of an episode.
    #[arg(long, default_value_t = 5)]
    way: usize,
    /// Support pictures of a class.
    #[arg(long, default_value_t = 5)]
    shot: usize,
    /// Query pictures of a class.
    #[arg(long, default_value_t = 15)]
    query: usize,
    /// Episodes of a step.
    #[arg(long, default_value_t = 4)]
    meta_batch: usize,
}

impl Maml {
    pub(crate) fn run(&self, bound: &Bound) -> Result<serde_json::Value> {
        let device = bound.open()?;
        let (model, params) = model(self.way, bound.seed, &device)?;
        let mut draw = Draw::new(bound.seed);
        // A batch has the pictures of one task after those of another, and so have the labels.
        let n_tasks = if bound.is_batched() {
            self.meta_batch
        } else {
            1
        };
        let batches = (0..BATCHES * (self.meta_batch / n_tasks) as u64)
            .map(|_| {
                let mut halves = [Vec::new(), Vec::new()];
                for _ in 0..n_tasks {
                    halves[0].push(pictures(&mut draw, self.way * self.shot, &device)?);
                    halves[1].push(pictures(&mut draw, self.way * self.query, &device)?);
                }
                let [support, query] = halves.map(|half| Value::cat(&half, 0));
                Ok((support?, query?))
            })
            .collect::<Result<Vec<_>>>()?;
        let [support_labels, query_labels] =
            [self.shot, self.query].map(|n| labels(self.way, n).repeat(n_tasks));
        let loss = |params: &Params<Value>, x: &Value, labels: &[i64]| -> Result<_, LossError> {
            let logits = model.forward(params, x)?;
            Ok(cross_entropy_by_task(&logits, labels, n_tasks)?)
        };
        let inner = InnerLoop {
            steps: self.inner_steps,
            lr: self.inner_lr,
            adapt: Patterns::all(),
            order: if self.first_order {
                Order::First
            } else {
                Order::Higher
            },
            memory: self.memory.into(),
        };
        let losses = (
            |task: &(Value, Value), p: &Params<Value>| loss(p, &task.0, &support_labels),
            |task: &(Value, Value), p: &Params<Value>| loss(p, &task.1, &query_labels),
        );
        let of_step = (self.meta_batch, n_tasks);
        let times = train(params, &batches, of_step, losses, &inner, bound)?;
        bound.line(
            "conv4",
            self,
            times,
            ("tasks_per_s", self.meta_batch),
            self.flop(),
        )
    }

    fn flop(&self) -> f64 {
        let picture = blocks() + head(self.way);
        let (support, query) = (
            picture * (self.way * self.shot),
            picture * (self.way * self.query),
        );
        let task =
            self.inner_steps as f64 * support.inner_step(self.first_order) + query.with_gradient();
        self.meta_batch as f64 * task
    }
}

impl Proto {
    pub(crate) fn run(&self, bound: &Bound) -> Result<serde_json::Value> {
        let device = bound.open()?;
        let (model, params) = model(self.way, bound.seed, &device)?;
        // The head has no part in the loss.
        let (_, params) = params.split(&Patterns::new(["head"]))?;
        let n_tasks = if bound.is_batched() {
            self.meta_batch
        } else {
            1
        };
        let (n_support, n_query) = (self.way * self.shot, self.way * self.query);
        let mut draw = Draw::new(bound.seed);
        let batches = (0..BATCHES * (self.meta_batch / n_tasks) as u64)
            .map(|_| pictures(&mut draw, n_tasks * (n_support + n_query), &device))
            .collect::<Result<Vec<_>>>()?;
        // Each task has classes of its own.
        let support_labels = labels(n_tasks * self.way, self.shot);
        let query_labels = labels(self.way, self.query).repeat(n_tasks);
        let loss = |episodes: &Value, params: &Params<Value>| -> Result<Value, LossError> {
            let embeddings = model.embed(params, episodes)?.by_task(n_tasks)?;
            let rows = |from, n| {
                let rows = embeddings.narrow(1, from, n)?;
                rows.reshape(&[n_tasks * n, rows.dims()[2]])
            };
            let (support, query) = (rows(0, n_support)?, rows(n_support, n_query)?);
            let centres = prototypes(&support, &support_labels, n_tasks * self.way)?;
            let centres = if n_tasks > 1 {
                centres.by_task(n_tasks)?
            } else {
                centres
            };
            let [weight, bias] = prototype_head(&centres, 1.0)?;
            let logits = linear(&query, &weight, &bias)?;
            Ok(cross_entropy_by_task(&logits, &query_labels, n_tasks)?)
        };
        // Nothing adapts: the meta-gradient is the loss's gradient.
        let inner = InnerLoop {
            steps: 0,
            lr: 0.0,
            adapt: Patterns::all(),
            order: Order::First,
            memory: Memory::Flat,
        };
        let of_step = (self.meta_batch, n_tasks);
        let times = train(params, &batches, of_step, (loss, loss), &inner, bound)?;
        bound.line(
            "proto",
            self,
            times,
            ("tasks_per_s", self.meta_batch),
            self.flop(),
        )
    }

    fn flop(&self) -> f64 {
        let pictures = self.meta_batch * self.way * (self.shot + self.query);
        (blocks() * pictures).with_gradient()
    }
}

/// Times steps of training, the optimizer's part included. A step has so many tasks, and one of `batches` is made of so
/// many.
fn train<T: Sync>(
    params: Params,
    batches: &[T],
    (meta_batch, n_tasks): (usize, usize),
    (support, query): (
        impl Fn(&T, &Params<Value>) -> Result<Value, LossError> + Sync,
        impl Fn(&T, &Params<Value>) -> Result<Value, LossError> + Sync,
    ),
    inner: &InnerLoop,
    bound: &Bound,
) -> Result<crate::measure::Times> {
    let (all, adam) = (Patterns::all(), (AdamW::new(0.0), OUTER_LR));
    let mut training = Training::new(params, adam, (inner, &all), bound.threads)?;
    let prepare = |params: &Params<Value>| -> Result<Prepared, LossError> {
        Ok(Prepared {
            start: Conv4::norms_for_each_task(params, n_tasks)?,
            ..Prepared::default()
        })
    };
    bound.time(|step| {
        let at = (step % BATCHES) as usize;
        let tasks = if bound.is_batched() {
            Step::Batch(&batches[at], n_tasks)
        } else {
            Step::Each(&batches[at * meta_batch..(at + 1) * meta_batch])
        };
        training.step(&tasks, |_, p| prepare(p), &support, &query)
    })
}

fn model(n_classes: usize, seed: u64, device: &Device) -> Result<(Conv4, Params)> {
    let model = Conv4 {
        in_channels: 1,
        filters: FILTERS,
        height: SIDE,
        width: SIDE,
        n_classes,
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let params = model.init(&mut rng, DType::F32, device)?;
    Ok((model, params))
}

/// Pictures `(n, height, width, channels)`.
fn pictures(draw: &mut Draw, n: usize, device: &Device) -> Result<Value> {
    let pixels = draw.pixels(n * SIDE * SIDE);
    let pictures = Tensor::from_vec(pixels, (n, SIDE, SIDE, 1), device)?;
    Ok(Value::constant(pictures))
}

/// As many of each class, one class after another.
fn labels(way: usize, of_each: usize) -> Vec<i64> {
    (0..way * of_each).map(|i| (i / of_each) as i64).collect()
}

/// The four convolutions on one picture; the first reads pixels.
fn blocks() -> Forward {
    let mut forward = Forward::default();
    let (mut side, mut channels) = (SIDE, 1);
    for block in 0..4 {
        let flop = product(side * side, 9 * channels, FILTERS);
        if block == 0 {
            forward.first = flop;
        } else {
            forward.rest += flop;
        }
        (side, channels) = (side / 2, FILTERS);
    }
    forward
}

fn head(way: usize) -> Forward {
    Forward {
        first: 0.0,
        rest: product(1, FILTERS, way),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_what_the_peers_count() {
        let maml = |way, query, inner_steps, meta_batch, first_order| Maml {
            way,
            shot: 1,
            query,
            inner_steps,
            inner_lr: 0.4,
            meta_batch,
            first_order,
            memory: Keep::Flat,
        };
        let proto = |way| Proto {
            way,
            shot: 5,
            query: 15,
            meta_batch: 4,
        };
        for (found, gflop) in [
            (maml(5, 1, 1, 32, false).flop(), 36.8239),
            (maml(5, 1, 1, 32, true).flop(), 18.5565),
            (maml(5, 15, 5, 8, false).flop(), 69.2255),
            (maml(20, 1, 5, 8, false).flop(), 147.0215),
            (proto(5).flop(), 23.1948),
            (proto(20).flop(), 92.7793),
        ] {
            assert!(
                (found / 1e9 - gflop).abs() < 1e-4,
                "{} {gflop}",
                found / 1e9
            );
        }
    }

    #[test]
    fn classes_stand_one_after_another() {
        assert_eq!(labels(3, 2), [0, 0, 1, 1, 2, 2]);
    }
}
