//! Elementwise arithmetic with broadcasting.
//!
//! Not here: functions of one value (`unary`).

use super::only;
use crate::{
    error::Result,
    value::{Op, Rule, Value},
};

#[derive(Clone, Copy)]
enum Kind {
    Add,
    Sub,
    Mul,
    Div,
}

struct Binary {
    kind: Kind,
    left: Value,
    right: Value,
}

impl Op for Binary {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Add => "add",
            Kind::Sub => "sub",
            Kind::Mul => "mul",
            Kind::Div => "div",
        }
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        let (left, right) = (rule.saved(&self.left), rule.saved(&self.right));
        let to_left = rule.when_wanted(0, || {
            let grad = match self.kind {
                Kind::Add | Kind::Sub => grad.clone(),
                Kind::Mul => grad.mul(&right)?,
                Kind::Div => grad.div(&right)?,
            };
            grad.sum_to(left.dims())
        })?;
        let to_right = rule.when_wanted(1, || {
            let grad = match self.kind {
                Kind::Add => grad.clone(),
                Kind::Sub => grad.neg()?,
                Kind::Mul => grad.mul(&left)?,
                Kind::Div => grad.mul(&left)?.div(&right)?.div(&right)?.neg()?,
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
        self.binary(other, Kind::Add)
    }

    /// `self - other`, broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn sub(&self, other: &Self) -> Result<Self> {
        self.binary(other, Kind::Sub)
    }

    /// `self * other`, elementwise, broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn mul(&self, other: &Self) -> Result<Self> {
        self.binary(other, Kind::Mul)
    }

    /// `self / other`, elementwise, broadcasting.
    ///
    /// # Errors
    /// When the shapes do not broadcast.
    pub fn div(&self, other: &Self) -> Result<Self> {
        self.binary(other, Kind::Div)
    }

    /// `mul * self + add`.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn affine(&self, mul: f64, add: f64) -> Result<Self> {
        let tensor = self.tensor().affine(mul, add)?;
        Ok(Self::from_op(tensor, &[self], || Box::new(Affine { mul })))
    }

    /// `-self`.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn neg(&self) -> Result<Self> {
        self.affine(-1.0, 0.0)
    }

    fn binary(&self, other: &Self, kind: Kind) -> Result<Self> {
        let (a, b) = (self.tensor(), other.tensor());
        let tensor = match kind {
            Kind::Add => a.broadcast_add(b)?,
            Kind::Sub => a.broadcast_sub(b)?,
            Kind::Mul => a.broadcast_mul(b)?,
            Kind::Div => a.broadcast_div(b)?,
        };
        Ok(Self::from_op(tensor, &[self, other], || {
            Box::new(Binary { kind, left: self.clone(), right: other.clone() })
        }))
    }
}
