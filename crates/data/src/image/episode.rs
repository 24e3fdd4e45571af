//! N-way K-shot episodes of pictures.
//!
//! Deliberately not here: pixels. An episode is indices and labels, so it is small and can be compared.

use crate::{
    Error, Result,
    error::at_least_one,
    image::ImageSet,
    rng::{draw, episode_rng},
};

/// The shape of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageShape {
    /// Classes.
    pub n_way: usize,
    /// Pictures of each class in the support set.
    pub k_shot: usize,
    /// Pictures of each class in the query set.
    pub n_query: usize,
}

/// One episode. No picture is in both sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageEpisode {
    /// The classes by label, as indices into [`ImageSet::classes`]; the order is drawn too.
    pub classes: Vec<usize>,
    /// Pictures with their labels `0..n_way`: `k_shot` of label 0, then `k_shot` of label 1, and so on.
    pub support: Vec<(usize, usize)>,
    /// Pictures with their labels, `n_query` of each, in the same order.
    pub query: Vec<(usize, usize)>,
}

/// Draws episodes from a picture set: any of them, in any order, from any thread.
///
/// ```
/// use metashot_data::image::{ImageFormat, ImageSampler, ImageSet, ImageShape};
///
/// let format = ImageFormat { channels: 1, height: 1, width: 1 };
/// let class = |name: &str| (name.to_string(), vec![vec![0.0]; 3]);
/// let set = ImageSet::from_pixels(format, vec![class("a"), class("b"), class("c")])?;
///
/// let sampler = ImageSampler::new(&set, ImageShape { n_way: 2, k_shot: 1, n_query: 2 })?;
/// let episode = sampler.episode(7, 1000);
/// assert_eq!(episode.support.len(), 2);
/// assert_eq!(episode.query.iter().map(|(_, label)| *label).collect::<Vec<_>>(), [0, 0, 1, 1]);
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageSampler {
    /// The pictures of each class.
    images: Vec<Vec<usize>>,
    shape: ImageShape,
}

impl ImageSampler {
    /// A sampler of the classes of a set.
    ///
    /// # Errors
    /// A shape with a zero in it, fewer classes than `n_way`, a class with fewer pictures than an episode takes.
    pub fn new(set: &ImageSet, shape: ImageShape) -> Result<Self> {
        let ImageShape {
            n_way,
            k_shot,
            n_query,
        } = shape;
        at_least_one("n_way", n_way)?;
        at_least_one("k_shot", k_shot)?;
        at_least_one("n_query", n_query)?;
        if set.classes.len() < n_way {
            let purpose = format!("a {n_way}-way episode");
            return Err(Error::TooFewClasses {
                purpose,
                wanted: n_way,
                found: set.classes.len(),
            });
        }
        for (class, images) in set.classes.iter().zip(&set.images) {
            if images.len() < k_shot.saturating_add(n_query) {
                return Err(Error::TooFewImages {
                    class: class.clone(),
                    k_shot,
                    n_query,
                    found: images.len(),
                });
            }
        }
        Ok(Self {
            images: set.images.clone(),
            shape,
        })
    }

    /// Episode `index` of `seed`: always the same one.
    pub fn episode(&self, seed: u64, index: u64) -> ImageEpisode {
        let ImageShape {
            n_way,
            k_shot,
            n_query,
        } = self.shape;
        let mut rng = episode_rng(seed, index);
        let classes = draw(&mut rng, 0..self.images.len(), n_way);
        let mut support = Vec::with_capacity(n_way * k_shot);
        let mut query = Vec::with_capacity(n_way * n_query);
        for (label, &class) in classes.iter().enumerate() {
            let images = draw(
                &mut rng,
                self.images[class].iter().copied(),
                k_shot + n_query,
            );
            support.extend(images[..k_shot].iter().map(|&image| (image, label)));
            query.extend(images[k_shot..].iter().map(|&image| (image, label)));
        }
        ImageEpisode {
            classes,
            support,
            query,
        }
    }
}
