//! Operations that move elements and compute nothing.
//!
//! Not here: looking rows up by index (`index`).

use candle_core::Tensor;

use super::only;
use crate::{
    error::Result,
    value::{Op, Rule, Value},
};

struct Reshape {
    dims: Vec<usize>,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).reshape(&self.dims)?)])
    }
}

struct Permute {
    inverse: Vec<usize>,
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).permute(&self.inverse)?)])
    }
}

/// A slice along one axis; its gradient is padded with zeros.
struct Narrow {
    axis: usize,
    before: usize,
    after: usize,
}

impl Op for Narrow {
    fn name(&self) -> &'static str {
        "narrow"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).pad_zeros(
            self.axis,
            self.before,
            self.after,
        )?)])
    }
}

/// Zeros before and after along one axis; its gradient is the slice between.
struct PadZeros {
    axis: usize,
    before: usize,
    len: usize,
}

impl Op for PadZeros {
    fn name(&self) -> &'static str {
        "pad_zeros"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).narrow(
            self.axis,
            self.before,
            self.len,
        )?)])
    }
}

struct Cat {
    axis: usize,
    lengths: Vec<usize>,
}

impl Op for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        let mut start = 0;
        self.lengths
            .iter()
            .enumerate()
            .map(|(part, &len)| {
                let from = start;
                start += len;
                rule.when_wanted(part, || grad.narrow(self.axis, from, len))
            })
            .collect()
    }
}

impl Value {
    /// The same elements in another shape.
    ///
    /// # Errors
    /// When the counts of elements differ.
    pub fn reshape(&self, dims: &[usize]) -> Result<Self> {
        if self.dims() == dims {
            return Ok(self.clone());
        }
        let tensor = self.tensor().reshape(dims)?;
        Ok(Self::from_op(tensor, &[self], || {
            Box::new(Reshape {
                dims: self.dims().to_vec(),
            })
        }))
    }

    /// The axes in another order: axis `i` of the result is axis `axes[i]` of `self`.
    ///
    /// # Errors
    /// When `axes` is not a permutation.
    pub fn permute(&self, axes: &[usize]) -> Result<Self> {
        let tensor = self.tensor().permute(axes)?;
        Ok(Self::from_op(tensor, &[self], || {
            let mut inverse = vec![0; axes.len()];
            for (to, &from) in axes.iter().enumerate() {
                inverse[from] = to;
            }
            Box::new(Permute { inverse })
        }))
    }

    /// Elements `start..start + len` along `axis`.
    ///
    /// # Errors
    /// When the slice is out of range.
    pub fn narrow(&self, axis: usize, start: usize, len: usize) -> Result<Self> {
        let tensor = self.tensor().narrow(axis, start, len)?;
        Ok(Self::from_op(tensor, &[self], || {
            Box::new(Narrow {
                axis,
                before: start,
                after: self.dims()[axis] - start - len,
            })
        }))
    }

    /// Zeros added before and after along `axis`.
    ///
    /// # Errors
    /// When the axis does not exist.
    pub fn pad_zeros(&self, axis: usize, before: usize, after: usize) -> Result<Self> {
        let tensor = self.tensor().pad_with_zeros(axis, before, after)?;
        Ok(Self::from_op(tensor, &[self], || {
            Box::new(PadZeros {
                axis,
                before,
                len: self.dims()[axis],
            })
        }))
    }

    /// Values one after another along `axis`.
    ///
    /// # Errors
    /// When the other axes differ.
    pub fn cat(parts: &[Self], axis: usize) -> Result<Self> {
        let tensors: Vec<&Tensor> = parts.iter().map(Self::tensor).collect();
        let tensor = Tensor::cat(&tensors, axis)?;
        let parents: Vec<&Self> = parts.iter().collect();
        Ok(Self::from_op(tensor, &parents, || {
            Box::new(Cat {
                axis,
                lengths: parts.iter().map(|part| part.dims()[axis]).collect(),
            })
        }))
    }
}
