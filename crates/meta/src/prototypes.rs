//! Prototypes: the mean embedding of a class, distances to it, and the linear head that those distances are.
//!
//! Not here: the embedding.

use candle_core::{D, DType, Tensor};
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
    let mut rows = vec![Vec::new(); n_classes];
    for (row, &label) in labels.iter().enumerate() {
        if label == IGNORE_INDEX {
            continue;
        }
        let class = usize::try_from(label)
            .ok()
            .and_then(|class| rows.get_mut(class));
        let class = class.ok_or_else(|| Error::Setting {
            setting: "labels",
            wanted: "below the number of classes",
            found: label.to_string(),
        })?;
        class.push(row);
    }
    class_means(embeddings, &rows)
}

/// The mean of each class's rows, where a row may count for several classes or for none.
///
/// # Shapes
/// - `embeddings`: `(rows, features)`
/// - `rows`: for each class, rows of `embeddings`
/// - result: `(n_classes, features)`
///
/// # Source
/// Snell et al. 2017, equation 1.
///
/// # Errors
/// [`Error::EmptyClass`] for a class without a row; a row that is not there.
pub fn class_means(embeddings: &Value, rows: &[Vec<usize>]) -> Result<Value> {
    let n_rows = embeddings.dims().first().copied().unwrap_or(0);
    // A product with a matrix of shares: its gradient is exact to any order like any product's.
    let mut shares = vec![0f64; rows.len() * n_rows];
    for (class, rows) in rows.iter().enumerate() {
        if rows.is_empty() {
            return Err(Error::EmptyClass { class });
        }
        for &row in rows {
            check_row(row, n_rows)?;
            shares[class * n_rows + row] += 1.0 / rows.len() as f64;
        }
    }
    let shares = Value::constant_like(&shares, &[rows.len(), n_rows], embeddings)?;
    Ok(shares.matmul(embeddings)?)
}

/// Weight and bias of the linear head whose logits are `scale` times [`prototype_logits`], but for a term that all
/// classes share and softmax takes away.
///
/// A head that starts there and is adapted makes `ProtoMAML`; one that stays there is a prototypical network.
///
/// # Shapes
/// - `prototypes`: `(n_classes, features)`, or with a leading axis of tasks
/// - weight: as `prototypes`; bias: `(n_classes)`, or `(tasks, n_classes)`
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::{Value, ops::linear};
/// use metashot_meta::{LossError, prototype_head, prototype_logits};
///
/// let centres = Value::constant(Tensor::new(&[[1f64, 0.0], [4.0, 5.0]], &Device::Cpu)?);
/// let query = Value::constant(Tensor::new(&[[3f64, 3.0]], &Device::Cpu)?);
/// let [weight, bias] = prototype_head(&centres, 1.0)?;
/// let head = linear(&query, &weight, &bias)?.log_softmax()?;
/// let distances = prototype_logits(&query, &centres)?.log_softmax()?;
/// assert_eq!(head.tensor().to_vec2::<f64>()?, distances.tensor().to_vec2::<f64>()?);
/// # Ok::<(), LossError>(())
/// ```
///
/// # Source
/// Triantafillou et al. 2020, "Meta-Dataset", section 3.1 (Proto-MAML); Snell et al. 2017, section 2.4. The scale, an
/// inverse temperature, is ours.
///
/// # Errors
/// When the tensor operation fails.
pub fn prototype_head(prototypes: &Value, scale: f64) -> Result<[Value; 2]> {
    let weight = prototypes.affine(2.0 * scale, 0.0)?;
    let classes = &prototypes.dims()[..prototypes.dims().len().saturating_sub(1)];
    let squares = prototypes.mul(prototypes)?.sum_keepdim(&[classes.len()])?;
    let bias = squares.affine(-scale, 0.0)?.reshape(classes)?;
    Ok([weight, bias])
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

/// Minus the squared Euclidean distance of each row to the nearest row of each class: the logits of a classifier that
/// gives a row the class of its nearest neighbour.
///
/// A class without rows has minus infinity.
///
/// # Shapes
/// - `embeddings`: `(rows, features)`
/// - `support`: `(support rows, features)`
/// - `rows`: for each class, rows of `support`
/// - result: `(rows, n_classes)`, in `f32`
///
/// # Source
/// Yang and Katiyar 2020, "Simple and effective few-shot named entity recognition with structured nearest neighbor
/// learning", equations 1 and 2 (`NNShot`).
///
/// # Errors
/// When the shapes do not fit, or a row is not there.
pub fn nearest_neighbor_logits(
    embeddings: &Value,
    support: &Value,
    rows: &[Vec<usize>],
) -> Result<Tensor> {
    let n_support = support.dims().first().copied().unwrap_or(0);
    for &row in rows.iter().flatten() {
        check_row(row, n_support)?;
    }
    let distances = prototype_logits(embeddings, support)?;
    let distances: Vec<Vec<f32>> = distances.tensor().to_dtype(DType::F32)?.to_vec2()?;
    let nearest = |distances: &[f32], rows: &[usize]| {
        let own = rows.iter().map(|&row| distances[row]);
        own.fold(f32::NEG_INFINITY, f32::max)
    };
    let logits: Vec<f32> = distances
        .iter()
        .flat_map(|distances| rows.iter().map(|rows| nearest(distances, rows)))
        .collect();
    Ok(Tensor::from_vec(
        logits,
        (distances.len(), rows.len()),
        embeddings.device(),
    )?)
}

fn check_row(row: usize, n_rows: usize) -> Result<()> {
    if row < n_rows {
        return Ok(());
    }
    Err(Error::Setting {
        setting: "rows",
        wanted: "below the number of embeddings",
        found: row.to_string(),
    })
}
