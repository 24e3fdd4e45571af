//! Ordinary training, without an inner loop: batches of examples, with metrics, checkpoints and progress as `train` has.
//!
//! Deliberately not here: where examples come from, and what a model does with their tokens.

use std::{sync::Mutex, time::Instant};

use anyhow::Result;
use candle_core::D;
use metashot_autograd::{Params, Value, ops::cross_entropy};
use metashot_meta::{
    Event, InnerLoop, LossError, OuterLoop, Surroundings, TrainState, Workers, train, unprepared,
};
use metashot_models::TokenBatch;
use rand::seq::SliceRandom;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::json;

use crate::{progress::Progress, run_dir::RunDir};

/// Tokens of which some have an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    /// The token ids, special tokens included.
    pub ids: Vec<u32>,
    /// The places of the tokens that have an answer.
    pub positions: Vec<u32>,
    /// Their answers: classes of the model.
    pub targets: Vec<u32>,
}

/// Examples that one thread works on.
pub(crate) struct Part {
    batch: TokenBatch,
    rows: Vec<u32>,
    targets: Vec<i64>,
}

/// Examples of a part: a part costs as much as adding up a gradient, however few they are.
const PART: usize = 16;
/// Parts of a batch at least, so that there is work for every thread.
const MIN_PARTS: usize = 8;

/// What a random choice is for; each has generators of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Setting examples aside.
    HeldOut,
    /// The order of an epoch, by its number.
    Order,
    /// What is hidden at a step, by its number.
    Hidden,
    /// What is hidden in a validation.
    Validation,
}

/// The generator for a purpose: a function of the seed and a number alone, so that a resumed run draws the same.
pub(crate) fn generator(seed: u64, purpose: Purpose, number: u64) -> ChaCha8Rng {
    // An odd multiplier keeps different seeds different.
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(purpose as u64 + 1));
    rng.set_stream(number);
    rng
}

/// The numbers below `n`, in an order of the seed: those that are held out, and the others, each in rising order.
pub(crate) fn hold_out(n: usize, share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut generator(seed, Purpose::HeldOut, 0));
    let n_held_out = ((n as f64 * share).round() as usize).clamp(1.min(n), n.saturating_sub(1));
    let mut rest = order.split_off(n_held_out);
    order.sort_unstable();
    rest.sort_unstable();
    (order, rest)
}

/// Which examples make up the batch of each step: every one once an epoch, in an order of the epoch's own.
pub(crate) struct Batches {
    n_examples: usize,
    size: usize,
    seed: u64,
    /// The epoch that was asked for last, and its order.
    latest: Mutex<Option<(u64, Vec<usize>)>>,
}

impl Batches {
    pub(crate) fn new(n_examples: usize, size: usize, seed: u64) -> Self {
        Self {
            n_examples,
            size,
            seed,
            latest: Mutex::new(None),
        }
    }

    /// Steps of an epoch; its last batch may be smaller.
    pub(crate) fn per_epoch(&self) -> u64 {
        self.n_examples.div_ceil(self.size) as u64
    }

    /// The examples of a step.
    pub(crate) fn at(&self, step: u64) -> Vec<usize> {
        let (epoch, batch) = (step / self.per_epoch(), step % self.per_epoch());
        let mut latest = self.latest.lock().unwrap_or_else(|poisoned| {
            // What a thread left that panicked is thrown away.
            self.latest.clear_poison();
            let mut latest = poisoned.into_inner();
            *latest = None;
            latest
        });
        let order = match &mut *latest {
            Some((of, order)) if *of == epoch => order,
            other => {
                let mut order: Vec<usize> = (0..self.n_examples).collect();
                order.shuffle(&mut generator(self.seed, Purpose::Order, epoch));
                &mut other.insert((epoch, order)).1
            }
        };
        let start = batch as usize * self.size;
        order[start..(start + self.size).min(order.len())].to_vec()
    }
}

impl Part {
    fn new<'a>(examples: impl IntoIterator<Item = &'a Example>) -> Self {
        let examples: Vec<&Example> = examples.into_iter().collect();
        let mut part = Self {
            batch: TokenBatch::from_sequences(examples.iter().map(|example| &example.ids)),
            rows: Vec::new(),
            targets: Vec::new(),
        };
        let mut start = 0;
        for example in examples {
            part.rows
                .extend(example.positions.iter().map(|at| start + at));
            part.targets
                .extend(example.targets.iter().map(|&target| i64::from(target)));
            start += example.ids.len() as u32;
        }
        part
    }
}

/// A batch in parts of about the same number of tokens; the order of the examples within it does not matter.
fn parts(mut examples: Vec<Example>) -> Vec<Part> {
    examples.sort_by_key(|example| std::cmp::Reverse(example.ids.len()));
    let n_parts = examples
        .len()
        .div_ceil(PART)
        .max(MIN_PARTS)
        .min(examples.len());
    // Dealt to and fro: who gets the longest of one round gets the shortest of the next.
    let of = |part: usize| {
        examples
            .chunks(n_parts)
            .enumerate()
            .filter_map(move |(round, dealt)| {
                let at = if round % 2 == 0 {
                    part
                } else {
                    n_parts - 1 - part
                };
                dealt.get(at)
            })
    };
    (0..n_parts)
        .map(|part| Part::new(of(part)))
        .filter(|part| !part.targets.is_empty())
        .collect()
}

/// What training needs of its data and its model.
pub(crate) struct Subject<X, F, V, D> {
    /// The examples of a step.
    pub examples: X,
    /// The logits of some tokens of a batch.
    pub forward: F,
    /// A score, higher is better.
    pub validate: V,
    /// A score as people read it.
    pub describe: D,
}

