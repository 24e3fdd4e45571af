//! Conv-4: pictures to features to logits, by the four convolutional blocks of the few-shot literature.
//!
//! Deliberately not here: running statistics. The batch normalisation sees the set of pictures that it is given.

use candle_core::{DType, Device, Tensor};
use metashot_autograd::{
    Params, Value,
    ops::{conv2d, norm_relu_pool},
};
use rand_chacha::ChaCha8Rng;

use crate::{Error, LinearHead, Result, Shapes, error::show, init::Init};

const N_BLOCKS: usize = 4;
const KERNEL: usize = 3;
const NORM_EPS: f64 = 1e-5;

/// Four blocks of 3x3 convolution, batch normalisation, relu and 2x2 max pool, then a linear head.
///
/// In memory a convolution's weight is `(kernel height, kernel width, in, out)`, as the kernels read it; in a file it is
/// `PyTorch`'s `(out, in, kernel height, kernel width)`: see [`to_disk`] and [`from_disk`].
///
/// # Source
/// Vinyals et al. 2016, "Matching networks for one shot learning", section 4.1; batch statistics at all times as in Finn
/// et al. 2017, "Model-agnostic meta-learning", section 5.2, and biases as in its published code.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use metashot_autograd::Value;
/// use metashot_models::Conv4;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
///
/// let model = Conv4 { in_channels: 1, filters: 8, height: 28, width: 28, n_classes: 5 };
/// let params = model.init(&mut ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)?;
/// let pictures = Value::constant(Tensor::zeros((3, 28, 28, 1), DType::F32, &Device::Cpu)?);
/// assert_eq!(model.forward(&params.constants(), &pictures)?.dims(), [3, 5]);
/// # Ok::<(), metashot_models::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv4 {
    /// Channels of a picture.
    pub in_channels: usize,
    /// Channels after each block; 64 in the literature.
    pub filters: usize,
    /// Rows of a picture.
    pub height: usize,
    /// Columns of a picture.
    pub width: usize,
    /// Logits.
    pub n_classes: usize,
}

impl Conv4 {
    /// The normalisations' parameters with a copy for each task, in place of those that all share.
    ///
    /// The statistics of a normalisation are those of one task, so where pictures of many lie task after task, each needs
    /// one of its own, whether or not it adapts. One task needs nothing.
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn norms_for_each_task(params: &Params<Value>, n_tasks: usize) -> Result<Params<Value>> {
        params
            .iter()
            .filter(|(name, _)| n_tasks > 1 && name.contains(".norm."))
            .map(|(name, value)| Ok((name.to_owned(), value.for_each_task(n_tasks)?)))
            .collect()
    }

    /// The logits.
    ///
    /// # Shapes
    /// - `x`: `(batch, height, width, in_channels)`
    /// - result: `(batch, n_classes)`
    ///
    /// # Errors
    /// When the pictures have another size, or a parameter is missing or does not fit.
    pub fn forward(&self, params: &Params<Value>, x: &Value) -> Result<Value> {
        self.head().forward(params, &self.embed(params, x)?)
    }

    /// What the head reads: the last block's output, flattened in `PyTorch`'s order `(channels, height, width)`.
    ///
    /// # Shapes
    /// - `x`: `(batch, height, width, in_channels)`
    /// - result: `(batch, n_features)`
    ///
    /// # Errors
    /// As [`Conv4::forward`].
    pub fn embed(&self, params: &Params<Value>, x: &Value) -> Result<Value> {
        self.validate()?;
        let picture = [self.height, self.width, self.in_channels];
        let batch = match x.dims() {
            [batch, rest @ ..] if *batch > 0 && rest == picture => *batch,
            dims => {
                let wanted = format!(
                    "(batch, height, width, channels) with {} each",
                    show(&picture)
                );
                return Err(Error::setting("pictures", wanted, &show(dims)));
            }
        };
        let mut hidden = x.clone();
        for block in 0..N_BLOCKS {
            let get = |part: &str| params.get(&format!("block{block}.{part}"));
            hidden = conv2d(&hidden, get("conv.weight")?, get("conv.bias")?)?;
            hidden = norm_relu_pool(&hidden, get("norm.weight")?, get("norm.bias")?, NORM_EPS)?;
        }
        Ok(hidden
            .permute(&[0, 3, 1, 2])?
            .reshape(&[batch, self.n_features()])?)
    }

