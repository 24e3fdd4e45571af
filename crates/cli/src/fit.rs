//! Ordinary training, without an inner loop: batches of examples, with metrics, checkpoints and progress as `train` has.
//!
//! Deliberately not here: where examples come from, and what a model does with their tokens.

mod batches;

use std::{cell::Cell, time::Instant};

use anyhow::Result;
use candle_core::D;
use metashot_autograd::{Params, Value, ops::cross_entropy};
use metashot_meta::{
    Event, InnerLoop, LossError, OuterLoop, Surroundings, TrainState, Workers, meta_gradient,
    train, unprepared,
};
use metashot_models::TokenBatch;
use serde_json::json;

pub(crate) use self::batches::{Batches, Example, Purpose, generator, hold_out};
use self::batches::{PART, Part, parts};
use crate::{progress::Progress, run_dir::RunDir};

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
    let n_tokens = Cell::new(0usize);
    let loss = |(part, weight): &(Part, f64), params: &Params<Value>| {
        let logits = forward(params, &part.batch, &part.rows)?;
        Ok::<_, metashot_models::Error>(
            cross_entropy(&logits, &part.targets)?.affine(*weight, 0.0)?,
        )
    };
    let surroundings = Surroundings {
        gradient: |step, params: &Params| {
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
            let parts: Vec<(Part, f64)> = parts.into_iter().map(weigh).collect();
            // Without inner steps nothing is adapted to.
            let settings = (&InnerLoop::none(), &outer.train);
            meta_gradient(
                params,
                &parts,
                |_, params| unprepared(params),
                loss,
                loss,
                settings,
                workers,
            )
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
    Ok(train(state, outer, workers, surroundings)?)
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
