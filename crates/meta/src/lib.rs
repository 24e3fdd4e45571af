//! Meta-learning over losses: the meta-loss, the inner loop, the meta-optimizer, evaluation.
//!
//! A task is seen only as two differentiable losses, one on its support set and one on its query set, so any model
//! and any data will do. [`task_gradient`] is the heart: the query loss after a few steps of gradient descent, and
//! its exact gradient with respect to the start. [`meta_gradient`] averages it over tasks that run side by side,
//! [`batched_meta_gradient`] over tasks that run as one, and [`train`] turns either into a learned start.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use metashot_autograd::{Order, Params, Patterns, Value};
//! use metashot_meta::{
//!     AdamW, Event, InnerLoop, LossError, Memory, OuterLoop, Schedule, Surroundings, TrainState, Workers,
//!     meta_gradient, train, unprepared,
//! };
//!
//! // A task is a target between 2 and 4; the only weight is to come near it in one short step.
//! let distance = |target: &f64, p: &Params<Value>| {
//!     let d = p.get("w")?.affine(1.0, -target)?;
//!     d.mul(&d)
//! };
//! let targets = |step| [0, 3, 6].map(|i| 2.0 + ((step + i) % 9) as f64 / 4.0);
//! let mut start = Params::new();
//! start.insert("w", Tensor::new(0f64, &Device::Cpu)?);
//!
//! let inner =
//!     InnerLoop { steps: 1, lr: 0.1, adapt: Patterns::all(), order: Order::Higher, memory: Memory::Flat };
//! let outer = OuterLoop {
//!     schedule: Schedule { peak: 0.1, warmup: 10, total: 100, floor: 0.0 },
//!     adamw: AdamW::new(0.0),
//!     clip_norm: 1.0,
//!     train: Patterns::all(),
//!     validate_every: 50,
//!     patience: None,
//! };
//! let workers = Workers::new(2)?;
//! let surroundings = Surroundings {
//!     gradient: |step, p: &Params| {
//!         let settings = (&inner, &outer.train);
//!         meta_gradient(p, &targets(step), |_, p| unprepared(p), distance, distance, settings, &workers)
//!     },
//!     validate: |p: &Params| Ok(-(p.get("w")?.to_scalar::<f64>()? - 3.0).abs()),
//!     observe: |_: Event<'_>| Ok(()),
//! };
//! let state = TrainState::new(start, &outer)?;
//! let state = train(state, &outer, &workers, surroundings)?;
//! // The best place to start from is in the middle.
//! assert!((state.best.get("w")?.to_scalar::<f64>()? - 3.0).abs() < 0.2);
//! # Ok::<(), LossError>(())
//! ```
//!
//! Deliberately not here: text, pictures, files, printing.

mod batched;
mod error;
mod inner_loop;
mod meta_step;
mod metrics;
mod optimizer;
mod prototypes;
mod train;
mod workers;

pub use batched::batched_meta_gradient;
pub use error::{Error, LossError, Result};
pub use inner_loop::{
    Adapted, InnerLoop, Memory, Prepared, TaskGradient, adapt, adapt_by, step_graph_bytes,
    task_gradient, unprepared,
};
pub use meta_step::{MetaGradient, meta_gradient};
pub use metrics::{
    EntityCounts, EntityReport, EntityScores, Interval, TypeScores, bootstrap, mean_interval,
};
pub use optimizer::{AdamW, AdamWState, Schedule, clip_norm};
pub use prototypes::{
    class_means, nearest_neighbor_logits, nearest_prototype, prototype_head, prototype_logits,
    prototypes,
};
pub use train::{Event, OuterLoop, Surroundings, TrainState, train};
pub use workers::Workers;
