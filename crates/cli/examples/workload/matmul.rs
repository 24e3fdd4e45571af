//! The yardstick: candle's own product of two square float32 matrices, on all threads.
//!
//! Deliberately not here: the products of our kernels, which run on one thread each.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor, utils::get_num_threads};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::{arithmetic::product, draw::Draw, measure::Bound};

#[derive(Args, Serialize)]
pub(crate) struct Matmul {
    /// Rows and columns.
    #[arg(long, default_value_t = 2048)]
    size: usize,
}

impl Matmul {
    pub(crate) fn run(&self, bound: &Bound) -> Result<Value> {
        ensure!(
            get_num_threads() == bound.threads,
            "candle takes {} threads, `--threads` is {}: set the environment variable RAYON_NUM_THREADS to it",
            get_num_threads(),
            bound.threads
        );
        let mut draw = Draw::new(bound.seed);
        let n = self.size;
        let mut square = || Tensor::from_vec(draw.pixels(n * n), (n, n), &Device::Cpu);
        let (a, b) = (square()?, square()?);
        let times = bound.time(|_| {
            let product = a.matmul(&b)?;
            Ok(f64::from(product.get(0)?.get(0)?.to_scalar::<f32>()?))
        })?;
        let flop = product(n, n, n);
        bound.line("matmul", self, times, ("products_per_s", 1), flop)
    }
}
