//! Picture classification: Omniglot or class folders, Conv-4 with a linear head, accuracy.
//!
//! Deliberately not here: decoding and sampling, which `metashot-data` does.

use std::ops::Range;

use anyhow::{Context, Result};
use candle_core::{D, DType, Device, Tensor};
use metashot_autograd::{Params, Patterns, Value};
use metashot_data::{
    ClassSampler, ClassShape, ClassSplit, disjoint,
    image::{
        ImageFormat, ImageSet, Normalize, read_class_folders, read_omniglot, read_vinyals_split,
        rotated_name,
    },
};
use metashot_meta::Prepared;
use metashot_models::Conv4;
use rand_chacha::ChaCha8Rng;

use super::{Case, Half, Labels, Split};
use crate::{
    heads::{rows_by_class, rows_of_tasks},
    recipe::{Episodes, Paths, Pictures},
    score::Score,
};

/// A picture classifier's data, model and episodes.
pub struct PictureCase {
    model: Conv4,
    device: Device,
    train: Part,
    validation: Part,
    test: Part,
}

/// The pictures of one split and their episodes.
struct Part {
    set: ImageSet,
    sampler: ClassSampler,
}

/// The tensors of one episode, or of some as a batch.
pub struct PictureTask {
    support: Labelled,
    query: Labelled,
    n_way: usize,
    n_tasks: usize,
}

/// Pictures `(n, height, width, channels)` and their labels.
struct Labelled {
    pictures: Tensor,
    labels: Vec<i64>,
}

impl PictureCase {
    /// Reads the pictures of a recipe.
    ///
    /// # Errors
    /// A file that is missing or does not decode, splits that overlap, or classes too small for the episodes.
    pub fn new(
        pictures: &Pictures,
        episodes: &Episodes,
        paths: &Paths,
        (seed, device): (u64, Device),
    ) -> Result<Self> {
        let format = ImageFormat {
            channels: pictures.channels,
            height: pictures.size,
            width: pictures.size,
        };
        let normalize = Normalize {
            invert: pictures.invert,
            ..Normalize::UNIT
        };
        let [train, validation, test] = if pictures.splits.is_empty() {
            let [root] = &pictures.data[..] else {
                anyhow::bail!(
                    "without `pictures.splits`, `pictures.data` must name one directory of class folders"
                );
            };
            let set = read_class_folders(&paths.find(root)?, format, normalize)?;
            let split = ClassSplit::random(
                &set.classes,
                pictures.validation_classes,
                pictures.test_classes,
                seed,
            )?;
            [
                set.select(&split.train)?,
                set.select(&split.validation)?,
                set.select(&split.test)?,
            ]
        } else {
            let zips = pictures
                .data
                .iter()
                .map(|name| paths.find(name))
                .collect::<Result<Vec<_>>>()?;
            let set = read_omniglot(&zips, |_| true, format, normalize)?.with_rotations()?;
            let mut parts = Vec::with_capacity(pictures.splits.len());
            for name in &pictures.splits {
                let classes = read_vinyals_split(&paths.find(name)?)?;
                let names: Vec<String> = classes
                    .iter()
                    .map(|(character, degrees)| rotated_name(character, *degrees))
                    .collect();
                parts.push(set.select(&names)?);
            }
            parts
                .try_into()
                .map_err(|_| anyhow::anyhow!("`pictures.splits` must name three files"))?
        };
        disjoint(&[
            ("train", &train.classes),
            ("validation", &validation.classes),
            ("test", &test.classes),
        ])?;
        let part = |set: ImageSet, n_query, name: &str| -> Result<Part> {
            let shape = ClassShape {
                n_way: episodes.n_way,
                k_shot: episodes.k_shot,
                n_query,
            };
            let sampler = ClassSampler::new(&set.classes, &set.images, shape)
                .with_context(|| format!("the {name} pictures do not make these episodes"))?;
            Ok(Part { set, sampler })
        };
        Ok(Self {
            model: Conv4 {
                in_channels: pictures.channels,
                filters: pictures.filters,
                height: pictures.size,
                width: pictures.size,
                n_classes: episodes.n_way,
            },
            device,
            train: part(train, episodes.n_query, "training")?,
            validation: part(validation, episodes.test_n_query, "validation")?,
            test: part(test, episodes.test_n_query, "test")?,
        })
    }

