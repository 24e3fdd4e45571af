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
        [
            self.batch,
            self.height / self.window,
            self.width / self.window,
            self.channels,
        ]
    }

    fn n_values(self) -> usize {
        self.batch * self.height * self.width
    }

    /// Visits every input pixel with the output pixel whose window it is in, if any, and its place there.
    #[inline(always)]
    fn pixels(self, mut visit: impl FnMut(usize, Option<(usize, u8)>)) {
        let [_, out_height, out_width, _] = self.pooled();
        // The window is 1 or 2: shifts and masks stand for divisions, which would cost more than the arithmetic.
        let bit = self.window - 1;
        let mut pixel = 0;
        for picture in 0..self.batch {
            for y in 0..self.height {
                let out_line = (picture * out_height + (y >> bit)) * out_width;
                for x in 0..self.width {
                    let out_x = x >> bit;
                    let place = ((y & bit) << 1 | (x & bit)) as u8;
                    let inside = (y >> bit) < out_height && out_x < out_width;
                    visit(pixel, inside.then_some((out_line + out_x, place)));
                    pixel += 1;
                }
            }
        }
    }
}

/// Cuts slices to the length of a loop, so that the loop needs no bounds checks and can use vector instructions.
macro_rules! cut {
    ($n:expr; $($slice:ident),+) => { $(let $slice = &$slice[..$n];)+ };
    ($n:expr; mut $($slice:ident),+) => { $(let $slice = &mut $slice[..$n];)+ };
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
    let n = shape.channels;
    let moments = moments(x, shape, eps);
    let n_out = shape.pooled().iter().product();
    let mut y = vec![T::default(); n_out];
    let mut place = vec![NONE; n_out];
    // z = x scale + shift
    let scale: Vec<T> = gamma
        .iter()
        .zip(&moments.r)
        .map(|(&gamma, &r)| gamma * r)
        .collect();
    let shift: Vec<T> = (0..n)
        .map(|c| beta[c] - moments.mean[c] * scale[c])
        .collect();
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            let Some((out, at)) = out else { return };
            let (x, y, place) = (&x[pixel * n..], &mut y[out * n..], &mut place[out * n..]);
            cut!(n; x, scale, shift);
            cut!(n; mut y, place);
            for c in 0..n {
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
    let n = shape.channels;
    let Moments { mean, r } = moments;
    let picked = Picked { g, place };
    let [mut p, mut gamma_sum, mut beta_sum] = [(); 3].map(|()| vec![T::default(); n]);
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            if out.is_none() {
                return;
            }
            picked.write(out, &mut p);
            let x = &x[pixel * n..];
            cut!(n; x, p, mean, r);
            cut!(n; mut gamma_sum, beta_sum);
            for c in 0..n {
                beta_sum[c] += p[c];
                gamma_sum[c] += p[c] * (x[c] - mean[c]) * r[c];
            }
        },
    );
    // gx = slope p - shift - x̂ tilt
    let scale = T::of(1.0 / shape.n_values() as f64);
    let slope: Vec<T> = gamma.iter().zip(r).map(|(&gamma, &r)| gamma * r).collect();
    let shift: Vec<T> = (0..n).map(|c| slope[c] * scale * beta_sum[c]).collect();
    let tilt: Vec<T> = (0..n).map(|c| slope[c] * scale * gamma_sum[c]).collect();
    let mut gx = vec![T::default(); x.len()];
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            picked.write(out, &mut p);
            let (x, gx) = (&x[pixel * n..], &mut gx[pixel * n..]);
            cut!(n; x, p, mean, r, slope, shift, tilt);
            cut!(n; mut gx);
            for c in 0..n {
                gx[c] = slope[c] * p[c] - shift[c] - (x[c] - mean[c]) * r[c] * tilt[c];
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
    let n = shape.channels;
    let Moments { mean, r } = moments;
    let picked = Picked { g, place };
    let mut p = vec![T::default(); n];
    // Means over the channel of p, p x̂, h, h x̂ and h p.
    let [mut p_mean, mut m, mut h_mean, mut k, mut hp] = [(); 5].map(|()| vec![T::default(); n]);
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            picked.write(out, &mut p);
            let (x, h) = (&x[pixel * n..], &hx[pixel * n..]);
            cut!(n; x, h, p, mean, r);
            cut!(n; mut p_mean, m, h_mean, k, hp);
            for c in 0..n {
                let normed = (x[c] - mean[c]) * r[c];
                p_mean[c] += p[c];
                m[c] += p[c] * normed;
                h_mean[c] += h[c];
                k[c] += h[c] * normed;
                hp[c] += h[c] * p[c];
            }
        },
    );
    let n_values = T::of(shape.n_values() as f64);
    for sums in [&mut p_mean, &mut m, &mut h_mean, &mut k, &mut hp] {
        for sum in sums.iter_mut() {
            *sum /= n_values;
        }
    }
    let per_channel = |f: &dyn Fn(usize) -> T| -> Vec<T> { (0..n).map(f).collect() };
    let slope = per_channel(&|c| gamma[c] * r[c]);
    // `<hx, gx> / (γ r n)`: its dependence on r is explicit, that on x̂ has the gradient `to_normed`.
    let inner = per_channel(&|c| hp[c] - h_mean[c] * p_mean[c] - k[c] * m[c]);
    let d_gamma = per_channel(&|c| r[c] * n_values * inner[c]);
    // to_normed = of_p p - of_h h
    let of_p = per_channel(&|c| h_gamma[c] - slope[c] * k[c]);
    let of_h = per_channel(&|c| slope[c] * m[c]);
    let mean_to_normed = per_channel(&|c| of_p[c] * p_mean[c] - of_h[c] * h_mean[c]);
    let along = per_channel(&|c| of_p[c] * m[c] - of_h[c] * k[c] + slope[c] * inner[c]);
    // dg = slope h + shift + x̂ tilt
    let shift = per_channel(&|c| h_beta[c] - slope[c] * h_mean[c]);
    let tilt = per_channel(&|c| h_gamma[c] - slope[c] * k[c]);
    let (mut dx, mut dg) = (vec![T::default(); x.len()], vec![T::default(); g.len()]);
    shape.pixels(
        #[inline(always)]
        |pixel, out| {
            picked.write(out, &mut p);
            let (x, h, dx) = (&x[pixel * n..], &hx[pixel * n..], &mut dx[pixel * n..]);
            cut!(n; x, h, p, mean, r, of_p, of_h, mean_to_normed, along);
            cut!(n; mut dx);
            for c in 0..n {
                let normed = (x[c] - mean[c]) * r[c];
                let to_normed = of_p[c] * p[c] - of_h[c] * h[c];
                dx[c] = r[c] * (to_normed - mean_to_normed[c] - normed * along[c]);
            }
            let Some((out, at)) = out else { return };
            let (dg, place) = (&mut dg[out * n..], &place[out * n..]);
            cut!(n; place, slope, shift, tilt);
            cut!(n; mut dg);
            for c in 0..n {
                let to_p = slope[c] * h[c] + shift[c] + (x[c] - mean[c]) * r[c] * tilt[c];
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
}

impl<T: Float> Picked<'_, T> {
    /// That of one pixel's channels.
    #[inline(always)]
    fn write(&self, out: Option<(usize, u8)>, p: &mut [T]) {
        let n = p.len();
        let Some((out, at)) = out else {
            p.fill(T::default());
            return;
        };
        let (g, place) = (&self.g[out * n..], &self.place[out * n..]);
        cut!(n; g, place);
        for c in 0..n {
            p[c] = if place[c] == at { g[c] } else { T::default() };
        }
    }
}

#[inline(always)]
fn moments<T: Float>(x: &[T], shape: Shape, eps: T) -> Moments<T> {
    let n = shape.channels;
    let scale = T::of(1.0 / shape.n_values() as f64);
    let mut mean = super::reduce::sums(x, n);
    for mean in &mut mean {
        *mean *= scale;
    }
    let mut r = vec![T::default(); n];
    for row in x.chunks_exact(n) {
        cut!(n; row, mean);
        cut!(n; mut r);
        for c in 0..n {
            r[c] += (row[c] - mean[c]) * (row[c] - mean[c]);
        }
    }
    for r in &mut r {
        *r = T::of(1.0) / (*r * scale + eps).sqrt_();
    }
    Moments { mean, r }
}
