//! The starts of heads: learned for other labels, or to be made from the support set.
//!
//! Deliberately not here: what a head goes on to learn, and the mathematics of prototypes.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use metashot_autograd::{Params, Value};
use metashot_data::text::{LabelSet, Role};
use metashot_meta::{class_means, prototype_head};

/// The names of the weight and the bias of a head.
pub(crate) fn head_names(head: &str) -> [String; 2] {
    ["weight", "bias"].map(|part| format!("{head}.{part}"))
}

/// A head that was learned for other labels, as one for `labels`: each of them starts as the mean of the learned rows that
/// play its part, outside, begin or inside.
///
/// The classes of an episode are in random order, so no learned row belongs to a class of its own; their mean treats all
/// new types alike, however many there are.
///
/// # Shapes
/// - `{head}.weight` of the result: `(labels, hidden)`
///
/// # Errors
/// When the learned head does not have the shape that its labels say.
pub(crate) fn refit_head(
    head: &str,
    learned: &LabelSet,
    labels: &LabelSet,
    params: &Params<Value>,
) -> Result<Params<Value>> {
    let n_learned = learned.roles.len();
    let mut shares = Vec::with_capacity(labels.roles.len() * n_learned);
    for &role in &labels.roles {
        let models = models(learned, role);
        let share = 1.0 / models.len().max(1) as f64;
        shares.extend((0..n_learned).map(|row| if models.contains(&row) { share } else { 0.0 }));
    }
    let mut fitted = Params::new();
    for name in head_names(head) {
        let rows = params.get(&name)?;
        ensure!(
            rows.dims()[0] == n_learned,
            "`{name}` has {} rows, its labels are {n_learned}",
            rows.dims()[0]
        );
        // A product with a matrix of shares: its gradient is exact to any order like any product's.
        let dims = [labels.roles.len(), n_learned];
        let shares = Value::constant_like(&shares, &dims, rows)?;
        let value = match rows.dims() {
            [n] => shares.matmul(&rows.reshape(&[*n, 1])?)?,
            _ => shares.matmul(rows)?,
        };
        let value = match rows.dims() {
            [_] => value.reshape(&[labels.roles.len()])?,
            _ => value,
        };
        fitted.insert(name, value);
    }
    Ok(fitted)
}

/// A head for `n_labels` labels that are all alike: zero.
///
/// # Errors
/// When a tensor cannot be made.
pub(crate) fn zero_head(
    head: &str,
    n_labels: usize,
    hidden: usize,
    device: &Device,
) -> Result<Params> {
    let [weight, bias] = head_names(head);
    let zeros = |dims: &[usize]| Tensor::zeros(dims, candle_core::DType::F32, device);
    Ok(Params::from_iter([
        (weight, zeros(&[n_labels, hidden])?),
        (bias, zeros(&[n_labels])?),
    ]))
}

/// A head that starts from prototypes: from the means of the rows that stand for each label, task after task.
///
/// # Shapes
/// - `{head}.weight` of the result: `(labels, features)`, with a leading axis if there is more than one task
///
/// # Errors
/// As [`metashot_meta::class_means`].
pub(crate) fn prototypes_head(
    head: &str,
    embedded: &Value,
    (rows, n_tasks): (&[Vec<usize>], usize),
    scale: f64,
) -> metashot_meta::Result<Params<Value>> {
    let means = class_means(embedded, rows)?;
    let means = if n_tasks > 1 {
        means.by_task(n_tasks)?
    } else {
        means
    };
    let parts = prototype_head(&means, scale)?;
    Ok(head_names(head).into_iter().zip(parts).collect())
}

/// What `of_task` makes of the targets of each task, with the rows counted through all tasks.
pub(crate) fn rows_of_tasks(
    targets: &[i64],
    n_tasks: usize,
    of_task: impl Fn(&[i64]) -> Vec<Vec<usize>>,
) -> Vec<Vec<usize>> {
    let n_rows = (targets.len() / n_tasks).max(1);
    let tasks = targets.chunks(n_rows).enumerate();
    tasks
        .flat_map(|(task, targets)| {
            let mut labels = of_task(targets);
            for row in labels.iter_mut().flatten() {
                *row += task * n_rows;
            }
            labels
        })
        .collect()
}

/// The rows of each class.
pub(crate) fn rows_by_class(targets: &[i64], n_classes: usize) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); n_classes];
    for (row, &target) in targets.iter().enumerate() {
        let class = usize::try_from(target).ok();
        if let Some(rows) = class.and_then(|class| rows.get_mut(class)) {
            rows.push(row);
        }
    }
    rows
}

