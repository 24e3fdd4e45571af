//! The start of a head for new entity types.
//!
//! Deliberately not here: what the head goes on to learn.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use metashot_autograd::Params;
use metashot_data::text::{LabelSet, Role};
use metashot_models::TokenClassifier;

/// A head that was learned for other types, or for the classes of episodes.
pub(crate) struct LearnedHead {
    /// What its rows stand for.
    pub(crate) labels: LabelSet,
    /// Its parameters.
    pub(crate) params: Params,
}

/// The head that adapting to the types of `labels` starts from: each label has the mean of the learned rows that play
/// its part, outside, begin or inside, and without any it starts at zero.
///
/// The classes of an episode are in random order, so no learned row belongs to a class of its own; their mean treats all
/// new types alike, however many there are.
///
/// # Shapes
/// - `classifier.weight` of the result: `(labels, hidden)`
///
/// # Errors
/// When the learned head does not have the shape that its labels say.
pub(crate) fn start_head(
    learned: Option<&LearnedHead>,
    labels: &LabelSet,
    hidden: usize,
    device: &Device,
) -> Result<Params> {
    let mut head = Params::new();
    for (part, width) in [("weight", hidden), ("bias", 1)] {
        let name = format!("{}.{part}", TokenClassifier::HEAD);
        let rows: Vec<Vec<f32>> = match learned {
            None => Vec::new(),
            Some(learned) => learned
                .params
                .get(&name)?
                .reshape((learned.labels.roles.len(), width))?
                .to_dtype(DType::F32)?
                .to_vec2()?,
        };
        let mut numbers = Vec::with_capacity(labels.roles.len() * width);
        for &role in &labels.roles {
            let models = learned.map_or(Vec::new(), |learned| models(&learned.labels, role));
            let column = |at: usize| {
                let sum: f64 = models.iter().map(|&row| f64::from(rows[row][at])).sum();
                (sum / models.len().max(1) as f64) as f32
            };
            numbers.extend((0..width).map(column));
        }
        let tensor = Tensor::from_vec(numbers, (labels.roles.len(), width), device)?;
        let tensor = if part == "bias" {
            tensor.squeeze(1)?
        } else {
            tensor
        };
        head.insert(name, tensor);
    }
    Ok(head)
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
            (
                "classifier.weight".to_owned(),
                bias.reshape((n, 1)).unwrap(),
            ),
            ("classifier.bias".to_owned(), bias),
        ]);
        let learned = LearnedHead {
            labels: from,
            params,
        };
        let head = start_head(Some(&learned), &labels(new, 3), 1, &Device::Cpu).unwrap();
        for name in ["classifier.weight", "classifier.bias"] {
            let found = head.get(name).unwrap().flatten_all().unwrap();
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
    fn without_a_learned_head_it_starts_at_zero() {
        let head = start_head(None, &labels(LabelScheme::Bio, 1), 2, &Device::Cpu).unwrap();
        let weight = head.get("classifier.weight").unwrap();
        assert_eq!(weight.to_vec2::<f32>().unwrap(), [[0.0; 2]; 3]);
        assert_eq!(head.get("classifier.bias").unwrap().dims(), [3]);
    }
}
