//! Batch normalisation, relu and 2x2 max pooling in one: forward, gradient, and the gradient's gradient.
//!
//! For one channel with `n` values, `x̂ = (x - mean) r` and `p` the gradient of `z = γ x̂ + β` (the output's gradient
//! at the chosen place of each window, zero elsewhere): `gx = γ r (p - mean(p) - x̂ mean(p x̂))`,
//! `gγ = sum(p x̂)`, `gβ = sum(p)`. Not here: running statistics, which episodes have no use for.

use super::Float;

/// Marks a window whose largest value relu cuts off.
const NONE: u8 = 4;

/// Pictures `(batch, height, width, channels)` and the window of the pool: 2, or 1 for none.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) window: usize,
}

impl Shape {
    /// The output's shape: an odd last line or column is dropped.
    pub(crate) fn pooled(self) -> [usize; 4] {
        [self.batch, self.height / self.window, self.width / self.window, self.channels]
    }

    fn n_values(self) -> usize {
        self.batch * self.height * self.width
    }

    /// Visits every input pixel with the output pixel whose window it is in, if any, and its place there.
    #[inline(always)]
    fn pixels(self, mut visit: impl FnMut(usize, Option<(usize, u8)>)) {
        let [_, out_height, out_width, _] = self.pooled();
        let mut pixel = 0;
        for picture in 0..self.batch {
            for y in 0..self.height {
                for x in 0..self.width {
                    let (out_y, out_x) = (y / self.window, x / self.window);
                    let place = (y % self.window * self.window + x % self.window) as u8;
                    let inside = out_y < out_height && out_x < out_width;
                    let out = (picture * out_height + out_y) * out_width + out_x;
                    visit(pixel, inside.then_some((out, place)));
                    pixel += 1;
                }
            }
        }
    }
}

/// Each channel's mean and reciprocal standard deviation.
pub(crate) struct Moments<T> {
    pub(crate) mean: Vec<T>,
    pub(crate) r: Vec<T>,
}

/// The output, the moments, and each window's place of the largest value.
#[inline(always)]
pub(crate) fn forward<T: Float>(
    x: &[T],
    gamma: &[T],
    beta: &[T],
    shape: Shape,
    eps: T,
) -> (Vec<T>, Moments<T>, Vec<u8>) {
    let channels = shape.channels;
    let moments = moments(x, shape, eps);
    let n_out = shape.pooled().iter().product();
    let mut y = vec![T::default(); n_out];
    let mut place = vec![NONE; n_out];
    // z = x scale + shift
    let scale: Vec<T> = gamma.iter().zip(&moments.r).map(|(&gamma, &r)| gamma * r).collect();
    let shift: Vec<T> = (0..channels).map(|c| beta[c] - moments.mean[c] * scale[c]).collect();
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            let Some((out, at)) = out else { return };
            let x = &x[pixel * channels..][..channels];
            let (y, place) = (&mut y[out * channels..][..channels], &mut place[out * channels..][..channels]);
            for c in 0..channels {
                let z = x[c] * scale[c] + shift[c];
                // Not `z > y`: a NaN must come out, not be dropped.
                let keep = z <= y[c];
                y[c] = if keep { y[c] } else { z };
                place[c] = if keep { place[c] } else { at };
            }
        },
    );
    (y, moments, place)
}

/// The gradients of the input, gamma and beta from that of the output.
#[inline(always)]
pub(crate) fn backward<T: Float>(
    x: &[T],
    gamma: &[T],
    g: &[T],
    moments: &Moments<T>,
    place: &[u8],
    shape: Shape,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let channels = shape.channels;
    let Moments { mean, r } = moments;
    let (mut gamma_sum, mut beta_sum) = (vec![T::default(); channels], vec![T::default(); channels]);
    let picked = Picked { g, place, channels };
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            let Some(out) = out else { return };
            let x = &x[pixel * channels..][..channels];
            for c in 0..channels {
                let p = picked.at(Some(out), c);
                beta_sum[c] += p;
                gamma_sum[c] += p * (x[c] - mean[c]) * r[c];
            }
        },
    );
    let scale = T::of(1.0 / shape.n_values() as f64);
    let mut gx = vec![T::default(); x.len()];
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            let (x, gx) = (&x[pixel * channels..][..channels], &mut gx[pixel * channels..][..channels]);
            for c in 0..channels {
                let normed = (x[c] - mean[c]) * r[c];
                let p = picked.at(out, c);
                gx[c] = gamma[c] * r[c] * (p - scale * beta_sum[c] - normed * scale * gamma_sum[c]);
            }
        },
    );
    (gx, gamma_sum, beta_sum)
}

