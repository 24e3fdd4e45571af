//! Matrix products over the last two axes.
//!
//! Not here: a linear layer with its bias (`linear`).

use candle_core::Tensor;

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
                rule.product_when_wanted(0, || Ok((right()?, grad.t()?)))?,
                rule.product_when_wanted(1, || Ok((left()?, grad.clone())))?,
            ]
        } else {
            vec![
                rule.product_when_wanted(0, || Ok((grad.clone(), right()?.t()?)))?,
                rule.product_when_wanted(1, || Ok((left()?.t()?, grad.clone())))?,
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
        let tensor = matmul(&self.tensor().t()?, other.tensor(), None)?;
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
        let tensor = matmul(self.tensor(), other.tensor(), None)?;
        Ok(Self::from_op(tensor, &[self, other], || {
            Box::new(MatMul {
                left: self.kept(),
                right: other.kept(),
                left_transposed: false,
            })
        }))
    }

    /// [`Value::matmul`] added to what a gradient begins with, which is on no graph.
    pub(crate) fn matmul_onto(&self, other: &Self, begun: Option<Tensor>) -> Result<Self> {
        match begun {
            Some(begun) if self.is_constant() && other.is_constant() => {
                let sum = matmul(self.tensor(), other.tensor(), Some(&begun))?;
                Ok(Self::constant(sum))
            }
            Some(begun) => Self::constant(begun).add(&self.matmul(other)?),
            None => self.matmul(other),
        }
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
