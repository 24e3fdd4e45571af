//! Sums, means and their dual, broadcasting.
//!
//! Not here: softmax and losses.

use candle_core::Tensor;

use super::only;
use crate::{
    error::Result,
    kernels::{on_host, reduce::columns},
    value::{Op, Rule, Value},
};

/// A sum that keeps the reduced axes with length one; its gradient broadcasts back.
struct Sum {
    dims: Vec<usize>,
}

impl Op for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).broadcast_to(&self.dims)?)])
    }
}

/// Copies along axes of length one; its gradient sums them again.
struct Broadcast {
    dims: Vec<usize>,
}

impl Op for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).sum_to(&self.dims)?)])
    }
}

/// The sums of columns as a product with a row of ones: where candle reduces, it walks a column in memory, which a GPU
/// does many times more slowly.
fn columns_by_product(x: &Tensor) -> Result<Tensor> {
    let n = x.dims()[x.rank() - 1];
    let rows = x.reshape(((), n))?;
    Ok(Tensor::ones((1, rows.dims()[0]), x.dtype(), x.device())?.matmul(&rows)?)
}

impl Value {
    /// The sum over the given axes, which stay with length one.
    ///
    /// # Errors
    /// When an axis does not exist.
    pub fn sum_keepdim(&self, axes: &[usize]) -> Result<Self> {
        let x = self.tensor();
        let last = self.dims().len().saturating_sub(1);
        let tensor = if last > 0 && axes.iter().copied().eq(0..last) {
            let mut dims = vec![1; last];
            dims.push(self.dims()[last]);
            let sums = if on_host(x) {
                columns(x)?
            } else {
                columns_by_product(x)?
            };
            sums.reshape(dims)?
        } else {
            x.sum_keepdim(axes)?
        };
        Ok(Self::from_op(tensor, &[self], || {
            Box::new(Sum {
                dims: self.dims().to_vec(),
            })
        }))
    }

    /// The mean over the given axes, which stay with length one.
    ///
    /// # Errors
    /// When an axis does not exist.
    pub fn mean_keepdim(&self, axes: &[usize]) -> Result<Self> {
        let count: usize = axes
            .iter()
            .map(|&axis| self.dims().get(axis).copied().unwrap_or(1))
            .product();
        self.sum_keepdim(axes)?.affine(1.0 / count as f64, 0.0)
    }

    /// The sum of all elements, a scalar.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn sum_all(&self) -> Result<Self> {
        let axes: Vec<usize> = (0..self.dims().len()).collect();
        self.sum_keepdim(&axes)?.reshape(&[])
    }

    /// The mean of all elements, a scalar.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn mean_all(&self) -> Result<Self> {
        self.sum_all()?
            .affine(1.0 / self.tensor().elem_count() as f64, 0.0)
    }

    /// Copies along missing leading axes and axes of length one until the shape is `dims`.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn broadcast_to(&self, dims: &[usize]) -> Result<Self> {
        if self.dims() == dims {
            return Ok(self.clone());
        }
        let tensor = self.tensor().broadcast_as(dims)?;
        Ok(Self::from_op(tensor, &[self], || {
            Box::new(Broadcast {
                dims: self.dims().to_vec(),
            })
        }))
    }

    /// The dual of [`Value::broadcast_to`]: sums until the shape is `dims`.
    ///
    /// # Errors
    /// When `self` is not a broadcast of `dims`.
    pub fn sum_to(&self, dims: &[usize]) -> Result<Self> {
        if self.dims() == dims {
            return Ok(self.clone());
        }
        let leading = self.dims().len() - dims.len();
        let axes: Vec<usize> = (0..self.dims().len())
            .filter(|&axis| axis < leading || (dims[axis - leading] == 1 && self.dims()[axis] != 1))
            .collect();
        self.sum_keepdim(&axes)?.reshape(dims)
    }
}
