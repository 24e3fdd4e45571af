//! 95 % intervals: of a mean over episodes, and of any statistic by the bootstrap.
//!
//! Not here: tests of significance.

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

/// The mean over episodes, give or take 1.96 standard errors: the interval of the few-shot literature.
///
/// Of fewer than two episodes the interval is everything.
pub fn mean_interval(values: &[f64]) -> Interval {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return Interval::unknown(mean);
    }
    let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
    let half = 1.96 * (variance / n).sqrt();
    Interval {
        value: mean,
        low: mean - half,
        high: mean + half,
    }
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
