//! Matrix products over the last two axes.
//!
//! Not here: a linear layer with its bias (`linear`).

use super::only;
use crate::{
    error::Result,
    kernels::matmul::matmul,
    value::{Kept, Op, Rule, Value},
};

/// `left right`, or `left^T right`, which has no view of the left operand, so that its gradients lie in memory as the
/// operands do.
struct MatMul {
    left: Kept,
    right: Kept,
    left_transposed: bool,
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        let left = || rule.restored(&self.left);
        let right = || rule.restored(&self.right);
        Ok(if self.left_transposed {
            vec![
                rule.when_wanted(0, || right()?.matmul(&grad.t()?))?,
                rule.when_wanted(1, || left()?.matmul(grad))?,
            ]
        } else {
            vec![
                rule.when_wanted(0, || grad.matmul(&right()?.t()?))?,
                rule.when_wanted(1, || left()?.t()?.matmul(grad))?,
            ]
        })
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
            Box::new(MatMul {
                left: self.kept(),
                right: other.kept(),
                left_transposed: true,
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
                left: self.kept(),
                right: other.kept(),
                left_transposed: false,
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
