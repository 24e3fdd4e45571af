//! A small regression problem for the other tests: sine waves of random amplitude and phase, and a net with tanh.
//!
//! Not here: tests.

use candle_core::{Device, Tensor};
use metashot_autograd::{Params, Result, Value, ops};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// One wave's support and query points.
pub(crate) struct Wave {
    support: (Tensor, Tensor),
    query: (Tensor, Tensor),
}

impl Wave {
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(index);
        let (amplitude, phase) = (rng.random_range(0.5..2.0), rng.random_range(0.0..3.0));
        let mut points = || {
            let x: Vec<f64> = (0..10).map(|_| rng.random_range(-3.0..3.0)).collect();
            let y: Vec<f64> = x
                .iter()
                .map(|x: &f64| amplitude * (x - phase).sin())
                .collect();
            let column =
                |numbers: Vec<f64>| Tensor::from_vec(numbers, (10, 1), &Device::Cpu).unwrap();
            (column(x), column(y))
        };
        Self {
            support: points(),
            query: points(),
        }
    }

    pub(crate) fn support(&self, params: &Params<Value>) -> Result<Value> {
        // What `hidden` prepared, if it was asked to.
        loss(params, &self.support, params.get("support.hidden").ok())
    }

    /// What the first layer makes of the support set.
    pub(crate) fn hidden(&self, params: &Params<Value>) -> Result<Value> {
        layer(params, &Value::constant(self.support.0.clone()), "body.0")?.tanh()
    }

    pub(crate) fn query(&self, params: &Params<Value>) -> Result<Value> {
        loss(params, &self.query, None)
    }
}

/// A shared hidden layer that does not adapt by itself, one that does, and a head.
fn loss(
    params: &Params<Value>,
    (x, y): &(Tensor, Tensor),
    hidden: Option<&Value>,
) -> Result<Value> {
    let h = match hidden {
        Some(hidden) => hidden.clone(),
        None => layer(params, &Value::constant(x.clone()), "body.0")?.tanh()?,
    };
    let h = layer(params, &h, "body.1")?.tanh()?;
    let error = layer(params, &h, "head")?.sub(&Value::constant(y.clone()))?;
    error.mul(&error)?.mean_all()
}

fn layer(params: &Params<Value>, x: &Value, name: &str) -> Result<Value> {
    ops::linear(
        x,
        params.get(&format!("{name}.weight"))?,
        params.get(&format!("{name}.bias"))?,
    )
}

/// First weights from a seed.
pub(crate) fn start(seed: u64, width: usize) -> Params {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shapes = [
        ("body.0", width, 1),
        ("body.1", width, width),
        ("head", 1, width),
    ];
    let mut params = Params::new();
    for (name, n_out, n_in) in shapes {
        let scale = (1.0 / n_in as f64).sqrt();
        let mut draw = |dims: &[usize]| {
            let count: usize = dims.iter().product();
            let numbers: Vec<f64> = (0..count)
                .map(|_| rng.random_range(-scale..scale))
                .collect();
            Tensor::from_vec(numbers, dims, &Device::Cpu).unwrap()
        };
        params.insert(format!("{name}.weight"), draw(&[n_out, n_in]));
        params.insert(format!("{name}.bias"), draw(&[n_out]));
    }
    params
}
