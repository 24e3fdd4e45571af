//! Layer normalisation over rows: forward, gradient, and the gradient's gradient.
//!
//! With `n` features, `x̂ = (x - mean) r`, `r = 1 / sqrt(var + eps)` and `p = w g`, one row's gradient is
//! `gx = r (p - mean(p) - x̂ mean(p x̂))`. Not here: batch normalisation, whose rows are columns (`block`).

use std::mem::MaybeUninit;

use super::{
    Float, filled,
    reduce::in_order,
    share::{in_rows, outputs_of_rows},
    vectorized,
};

/// `x̂ w + b` of each row of `w.len()`.
pub(crate) fn forward<T: Float>(x: &[T], w: &[T], b: &[T], eps: T) -> Vec<T> {
    let n = w.len();
    filled(x.len(), |out| {
        in_rows(out, n, |first, out| {
            let x = some(x, first, out.len());
            vectorized!(
                for (row, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
                    normed(row, w, b, eps, out);
                }
            );
        });
    })
}

/// [`forward`] of `x + y`.
pub(crate) fn forward_of_sum<T: Float>(x: &[T], y: &[T], w: &[T], b: &[T], eps: T) -> Vec<T> {
    filled(x.len(), |out| {
        in_rows(out, w.len(), |first, out| {
            let [x, y] = [x, y].map(|all| some(all, first, out.len()));
            vectorized!(rows_of_sum([x, y], w, b, eps, out));
        });
    })
}

#[inline(always)]
fn rows_of_sum<T: Float>([x, y]: [&[T]; 2], w: &[T], b: &[T], eps: T, out: &mut [MaybeUninit<T>]) {
    let n = w.len();
    let mut row = vec![T::default(); n];
    let rows = x.chunks_exact(n).zip(y.chunks_exact(n));
    for ((x, y), out) in rows.zip(out.chunks_exact_mut(n)) {
        for i in 0..n {
            row[i] = x[i] + y[i];
        }
        normed(&row, w, b, eps, out);
    }
}

#[inline(always)]
fn normed<T: Float>(row: &[T], w: &[T], b: &[T], eps: T, out: &mut [MaybeUninit<T>]) {
    let (mean, r) = moments(row, eps);
    let (w, b) = (&w[..row.len()], &b[..row.len()]);
    for (((out, &x), &w), &b) in out.iter_mut().zip(row).zip(w).zip(b) {
        out.write((x - mean) * r * w + b);
    }
}

/// The gradients of the input, added to what is there of it already, of the weight and of the bias from that of the output.
pub(crate) fn backward<T: Float>(
    (x, w, g): (&[T], &[T], &[T]),
    eps: T,
    begun: Option<&[T]>,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let n = w.len();
    let ([gx], sums) = outputs_of_rows(x.len(), n, |first, [gx]| {
        let part = |all| some(all, first, gx.len());
        let (x, g, begun) = (part(x), part(g), begun.map(part));
        vectorized!(rows_backward((x, w, g), eps, begun, gx))
    });
    let (gw, gb) = sums.into_iter().unzip();
    (gx, in_order(gw, n), in_order(gb, n))
}

/// [`backward`] of some rows, with their part of the sums.
#[inline(always)]
fn rows_backward<T: Float>(
    (x, w, g): (&[T], &[T], &[T]),
    eps: T,
    begun: Option<&[T]>,
    gx: &mut [MaybeUninit<T>],
) -> (Vec<T>, Vec<T>) {
    let n = w.len();
    let scale = T::of(1.0 / n as f64);
    let (mut gw, mut gb) = (vec![T::default(); n], vec![T::default(); n]);
    let (mut normed, mut p) = (vec![T::default(); n], vec![T::default(); n]);
    let rows = x.chunks_exact(n).zip(g.chunks_exact(n));
    for (number, ((row, g), gx)) in rows.zip(gx.chunks_exact_mut(n)).enumerate() {
        let (mean, r) = moments(row, eps);
        for i in 0..n {
            normed[i] = (row[i] - mean) * r;
            p[i] = w[i] * g[i];
            gw[i] += g[i] * normed[i];
            gb[i] += g[i];
        }
        let (p_mean, m) = (sum(&p) * scale, dot(&p, &normed) * scale);
        let to_x = p
            .iter()
            .zip(&normed)
            .map(|(&p, &x)| r * (p - p_mean - x * m));
        match begun {
            None => {
                for (out, x) in gx.iter_mut().zip(to_x) {
                    out.write(x);
                }
            }
            Some(begun) => {
                let begun = &begun[number * n..][..n];
                for ((out, x), &begun) in gx.iter_mut().zip(to_x).zip(begun) {
                    out.write(begun + x);
                }
            }
        }
    }
    (gw, gb)
}

/// The gradients of `<backward(x, w, g), (hx, hw, hb)>` with respect to `x`, `w` and `g`.
pub(crate) fn backward_twice<T: Float>(
    (x, w, g): (&[T], &[T], &[T]),
    (hx, hw, hb): (&[T], &[T], &[T]),
    eps: T,
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let n = w.len();
    let ([dx, dg], dw) = outputs_of_rows(x.len(), n, |first, [dx, dg]| {
        let [x, g, hx] = [x, g, hx].map(|all| some(all, first, dx.len()));
        vectorized!(rows_backward_twice((x, w, g), (hx, hw, hb), eps, (dx, dg)))
    });
    (dx, in_order(dw, n), dg)
}

