//! N-way K-shot episodes of examples that have one class each: pictures, texts.
//!
//! Deliberately not here: the examples. An episode is indices and labels, so it is small and can be compared.

use crate::{
    Error, Result,
    error::at_least_one,
    rng::{draw, episode_rng},
};

/// The shape of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassShape {
    /// Classes.
    pub n_way: usize,
    /// Examples of each class in the support set.
    pub k_shot: usize,
    /// Examples of each class in the query set.
    pub n_query: usize,
}

/// One episode. No example is in both sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassEpisode {
    /// The classes by label, as indices into those of the sampler; the order is drawn too.
    pub classes: Vec<usize>,
    /// Examples with their labels `0..n_way`: `k_shot` of label 0, then `k_shot` of label 1, and so on.
    pub support: Vec<(usize, usize)>,
    /// Examples with their labels, `n_query` of each, in the same order.
    pub query: Vec<(usize, usize)>,
}

/// Draws episodes from examples by class: any of them, in any order, from any thread.
///
/// ```
/// use metashot_data::{ClassSampler, ClassShape};
///
/// let classes = ["a", "b", "c"].map(String::from);
/// // Nine examples, three of each class.
/// let examples = [vec![0, 1, 2], vec![3, 4, 5], vec![6, 7, 8]];
/// let sampler = ClassSampler::new(&classes, &examples, ClassShape { n_way: 2, k_shot: 1, n_query: 2 })?;
/// let episode = sampler.episode(7, 1000);
/// assert_eq!(episode.support.len(), 2);
/// assert_eq!(episode.query.iter().map(|(_, label)| *label).collect::<Vec<_>>(), [0, 0, 1, 1]);
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClassSampler {
    /// The examples of each class.
    examples: Vec<Vec<usize>>,
    shape: ClassShape,
}

impl ClassSampler {
    /// A sampler of classes, each with its examples as indices.
    ///
    /// # Errors
    /// A shape with a zero in it, fewer classes than `n_way`, a class with fewer examples than an episode takes.
    pub fn new(classes: &[String], examples: &[Vec<usize>], shape: ClassShape) -> Result<Self> {
        let ClassShape {
            n_way,
            k_shot,
            n_query,
        } = shape;
        at_least_one("n_way", n_way)?;
        at_least_one("k_shot", k_shot)?;
        at_least_one("n_query", n_query)?;
        if classes.len() < n_way {
            let purpose = format!("a {n_way}-way episode");
            return Err(Error::TooFewClasses {
                purpose,
                wanted: n_way,
                found: classes.len(),
            });
        }
        for (class, examples) in classes.iter().zip(examples) {
            if examples.len() < k_shot.saturating_add(n_query) {
                return Err(Error::TooFewExamples {
                    class: class.clone(),
                    k_shot,
                    n_query,
                    found: examples.len(),
                });
            }
        }
        Ok(Self {
            examples: examples.to_vec(),
            shape,
        })
    }

    /// Episode `index` of `seed`: always the same one.
    pub fn episode(&self, seed: u64, index: u64) -> ClassEpisode {
        let ClassShape {
            n_way,
            k_shot,
            n_query,
        } = self.shape;
        let mut rng = episode_rng(seed, index);
        let classes = draw(&mut rng, 0..self.examples.len(), n_way);
        let mut support = Vec::with_capacity(n_way * k_shot);
        let mut query = Vec::with_capacity(n_way * n_query);
        for (label, &class) in classes.iter().enumerate() {
            let examples = draw(
                &mut rng,
                self.examples[class].iter().copied(),
                k_shot + n_query,
            );
            support.extend(examples[..k_shot].iter().map(|&example| (example, label)));
            query.extend(examples[k_shot..].iter().map(|&example| (example, label)));
        }
        ClassEpisode {
            classes,
            support,
            query,
        }
    }
}
