//! The three bilinear forms of convolution, channels last, stride 1, same size.
//!
//! Each is one indirect product over a picture with a border of zeros. Not here: which is whose gradient (`ops`).

use candle_core::Tensor;

use super::{Float, for_float, indirect::Indirect, tensor, with_slices};
use crate::error::Result;

/// A batch of pictures and a kernel.
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    kernel: (usize, usize),
}

impl Shape {
    fn new(x: &Tensor, kernel: (usize, usize)) -> Result<Self> {
        let (batch, height, width, channels) = x.dims4()?;
        Ok(Self {
            batch,
            height,
            width,
            channels,
            kernel,
        })
    }

    fn padded_width(self) -> usize {
        self.width + self.kernel.1 - 1
    }

    fn padded_height(self) -> usize {
        self.height + self.kernel.0 - 1
    }

    /// The pictures with a border of zeros, `(batch, padded height, padded width, channels)`.
    fn padded<T: Float>(self, x: &[T]) -> Vec<T> {
        let line = self.width * self.channels;
        let padded_line = self.padded_width() * self.channels;
        let (above, left) = (
            self.kernel.0 / 2 * padded_line,
            self.kernel.1 / 2 * self.channels,
        );
        // After a line come its border on the right and that of the next line on the left, as wide as one another.
        let between = padded_line - line;
        let zero = T::default();
        let mut out = Vec::with_capacity(self.batch * self.padded_height() * padded_line);
        for picture in x.chunks_exact((self.height * line).max(1)) {
            out.resize(out.len() + above + left, zero);
            for line in picture.chunks_exact(line) {
                out.extend_from_slice(line);
                out.resize(out.len() + between, zero);
            }
            out.resize(out.len() + above - left, zero);
        }
        out
    }

    /// Where each pixel's patch starts in the padded pictures.
    fn pixels(self) -> Vec<usize> {
        let mut starts = Vec::with_capacity(self.batch * self.height * self.width);
        for picture in 0..self.batch {
            for y in 0..self.height {
                let line = (picture * self.padded_height() + y) * self.padded_width();
                starts.extend((line..line + self.width).map(|pixel| pixel * self.channels));
            }
        }
        starts
    }

    /// Where each element of a patch is, from the patch's start.
    fn patch(self) -> Vec<usize> {
        let (rows, columns) = self.kernel;
        let mut steps = Vec::with_capacity(rows * columns * self.channels);
        for row in 0..rows {
            // A line of the kernel is one run of memory: its columns times the channels.
            let start = row * self.padded_width() * self.channels;
            steps.extend(start..start + columns * self.channels);
        }
        steps
    }
}

/// `x * w + bias`.
///
/// # Shapes
/// `x`: `(batch, height, width, in)`, `weight`: `(kh, kw, in, out)`, result: `(batch, height, width, out)`
pub(crate) fn forward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (kh, kw, _, n_out) = weight.dims4()?;
    let shape = Shape::new(x, (kh, kw))?;
    let dims = [shape.batch, shape.height, shape.width, n_out];
    for_float!(x, T => {
        let out = match bias {
            Some(bias) => with_slices([x, weight, bias], |[x, w, bias]| {
                correlate::<T>(shape, x, w, Some(bias), n_out)
            }),
            None => with_slices([x, weight], |[x, w]| correlate::<T>(shape, x, w, None, n_out)),
        }?;
        tensor(out, &dims)
    })
}

/// The gradient to the input from that of the output: a convolution with the kernel turned around.
///
/// # Shapes
/// `grad`: `(batch, height, width, out)`, `weight`: `(kh, kw, in, out)`, result: `(batch, height, width, in)`
pub(crate) fn to_input(grad: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (kh, kw, n_in, n_out) = weight.dims4()?;
    let shape = Shape::new(grad, (kh, kw))?;
    let dims = [shape.batch, shape.height, shape.width, n_in];
    for_float!(grad, T => {
        let out = with_slices([grad, weight], |[g, w]| {
            let mut turned = Vec::with_capacity(w.len());
            for tap in w.chunks_exact(n_in * n_out).rev() {
                for o in 0..n_out {
                    turned.extend((0..n_in).map(|i| tap[i * n_out + o]));
                }
            }
            correlate::<T>(shape, g, &turned, None, n_in)
        })?;
        tensor(out, &dims)
    })
}

/// The gradient to the weight from the input and the gradient of the output.
///
/// # Shapes
/// `x`: `(batch, height, width, in)`, `grad`: `(batch, height, width, out)`, result: `(kh, kw, in, out)`
pub(crate) fn to_weight(x: &Tensor, grad: &Tensor, kernel: (usize, usize)) -> Result<Tensor> {
    let shape = Shape::new(x, kernel)?;
    let n_out = grad.dims()[3];
    let dims = [kernel.0, kernel.1, shape.channels, n_out];
    for_float!(x, T => {
        let out = with_slices([x, grad], |[x, g]| {
            let (a, rows, steps) = (shape.padded::<T>(x), shape.patch(), shape.pixels());
            Indirect { a: &a, rows: &rows, steps: &steps, b: g, start: None, width: n_out }.compute()
        })?;
        tensor(out, &dims)
    })
}

fn correlate<T: Float>(shape: Shape, x: &[T], w: &[T], bias: Option<&[T]>, n_out: usize) -> Vec<T> {
    let (a, rows, steps) = (shape.padded(x), shape.pixels(), shape.patch());
    Indirect {
        a: &a,
        rows: &rows,
        steps: &steps,
        b: w,
        start: bias,
        width: n_out,
    }
    .compute()
}
