//! Losses: scalars to differentiate.
//!
//! Not here: metrics, which nobody differentiates.

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
    cross_entropy_by_task(logits, targets, 1)
}

/// The sum of the tasks' losses, each its own [`cross_entropy`].
///
/// # Shapes
/// - `logits`: `(rows, classes)`, the tasks one after another, as many rows of each
/// - `targets`: one for each row
/// - result: a scalar
///
/// # Errors
/// As [`cross_entropy`], for every task, and when the rows cannot be shared out evenly.
pub fn cross_entropy_by_task(logits: &Value, targets: &[i64], n_tasks: usize) -> Result<Value> {
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
    if n_tasks == 0 || !n_rows.is_multiple_of(n_tasks) {
        return Err(shape(
            &format!("as many rows for each of {n_tasks} tasks"),
            format!("{n_rows}"),
        ));
    }
    let mut weights = vec![0f64; n_rows * n_classes];
    // A task's rows weigh as much as in its own mean; the first task's divisor is applied to the sum.
    let mut divisor = None;
    let rows_of_task = (n_rows / n_tasks).max(1);
    let tasks = targets.chunks(rows_of_task);
    for (targets, weights) in tasks.zip(weights.chunks_mut((rows_of_task * n_classes).max(1))) {
        let n_counted = targets.iter().filter(|&&t| t != IGNORE_INDEX).count();
        if n_counted == 0 {
            return Err(shape(
                "at least one target that is not ignored",
                "none".into(),
            ));
        }
        let weight = -*divisor.get_or_insert(n_counted as f64) / n_counted as f64;
        for (row, &target) in targets.iter().enumerate() {
            match usize::try_from(target) {
                _ if target == IGNORE_INDEX => {}
                Ok(class) if class < n_classes => {
                    weights[row * n_classes + class] = weight;
                }
                _ => {
                    return Err(shape(
                        &format!("targets below {n_classes}"),
                        format!("{target}"),
                    ));
                }
            }
        }
    }
    let weights = Value::constant_like(&weights, &[n_rows, n_classes], logits)?;
    logits
        .log_softmax()?
        .mul(&weights)?
        .sum_all()?
        .affine(1.0 / divisor.unwrap_or(1.0), 0.0)
}

fn shape(expected: &str, found: String) -> Error {
    Error::Shape {
        op: "cross_entropy",
        expected: expected.into(),
        found,
    }
}
