//! Elementwise arithmetic with broadcasting.
//!
//! Not here: functions of one value (`unary`).

use super::only;
use crate::{
    error::Result,
    kernels::elementwise::{self, Binary},
    value::{Op, Rule, Value},
};

/// A sum or difference: its gradients need the shapes of the operands and nothing of their numbers, which need not be
/// kept for it.
struct Additive {
    is_sum: bool,
    left: Vec<usize>,
    right: Vec<usize>,
}

impl Op for Additive {
    fn name(&self) -> &'static str {
        if self.is_sum { "add" } else { "sub" }
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        Ok(vec![
            rule.when_wanted(0, || grad.sum_to(&self.left))?,
            rule.when_wanted(1, || {
                let grad = if self.is_sum {
                    grad.clone()
                } else {
                    grad.neg()?
                };
                grad.sum_to(&self.right)
            })?,
        ])
    }
}

/// A product or quotient.
struct Multiplicative {
    is_product: bool,
    left: Value,
    right: Value,
}

impl Op for Multiplicative {
    fn name(&self) -> &'static str {
        if self.is_product { "mul" } else { "div" }
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        let (left, right) = (rule.saved(&self.left), rule.saved(&self.right));
        let to_left = rule.when_wanted(0, || {
            let grad = if self.is_product {
                grad.mul(&right)?
            } else {
                grad.div(&right)?
            };
            grad.sum_to(left.dims())
        })?;
        let to_right = rule.when_wanted(1, || {
            let grad = grad.mul(&left)?;
            let grad = if self.is_product {
                grad
            } else {
                grad.div(&right)?.div(&right)?.neg()?
            };
            grad.sum_to(right.dims())
        })?;
        Ok(vec![to_left, to_right])
    }
}

/// `y = mul * x + add` with constant numbers.
struct Affine {
    mul: f64,
}

impl Op for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).affine(self.mul, 0.0)?)])
    }
}

impl Value {
    /// `self + other`, broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn add(&self, other: &Self) -> Result<Self> {
        self.binary(other, Binary::Add)
    }

    /// `self - other`, broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn sub(&self, other: &Self) -> Result<Self> {
        self.binary(other, Binary::Sub)
    }

    /// `self * other`, elementwise, broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn mul(&self, other: &Self) -> Result<Self> {
        self.binary(other, Binary::Mul)
    }

    /// `self / other`, elementwise, broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn div(&self, other: &Self) -> Result<Self> {
        self.binary(other, Binary::Div)
    }

    /// `mul * self + add`.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn affine(&self, mul: f64, add: f64) -> Result<Self> {
        let tensor = elementwise::affine(self.tensor(), mul, add)?;
        Ok(Self::from_op(tensor, &[self], || Box::new(Affine { mul })))
    }

    /// `-self`.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn neg(&self) -> Result<Self> {
        self.affine(-1.0, 0.0)
    }

    fn binary(&self, other: &Self, kind: Binary) -> Result<Self> {
        let tensor = elementwise::binary(self.tensor(), other.tensor(), kind)?;
        Ok(Self::from_op(tensor, &[self, other], || match kind {
            Binary::Add | Binary::Sub => Box::new(Additive {
                is_sum: matches!(kind, Binary::Add),
                left: self.dims().to_vec(),
                right: other.dims().to_vec(),
            }),
            Binary::Mul | Binary::Div => Box::new(Multiplicative {
                is_product: matches!(kind, Binary::Mul),
                left: self.clone(),
                right: other.clone(),
            }),
        }))
    }
}
