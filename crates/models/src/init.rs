//! First values of parameters, drawn from a generator that is handed in.
//!
//! Numbers are drawn in `f64` with functions of this process alone (`libm`, not the system's), so that a seed gives the
//! same values on every machine, in either precision. Deliberately not here: which parameter starts how; the models say.

use std::{f64::consts::TAU, ops::Range};

use candle_core::{DType, Device, Tensor};
use rand_chacha::{ChaCha8Rng, rand_core::Rng};

use crate::Result;

/// Where random numbers come from, and what tensors are made of.
pub(crate) struct Init<'a> {
    pub(crate) rng: &'a mut ChaCha8Rng,
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
}

impl Init<'_> {
    /// Independent numbers of a normal distribution with mean 0.
    pub(crate) fn normal(&mut self, dims: &[usize], deviation: f64) -> Result<Tensor> {
        self.normal_but(dims, deviation, 0..0)
    }

    /// [`Init::normal`] with 0 for some of the elements, which takes nothing from what the others are.
    ///
    /// By the transform of Box and Muller.
    pub(crate) fn normal_but(
        &mut self,
        dims: &[usize],
        deviation: f64,
        zeros: Range<usize>,
    ) -> Result<Tensor> {
        let (dtype, device) = (self.dtype, self.device);
        let mut second = None;
        let number = |index| {
            let drawn = second.take().unwrap_or_else(|| {
                // The first is in (0, 1], for its logarithm.
                let (u, v) = (1.0 - self.uniform(), self.uniform());
                let radius = deviation * libm::sqrt(-2.0 * libm::log(u));
                let (sin, cos) = libm::sincos(TAU * v);
                second = Some(radius * sin);
                radius * cos
            });
            if zeros.contains(&index) { 0.0 } else { drawn }
        };
        tensor(number, dims, dtype, device)
    }

    /// Independent numbers of the uniform distribution on `-limit..limit` with `limit^2 = 6 / (fan_in + fan_out)`.
    pub(crate) fn glorot(
        &mut self,
        dims: &[usize],
        fan_in: usize,
        fan_out: usize,
    ) -> Result<Tensor> {
        let limit = libm::sqrt(6.0 / (fan_in + fan_out) as f64);
        let (dtype, device) = (self.dtype, self.device);
        let number = |_| limit * (2.0 * self.uniform() - 1.0);
        tensor(number, dims, dtype, device)
    }

    /// The same number everywhere.
    pub(crate) fn fill(&self, dims: &[usize], number: f64) -> Result<Tensor> {
        tensor(|_| number, dims, self.dtype, self.device)
    }

    /// A number in `0..1` on the grid of `f64`.
    fn uniform(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A tensor of what `number` says for each element, from the first to the last.
///
/// Numbers are converted one by one, because those of a large table would take twice its memory beside it, and before
/// they are copied, because some devices know no `f64`.
fn tensor(
    number: impl FnMut(usize) -> f64,
    dims: &[usize],
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let numbers = (0..dims.iter().product()).map(number);
    let tensor = if dtype == DType::F32 {
        let numbers: Vec<f32> = numbers.map(|number| number as f32).collect();
        Tensor::from_vec(numbers, dims, &Device::Cpu)?
    } else {
        let numbers: Vec<f64> = numbers.collect();
        Tensor::from_vec(numbers, dims, &Device::Cpu)?.to_dtype(dtype)?
    };
    Ok(tensor.to_device(device)?)
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn draw(f: impl Fn(&mut Init<'_>) -> Result<Tensor>) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut init = Init {
            rng: &mut rng,
            dtype: DType::F64,
            device: &Device::Cpu,
        };
        f(&mut init)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    }

    /// The first four moments of a sample, the second and fourth as ratios to what is expected.
    fn check(numbers: &[f64], variance: f64, fourth: f64) {
        let mean =
            |power: i32| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64;
        let deviation = variance.sqrt();
        assert!((mean(1) / deviation).abs() < 0.02, "mean {}", mean(1));
        assert!(
            (mean(2) / variance - 1.0).abs() < 0.02,
            "variance {}",
            mean(2)
        );
        assert!(
            (mean(3) / deviation.powi(3)).abs() < 0.05,
            "third moment {}",
            mean(3)
        );
        assert!(
            (mean(4) / fourth - 1.0).abs() < 0.05,
            "fourth moment {}",
            mean(4)
        );
    }

    #[test]
    fn normal_numbers_have_the_moments_of_their_distribution() {
        let numbers = draw(|init| init.normal(&[50_001], 0.02));
        check(&numbers, 0.02f64.powi(2), 3.0 * 0.02f64.powi(4));
    }

    #[test]
    fn glorot_numbers_have_the_moments_of_their_distribution() {
        let numbers = draw(|init| init.glorot(&[200, 250], 200, 250));
        let limit = (6.0 / 450.0f64).sqrt();
        assert!(numbers.iter().all(|x| x.abs() <= limit));
        check(&numbers, limit.powi(2) / 3.0, limit.powi(4) / 5.0);
    }
}
