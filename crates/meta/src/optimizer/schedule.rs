//! The outer learning rate over time: a linear rise, then a linear fall.
//!
//! Not here: rates that depend on how training goes.

use crate::error::{Error, Result};

/// Rises from zero to `peak` over `warmup` steps, then falls to `floor` times `peak` at the last of `total`.
///
/// ```
/// use metashot_meta::Schedule;
///
/// let schedule = Schedule { peak: 1.0, warmup: 2, total: 6, floor: 0.0 };
/// let rates: Vec<f64> = (0..6).map(|step| schedule.at(step)).collect();
/// assert_eq!(rates, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps of the rise.
    pub warmup: u64,
    /// Steps in all.
    pub total: u64,
    /// What the rate falls to, as a share of `peak`; 1 for no fall.
    pub floor: f64,
}

impl Schedule {
    /// Fails if a setting is out of its range.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn validate(&self) -> Result<()> {
        let setting = |setting, wanted, found: String| {
            Err(Error::Setting {
                setting,
                wanted,
                found,
            })
        };
        if !(self.peak.is_finite() && self.peak >= 0.0) {
            return setting(
                "outer_lr",
                "a number that is not negative",
                self.peak.to_string(),
            );
        }
        if self.warmup > self.total {
            return setting(
                "warmup_steps",
                "at most the number of steps",
                self.warmup.to_string(),
            );
        }
        if !(0.0..=1.0).contains(&self.floor) {
            return setting("lr_floor", "between 0 and 1", self.floor.to_string());
        }
        Ok(())
    }

    /// The rate of a step, from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let span = (self.total - self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / span).min(1.0);
        self.peak * (1.0 - done * (1.0 - self.floor))
    }
}