/// The gradients of `<backward(x, gamma, g), (hx, h_gamma, h_beta)>` with respect to `x`, `gamma` and `g`.
#[inline(always)]
pub(crate) fn backward_twice<T: Float>(
    (x, gamma, g): (&[T], &[T], &[T]),
    (hx, h_gamma, h_beta): (&[T], &[T], &[T]),
    moments: &Moments<T>,
    place: &[u8],
    shape: Shape,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let channels = shape.channels;
    let Moments { mean, r } = moments;
    let picked = Picked { g, place, channels };
    let zeros = || vec![T::default(); channels];
    // Means over the channel of p, p x̂, h, h x̂ and h p.
    let [mut p_mean, mut m, mut h_mean, mut k, mut hp] = [zeros(), zeros(), zeros(), zeros(), zeros()];
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            let (x, h) = (&x[pixel * channels..][..channels], &hx[pixel * channels..][..channels]);
            for c in 0..channels {
                let normed = (x[c] - mean[c]) * r[c];
                let p = picked.at(out, c);
                p_mean[c] += p;
                m[c] += p * normed;
                h_mean[c] += h[c];
                k[c] += h[c] * normed;
                hp[c] += h[c] * p;
            }
        },
    );
    let scale = T::of(1.0 / shape.n_values() as f64);
    for sums in [&mut p_mean, &mut m, &mut h_mean, &mut k, &mut hp] {
        sums.iter_mut().for_each(|sum| *sum *= scale);
    }
    // `<hx, gx> / (γ r n)`, whose dependence on r is explicit and on x̂ goes through `c_`.
    let inner: Vec<T> = (0..channels).map(|c| hp[c] - h_mean[c] * p_mean[c] - k[c] * m[c]).collect();
    let n_values = T::of(shape.n_values() as f64);
    let d_gamma = (0..channels).map(|c| r[c] * n_values * inner[c]).collect();
    let slope: Vec<T> = (0..channels).map(|c| gamma[c] * r[c]).collect();
    let c_mean: Vec<T> = (0..channels)
        .map(|c| h_gamma[c] * p_mean[c] - slope[c] * (k[c] * p_mean[c] + m[c] * h_mean[c]))
        .collect();
    let along: Vec<T> = (0..channels)
        .map(|c| h_gamma[c] * m[c] - slope[c] * (k[c] * m[c] + k[c] * m[c]) + slope[c] * inner[c])
        .collect();
    let (mut dx, mut dg) = (vec![T::default(); x.len()], vec![T::default(); g.len()]);
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            let (x, h) = (&x[pixel * channels..][..channels], &hx[pixel * channels..][..channels]);
            let dx = &mut dx[pixel * channels..][..channels];
            for c in 0..channels {
                let normed = (x[c] - mean[c]) * r[c];
                let p = picked.at(out, c);
                let c_ = h_gamma[c] * p - slope[c] * (k[c] * p + m[c] * h[c]);
                dx[c] = r[c] * (c_ - c_mean[c] - normed * along[c]);
            }
            let Some((out, at)) = out else { return };
            let (dg, place) = (&mut dg[out * channels..][..channels], &place[out * channels..][..channels]);
            for c in 0..channels {
                let normed = (x[c] - mean[c]) * r[c];
                let to_p = slope[c] * (h[c] - h_mean[c] - normed * k[c]) + h_gamma[c] * normed + h_beta[c];
                dg[c] = if place[c] == at { to_p } else { dg[c] };
            }
        },
    );
    (dx, d_gamma, dg)
}

/// The gradient of the normalised values: the output's, at the chosen place of each window.
struct Picked<'a, T> {
    g: &'a [T],
    place: &'a [u8],
    channels: usize,
}

impl<T: Float> Picked<'_, T> {
    #[inline(always)]
    fn at(&self, out: Option<(usize, u8)>, channel: usize) -> T {
        let Some((out, at)) = out else { return T::default() };
        let index = out * self.channels + channel;
        if self.place[index] == at { self.g[index] } else { T::default() }
    }
}

#[inline(always)]
fn moments<T: Float>(x: &[T], shape: Shape, eps: T) -> Moments<T> {
    let channels = shape.channels;
    let scale = T::of(1.0 / shape.n_values() as f64);
    let mut mean = vec![T::default(); channels];
    for row in x.chunks_exact(channels) {
        for (mean, &x) in mean.iter_mut().zip(row) {
            *mean += x;
        }
    }
    mean.iter_mut().for_each(|mean| *mean *= scale);
    let mut r = vec![T::default(); channels];
    for row in x.chunks_exact(channels) {
        for ((r, &x), &mean) in r.iter_mut().zip(row).zip(&mean) {
            *r += (x - mean) * (x - mean);
        }
    }
    r.iter_mut().for_each(|r| *r = T::of(1.0) / (*r * scale + eps).sqrt_());
    Moments { mean, r }
}
