//! How weights are updated where there is no inner loop: the settings that `pretrain` and `finetune` share.
//!
//! Deliberately not here: how long, which each of them counts in its own way.

use anyhow::{Result, ensure};
use metashot_autograd::Patterns;
use metashot_meta::{AdamW, OuterLoop, Schedule};
use serde::{Deserialize, Serialize};

/// How weights are updated: `AdamW`, with a learning rate that rises and falls linearly.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Examples of one update.
    pub batch_size: usize,
    /// The learning rate after the warm-up.
    pub lr: f64,
    /// The share of all updates over which it rises from zero; from there it falls to `lr_floor` at the last one.
    pub warmup: f64,
    /// What the learning rate falls to, as a share of `lr`.
    pub lr_floor: f64,
    /// Decoupled weight decay; biases and normalisations are left out.
    pub weight_decay: f64,
    /// The largest norm of a gradient; 0 for any.
    pub clip_norm: f64,
    /// Validations in a row without a better score after which training stops; 0 for never.
    pub patience: usize,
}

impl Training {
    /// Fails if a setting is out of its range.
    pub(super) fn validate(&self) -> Result<()> {
        ensure!(
            self.batch_size > 0,
            "`training.batch_size` must be at least 1, found 0"
        );
        ensure!(
            self.lr.is_finite() && self.lr > 0.0,
            "`training.lr` must be a positive number, found `{}`",
            self.lr
        );
        for (key, share) in [("warmup", self.warmup), ("lr_floor", self.lr_floor)] {
            ensure!(
                (0.0..=1.0).contains(&share),
                "`training.{key}` must be between 0 and 1, found `{share}`"
            );
        }
        for (key, value) in [
            ("weight_decay", self.weight_decay),
            ("clip_norm", self.clip_norm),
        ] {
            ensure!(
                value.is_finite() && value >= 0.0,
                "`training.{key}` must not be negative, found `{value}`"
            );
        }
        Ok(())
    }

    /// The loop over `steps` updates of all parameters, validated every so many.
    pub(crate) fn outer_loop(&self, steps: u64, validate_every: u64) -> OuterLoop {
        OuterLoop {
            schedule: Schedule {
                peak: self.lr,
                warmup: (self.warmup * steps as f64).round() as u64,
                total: steps,
                floor: self.lr_floor,
            },
            adamw: AdamW::new(self.weight_decay),
            clip_norm: if self.clip_norm > 0.0 {
                self.clip_norm
            } else {
                f64::INFINITY
            },
            train: Patterns::all(),
            validate_every,
            patience: (self.patience > 0).then_some(self.patience as u64),
        }
    }
}
