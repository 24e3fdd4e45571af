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
                rule.when_wanted(0, || right()?.matmul_onto(&grad.t()?, rule.begun(0)))?,
                rule.when_wanted(1, || left()?.matmul_onto(grad, rule.begun(1)))?,
            ]
        } else {
            vec![
                rule.when_wanted(0, || grad.matmul_onto(&right()?.t()?, rule.begun(0)))?,
                rule.when_wanted(1, || left()?.t()?.matmul_onto(grad, rule.begun(1)))?,
            ]
        })
    }
}

impl Value {
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
        self.matmul_onto(other, None)
    }

    /// [`Value::matmul`] added to what a gradient begins with, which is on no graph.
    pub(crate) fn matmul_onto(&self, other: &Self, begun: Option<Tensor>) -> Result<Self> {
        self.product(other, false, begun)
    }

    /// The product of the transposed left operand with the right one, added to what a gradient begins with.
    ///
    /// # Shapes
    /// - `self`: `(k, m)`
    /// - `other`: `(k, n)`
    /// - result: `(m, n)`
    pub(crate) fn transposed_matmul_onto(
        &self,
        other: &Self,
        begun: Option<Tensor>,
    ) -> Result<Self> {
        self.product(other, true, begun)
    }

    fn product(&self, other: &Self, left_transposed: bool, begun: Option<Tensor>) -> Result<Self> {
        let left = if left_transposed {
            self.tensor().t()?
        } else {
            self.tensor().clone()
        };
        let on_no_graph = self.is_constant() && other.is_constant();
        // A sum that has to be differentiated is one of values.
        let (start, apart) = if on_no_graph {
            (begun, None)
        } else {
            (None, begun)
        };
        let tensor = matmul(&left, other.tensor(), start.as_ref())?;
        let product = Self::from_op(tensor, &[self, other], || {
            Box::new(MatMul {
                left: self.kept(),
                right: other.kept(),
                left_transposed,
            })
        });
        match apart {
            Some(begun) => Self::constant(begun).add(&product),
            None => Ok(product),
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
