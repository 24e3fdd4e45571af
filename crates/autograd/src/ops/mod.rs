//! The operations: each computes its result on tensors and knows its gradient rule.
//!
//! A rule is written with operations, so a gradient can be differentiated again. The hot ones are fused: their
//! forward pass, gradient and gradient's gradient run on kernels while the numbers are on a CPU in `f32` or `f64`
//! and no further derivative is asked for, and are compositions otherwise. Those with parameters also work on many tasks
//! at once, each with its own (`task_axis`). Deliberately not here: models.

mod arith;
mod attention;
mod block;
mod conv;
pub(crate) mod fused;
mod index;
mod layer_norm;
mod linear;
mod loss;
mod matmul;
mod reduce;
mod shape;
mod softmax;
mod task_axis;
mod unary;
mod vector;

pub use attention::attention;
pub use block::norm_relu_pool;
pub use conv::conv2d;
pub use layer_norm::{layer_norm, layer_norm_of_sum};
pub use linear::{Weight, linear, linear_gelu, panels};
pub use loss::{IGNORE_INDEX, cross_entropy, cross_entropy_by_task};
pub(crate) use vector::add_all;
pub use vector::{AdamStep, all_finite, descend, dot, scale, sum_in_order, sum_of_squares};

use crate::{kernels::on_host, value::Value};

/// Unwraps the gradient of an operation with one output, which is there whenever its rule is asked.
fn only(grads: &[Option<Value>]) -> &Value {
    grads[0]
        .as_ref()
        .expect("a rule runs only when an output has a gradient")
}

/// Whether nobody wants a gradient of these and kernels can work on them: then nothing between two operations is kept.
fn host_constants(inputs: &[&Value]) -> bool {
    inputs.iter().all(|input| {
        input.is_constant() && on_host(input.tensor()) && input.dtype() == inputs[0].dtype()
    })
}
