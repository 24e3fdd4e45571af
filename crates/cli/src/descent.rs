//! Descent on a support set by the rule of the inner loop or by an optimizer, where no meta-gradient is asked for.
//!
//! Deliberately not here: what descends, and from where.

use anyhow::Result;
use metashot_autograd::{Order, Params, Patterns, Value};
use metashot_meta::{
    AdamW, Adapted, InnerLoop, LossError, Memory, Prepared, Schedule, adapt, adapt_by,
};
use serde::{Deserialize, Serialize};

/// What is done with a gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// A step against it, as in the inner loop of meta-learning
    #[default]
    Sgd,
    /// `AdamW`, whose rate rises over a tenth of the steps and then falls to zero
    Adamw,
}

/// How a loss is brought down.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Descent {
    /// What is done with a gradient.
    pub(crate) optimizer: Optimizer,
    /// Steps.
    pub(crate) steps: usize,
    /// The length of a step.
    pub(crate) lr: f64,
    /// Patterns of the names of the parameters that adapt.
    pub(crate) adapt: Vec<String>,
}

/// The decoupled weight decay of `AdamW`.
const WEIGHT_DECAY: f64 = 0.01;
/// Its rate rises over one step in so many, and falls to zero over the others.
const WARMUP: u64 = 10;

impl Descent {
    /// No step at all: the start is used as it is.
    pub(crate) fn none() -> Self {
        Self {
            optimizer: Optimizer::Sgd,
            steps: 0,
            lr: 0.0,
            adapt: Vec::new(),
        }
    }

    /// The parameters that adapt.
    pub(crate) fn patterns(&self) -> Patterns {
        Patterns::new(self.adapt.clone())
    }

    /// Adapts to a task; `prepare` and `support` are as for [`metashot_meta::adapt`].
    ///
    /// # Errors
    /// As [`metashot_meta::adapt`].
    pub(crate) fn run<E: Into<LossError>>(
        &self,
        start: &Params,
        prepare: impl Fn(&Params<Value>) -> Result<Prepared, E>,
        support: impl Fn(&Params<Value>) -> Result<Value, E>,
    ) -> metashot_meta::Result<Adapted> {
        let adapt_to = self.patterns();
        match self.optimizer {
            Optimizer::Sgd => {
                let inner = InnerLoop {
                    steps: self.steps,
                    lr: self.lr,
                    adapt: adapt_to,
                    order: Order::First,
                    memory: Memory::Flat,
                };
                adapt(start, prepare, support, &inner)
            }
            Optimizer::Adamw => {
                let adamw = AdamW::new(WEIGHT_DECAY);
                let schedule = Schedule {
                    peak: self.lr,
                    warmup: self.steps as u64 / WARMUP,
                    total: self.steps as u64,
                    floor: 0.0,
                };
                schedule.validate()?;
                let mut state = None;
                let update = |step, theta: Params, gradient: Params<Value>| {
                    let before = match state.take() {
                        Some(state) => state,
                        None => adamw.init(&theta)?,
                    };
                    let rate = schedule.at(step as u64);
                    let (theta, after) = adamw.update(rate, &theta, &gradient.tensors(), before)?;
                    state = Some(after);
                    Ok(theta)
                };
                adapt_by(start, prepare, support, (&adapt_to, self.steps), update)
            }
        }
    }
}
