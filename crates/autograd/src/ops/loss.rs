//! Losses: scalars to differentiate.
//!
//! Not here: metrics, which nobody differentiates.

use candle_core::Tensor;

use crate::{
    error::{Error, Result},
    value::Value,
};

/// The target that a loss passes over: padding, special tokens and later sub-words.
pub const IGNORE_INDEX: i64 = -100;

/// Cross-entropy of softmax, the mean over the rows whose target is not [`IGNORE_INDEX`].
///
/// # Shapes
/// - `logits`: `(rows, classes)`
/// - `targets`: one for each row
/// - result: a scalar
///
/// # Errors
/// When the counts differ, a target is no class, or every target is ignored: the mean of nothing is no number.
pub fn cross_entropy(logits: &Value, targets: &[i64]) -> Result<Value> {
    let &[n_rows, n_classes] = logits.dims() else {
        return Err(shape(
            "logits (rows, classes)",
            format!("{:?}", logits.dims()),
        ));
    };
    if targets.len() != n_rows {
        return Err(shape(
            &format!("{n_rows} targets, one for each row"),
            format!("{}", targets.len()),
        ));
    }
    let mut weights = vec![0f64; n_rows * n_classes];
    let mut n_counted = 0;
    for (row, &target) in targets.iter().enumerate() {
        if target == IGNORE_INDEX {
            continue;
        }
        match usize::try_from(target) {
            Ok(class) if class < n_classes => weights[row * n_classes + class] = -1.0,
            _ => {
                return Err(shape(
                    &format!("targets below {n_classes}"),
                    format!("{target}"),
                ));
            }
        }
        n_counted += 1;
    }
    if n_counted == 0 {
        return Err(shape(
            "at least one target that is not ignored",
            "none".into(),
        ));
    }
    let weights = Tensor::from_vec(weights, (n_rows, n_classes), logits.device())?
        .to_dtype(logits.dtype())?;
    logits
        .log_softmax()?
        .mul(&Value::constant(weights))?
        .sum_all()?
        .affine(1.0 / f64::from(n_counted), 0.0)
}

fn shape(expected: &str, found: String) -> Error {
    Error::Shape {
        op: "cross_entropy",
        expected: expected.into(),
        found,
    }
}