    fn labelled(&self, set: &ImageSet, picked: &[(usize, usize)]) -> Result<Labelled> {
        let ImageFormat {
            channels,
            height,
            width,
        } = set.format();
        let mut pixels = Vec::with_capacity(picked.len() * channels * height * width);
        for &(image, _) in picked {
            pixels.extend_from_slice(&set.pixels(image));
        }
        let pictures = Tensor::from_vec(
            pixels,
            (picked.len(), channels, height, width),
            &self.device,
        )?;
        Ok(Labelled {
            pictures: pictures.permute((0, 2, 3, 1))?.contiguous()?,
            labels: picked.iter().map(|&(_, label)| label as i64).collect(),
        })
    }
}

impl Case for PictureCase {
    type Task = PictureTask;
    type Frozen = ();

    const HEAD: &'static str = "head";

    fn describe(&self) -> String {
        format!(
            "pictures: {} classes to train on, {} to validate on, {} to test on",
            self.train.set.classes.len(),
            self.validation.set.classes.len(),
            self.test.set.classes.len()
        )
    }

    fn batch(
        &self,
        split: Split,
        seed: u64,
        episodes: Range<u64>,
        _frozen: Option<&()>,
    ) -> Result<PictureTask> {
        let part = match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => &self.test,
        };
        let episodes: Vec<_> = episodes
            .map(|index| part.sampler.episode(seed, index))
            .collect();
        let [support, query]: [Vec<_>; 2] = [
            episodes.iter().flat_map(|e| &e.support).copied().collect(),
            episodes.iter().flat_map(|e| &e.query).copied().collect(),
        ];
        Ok(PictureTask {
            support: self.labelled(&part.set, &support)?,
            query: self.labelled(&part.set, &query)?,
            n_way: episodes.first().map_or(0, |episode| episode.classes.len()),
            n_tasks: episodes.len(),
        })
    }

    fn n_tasks(&self, task: &PictureTask) -> usize {
        task.n_tasks
    }

    fn prepare(
        &self,
        task: &PictureTask,
        params: &Params<Value>,
        _adapt: &Patterns,
    ) -> metashot_models::Result<Prepared> {
        Ok(Prepared {
            start: Conv4::norms_for_each_task(params, task.n_tasks)?,
            ..Prepared::default()
        })
    }

    fn init(&self, rng: &mut ChaCha8Rng) -> Result<Params> {
        Ok(self.model.init(rng, DType::F32, &self.device)?)
    }

    fn embed(
        &self,
        task: &PictureTask,
        half: Half,
        params: &Params<Value>,
    ) -> metashot_models::Result<Value> {
        let pictures = Value::constant(task.half(half).pictures.clone());
        self.model.embed(params, &pictures)
    }

    fn targets<'a>(&self, task: &'a PictureTask, half: Half) -> &'a [i64] {
        &task.half(half).labels
    }

    fn rows(&self, task: &PictureTask, _labels: Labels) -> Vec<Vec<usize>> {
        rows_of_tasks(&task.support.labels, task.n_tasks, |labels| {
            rows_by_class(labels, task.n_way)
        })
    }

    fn score(&self, task: &PictureTask, logits: &Tensor, _labels: Labels) -> Result<Score> {
        let predicted: Vec<u32> = logits.argmax(D::Minus1)?.to_vec1()?;
        Ok(Score::accuracy(&predicted, &task.query.labels))
    }
}

impl PictureTask {
    fn half(&self, half: Half) -> &Labelled {
        match half {
            Half::Support => &self.support,
            Half::Query => &self.query,
        }
    }
}
