//! 95 % intervals: of a mean over episodes, and of any statistic by the bootstrap.
//!
//! Not here: tests of significance.

use std::f64::consts::FRAC_PI_2;

use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// An estimate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The estimate.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Half the width.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    fn unknown(value: f64) -> Self {
        Self {
            value,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
        }
    }
}

/// The mean over episodes with the interval of Student's t. For hundreds of episodes that is the 1.96 standard errors of
/// the few-shot literature, and for a few it is as wide as it must be.
///
/// Of fewer than two episodes the interval is everything.
///
/// # Source
/// Student 1908, "The probable error of a mean".
pub fn mean_interval(values: &[f64]) -> Interval {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return Interval::unknown(mean);
    }
    let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
    let half = student_t(values.len() - 1) * (variance / n).sqrt();
    Interval {
        value: mean,
        low: mean - half,
        high: mean + half,
    }
}

/// What Student's t with so many degrees of freedom stays within 95 times out of 100, on either side of zero.
///
/// # Source
/// Abramowitz and Stegun 1964, "Handbook of mathematical functions", 26.7.3 and 26.7.4: the probability is a finite sum.
fn student_t(n_free: usize) -> f64 {
    let odd = n_free % 2;
    let within = |angle: f64| {
        let (sin, cos) = angle.sin_cos();
        let (mut sum, mut term) = (0.0, if odd == 1 { sin * cos } else { sin });
        for power in (odd..n_free.saturating_sub(1)).step_by(2) {
            sum += term;
            term *= cos * cos * (power + 1) as f64 / (power + 2) as f64;
        }
        if odd == 1 {
            (angle + sum) / FRAC_PI_2
        } else {
            sum
        }
    };
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    // Halving until the two are neighbours takes no more steps than a number has bits.
    for _ in 0..f64::MANTISSA_DIGITS {
        let middle = f64::midpoint(low, high);
        if within(middle) < 0.95 {
            low = middle;
        } else {
            high = middle;
        }
    }
    (n_free as f64).sqrt() * high.tan()
}

/// A statistic of episodes with the percentile interval of `resamples` bootstrap samples of them.
///
/// Two learners on the same episodes are compared by resampling pairs, which takes away what the episodes share.
/// Without episodes or resamples the interval is everything.
///
/// ```
/// use metashot_meta::{EntityCounts, bootstrap};
///
/// let counts = |n_correct| EntityCounts { n_correct, n_predicted: 10, n_gold: 10 };
/// let pairs: Vec<_> = (0..100).map(|i| (counts(6 + i % 3), counts(4 + i % 3))).collect();
/// let gain = bootstrap(&pairs, 1000, 7, |pairs| {
///     let [first, second]: [EntityCounts; 2] = [pairs.iter().map(|p| p.0).sum(), pairs.iter().map(|p| p.1).sum()];
///     first.f1() - second.f1()
/// });
/// // Episodes differ by far more than this, and the two learners always by the same.
/// assert!((gain.value - 0.2).abs() < 1e-12 && gain.half_width() < 1e-12);
/// ```
///
/// # Source
/// Efron and Tibshirani 1993, "An introduction to the bootstrap", section 13.3.
pub fn bootstrap<T: Clone>(
    episodes: &[T],
    resamples: usize,
    seed: u64,
    statistic: impl Fn(&[T]) -> f64,
) -> Interval {
    if episodes.is_empty() || resamples == 0 {
        return Interval::unknown(statistic(episodes));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values: Vec<f64> = (0..resamples)
        .map(|_| {
            let sample: Vec<T> = episodes
                .iter()
                .map(|_| episodes[rng.random_range(0..episodes.len())].clone())
                .collect();
            statistic(&sample)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    Interval {
        value: statistic(episodes),
        low: at(0.025),
        high: at(0.975),
    }
}

#[cfg(test)]
mod tests {
    use super::student_t;

    #[test]
    fn student_t_is_that_of_the_tables() {
        for (n_free, expected) in [
            (1, 12.706_204_736),
            (2, 4.302_652_730),
            (3, 3.182_446_305),
            (4, 2.776_445_105),
            (9, 2.262_157_163),
            (10, 2.228_138_852),
            (99, 1.984_216_952),
            (599, 1.963_932_249),
            (10_000, 1.960_201_240),
        ] {
            let found = student_t(n_free);
            assert!((found - expected).abs() < 1e-9, "{n_free}: {found}");
        }
    }
}
