//! Named parameters as values: an ordered map from a name to a tensor, or to a value on the graph.
//!
//! Not here: what the names mean (models), files (checkpoints) and updates (optimisers).

use std::collections::{BTreeMap, btree_map};

use candle_core::{DType, Device, Tensor};

use crate::{
    error::{Error, Result},
    value::Value,
};

/// Parameters by name, in the order of their names.
///
/// `Params<Tensor>` are numbers (slow weights, gradients, moments); `Params<Value>` are on the graph and are what
/// a model reads. Nothing in here is shared or mutated behind the owner's back.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use metashot_autograd::{Params, Patterns};
///
/// let mut params = Params::new();
/// params.insert("encoder.weight", Tensor::zeros((2, 2), DType::F32, &Device::Cpu)?);
/// params.insert("head.weight", Tensor::zeros((3, 2), DType::F32, &Device::Cpu)?);
/// let (head, rest) = params.split(&Patterns::new(["head"]))?;
/// assert_eq!(head.names().collect::<Vec<_>>(), ["head.weight"]);
/// assert_eq!(rest.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Params<T = Tensor> {
    entries: BTreeMap<String, T>,
}

impl<T> Default for Params<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }
}

impl<T> Params<T> {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter, or replaces the one of that name and returns it.
    pub fn insert(&mut self, name: impl Into<String>, value: T) -> Option<T> {
        self.entries.insert(name.into(), value)
    }

    /// The parameter of that name.
    ///
    /// # Errors
    /// [`Error::UnknownParameter`], with names that end alike.
    pub fn get(&self, name: &str) -> Result<&T> {
        self.entries.get(name).ok_or_else(|| {
            let tail = name.rsplit('.').next().unwrap_or(name);
            let known = self
                .names()
                .filter(|known| known.ends_with(tail))
                .take(3)
                .map(str::to_owned)
                .collect();
            Error::UnknownParameter {
                name: name.to_owned(),
                known,
            }
        })
    }

    /// Whether there is a parameter of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Takes a parameter out.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        self.entries.remove(name)
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The values, in the order of their names.
    pub fn values(&self) -> btree_map::Values<'_, String, T> {
        self.entries.values()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.entries
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Names and values to change, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut T)> {
        self.entries
            .iter_mut()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// The same names with other values.
    pub fn map<U>(&self, mut f: impl FnMut(&T) -> U) -> Params<U> {
        self.iter()
            .map(|(name, value)| (name.to_owned(), f(value)))
            .collect()
    }

    /// The same names with other values, or the first error.
    ///
    /// # Errors
    /// The first that `f` returns.
    pub fn try_map<U, E>(
        &self,
        mut f: impl FnMut(&str, &T) -> Result<U, E>,
    ) -> Result<Params<U>, E> {
        self.iter()
            .map(|(name, value)| Ok((name.to_owned(), f(name, value)?)))
            .collect()
    }

    /// Combines two sets of parameters that have the same names.
    ///
    /// # Errors
    /// [`Error::UnknownParameter`] for a name of `self` that `other` lacks, or the first error of `f`.
    pub fn zip_with<U, V, E: From<Error>>(
        &self,
        other: &Params<U>,
        mut f: impl FnMut(&T, &U) -> Result<V, E>,
    ) -> Result<Params<V>, E> {
        self.try_map(|name, value| f(value, other.get(name)?))
    }
}

impl<T: Clone> Params<T> {
    /// The parameters that match `patterns`, and the others.
    ///
    /// # Errors
    /// [`Error::UnmatchedPattern`] for a pattern that matches nothing.
    pub fn split(&self, patterns: &Patterns) -> Result<(Self, Self)> {
        patterns.check(self.names())?;
        let (chosen, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = self
            .entries
            .clone()
            .into_iter()
            .partition(|(name, _)| patterns.matches(name));
        Ok((Self { entries: chosen }, Self { entries: rest }))
    }

    /// These parameters with those of `other` added; on a shared name `other` wins.
    #[must_use]
    pub fn overlaid(&self, other: &Self) -> Self {
        let mut entries = self.entries.clone();
        entries.extend(
            other
                .entries
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        Self { entries }
    }
}

impl Params<Tensor> {
    /// Each parameter as a variable of a new graph.
    pub fn variables(&self) -> Params<Value> {
        self.map(|tensor| Value::variable(tensor.clone()))
    }

    /// Each parameter as a constant.
    pub fn constants(&self) -> Params<Value> {
        self.map(|tensor| Value::constant(tensor.clone()))
    }

    /// Zeros of the same shapes.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub fn zeros_like(&self) -> Result<Self> {
        self.try_map(|_, tensor| Ok(tensor.zeros_like()?))
    }

    /// The same parameters in another element type.
    ///
    /// # Errors
    /// When candle cannot convert.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        self.try_map(|_, tensor| Ok(tensor.to_dtype(dtype)?))
    }

