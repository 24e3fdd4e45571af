//! Clipping a gradient by its norm over all parameters.
//!
//! Not here: clipping number by number, which changes the direction.

use metashot_autograd::{Params, ops::sum_of_squares};

use crate::{error::Result, meta_step::scaled};

/// The gradient with a norm of at most `limit`, and the norm it had; the norm is summed in `f64`.
///
/// # Source
/// Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks", algorithm 1.
///
/// # Errors
/// When a tensor operation fails.
pub fn clip_norm(gradient: Params, limit: f64) -> Result<(Params, f64)> {
    let norm = sum_of_squares(gradient.values())?.sqrt();
    let gradient = if norm > limit {
        scaled(&gradient, limit / norm)?
    } else {
        gradient
    };
    Ok((gradient, norm))
}