/// Trains from `state` to the end of the schedule or of patience.
///
/// The loss of a step is the mean over the answers of its batch. Parts are worked on side by side and their gradients
/// added in order, so the number of threads changes no bit.
pub(crate) fn fit<X, F, V, D>(
    state: TrainState,
    outer: &OuterLoop,
    workers: &Workers,
    run: &mut RunDir,
    subject: Subject<X, F, V, D>,
) -> Result<TrainState>
where
    X: Fn(u64) -> Vec<Example>,
    F: Fn(&Params<Value>, &TokenBatch, &[u32]) -> metashot_models::Result<Value> + Sync,
    V: Fn(&Params) -> Result<f64>,
    D: Fn(f64) -> String,
{
    let Subject {
        examples,
        forward,
        validate,
        describe,
    } = subject;
    let mut progress = Progress::new("training", state.step, outer.schedule.total);
    let started = Instant::now();
    let n_tokens = std::cell::Cell::new(0usize);
    let loss = |(part, weight): &(Part, f64), params: &Params<Value>| {
        let logits = forward(params, &part.batch, &part.rows)?;
        Ok::<_, metashot_models::Error>(
            cross_entropy(&logits, &part.targets)?.affine(*weight, 0.0)?,
        )
    };
    let surroundings = Surroundings {
        // Without inner steps nothing is adapted to.
        prepare: |_: &(Part, f64), params: &Params<Value>| unprepared(params),
        support: loss,
        query: loss,
        tasks: |step| -> Result<Vec<(Part, f64)>, LossError> {
            let parts = parts(examples(step));
            let tokens: usize = parts.iter().map(|part| part.batch.n_tokens()).sum();
            n_tokens.set(n_tokens.get() + tokens);
            // The mean over parts of these is the mean over answers.
            let n_targets: usize = parts.iter().map(|part| part.targets.len()).sum();
            let scale = parts.len() as f64 / n_targets as f64;
            let weigh = |part: Part| {
                let weight = scale * part.targets.len() as f64;
                (part, weight)
            };
            Ok(parts.into_iter().map(weigh).collect())
        },
        validate: |params: &Params| -> Result<f64, LossError> { Ok(validate(params)?) },
        observe: |event: Event<'_>| -> Result<(), LossError> {
            match event {
                Event::Step {
                    step,
                    loss,
                    grad_norm,
                    lr,
                    ..
                } => {
                    let rate = n_tokens.get() as f64 / started.elapsed().as_secs_f64();
                    run.log(&json!({
                        "step": step, "loss": loss, "grad_norm": grad_norm, "lr": lr, "tokens_per_second": rate,
                    }))?;
                    progress.step(step + 1, || {
                        format!("loss {loss:.4}  {:.1}k tokens/s", rate / 1000.0)
                    });
                }
                Event::Validation { state, score } => {
                    run.log(&json!({ "step": state.step - 1, "validation": score, "best": state.best_score }))?;
                    run.save(state)?;
                    progress.line(&format!("step {}: {}", state.step, describe(score)));
                }
            }
            Ok(())
        },
    };
    Ok(train(
        state,
        (&InnerLoop::none(), outer),
        workers,
        surroundings,
    )?)
}

/// The mean loss over the answers of examples.
pub(crate) fn mean_loss<F>(
    examples: &[Example],
    params: &Params,
    forward: F,
    workers: &Workers,
) -> Result<f64>
where
    F: Fn(&Params<Value>, &TokenBatch, &[u32]) -> metashot_models::Result<Value> + Sync,
{
    let params = params.constants();
    let chunks: Vec<&[Example]> = examples.chunks(PART).collect();
    let losses = workers.map(chunks.len() as u64, |chunk| -> Result<(f64, usize)> {
        let part = Part::new(chunks[chunk as usize]);
        if part.targets.is_empty() {
            return Ok((0.0, 0));
        }
        let logits = forward(&params, &part.batch, &part.rows)?;
        let loss = cross_entropy(&logits, &part.targets)?.to_f64()?;
        Ok((loss * part.targets.len() as f64, part.targets.len()))
    })?;
    let (sum, count) = losses
        .into_iter()
        .fold((0.0, 0), |(sum, count), (loss, n)| (sum + loss, count + n));
    Ok(sum / count as f64)
}

/// The most likely answers, example by example.
pub(crate) fn answers<F>(
    examples: &[Example],
    params: &Params,
    forward: F,
    workers: &Workers,
) -> Result<Vec<Vec<usize>>>
where
    F: Fn(&Params<Value>, &TokenBatch, &[u32]) -> metashot_models::Result<Value> + Sync,
{
    let params = params.constants();
    let chunks: Vec<&[Example]> = examples.chunks(PART).collect();
    let answers = workers.map(chunks.len() as u64, |chunk| -> Result<Vec<Vec<usize>>> {
        let chunk = chunks[chunk as usize];
        let part = Part::new(chunk);
        if part.rows.is_empty() {
            return Ok(vec![Vec::new(); chunk.len()]);
        }
        let logits = forward(&params, &part.batch, &part.rows)?;
        let mut labels = logits
            .tensor()
            .argmax(D::Minus1)?
            .to_vec1::<u32>()?
            .into_iter()
            .map(|label| label as usize);
        let of = |example: &Example| labels.by_ref().take(example.positions.len()).collect();
        Ok(chunk.iter().map(of).collect())
    })?;
    Ok(answers.into_iter().flatten().collect())
}