/// The words that stand for each label: those that have it; else all words of its type's entities; else, for a type
/// without entities and for the outside of sentences that are nothing but entities, all words.
pub(crate) fn rows_by_label(targets: &[i64], labels: &LabelSet) -> Vec<Vec<usize>> {
    let own = rows_by_class(targets, labels.roles.len());
    let of_kind = |kind: usize| -> Vec<usize> {
        let same = |&label: &usize| labels.roles[label].kind() == Some(kind);
        let mut rows: Vec<usize> = (0..own.len())
            .filter(same)
            .flat_map(|label| own[label].clone())
            .collect();
        rows.sort_unstable();
        rows
    };
    let stand_in = |role: &Role| {
        let rows = role.kind().map_or(Vec::new(), of_kind);
        if rows.is_empty() {
            (0..targets.len())
                .filter(|&row| targets[row] >= 0)
                .collect()
        } else {
            rows
        }
    };
    let rows = own.iter().zip(&labels.roles).map(|(rows, role)| {
        if rows.is_empty() {
            stand_in(role)
        } else {
            rows.clone()
        }
    });
    rows.collect()
}

/// The labels that play a part: of a scheme that does not tell begin from inside, those of all words of entities.
fn models(learned: &LabelSet, role: Role) -> Vec<usize> {
    let with = |fits: fn(Role) -> bool| -> Vec<usize> {
        (0..learned.roles.len())
            .filter(|&label| fits(learned.roles[label]))
            .collect()
    };
    let same = match role {
        Role::Outside => return with(|role| role == Role::Outside),
        Role::Begin(_) | Role::Single(_) => {
            with(|role| matches!(role, Role::Begin(_) | Role::Single(_)))
        }
        Role::Inside(_) | Role::End(_) => {
            with(|role| matches!(role, Role::Inside(_) | Role::End(_)))
        }
    };
    if same.is_empty() {
        with(|role| role.kind().is_some())
    } else {
        same
    }
}

#[cfg(test)]
mod tests {
    use metashot_data::text::LabelScheme;

    use super::*;

    fn labels(scheme: LabelScheme, n_types: usize) -> LabelSet {
        let types: Vec<String> = (0..n_types).map(|kind| kind.to_string()).collect();
        LabelSet::new(scheme, &types)
    }

    fn check(learned: LabelScheme, new: LabelScheme, expected: &[f32]) {
        let from = labels(learned, 2);
        let n = from.roles.len();
        let numbers: Vec<f32> = (0..n).map(|row| (1 << row) as f32).collect();
        let bias = Tensor::new(&numbers[..], &Device::Cpu).unwrap();
        let params = Params::from_iter([
            ("head.weight".to_owned(), bias.reshape((n, 1)).unwrap()),
            ("head.bias".to_owned(), bias),
        ]);
        let head = refit_head("head", &from, &labels(new, 3), &params.constants()).unwrap();
        for name in ["head.weight", "head.bias"] {
            let found = head.get(name).unwrap().tensor().flatten_all().unwrap();
            assert_eq!(found.to_vec1::<f32>().unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn every_label_starts_as_the_mean_of_those_that_play_its_part() {
        use LabelScheme::{Bio, Io};
        // The rows are 1 for outside, then 2, 4, 8 and 16.
        check(Bio, Bio, &[1.0, 5.0, 10.0, 5.0, 10.0, 5.0, 10.0]);
        check(Io, Io, &[1.0, 3.0, 3.0, 3.0]);
        check(Io, Bio, &[1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]);
        check(Bio, Io, &[1.0, 10.0, 10.0, 10.0]);
    }

    #[test]
    fn a_head_that_its_labels_do_not_fit_is_refused() {
        let params = zero_head("head", 3, 2, &Device::Cpu).unwrap();
        let labels = labels(LabelScheme::Bio, 2);
        let error = refit_head("head", &labels, &labels, &params.constants()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`head.weight` has 3 rows, its labels are 5"
        );
    }

    #[test]
    fn every_label_has_words_that_stand_for_it() {
        let rows = |targets: &[i64]| rows_by_label(targets, &labels(LabelScheme::Bio, 2));
        // O, B-0, I-0, B-1, I-1: the second type has no word inside.
        assert_eq!(
            rows(&[0, 1, 2, 2, 3, 0]),
            [vec![0, 5], vec![1], vec![2, 3], vec![4], vec![4]]
        );
        assert_eq!(
            rows(&[1, 1]),
            [vec![0, 1], vec![0, 1], vec![0, 1], vec![0, 1], vec![0, 1]]
        );
        // IGNORE_INDEX is no word.
        assert_eq!(rows(&[0, 3, -100])[3], [1]);
    }
}
