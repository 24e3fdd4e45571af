//! One picture: from the bytes of a PNG or JPEG to resized, normalised floats.
//!
//! Deliberately not here: transparency, which is dropped, and the orientation that a camera notes beside the pixels.

use std::path::{Path, PathBuf};

use image::{DynamicImage, GenericImageView, imageops::FilterType};
use rayon::prelude::*;

use crate::{Error, Result, error::at_least_one, file::read};

/// The size that pictures are brought to, whatever their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageFormat {
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageFormat {
    /// Grey 28 x 28, as Omniglot is used in the few-shot literature.
    pub const OMNIGLOT: Self = Self {
        channels: 1,
        height: 28,
        width: 28,
    };

    /// How many numbers a picture is.
    pub fn n_values(&self) -> usize {
        self.channels * self.height * self.width
    }

    pub(super) fn check(&self) -> Result<()> {
        if !matches!(self.channels, 1 | 3) {
            return Err(Error::setting("channels", "1 or 3", &self.channels));
        }
        at_least_one("height", self.height)?;
        at_least_one("width", self.width)
    }
}

/// How a pixel `x`, from 0 (black) to 255, becomes a number: `(x / 255 - mean) / std`, with `1 - x / 255` in place of
/// `x / 255` when inverted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalize {
    /// Subtracted, after inversion.
    pub mean: f32,
    /// Divided by.
    pub std: f32,
    /// Whether black becomes 1 and white 0.
    pub invert: bool,
}

impl Normalize {
    /// Black is 0 and white is 1.
    pub const UNIT: Self = Self {
        mean: 0.0,
        std: 1.0,
        invert: false,
    };

    /// Ink is 1 and paper is 0: how the few-shot literature feeds Omniglot.
    pub const INK: Self = Self {
        mean: 0.0,
        std: 1.0,
        invert: true,
    };

    pub(super) fn check(&self) -> Result<()> {
        if !self.mean.is_finite() {
            return Err(Error::setting("mean", "a finite number", &self.mean));
        }
        if !(self.std.is_finite() && self.std > 0.0) {
            return Err(Error::setting("std", "a finite number above 0", &self.std));
        }
        Ok(())
    }

    fn apply(&self, unit: f32) -> f32 {
        let unit = if self.invert { 1.0 - unit } else { unit };
        (unit - self.mean) / self.std
    }
}

/// A picture that is still a file.
pub(super) struct Source {
    /// Names it in errors.
    pub(super) path: PathBuf,
    /// Its content, when it came out of an archive; otherwise it is read from `path` as late as possible.
    pub(super) bytes: Option<Vec<u8>>,
}

/// Decodes all pictures, side by side; the result and the error, if any, are those of one after the other.
///
/// # Shapes
/// `(picture, channels, height, width)`
pub(super) fn decode_all(
    sources: &[Source],
    format: ImageFormat,
    normalize: Normalize,
) -> Result<Vec<f32>> {
    format.check()?;
    normalize.check()?;
    let mut pixels = vec![0.0; sources.len() * format.n_values()];
    let errors: Vec<Error> = pixels
        .par_chunks_mut(format.n_values())
        .zip(sources)
        .filter_map(|(into, source)| {
            let outcome = match &source.bytes {
                Some(bytes) => decode(bytes, &source.path, format, normalize, into),
                None => read(&source.path)
                    .and_then(|bytes| decode(&bytes, &source.path, format, normalize, into)),
            };
            outcome.err()
        })
        .collect();
    errors.into_iter().next().map_or(Ok(pixels), Err)
}

fn decode(
    bytes: &[u8],
    path: &Path,
    format: ImageFormat,
    normalize: Normalize,
    into: &mut [f32],
) -> Result<()> {
    let picture = image::load_from_memory(bytes).map_err(|source| Error::Picture {
        path: path.to_path_buf(),
        source: Box::new(source),
    })?;
    // Sixteen bits: what 8-bit pixels become in shrinking is not rounded to 8 bits again.
    let interleaved = if format.channels == 1 {
        fit(picture.into_luma16().into(), format)
            .into_luma16()
            .into_raw()
    } else {
        fit(picture.into_rgb16().into(), format)
            .into_rgb16()
            .into_raw()
    };
    let area = format.height * format.width;
    for (position, value) in into.iter_mut().enumerate() {
        let (channel, pixel) = (position / area, position % area);
        let sample = interleaved[pixel * format.channels + channel];
        *value = normalize.apply(f32::from(sample) / f32::from(u16::MAX));
    }
    Ok(())
}

/// The picture in the wanted size. Triangle weights widen with the scale, so that in shrinking every pixel of the
/// original counts and thin strokes turn grey rather than broken.
fn fit(picture: DynamicImage, format: ImageFormat) -> DynamicImage {
    let (width, height) = (format.width as u32, format.height as u32);
    if picture.dimensions() == (width, height) {
        picture
    } else {
        picture.resize_exact(width, height, FilterType::Triangle)
    }
}
