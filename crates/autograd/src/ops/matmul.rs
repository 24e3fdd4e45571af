//! Matrix products over the last two axes.
//!
//! Not here: a linear layer with its bias (`linear`).

use super::only;
use crate::{
    error::Result,
    kernels::matmul::matmul,
    value::{Op, Rule, Value},
};

struct MatMul {
    left: Value,
    right: Value,
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        Ok(vec![
            rule.when_wanted(0, || grad.matmul(&rule.saved(&self.right).t()?))?,
            rule.when_wanted(1, || rule.saved(&self.left).t()?.matmul(grad))?,
        ])
    }
}

/// `left^T right`, whose gradients lie in memory as its operands do: a view of the left one would turn them around.
struct TransposedMatMul {
    left: Value,
    right: Value,
}

impl Op for TransposedMatMul {
    fn name(&self) -> &'static str {
        "transposed_matmul"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        Ok(vec![
            rule.when_wanted(0, || rule.saved(&self.right).matmul(&grad.t()?))?,
            rule.when_wanted(1, || rule.saved(&self.left).matmul(grad))?,
        ])
    }
}

impl Value {
    /// The product of the transposed left operand with the right one.
    ///
    /// # Shapes
    /// - `self`: `(k, m)`
    /// - `other`: `(k, n)`
    /// - result: `(m, n)`
    pub(crate) fn transposed_matmul(&self, other: &Self) -> Result<Self> {
        let tensor = matmul(&self.tensor().t()?, other.tensor())?;
        Ok(Self::from_op(tensor, &[self, other], || {
            Box::new(TransposedMatMul {
                left: self.clone(),
                right: other.clone(),
            })
        }))
    }

    /// The product over the last two axes; the leading axes must be equal.
    ///
    /// # Shapes
    /// - `self`: `(.., m, k)`
    /// - `other`: `(.., k, n)`
    /// - result: `(.., m, n)`
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn matmul(&self, other: &Self) -> Result<Self> {
        let tensor = matmul(self.tensor(), other.tensor())?;
        Ok(Self::from_op(tensor, &[self, other], || {
            Box::new(MatMul {
                left: self.clone(),
                right: other.clone(),
            })
        }))
    }

    /// The last two axes swapped: a view, not a copy.
    ///
    /// # Errors
    /// When there are fewer than two axes.
    pub fn t(&self) -> Result<Self> {
        let rank = self.dims().len();
        let mut axes: Vec<usize> = (0..rank).collect();
        if let [.., a, b] = &mut axes[..] {
            std::mem::swap(a, b);
        }
        self.permute(&axes)
    }
}