/// As many numbers as an output's piece has: with fewer, some of it would not be written.
fn some<T>(all: &[T], first: usize, len: usize) -> &[T] {
    &all[first..][..len]
}

/// [`backward_twice`] of some rows, with their part of the sum.
#[inline(always)]
fn rows_backward_twice<T: Float>(
    (x, w, g): (&[T], &[T], &[T]),
    (hx, hw, hb): (&[T], &[T], &[T]),
    eps: T,
    (dx, dg): (&mut [MaybeUninit<T>], &mut [MaybeUninit<T>]),
) -> Vec<T> {
    let n = w.len();
    let (hw, hb) = (&hw[..n], &hb[..n]);
    let scale = T::of(1.0 / n as f64);
    let mut dw = vec![T::default(); n];
    let row_of = || vec![T::default(); n];
    let (mut normed, mut p, mut c) = (row_of(), row_of(), row_of());
    let outs = dx.chunks_exact_mut(n).zip(dg.chunks_exact_mut(n));
    let rows = x.chunks_exact(n).zip(g.chunks_exact(n));
    for (((row, g), h), (dx, dg)) in rows.zip(hx.chunks_exact(n)).zip(outs) {
        let (mean, r) = moments(row, eps);
        for i in 0..n {
            normed[i] = (row[i] - mean) * r;
            p[i] = w[i] * g[i];
        }
        let (p_mean, m) = (sum(&p) * scale, dot(&p, &normed) * scale);
        let (h_mean, k) = (sum(h) * scale, dot(h, &normed) * scale);
        // `<hx, gx> / n`, whose dependence on `r` is explicit and on `x̂` is `c`.
        let inner = r * (dot(h, &p) * scale - h_mean * p_mean - k * m);
        for i in 0..n {
            let to_p = r * (h[i] - h_mean - normed[i] * k);
            dw[i] += to_p * g[i];
            dg[i].write(to_p * w[i] + hw[i] * normed[i] + hb[i]);
            c[i] = hw[i] * g[i] - r * (k * p[i] + m * h[i]);
        }
        let (c_mean, l) = (sum(&c) * scale, dot(&c, &normed) * scale + inner);
        for ((out, &c), &x) in dx.iter_mut().zip(&c).zip(&normed) {
            out.write(r * (c - c_mean - x * l));
        }
    }
    dw
}

#[inline(always)]
fn moments<T: Float>(row: &[T], eps: T) -> (T, T) {
    let scale = T::of(1.0 / row.len() as f64);
    let mean = sum(row) * scale;
    let variance = fold(row, row, |x, _| (x - mean) * (x - mean)) * scale;
    (mean, T::of(1.0) / (variance + eps).sqrt_())
}

#[inline(always)]
pub(super) fn sum<T: Float>(xs: &[T]) -> T {
    fold(xs, xs, |x, _| x)
}

#[inline(always)]
pub(super) fn dot<T: Float>(xs: &[T], ys: &[T]) -> T {
    fold(xs, ys, |x, y| x * y)
}

/// A sum in a fixed order that vector units can follow: of four times sixteen lanes, as an addition takes as long as four that
/// do not wait for one another, which are added up in pairs.
#[inline(always)]
fn fold<T: Float>(xs: &[T], ys: &[T], term: impl Fn(T, T) -> T) -> T {
    let [mut a, mut b, mut c, mut d] = [[T::default(); LANES]; 4];
    let (xs, x_rest) = xs.as_chunks::<LANES>();
    let (ys, y_rest) = ys.as_chunks::<LANES>();
    let (x_fours, x_ones) = xs.as_chunks::<4>();
    let (y_fours, y_ones) = ys.as_chunks::<4>();
    for (x, y) in x_fours.iter().zip(y_fours) {
        add_to(&mut a, &x[0], &y[0], &term);
        add_to(&mut b, &x[1], &y[1], &term);
        add_to(&mut c, &x[2], &y[2], &term);
        add_to(&mut d, &x[3], &y[3], &term);
    }
    for (x, y) in x_ones.iter().zip(y_ones) {
        add_to(&mut a, x, y, &term);
    }
    let rest = x_rest
        .iter()
        .zip(y_rest)
        .fold(T::default(), |total, (&x, &y)| total + term(x, y));
    for lane in 0..LANES {
        a[lane] = (a[lane] + b[lane]) + (c[lane] + d[lane]);
    }
    halved::<T, 8>(&mut a);
    halved::<T, 4>(&mut a);
    halved::<T, 2>(&mut a);
    a[0] + a[1] + rest
}

/// Numbers that are summed side by side.
const LANES: usize = 16;

#[inline(always)]
fn add_to<T: Float>(
    sums: &mut [T; LANES],
    x: &[T; LANES],
    y: &[T; LANES],
    term: &impl Fn(T, T) -> T,
) {
    for lane in 0..LANES {
        sums[lane] += term(x[lane], y[lane]);
    }
}

#[inline(always)]
fn halved<T: Float, const HALF: usize>(sums: &mut [T; LANES]) {
    for lane in 0..HALF {
        sums[lane] += sums[lane + HALF];
    }
}
