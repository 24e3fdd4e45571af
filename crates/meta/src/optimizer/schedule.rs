//! The outer learning rate over time: a linear rise, then a linear fall.
//!
//! Not here: rates that depend on how training goes.

use crate::error::{Error, Result};

/// Rises from zero to `peak` over `warmup` steps, then falls evenly over the rest of `total`: the step after the last
/// would have `floor` times `peak`.
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
        let (peak, floor) = (self.peak, self.floor);
        let fits = peak.is_finite() && peak >= 0.0;
        Error::unless(fits, "outer_lr", "a number that is not negative", &peak)?;
        Error::unless(
            self.warmup <= self.total,
            "warmup_steps",
            "at most the number of steps",
            &self.warmup,
        )?;
        let fits = (0.0..=1.0).contains(&floor);
        Error::unless(fits, "lr_floor", "between 0 and 1", &floor)
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
