//! Pictures by class, with rotations as views rather than copies.
//!
//! Deliberately not here: where the pictures came from.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use crate::{
    Error, Result,
    image::picture::{ImageFormat, Normalize, Source, decode_all},
};

/// Classes of pictures, all of one format. Cheap to clone: clones, selections and rotations share the pixels.
///
/// ```
/// use metashot_data::image::{ImageFormat, ImageSet};
///
/// let format = ImageFormat { channels: 1, height: 2, width: 2 };
/// let set = ImageSet::from_pixels(format, vec![("stroke".into(), vec![vec![1.0, 1.0, 0.0, 0.0]])])?;
/// let set = set.with_rotations()?;
/// assert_eq!(set.classes, ["stroke/rot000", "stroke/rot090", "stroke/rot180", "stroke/rot270"]);
/// assert_eq!(*set.pixels(set.images[1][0]), [1.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ImageSet {
    /// The names of the classes.
    pub classes: Vec<String>,
    /// The pictures of each class, as indices for [`pixels`](Self::pixels).
    pub images: Vec<Vec<usize>>,
    format: ImageFormat,
    views: Vec<View>,
    /// `(picture, channels, height, width)`
    store: Arc<Vec<f32>>,
}

/// A stored picture, turned.
#[derive(Debug, Clone, Copy)]
struct View {
    picture: usize,
    quarter_turns: usize,
}

impl ImageSet {
    /// A set from numbers that are already there, class by class.
    ///
    /// # Shapes
    /// Each picture is `(channels, height, width)`.
    ///
    /// # Errors
    /// A picture that does not have as many numbers as the format says; a class that is listed twice.
    pub fn from_pixels(format: ImageFormat, classes: Vec<(String, Vec<Vec<f32>>)>) -> Result<Self> {
        format.check()?;
        let mut store = Vec::new();
        let mut sizes = Vec::with_capacity(classes.len());
        for (class, pictures) in classes {
            for picture in &pictures {
                if picture.len() != format.n_values() {
                    let wanted = format!("{} numbers in a picture", format.n_values());
                    return Err(Error::setting(class, wanted, &picture.len()));
                }
                store.extend_from_slice(picture);
            }
            sizes.push((class, pictures.len()));
        }
        Self::assemble(format, sizes, store)
    }

    /// A set from files, class by class.
    pub(super) fn decode(
        format: ImageFormat,
        normalize: Normalize,
        classes: Vec<(String, Vec<Source>)>,
    ) -> Result<Self> {
        let sizes = classes
            .iter()
            .map(|(class, sources)| (class.clone(), sources.len()))
            .collect();
        let sources: Vec<Source> = classes
            .into_iter()
            .flat_map(|(_, sources)| sources)
            .collect();
        Self::assemble(format, sizes, decode_all(&sources, format, normalize)?)
    }

    fn assemble(format: ImageFormat, sizes: Vec<(String, usize)>, store: Vec<f32>) -> Result<Self> {
        let (classes, sizes): (Vec<String>, Vec<usize>) = sizes.into_iter().unzip();
        crate::disjoint(&[("classes", &classes)])?;
        let mut next = 0..;
        let images = sizes
            .into_iter()
            .map(|size| next.by_ref().take(size).collect())
            .collect();
        let n_pictures = store.len() / format.n_values();
        let views = (0..n_pictures)
            .map(|picture| View {
                picture,
                quarter_turns: 0,
            })
            .collect();
        Ok(Self {
            classes,
            images,
            format,
            views,
            store: Arc::new(store),
        })
    }

    /// The format of every picture.
    pub fn format(&self) -> ImageFormat {
        self.format
    }

    /// The numbers of a picture; only a turned one is copied.
    ///
    /// # Shapes
    /// `(channels, height, width)`
    ///
    /// # Panics
    /// When `image` stands nowhere in [`images`](Self::images).
    pub fn pixels(&self, image: usize) -> Cow<'_, [f32]> {
        let View {
            picture,
            quarter_turns,
        } = self.views[image];
        let n_values = self.format.n_values();
        let upright = &self.store[picture * n_values..][..n_values];
        if quarter_turns == 0 {
            Cow::Borrowed(upright)
        } else {
            Cow::Owned(turn(upright, self.format.width, quarter_turns))
        }
    }

    /// Every class four times: as it is (`/rot000` after its name) and turned counter-clockwise by 90, 180 and 270
    /// degrees, each a class of its own.
    ///
    /// # Errors
    /// Pictures that are not square.
    ///
    /// # Source
    /// Santoro et al., Meta-Learning with Memory-Augmented Neural Networks (ICML 2016), section 4.1.
    pub fn with_rotations(&self) -> Result<ImageSet> {
        if self.format.height != self.format.width {
            let found = format!("{} x {}", self.format.height, self.format.width);
            return Err(Error::setting(
                "height x width",
                "a square, for quarter turns",
                &found,
            ));
        }
        let n_views = self.views.len();
        let mut rotated = Self {
            classes: Vec::new(),
            images: Vec::new(),
            views: Vec::new(),
            ..self.clone()
        };
        for quarter_turns in 0..4 {
            let turned = |view: &View| View {
                quarter_turns: (view.quarter_turns + quarter_turns) % 4,
                ..*view
            };
            rotated.views.extend(self.views.iter().map(turned));
        }
        for (class, images) in self.classes.iter().zip(&self.images) {
            for quarter_turns in 0..4 {
                rotated
                    .classes
                    .push(rotated_name(class, 90 * quarter_turns as u32));
                rotated.images.push(
                    images
                        .iter()
                        .map(|image| image + quarter_turns * n_views)
                        .collect(),
                );
            }
        }
        Ok(rotated)
    }

    /// The named classes, in the order of the names.
    ///
    /// # Errors
    /// A name that is no class of this set, or is listed twice.
    pub fn select(&self, names: &[String]) -> Result<ImageSet> {
        crate::disjoint(&[("selected", names)])?;
        let index: BTreeMap<&String, usize> = self.classes.iter().zip(0..).collect();
        let mut images = Vec::with_capacity(names.len());
        for name in names {
            let &class = index.get(name).ok_or_else(|| Error::UnknownClass {
                name: name.clone(),
                known: self.classes.len(),
            })?;
            images.push(self.images[class].clone());
        }
        Ok(Self {
            classes: names.to_vec(),
            images,
            ..self.clone()
        })
    }
}

/// The name that [`ImageSet::with_rotations`] gives a class, and the Vinyals lists use: `class/rot090`.
pub fn rotated_name(class: &str, degrees: u32) -> String {
    format!("{class}/rot{degrees:03}")
}

/// A square picture turned counter-clockwise.
///
/// # Shapes
/// `(channels, side, side)`, both ways.
fn turn(upright: &[f32], side: usize, quarter_turns: usize) -> Vec<f32> {
    let last = side - 1;
    let mut turned = Vec::with_capacity(upright.len());
    for plane in upright.chunks_exact(side * side) {
        for row in 0..side {
            turned.extend((0..side).map(|column| match quarter_turns {
                1 => plane[column * side + last - row],
                2 => plane[(last - row) * side + last - column],
                3 => plane[(last - column) * side + row],
                _ => plane[row * side + column],
            }));
        }
    }
    turned
}
