//! The linear layer.
//!
//! Not here: where its weights come from.

use super::only;
use crate::{
    error::{Error, Result},
    kernels::{self, for_float, on_host, with_slices},
    value::{Op, Rule, Value},
};

struct Linear {
    input: Value,
    weight: Value,
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        let grad = only(grads);
        Ok(vec![
            rule.when_wanted(0, || grad.matmul(&rule.saved(&self.weight)))?,
            rule.when_wanted(1, || grad.transposed_matmul(&rule.saved(&self.input)))?,
            rule.when_wanted(2, || grad.sum_to(&[grad.dims()[1]]))?,
        ])
    }
}

/// `y = x w^T + bias`.
///
/// # Shapes
/// - `x`: `(rows, in)`
/// - `weight`: `(out, in)`
/// - `bias`: `(out)`
/// - result: `(rows, out)`
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Value, weight: &Value, bias: &Value) -> Result<Value> {
    let fits = matches!((x.dims(), weight.dims(), bias.dims()),
        ([_, n_in], [n_out, w_in], [b_out]) if n_in == w_in && n_out == b_out);
    if !fits {
        return Err(Error::Shape {
            op: "linear",
            expected: "input (rows, in), weight (out, in) and bias (out)".into(),
            found: format!("{:?}, {:?} and {:?}", x.dims(), weight.dims(), bias.dims()),
        });
    }
    let (rows, n_in, n_out) = (x.dims()[0], x.dims()[1], bias.dims()[0]);
    let tensor = if on_host(x.tensor()) {
        for_float!(x, T => {
            let out = with_slices([x.tensor(), weight.tensor(), bias.tensor()], |[x, w, b]| {
                kernels::matmul::linear::<T>(x, w, b, n_in)
            })?;
            kernels::tensor(out, &[rows, n_out])?
        })
    } else {
        x.tensor()
            .matmul(&weight.tensor().t()?)?
            .broadcast_add(bias.tensor())?
    };
    Ok(Value::from_op(tensor, &[x, weight, bias], || {
        Box::new(Linear {
            input: x.clone(),
            weight: weight.clone(),
        })
    }))
}
