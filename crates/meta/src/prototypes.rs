//! Prototypes: the mean embedding of a class, and distances to it, as differentiable values.
//!
//! Not here: the embedding.

use candle_core::{D, Tensor};
use metashot_autograd::{Value, ops::IGNORE_INDEX};

use crate::error::{Error, Result};

/// The mean of each class's rows; rows labelled [`IGNORE_INDEX`] count for none.
///
/// # Shapes
/// - `embeddings`: `(rows, features)`
/// - `labels`: one for each row, below `n_classes`
/// - result: `(n_classes, features)`
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::Value;
/// use metashot_meta::{LossError, nearest_prototype, prototypes};
///
/// let support = Value::constant(Tensor::new(&[[0f32, 0.0], [2.0, 0.0], [5.0, 5.0]], &Device::Cpu)?);
/// let centres = prototypes(&support, &[0, 0, 1], 2)?;
/// let query = Value::constant(Tensor::new(&[[4f32, 3.0], [1.0, 1.0]], &Device::Cpu)?);
/// assert_eq!(nearest_prototype(&query, &centres)?, [1, 0]);
/// # Ok::<(), LossError>(())
/// ```
///
/// # Source
/// Snell, Swersky and Zemel 2017, "Prototypical networks for few-shot learning", equation 1.
///
/// # Errors
/// [`Error::EmptyClass`] for a class without a row, or labels that do not fit.
pub fn prototypes(embeddings: &Value, labels: &[i64], n_classes: usize) -> Result<Value> {
    let mut counts = vec![0usize; n_classes];
    for &label in labels.iter().filter(|&&label| label != IGNORE_INDEX) {
        let class = usize::try_from(label)
            .ok()
            .and_then(|class| counts.get_mut(class));
        *class.ok_or_else(|| Error::Setting {
            setting: "labels",
            wanted: "below the number of classes",
            found: label.to_string(),
        })? += 1;
    }
    if let Some(class) = counts.iter().position(|&count| count == 0) {
        return Err(Error::EmptyClass { class });
    }
    // A product with a matrix of shares: its gradient is exact to any order like any product's.
    let mut shares = vec![0f64; n_classes * labels.len()];
    for (row, &label) in labels
        .iter()
        .enumerate()
        .filter(|(_, label)| **label != IGNORE_INDEX)
    {
        let class = label as usize;
        shares[class * labels.len() + row] = 1.0 / counts[class] as f64;
    }
    let shares = Tensor::from_vec(shares, (n_classes, labels.len()), embeddings.device())?;
    Ok(Value::constant(shares.to_dtype(embeddings.dtype())?).matmul(embeddings)?)
}

/// Minus the squared Euclidean distance of each row to each prototype: logits over the classes.
///
/// # Shapes
/// - `embeddings`: `(rows, features)`
/// - `prototypes`: `(n_classes, features)`
/// - result: `(rows, n_classes)`
///
/// # Source
/// Snell et al. 2017, equation 2.
///
/// # Errors
/// When the shapes do not fit.
pub fn prototype_logits(embeddings: &Value, prototypes: &Value) -> Result<Value> {
    let squares = |x: &Value| x.mul(x)?.sum_keepdim(&[1]);
    let cross = embeddings.matmul(&prototypes.t()?)?.affine(2.0, 0.0)?;
    Ok(cross
        .sub(&squares(embeddings)?)?
        .sub(&squares(prototypes)?.t()?)?)
}

/// The class of the nearest prototype of each row.
///
/// # Shapes
/// As [`prototype_logits`].
///
/// # Errors
/// When the shapes do not fit.
pub fn nearest_prototype(embeddings: &Value, prototypes: &Value) -> Result<Vec<u32>> {
    Ok(prototype_logits(embeddings, prototypes)?
        .tensor()
        .argmax(D::Minus1)?
        .to_vec1()?)
}
