//! How much arithmetic a step needs: 2 for each multiplication and addition of the products of convolutions, linear
//! layers and attention, and nothing for all else.
//!
//! It is what the mathematics asks for, not what a program happens to do: a forward pass counts 1, its gradient 2, and
//! a step of the exact inner loop 9 with its second derivative. Products whose input is data or a constant of the task
//! need no gradient to it and count less.

use std::ops::{Add, Mul};

/// One forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Forward {
    /// The products whose input needs no gradient.
    pub(crate) first: f64,
    /// All others.
    pub(crate) rest: f64,
}

impl Forward {
    /// The pass and its gradient.
    pub(crate) fn with_gradient(self) -> f64 {
        3.0 * self.rest + 2.0 * self.first
    }

    /// The pass, its gradient, and the derivative of that in one direction.
    pub(crate) fn with_second(self) -> f64 {
        9.0 * self.rest + 4.0 * self.first
    }

    /// One step of the inner loop with its share of the way back.
    pub(crate) fn inner_step(self, first_order: bool) -> f64 {
        if first_order {
            self.with_gradient()
        } else {
            self.with_second()
        }
    }
}

impl Add for Forward {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            first: self.first + other.first,
            rest: self.rest + other.rest,
        }
    }
}

impl Mul<usize> for Forward {
    type Output = Self;

    fn mul(self, times: usize) -> Self {
        Self {
            first: self.first * times as f64,
            rest: self.rest * times as f64,
        }
    }
}

/// The product of matrices `(rows, inner)` and `(inner, columns)`.
pub(crate) fn product(rows: usize, inner: usize, columns: usize) -> f64 {
    2.0 * rows as f64 * inner as f64 * columns as f64
}
