//! Functions of one value, elementwise.
//!
//! Not here: activations fused with a normalisation (`block`).

use candle_core::Tensor;

use super::only;
use crate::{
    error::Result,
    kernels,
    value::{Again, Op, Order, Rule, Value},
};

#[derive(Clone, Copy)]
enum Kind {
    Exp,
    Log,
    Sqrt,
    Recip,
    Tanh,
    Relu,
    /// The derivative of that order of gelu; order 0 is gelu itself.
    Gelu(usize),
}

struct Unary {
    kind: Kind,
    input: Value,
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Exp => "exp",
            Kind::Log => "log",
            Kind::Sqrt => "sqrt",
            Kind::Recip => "recip",
            Kind::Tanh => "tanh",
            Kind::Relu => "relu",
            Kind::Gelu(_) => "gelu",
        }
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, x) = (only(grads), rule.saved(&self.input));
        let grad = match self.kind {
            Kind::Exp => grad.mul(&x.exp()?)?,
            Kind::Log => grad.div(&x)?,
            Kind::Sqrt => grad.affine(0.5, 0.0)?.div(&x.sqrt()?)?,
            Kind::Recip => grad.div(&x)?.div(&x)?.neg()?,
            Kind::Tanh => {
                let y = x.tanh()?;
                grad.sub(&grad.mul(&y)?.mul(&y)?)?
            }
            // The mask is constant: relu has no curvature, and a sub-gradient of 0 at 0.
            Kind::Relu => {
                let mask = x.tensor().gt(0f64)?.to_dtype(x.dtype())?;
                grad.mul(&Value::constant(mask))?
            }
            Kind::Gelu(order) => x.gelu_times(grad, order + 1, rule.begun(0).as_ref())?,
        };
        Ok(vec![Some(grad)])
    }

    fn again(&self) -> Option<Again<'_>> {
        let Kind::Gelu(order) = self.kind else {
            return None;
        };
        Some(Box::new(move || {
            kernels::gelu::derivative(self.input.tensor(), order, None, None)
        }))
    }
}

/// A number times the derivative of that order of gelu: what gelu's rule needs, in one pass.
struct GeluTimes {
    order: usize,
    input: Value,
    factor: Value,
}

impl Op for GeluTimes {
    fn name(&self) -> &'static str {
        "gelu's derivative"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let (grad, x) = (only(grads), rule.saved(&self.input));
        if rule.order() == Order::First && grad.is_constant() && rule.wants(0) && rule.wants(1) {
            let [x, factor, grad] = [&x, &self.factor, grad].map(Value::tensor);
            let both = kernels::gelu::backward(x, self.order, factor, grad)?;
            return Ok(both.map(Value::constant).map(Some).into());
        }
        Ok(vec![
            rule.when_wanted(0, || {
                x.gelu_times(&grad.mul(&rule.saved(&self.factor))?, self.order + 1, None)
            })?,
            rule.when_wanted(1, || x.gelu_times(grad, self.order, None))?,
        ])
    }

    fn again(&self) -> Option<Again<'_>> {
        Some(Box::new(|| {
            let factor = Some(self.factor.tensor());
            kernels::gelu::derivative(self.input.tensor(), self.order, factor, None)
        }))
    }
}

impl Value {
    /// The exponential.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn exp(&self) -> Result<Self> {
        self.unary(Kind::Exp)
    }

    /// The natural logarithm.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn log(&self) -> Result<Self> {
        self.unary(Kind::Log)
    }

    /// The square root.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn sqrt(&self) -> Result<Self> {
        self.unary(Kind::Sqrt)
    }

    /// `1 / self`.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn recip(&self) -> Result<Self> {
        self.unary(Kind::Recip)
    }

    /// The hyperbolic tangent.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn tanh(&self) -> Result<Self> {
        self.unary(Kind::Tanh)
    }

    /// `max(self, 0)`, with a sub-gradient of 0 at 0.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn relu(&self) -> Result<Self> {
        self.unary(Kind::Relu)
    }

    /// The Gaussian error linear unit `x * Phi(x)`, by the error function.
    ///
    /// # Source
    /// Hendrycks and Gimpel 2016, "Gaussian error linear units", section 2; not its tanh approximation.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn gelu(&self) -> Result<Self> {
        self.unary(Kind::Gelu(0))
    }

    /// `factor` times a derivative, added to what a gradient begins with, which is on no graph and only there for what is not
    /// differentiated again.
    fn gelu_times(&self, factor: &Self, order: usize, begun: Option<&Tensor>) -> Result<Self> {
        let factors = Some(factor.tensor());
        let tensor = kernels::gelu::derivative(self.tensor(), order, factors, begun)?;
        Ok(Self::from_op(tensor, &[self, factor], || {
            Box::new(GeluTimes {
                order,
                input: self.clone(),
                factor: factor.clone(),
            })
        }))
    }

    fn unary(&self, kind: Kind) -> Result<Self> {
        let x = self.tensor();
        let tensor = match kind {
            Kind::Exp => x.exp()?,
            Kind::Log => x.log()?,
            Kind::Sqrt => x.sqrt()?,
            Kind::Recip => x.recip()?,
            Kind::Tanh => x.tanh()?,
            Kind::Relu => x.relu()?,
            Kind::Gelu(order) => kernels::gelu::derivative(x, order, None, None)?,
        };
        Ok(Self::from_op(tensor, &[self], || {
            Box::new(Unary {
                kind,
                input: self.clone(),
            })
        }))
    }
}