    /// How many numbers the head reads for each picture.
    pub fn n_features(&self) -> usize {
        let pooled = |(height, width)| {
            if height > 1 && width > 1 {
                (height / 2, width / 2)
            } else {
                (height, width)
            }
        };
        let (height, width) = (0..N_BLOCKS).fold((self.height, self.width), |size, _| pooled(size));
        self.filters * height * width
    }

    /// The head alone.
    pub fn head(&self) -> LinearHead {
        LinearHead::new("head", self.n_features(), self.n_classes)
    }

    /// The names and shapes of all parameters, in memory.
    pub fn shapes(&self) -> Shapes {
        let mut shapes = Shapes::new();
        for block in 0..N_BLOCKS {
            let n_in = if block == 0 {
                self.in_channels
            } else {
                self.filters
            };
            shapes.push((
                format!("block{block}.conv.weight"),
                vec![KERNEL, KERNEL, n_in, self.filters],
            ));
            for part in ["conv.bias", "norm.weight", "norm.bias"] {
                shapes.push((format!("block{block}.{part}"), vec![self.filters]));
            }
        }
        shapes.extend(self.head().shapes());
        shapes
    }

    /// First values: convolutions and head uniform as by Glorot, biases 0, normalisation the identity.
    ///
    /// # Source
    /// Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", equation 16.
    /// So starts the published code of Finn et al. 2017, save that its Omniglot head is drawn from a unit normal.
    ///
    /// # Errors
    /// When a size is 0, or a tensor cannot be made.
    pub fn init(&self, rng: &mut ChaCha8Rng, dtype: DType, device: &Device) -> Result<Params> {
        self.validate()?;
        let head = self.head();
        let mut init = Init { rng, dtype, device };
        let mut params = Params::new();
        for (name, dims) in self
            .shapes()
            .into_iter()
            .filter(|(name, _)| name.starts_with("block"))
        {
            let tensor = match dims[..] {
                [height, width, n_in, n_out] => {
                    init.glorot(&dims, height * width * n_in, height * width * n_out)?
                }
                _ if name.ends_with("norm.weight") => init.fill(&dims, 1.0)?,
                _ => init.fill(&dims, 0.0)?,
            };
            params.insert(name, tensor);
        }
        Ok(params.overlaid(&head.init_glorot(rng, dtype, device)?))
    }

    fn validate(&self) -> Result<()> {
        let sizes = [
            ("in_channels", self.in_channels),
            ("filters", self.filters),
            ("height", self.height),
            ("width", self.width),
            ("n_classes", self.n_classes),
        ];
        match sizes.into_iter().find(|(_, size)| *size == 0) {
            Some((name, size)) => Err(Error::setting(name, "1 or more", &size)),
            None => Ok(()),
        }
    }
}

/// Parameters, or their gradients, as they lie in a file: convolution weights `(out, in, kernel height, kernel width)`.
///
/// # Errors
/// When a tensor cannot be made.
pub fn to_disk(params: &Params) -> Result<Params> {
    permute_convolutions(params, [3, 2, 0, 1])
}

/// Parameters, or their gradients, as a file has them, for [`Conv4`]: convolution weights `(kernel height, kernel width,
/// in, out)`.
///
/// # Errors
/// When a tensor cannot be made.
pub fn from_disk(params: &Params) -> Result<Params> {
    permute_convolutions(params, [2, 3, 1, 0])
}

fn permute_convolutions(params: &Params, axes: [usize; 4]) -> Result<Params> {
    params.try_map(|name, tensor: &Tensor| {
        let is_convolution = name.ends_with("conv.weight") && tensor.rank() == axes.len();
        Ok(if is_convolution {
            tensor.permute(axes)?.contiguous()?
        } else {
            tensor.clone()
        })
    })
}