    /// The same parameters on another device.
    ///
    /// # Errors
    /// When candle cannot copy.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        self.try_map(|_, tensor| Ok(tensor.to_device(device)?))
    }

    /// How many numbers there are in all.
    pub fn n_elements(&self) -> usize {
        self.values().map(Tensor::elem_count).sum()
    }
}

impl Params<Value> {
    /// The numbers behind the values.
    pub fn tensors(&self) -> Params<Tensor> {
        self.map(|value| value.tensor().clone())
    }
}

impl<T> FromIterator<(String, T)> for Params<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Self {
        Self {
            entries: entries.into_iter().collect(),
        }
    }
}

impl<T> IntoIterator for Params<T> {
    type Item = (String, T);
    type IntoIter = btree_map::IntoIter<String, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

/// A choice of parameters by name.
///
/// A pattern is a dotted path and stands for everything below it: `encoder.layer.1` matches
/// `encoder.layer.1.output.dense.weight` and not `encoder.layer.11.output.dense.weight`. `*` stands for any run of
/// characters. A pattern after `!` takes names away again; a choice of such patterns alone starts from all names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    patterns: Vec<String>,
}

impl Patterns {
    /// A choice from its patterns.
    pub fn new<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Self {
        Self {
            patterns: patterns.into_iter().map(Into::into).collect(),
        }
    }

    /// Every parameter.
    pub fn all() -> Self {
        Self::new(["*"])
    }

    /// Whether the parameter of that name is chosen.
    pub fn matches(&self, name: &str) -> bool {
        let (without, with): (Vec<_>, Vec<_>) = self
            .patterns
            .iter()
            .map(String::as_str)
            .partition(|pattern| pattern.starts_with('!'));
        let chosen = (with.is_empty() && !without.is_empty())
            || with.iter().any(|pattern| covers(pattern, name));
        chosen && !without.iter().any(|pattern| covers(&pattern[1..], name))
    }

    /// Fails if one of the patterns matches none of `names`.
    ///
    /// # Errors
    /// [`Error::UnmatchedPattern`].
    pub fn check<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        let names: Vec<&str> = names.collect();
        for pattern in &self.patterns {
            let path = pattern.strip_prefix('!').unwrap_or(pattern);
            if !names.iter().any(|name| covers(path, name)) {
                let step = (names.len() / 4).max(1);
                let known = names
                    .iter()
                    .step_by(step)
                    .take(4)
                    .map(|&name| name.to_owned())
                    .collect();
                return Err(Error::UnmatchedPattern {
                    pattern: pattern.clone(),
                    known,
                });
            }
        }
        Ok(())
    }
}

/// Whether `pattern` matches the whole of `name` or one of its leading dotted paths.
fn covers(pattern: &str, name: &str) -> bool {
    let ends = name
        .match_indices('.')
        .map(|(end, _)| end)
        .chain([name.len()]);
    ends.into_iter()
        .any(|end| glob(pattern.as_bytes(), &name.as_bytes()[..end]))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|start| glob(rest, &text[start..])),
        Some((first, rest)) => text
            .split_first()
            .is_some_and(|(c, text)| c == first && glob(rest, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(patterns: &[&str], name: &str, expected: bool) {
        assert_eq!(
            Patterns::new(patterns.iter().copied()).matches(name),
            expected,
            "{patterns:?} on {name}"
        );
    }

    #[test]
    fn patterns_follow_dotted_paths() {
        check(&["head"], "head.weight", true);
        check(&["head"], "header.weight", false);
        check(
            &["encoder.layer.1"],
            "encoder.layer.1.output.dense.weight",
            true,
        );
        check(
            &["encoder.layer.1"],
            "encoder.layer.11.output.dense.weight",
            false,
        );
        check(&["*.bias"], "encoder.layer.1.output.dense.bias", true);
        check(&["*", "!embeddings"], "embeddings.LayerNorm.bias", false);
        check(&["!embeddings"], "head.weight", true);
        check(&["!embeddings"], "embeddings.word_embeddings.weight", false);
        check(&[], "head.weight", false);
    }
}
