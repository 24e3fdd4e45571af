//! Softmax over the last axis, and its logarithm.
//!
//! Not here: attention and losses.

use candle_core::Tensor;

use super::only;
use crate::{
    error::Result,
    kernels::softmax::{Kind, softmax},
    value::{Op, Rule, Value},
};

struct Softmax {
    output: Tensor,
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let weighted = only(grads).mul(&rule.output(&self.output, 0))?;
        let last = weighted.dims().len() - 1;
        let total = weighted.sum_keepdim(&[last])?;
        Ok(vec![Some(
            weighted.sub(&rule.output(&self.output, 0).mul(&total)?)?,
        )])
    }
}

struct LogSoftmax {
    output: Tensor,
}

impl Op for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        let total = grad.sum_keepdim(&[grad.dims().len() - 1])?;
        Ok(vec![Some(
            grad.sub(&rule.output(&self.output, 0).exp()?.mul(&total)?)?,
        )])
    }
}

impl Value {
    /// Softmax over the last axis.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn softmax(&self) -> Result<Self> {
        let output = softmax(self.tensor(), Kind::Softmax)?;
        Ok(Self::from_op(output.clone(), &[self], || {
            Box::new(Softmax { output })
        }))
    }

    /// The logarithm of the softmax over the last axis.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn log_softmax(&self) -> Result<Self> {
        let output = softmax(self.tensor(), Kind::LogSoftmax)?;
        Ok(Self::from_op(output.clone(), &[self], || {
            Box::new(LogSoftmax { output })
        }))
    }
}
