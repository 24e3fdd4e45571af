//! `AdamW`: Adam with decoupled weight decay.
//!
//! Not here: the learning rate over time (`schedule`).

use metashot_autograd::{Error as GradientError, Params, Patterns, ops::AdamStep};

use crate::error::{Error, Result};

/// The settings of `AdamW`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::Params;
/// use metashot_meta::{AdamW, LossError};
///
/// let adamw = AdamW::new(0.0);
/// let mut params = Params::new();
/// params.insert("w", Tensor::new(&[1f64], &Device::Cpu)?);
/// let state = adamw.init(&params)?;
/// // The first step is as long as the learning rate, whatever the gradient's size.
/// let (params, state) = adamw.update(0.1, &params.clone(), &params, state)?;
/// assert!((params.get("w")?.to_vec1::<f64>()?[0] - 0.9).abs() < 1e-8);
/// assert_eq!(state.step, 1);
/// # Ok::<(), LossError>(())
/// ```
///
/// # Source
/// Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2 (the decay is multiplied by the
/// learning rate, as in `PyTorch`); Kingma and Ba 2015 for the moments.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// The decay of the first moment.
    pub beta1: f64,
    /// The decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// The share of the learning rate by which a decayed parameter shrinks at a step.
    pub weight_decay: f64,
    /// The parameters that do not decay.
    pub no_decay: Patterns,
}

/// What `AdamW` remembers.
#[derive(Clone, Debug)]
pub struct AdamWState {
    /// Updates done.
    pub step: u64,
    /// First moments.
    pub m: Params,
    /// Second moments.
    pub v: Params,
}

impl AdamW {
    /// The usual moments, and decay of all but biases and normalisations.
    pub fn new(weight_decay: f64) -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay,
            no_decay: Patterns::new(["*.bias", "*LayerNorm", "*.norm"]),
        }
    }

    /// Fails if a setting is out of its range.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn validate(&self) -> Result<()> {
        for (setting, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            let fits = (0.0..1.0).contains(&beta);
            Error::unless(fits, setting, "at least 0 and below 1", &beta)?;
        }
        let fits = self.eps.is_finite() && self.eps > 0.0;
        Error::unless(fits, "eps", "a positive number", &self.eps)?;
        let decay = self.weight_decay;
        let fits = decay.is_finite() && decay >= 0.0;
        Error::unless(
            fits,
            "weight_decay",
            "a number that is not negative",
            &decay,
        )
    }

    /// The state before the first update of these parameters.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn init(&self, params: &Params) -> Result<AdamWState> {
        Ok(AdamWState {
            step: 0,
            m: params.zeros_like()?,
            v: params.zeros_like()?,
        })
    }

    /// One update of the parameters that `gradient` names, split over rayon's current pool; the others are returned as
    /// they are.
    ///
    /// # Errors
    /// When a gradient names a parameter that is not there, or its shape differs.
    pub fn update(
        &self,
        lr: f64,
        params: &Params,
        gradient: &Params,
        state: AdamWState,
    ) -> Result<(Params, AdamWState)> {
        let step = state.step + 1;
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        let updates = gradient.iter().map(|(name, gradient)| {
            let parameter = params.get(name)?;
            let (wanted, found) = (parameter.dims(), gradient.dims());
            if wanted != found {
                return Err(GradientError::Shape {
                    op: "adamw",
                    expected: format!("a gradient of shape {wanted:?} for parameter `{name}`"),
                    found: format!("{found:?}"),
                }
                .into());
            }
            let decay = if self.no_decay.matches(name) {
                0.0
            } else {
                lr * self.weight_decay
            };
            let adam = AdamStep {
                beta1: self.beta1,
                beta2: self.beta2,
                eps: self.eps,
                rate: lr / correction(self.beta1),
                correction: correction(self.beta2),
                keep: 1.0 - decay,
            };
            let updated =
                adam.update([parameter, gradient, state.m.get(name)?, state.v.get(name)?])?;
            Ok((name, updated))
        });
        let updates = updates.collect::<Result<Vec<_>>>()?;
        let mut params = params.clone();
        let AdamWState { mut m, mut v, .. } = state;
        for (name, [parameter, first, second]) in updates {
            params.insert(name, parameter);
            m.insert(name, first);
            v.insert(name, second);
        }
        Ok((params, AdamWState { step, m, v }))
    }
}
