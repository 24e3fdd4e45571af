//! The outer loop: take a meta-gradient, clip it, update the start; validate and keep the best.
//!
//! The state between two steps is a value. Whoever saves it and comes back later goes on with the same bits. Not
//! here: tasks, and how they get to a meta-gradient; files and printing, as an observer is told what happens.

use metashot_autograd::{Params, Patterns};

use crate::{
    error::{Error, LossError, Result},
    meta_step::MetaGradient,
    optimizer::{AdamW, AdamWState, Schedule, clip_norm},
    workers::Workers,
};

/// The settings of the outer loop.
#[derive(Clone, Debug)]
pub struct OuterLoop {
    /// Updates, and the learning rate over them.
    pub schedule: Schedule,
    /// The optimizer.
    pub adamw: AdamW,
    /// The largest norm of a meta-gradient; infinite for any.
    pub clip_norm: f64,
    /// The parameters that are trained.
    pub train: Patterns,
    /// Steps between two validations; there is one after the last step too.
    pub validate_every: u64,
    /// Validations in a row without a better score after which training stops; `None` for all steps.
    pub patience: Option<u64>,
}

/// Where training stands between two steps.
#[derive(Clone, Debug)]
pub struct TrainState {
    /// Steps done.
    pub step: u64,
    /// The start as it is now.
    pub params: Params,
    /// The optimizer's memory.
    pub optimizer: AdamWState,
    /// The best validation score so far.
    pub best_score: f64,
    /// The start that had it.
    pub best: Params,
    /// Validations since then.
    pub stale: u64,
}

impl OuterLoop {
    /// Fails if a setting is out of its range.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn validate(&self) -> Result<()> {
        self.schedule.validate()?;
        self.adamw.validate()?;
        Error::unless(
            self.clip_norm > 0.0,
            "clip_norm",
            "a positive number, or infinite for no clipping",
            &self.clip_norm,
        )?;
        Error::unless(self.validate_every > 0, "validate_every", "at least 1", &0)?;
        Error::unless(self.patience != Some(0), "patience", "at least 1", &0)
    }
}

impl TrainState {
    /// The state before the first step.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn new(params: Params, outer: &OuterLoop) -> Result<Self> {
        let (trained, _) = params.split(&outer.train)?;
        Ok(Self {
            step: 0,
            optimizer: outer.adamw.init(&trained)?,
            best_score: f64::NEG_INFINITY,
            best: params.clone(),
            stale: 0,
            params,
        })
    }
}

/// What an observer is told.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A step is done.
    Step {
        /// Which, from 0.
        step: u64,
        /// The meta-loss before the update.
        loss: f64,
        /// The mean support loss before adapting.
        start_loss: f64,
        /// The norm of the meta-gradient before clipping.
        grad_norm: f64,
        /// The learning rate.
        lr: f64,
    },
    /// A validation is done; the state holds the best so far, this one included.
    Validation {
        /// The state after it.
        state: &'a TrainState,
        /// Its score.
        score: f64,
    },
}

/// What the outer loop needs of its surroundings.
pub struct Surroundings<G, V, O> {
    /// The meta-gradient of a step: a function of its number and the start alone, so that a resumed run takes the same.
    pub gradient: G,
    /// The score of a start, higher is better.
    pub validate: V,
    /// Is told what happens; an error from it stops training.
    pub observe: O,
}

/// Runs the outer loop from `state` to the end of the schedule, or until patience has run out.
///
/// With meta-gradients of [`InnerLoop::none`](crate::InnerLoop::none) nothing is adapted to, and this is ordinary
/// training: the meta-loss is the mean of the query losses.
///
/// # Errors
/// [`Error::Step`] with what failed, or what an observer failed with.
pub fn train<G, V, O>(
    mut state: TrainState,
    outer: &OuterLoop,
    workers: &Workers,
    surroundings: Surroundings<G, V, O>,
) -> Result<TrainState>
where
    G: Fn(u64, &Params) -> Result<MetaGradient>,
    V: Fn(&Params) -> Result<f64, LossError>,
    O: FnMut(Event<'_>) -> Result<(), LossError>,
{
    outer.validate()?;
    let Surroundings {
        gradient,
        validate,
        mut observe,
    } = surroundings;
    let ended = |state: &TrainState| {
        state.step >= outer.schedule.total
            || outer
                .patience
                .is_some_and(|patience| state.stale >= patience)
    };
    while !ended(&state) {
        let step = state.step;
        let at_step = |source: Error| Error::Step {
            step,
            source: Box::new(source),
        };
        let meta = gradient(step, &state.params).map_err(at_step)?;
        let clip = || clip_norm(meta.gradient, outer.clip_norm);
        let (gradient, grad_norm) = workers.install(clip).map_err(at_step)?;
        let lr = outer.schedule.at(step);
        let TrainState {
            params, optimizer, ..
        } = &state;
        let update = || outer.adamw.update(lr, params, &gradient, optimizer.clone());
        (state.params, state.optimizer) = workers.install(update).map_err(at_step)?;
        state.step += 1;
        let event = Event::Step {
            step,
            loss: meta.loss,
            start_loss: meta.start_loss,
            grad_norm,
            lr,
        };
        observe(event).map_err(Error::Caller)?;

        if state.step.is_multiple_of(outer.validate_every) || state.step == outer.schedule.total {
            let score = validate(&state.params)
                .map_err(Error::Caller)
                .map_err(at_step)?;
            if score.is_nan() {
                return Err(at_step(Error::Score));
            }
            if score > state.best_score {
                state.best_score = score;
                state.best = state.params.clone();
                state.stale = 0;
            } else {
                state.stale += 1;
            }
            observe(Event::Validation {
                state: &state,
                score,
            })
            .map_err(Error::Caller)?;
        }
    }
    Ok(state)
}
