//! What a fused operation is: a composition of plain operations, and kernels that compute it, its gradient and its
//! gradient's gradient in fewer passes.
//!
//! The composition is the definition. Kernels stand in for it where they can: numbers on a CPU, first and second
//! order. A new kernel is an implementation of [`Fused`] and a line in the test that compares the two. Not here:
//! the kernels themselves.

use candle_core::Tensor;

use super::only;
use crate::{
    error::Result,
    grad::pull_back_partially,
    kernels::on_host,
    value::{Op, Order, Rule, Value},
};

/// An operation with one output and kernels for two orders.
pub(crate) trait Fused: Clone + Send + Sync + 'static {
    /// The name shown in debug output.
    const NAME: &'static str;

    /// The definition, by plain operations.
    fn composed(&self, inputs: &[Value]) -> Result<Value>;

    /// The output, and what the gradients want to keep.
    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)>;

    /// The output where nobody wants a gradient.
    fn output(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        Ok(self.forward(inputs)?.0)
    }

    /// The gradient of each input, added to what `begun` has of it already if the kernel asks for that.
    fn backward(
        &self,
        inputs: &[&Tensor],
        kept: &[Tensor],
        grad: &Tensor,
        begun: &dyn Fn(usize) -> Option<Tensor>,
    ) -> Result<Vec<Tensor>>;

    /// The gradients of the inputs, and last of `grad`, of the products of [`Fused::backward`]'s results with
    /// their `cotangents`; `None` is a zero by structure.
    fn backward_twice(
        &self,
        inputs: &[&Tensor],
        kept: &[Tensor],
        grad: &Tensor,
        cotangents: &[Option<&Tensor>],
    ) -> Result<Vec<Option<Tensor>>>;
}

/// Computes a fused operation: by its kernels where they can run, by its definition elsewhere.
pub(crate) fn apply<F: Fused>(fused: F, inputs: &[&Value]) -> Result<Value> {
    let inputs: Vec<Value> = inputs.iter().map(|&input| input.clone()).collect();
    if !inputs
        .iter()
        .all(|input| on_host(input.tensor()) && input.dtype() == inputs[0].dtype())
    {
        return fused.composed(&inputs);
    }
    if inputs.iter().all(Value::is_constant) {
        return Ok(Value::constant(fused.output(&tensors(&inputs))?));
    }
    let (output, kept) = fused.forward(&tensors(&inputs))?;
    let parents: Vec<&Value> = inputs.iter().collect();
    Ok(Value::from_op(output, &parents, || {
        Box::new(First {
            fused,
            inputs: inputs.clone(),
            kept,
        })
    }))
}

/// The forward pass, whose gradient is one operation with an output for each input.
struct First<F> {
    fused: F,
    inputs: Vec<Value>,
    kept: Vec<Tensor>,
}

impl<F: Fused> Op for First<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        let inputs: Vec<Value> = self.inputs.iter().map(|input| rule.saved(input)).collect();
        let begun = |input| rule.begun(input);
        let outputs = self
            .fused
            .backward(&tensors(&inputs), &self.kept, grad.tensor(), &begun)?;
        let parents: Vec<&Value> = inputs.iter().chain([grad]).collect();
        let gradients = Value::from_op_many(outputs, &parents, || {
            let (fused, kept) = (self.fused.clone(), self.kept.clone());
            Box::new(Second {
                fused,
                inputs: inputs.clone(),
                grad: grad.clone(),
                kept,
            })
        });
        Ok(gradients.into_iter().map(Some).collect())
    }
}

/// The gradients of [`First`], as an operation of the inputs and of the output's gradient.
struct Second<F> {
    fused: F,
    inputs: Vec<Value>,
    grad: Value,
    kept: Vec<Tensor>,
}

impl<F: Fused> Op for Second<F> {
    fn name(&self) -> &'static str {
        "gradient of a fused operation"
    }

    fn backward(
        &self,
        cotangents: &[Option<Value>],
        rule: &Rule<'_>,
    ) -> Result<Vec<Option<Value>>> {
        let inputs: Vec<Value> = self.inputs.iter().map(|input| rule.saved(input)).collect();
        let grad = rule.saved(&self.grad);
        if rule.order() == Order::Higher {
            return composed_twice(&self.fused, &inputs, &grad, cotangents);
        }
        let cotangents: Vec<Option<&Tensor>> = cotangents
            .iter()
            .map(|cotangent| cotangent.as_ref().map(Value::tensor))
            .collect();
        let outputs =
            self.fused
                .backward_twice(&tensors(&inputs), &self.kept, grad.tensor(), &cotangents)?;
        Ok(outputs
            .into_iter()
            .map(|output| output.map(Value::constant))
            .collect())
    }
}

/// [`Fused::backward_twice`] from the definition, differentiable again: for third order and up, and for tests.
pub(crate) fn composed_twice<F: Fused>(
    fused: &F,
    inputs: &[Value],
    grad: &Value,
    cotangents: &[Option<Value>],
) -> Result<Vec<Option<Value>>> {
    // Aliases separate the inputs from each other and from what lies behind them, as partial derivatives want.
    let aliases: Vec<Value> = inputs.iter().chain([grad]).map(Value::alias).collect();
    let (inputs, grad) = aliases.split_at(inputs.len());
    let output = fused.composed(inputs)?;
    let variables: Vec<&Value> = inputs.iter().collect();
    let first = pull_back_partially(vec![(output, grad[0].clone())], &variables, Order::Higher)?;
    let pairs = first
        .into_iter()
        .zip(cotangents)
        .filter_map(|(value, cotangent)| Some((value?, cotangent.clone()?)))
        .collect();
    pull_back_partially(pairs, &aliases.iter().collect::<Vec<_>>(), Order::Higher)
}

fn tensors(values: &[Value]) -> Vec<&Tensor> {
    values.iter().map(Value::tensor).collect()
}

struct Alias;

impl Op for Alias {
    fn name(&self) -> &'static str {
        "alias"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).clone())])
    }
}

impl Value {
    /// The same value as a node of its own; a constant becomes a variable that nobody else can name.
    fn alias(&self) -> Self {
        if self.is_constant() {
            return Self::variable(self.tensor().clone());
        }
        Self::from_op(self.tensor().clone(), &[self], || Box::new(Alias))
    }
}

#[cfg(test)]
mod tests;
