//! `metashot train`: meta-train a start, then compare it with the baselines.
//!
//! Deliberately not here: the outer loop, which is `metashot_meta::train`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use metashot_autograd::{Params, Patterns, Value};
use metashot_meta::{
    AdamW, Event, LossError, OuterLoop, Schedule, Surroundings, TrainState, Workers,
    batched_meta_gradient, meta_gradient, train,
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::json;

use super::{
    print,
    session::{Job, free_directory, shown, with_case},
};
use crate::{
    args::TrainArgs,
    cases::{Case, Half, Split},
    episode_scores,
    learners::{
        Decoding, Episodes, HeadStart, Learner, compare, episode_seed, evaluate, loss,
        training_loop,
    },
    manifest::Begun,
    memory,
    progress::{Progress, say},
    recipe::Recipe,
    run_dir::{Earlier, RunDir, config_path, load_state},
    score::Totals,
};

/// Trains and prints the table.
pub(super) fn run(args: &TrainArgs) -> Result<()> {
    let overrides = &args.common.overrides;
    let recipe = match (&args.out, args.resume) {
        (Some(out), true) => Recipe::load(Some(&config_path(out)), overrides)
            .with_context(|| format!("{} holds no run to go on with", shown(out)))?,
        _ => Recipe::load(args.recipe.as_deref(), overrides)?,
    };
    if args.print_config {
        return print(&recipe.to_toml()?);
    }
    let job = Train {
        root: args
            .out
            .clone()
            .unwrap_or_else(|| free_directory(args.recipe.as_deref(), "default")),
        resume: args.resume,
        earlier: if args.overwrite {
            Earlier::Overwrite
        } else {
            Earlier::Refuse
        },
    };
    with_case(&recipe, &args.common, job)
}

struct Train {
    root: PathBuf,
    resume: bool,
    earlier: Earlier,
}

impl Job for Train {
    const COMMAND: &'static str = "train";

    fn run<C: Case>(
        self,
        case: &C,
        recipe: &Recipe,
        workers: &Workers,
        mut manifest: Begun,
    ) -> Result<()> {
        let start = case.init(&mut ChaCha8Rng::seed_from_u64(recipe.seed))?;
        let outer = outer_loop(recipe);
        let slow = HeadStart::of(recipe).slow::<C>(&start);
        // A pattern that matches nothing must be known before anything is written.
        start
            .split(&training_loop(recipe).adapt)
            .context("`inner.adapt` does not fit the model")?;
        slow.split(&outer.train)
            .context("`outer.train` does not fit the model")?;
        let saved = if self.resume {
            load_state(&self.root)?
        } else {
            None
        };
        let (mut run, state) = if let Some(state) = saved {
            manifest.resumed_at(state.step);
            (RunDir::resume(&self.root, state.step)?, state)
        } else {
            let state = TrainState::new(slow, &outer)?;
            let earlier = if self.resume {
                Earlier::Overwrite
            } else {
                self.earlier
            };
            (
                RunDir::create(&self.root, &recipe.to_toml()?, earlier)?,
                state,
            )
        };
        say(&format!(
            "{} parameters, {} threads, results in {}",
            start.n_elements(),
            workers.n_threads(),
            shown(run.root())
        ));
        let mut progress = Progress::new("training", state.step, outer.schedule.total);
        let state = meta_train(
            case,
            recipe,
            workers,
            &outer,
            state,
            &mut run,
            &mut progress,
        )?;
        let minutes = progress.elapsed().as_secs_f64() / 60.0;
        drop(progress);
        say(&format!(
            "trained in {minutes:.1} minutes, best validation score {:.2}",
            state.best_score * 100.0
        ));
        let results = compare(case, recipe, workers, (&start, &state.best), Some(minutes))?;
        episode_scores::write(run.root(), &results.rows)?;
        manifest.episodes(results.episodes_hash);
        manifest.write(run.root(), run.root())?;
        run.save_results(&results)?;
        print(&results.table())
    }
}

fn outer_loop(recipe: &Recipe) -> OuterLoop {
    let outer = &recipe.outer;
    OuterLoop {
        schedule: Schedule {
            peak: outer.lr,
            warmup: outer.warmup_steps as u64,
            total: outer.steps as u64,
            floor: outer.lr_floor,
        },
        adamw: AdamW::new(outer.weight_decay),
        clip_norm: if outer.clip_norm > 0.0 {
            outer.clip_norm
        } else {
            f64::INFINITY
        },
        train: Patterns::new(outer.train.clone()),
        validate_every: recipe.evaluation.every as u64,
        patience: None,
    }
}

fn meta_train<C: Case>(
    case: &C,
    recipe: &Recipe,
    workers: &Workers,
    outer: &OuterLoop,
    state: TrainState,
    run: &mut RunDir,
    progress: &mut Progress,
) -> Result<TrainState> {
    let mut inner = training_loop(recipe);
    let head = HeadStart::of(recipe);
    // What neither loop changes is computed once for the whole run.
    let frozen = case.frozen(&state.params, &[&inner.adapt, &outer.train]);
    let frozen = frozen.as_ref();
    inner.memory = memory::choose(
        case,
        recipe,
        (&state.params, frozen),
        &inner,
        &outer.train,
        workers.n_threads(),
    )?;
    let learner = Learner::of(recipe);
    let n_tasks = recipe.outer.tasks_per_step as u64;
    let seed = episode_seed(recipe.seed, Split::Train);
    let validation = Episodes::validation(recipe);
    let first = state.step;
    let started = std::time::Instant::now();
    let prepare =
        |task: &C::Task, params: &Params<Value>| head.prepare(case, task, params, &inner.adapt);
    let support = |task: &C::Task, params: &Params<Value>| loss(case, task, Half::Support, params);
    let query = |task: &C::Task, params: &Params<Value>| loss(case, task, Half::Query, params);
    let settings = (&inner, &outer.train);
    let batched = recipe.are_tasks_batched();
    let surroundings = Surroundings {
        gradient: |step: u64, params: &Params| {
            let episodes = step * n_tasks..(step + 1) * n_tasks;
            if batched {
                let tasks = case
                    .batch(Split::Train, seed, episodes, frozen)
                    .map_err(caller)?;
                return batched_meta_gradient(
                    params,
                    n_tasks as usize,
                    |p| prepare(&tasks, p),
                    |p| support(&tasks, p),
                    |p| query(&tasks, p),
                    settings,
                );
            }
            let draw = |task| case.task(Split::Train, seed, episodes.start + task, frozen);
            let tasks = workers.map(n_tasks, draw).map_err(caller)?;
            meta_gradient(params, &tasks, prepare, support, query, settings, workers)
        },
        validate: |params: &Params| -> Result<f64, LossError> {
            let start = (params, frozen);
            let by_row = (&learner, &[Decoding::Each][..]);
            let scores = evaluate(case, by_row, start, validation, workers, None)?;
            Ok(Totals::new(&scores[0]).overall_of_all())
        },
        observe: |event: Event<'_>| -> Result<(), LossError> {
            match event {
                Event::Step {
                    step,
                    loss,
                    start_loss,
                    grad_norm,
                    lr,
                } => {
                    let rate =
                        ((step + 1 - first) * n_tasks) as f64 / started.elapsed().as_secs_f64();
                    run.log(&json!({
                        "step": step, "loss": loss, "start_loss": start_loss, "grad_norm": grad_norm, "lr": lr,
                        "tasks_per_second": rate,
                    }))?;
                    progress.step(step + 1, || format!("loss {loss:.4}  {rate:.1} tasks/s"));
                }
                Event::Validation { state, score } => {
                    run.log(&json!({ "step": state.step - 1, "validation": score, "best": state.best_score }))?;
                    run.save(state)?;
                    progress.line(&format!(
                        "step {}: validation score {:.2}",
                        state.step,
                        score * 100.0
                    ));
                }
            }
            Ok(())
        },
    };
    Ok(train(state, outer, workers, surroundings)?)
}

fn caller(error: anyhow::Error) -> metashot_meta::Error {
    metashot_meta::Error::Caller(error.into())
}
