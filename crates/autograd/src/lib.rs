//! Reverse-mode differentiation over candle tensors that can be differentiated again.
//!
//! A [`Value`] is a candle tensor that remembers how it was made. [`grad`] walks back over that graph; with
//! [`Order::Higher`] the gradient is itself a graph and can be differentiated again, which is what a meta-gradient
//! needs. There is no global state: no variable store, no environment variable, no switch.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use metashot_autograd::{Value, hessian_vector_product};
//!
//! // f(x) = sum x^3 has the Hessian diag(6 x).
//! let x = Value::variable(Tensor::new(&[1f64, 2.0, 3.0], &Device::Cpu)?);
//! let loss = x.mul(&x)?.mul(&x)?.sum_all()?;
//! let ones = Tensor::new(&[1f64, 1.0, 1.0], &Device::Cpu)?;
//! let (gradient, product) = hessian_vector_product(&loss, &[&x], &[ones])?;
//! assert_eq!(gradient[0].to_vec1::<f64>()?, [3.0, 12.0, 27.0]);
//! assert_eq!(product[0].to_vec1::<f64>()?, [6.0, 12.0, 18.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! On a CPU the hot operations run on kernels of this crate in `f32` and `f64`, each on the calling thread and on those of
//! its rayon pool that are idle; elsewhere they are compositions of candle's own. Deliberately not here: models, optimisers,
//! data.

pub mod check;
mod error;
mod grad;
mod kernels;
pub mod ops;
mod params;
mod value;

pub use error::{Error, Result};
pub use grad::{
    grad, grad_or_none, grad_params, hessian_vector_product, pull_back, pull_back_onto,
};
pub use params::{Params, Patterns};
pub use value::{Op, Order, Rule, Value, graph_bytes};
