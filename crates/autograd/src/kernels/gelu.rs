//! The Gaussian error linear unit, its derivatives of every order, and the functions it is made of.
//!
//! Not here: its tanh approximation.

use std::{
    f64::consts::{FRAC_1_SQRT_2, PI},
    mem::MaybeUninit,
};

use candle_core::Tensor;

use super::{
    Float, filled, for_float, on_host,
    share::{in_pieces, outputs},
    tensor, vectorized, with_optional_slices, with_slices,
};
use crate::error::Result;

/// The derivative of `order` of `x Phi(x)`, elementwise; if there is one times a factor, added to what is there already.
///
/// From order 2 on it is `phi(x) p(x)` with `p_2 = 2 - x^2` and `p_{n+1} = p_n' - x p_n`.
pub(crate) fn derivative(
    x: &Tensor,
    order: usize,
    factor: Option<&Tensor>,
    begun: Option<&Tensor>,
) -> Result<Tensor> {
    let p = polynomial(order);
    let fits = |other: Option<&Tensor>| other.is_none_or(|other| other.dtype() == x.dtype());
    if on_host(x) && fits(factor) && fits(begun) {
        return for_float!(x, T => {
            let p: Vec<T> = p.into_iter().map(T::of).collect();
            let out = with_slices([x], |[x]| {
                with_optional_slices([factor, begun], |[factor, begun]| {
                    filled(x.len(), |out| in_pieces(out, |first, out| {
                        let last = first + out.len();
                        let others = [factor, begun].map(|other| other.map(|x| &x[first..last]));
                        vectorized!(on_slice(&x[first..last], others, order, &p, out));
                    }))
                })
            })??;
            tensor(out, x.dims())
        });
    }
    let density = || (x.sqr()? * -0.5)?.exp()? * (1.0 / (2.0 * PI).sqrt());
    let distribution = || ((x * FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5;
    let value = match order {
        0 => (x * distribution()?)?,
        1 => (distribution()? + (x * density()?)?)?,
        _ => {
            let mut value = x.zeros_like()?;
            for &c in p.iter().rev() {
                value = ((value * x)? + c)?;
            }
            (value * density()?)?
        }
    };
    let value = match factor {
        None => value,
        Some(factor) => (value * factor)?,
    };
    Ok(match begun {
        None => value,
        Some(begun) => (begun + value)?,
    })
}

/// Gelu itself, in place.
pub(crate) fn in_place<T: Float>(xs: &mut [T]) {
    in_pieces(xs, |_, xs| {
        vectorized!(for x in xs {
            *x = gelu(*x);
        });
    });
}

/// What goes back through `factor` times the derivative of `order`, 1 or more, to `x` and to the factor.
pub(crate) fn backward(
    x: &Tensor,
    order: usize,
    factor: &Tensor,
    grad: &Tensor,
) -> Result<[Tensor; 2]> {
    let hosted = on_host(x) && [factor, grad].iter().all(|y| y.dtype() == x.dtype());
    if !hosted || order != 1 {
        return Ok([
            derivative(x, order + 1, Some(&(grad * factor)?), None)?,
            derivative(x, order, Some(grad), None)?,
        ]);
    }
    for_float!(x, T => {
        let outs = with_slices([x, factor, grad], |[x, factor, grad]: [&[T]; 3]| {
            outputs(x.len(), |first, [to_x, to_factor]| {
                let n = to_x.len();
                let [x, factor, grad] = [x, factor, grad].map(|x| &x[first..][..n]);
                let to_factor = &mut to_factor[..n];
                vectorized!(for i in 0..n {
                    let [slope, curvature] = first_and_second(x[i]);
                    to_x[i].write(grad[i] * factor[i] * curvature);
                    to_factor[i].write(grad[i] * slope);
                });
            })
        })?;
        let [to_x, to_factor] = outs.map(|out| tensor(out, x.dims()));
        Ok([to_x?, to_factor?])
    })
}

#[inline(always)]
fn first_and_second<T: Float>(x: T) -> [T; 2] {
    let (half, one) = (T::of(0.5), T::of(1.0));
    let density = T::of(1.0 / (2.0 * PI).sqrt()) * (-half * x * x).exp_();
    let distribution = half * (one + (x * T::of(FRAC_1_SQRT_2)).erf_());
    [distribution + x * density, (one + one - x * x) * density]
}

#[inline(always)]
fn gelu<T: Float>(x: T) -> T {
    x * T::of(0.5) * (T::of(1.0) + (x * T::of(FRAC_1_SQRT_2)).erf_())
}

#[inline(always)]
fn on_slice<T: Float>(
    xs: &[T],
    others: [Option<&[T]>; 2],
    order: usize,
    p: &[T],
    out: &mut [MaybeUninit<T>],
) {
    let (half, scale) = (T::of(0.5), T::of(1.0 / (2.0 * PI).sqrt()));
    match order {
        0 => each(
            xs,
            others,
            out,
            #[inline(always)]
            |x| gelu(x),
        ),
        1 => each(
            xs,
            others,
            out,
            #[inline(always)]
            |x| first_and_second(x)[0],
        ),
        2 => each(
            xs,
            others,
            out,
            #[inline(always)]
            |x| first_and_second(x)[1],
        ),
        _ => each(
            xs,
            others,
            out,
            #[inline(always)]
            |x| {
                let value = p.iter().rev().fold(
                    T::default(),
                    #[inline(always)]
                    |value, &c| value * x + c,
                );
                value * scale * (-half * x * x).exp_()
            },
        ),
    }
}

#[inline(always)]
fn each<T: Float>(
    xs: &[T],
    [factor, begun]: [Option<&[T]>; 2],
    out: &mut [MaybeUninit<T>],
    f: impl Fn(T) -> T + Copy,
) {
    let out = out.iter_mut().zip(xs);
    match (factor, begun) {
        (None, None) => {
            for (out, &x) in out {
                out.write(f(x));
            }
        }
        (Some(factor), None) => {
            for ((out, &x), &factor) in out.zip(factor) {
                out.write(factor * f(x));
            }
        }
        (None, Some(begun)) => {
            for ((out, &x), &begun) in out.zip(begun) {
                out.write(begun + f(x));
            }
        }
        (Some(factor), Some(begun)) => {
            for (((out, &x), &factor), &begun) in out.zip(factor).zip(begun) {
                out.write(begun + factor * f(x));
            }
        }
    }
}

/// The coefficients of `p_order`, lowest power first; empty below order 2.
fn polynomial(order: usize) -> Vec<f64> {
    if order < 2 {
        return Vec::new();
    }
    let mut p = vec![2.0, 0.0, -1.0];
    for _ in 2..order {
        let mut next = vec![0.0; p.len() + 1];
        for (power, &c) in p.iter().enumerate() {
            next[power + 1] -= c;
            if power > 0 {
                next[power - 1] += c * power as f64;
            }
        }
        p = next;
    }
    p
}

/// `e^x` within two units in the last place, without branches so that a loop over it vectorises; fused multiplications and
/// additions are one instruction each where kernels have vectors. It is 0 where it would soon be no normal number, with which
/// processors are slow.
///
/// `x = n ln 2 + r` with the nearest whole `n`, then a polynomial in `r`.
#[inline(always)]
pub(crate) fn exp_f32(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let vanishes = x < -87.0;
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = (-n).mul_add(LN2_LOW, (-n).mul_add(LN2_HIGH, x));
    let p: f32 = 1.0 / 5040.0;
    let p = p.mul_add(r, 1.0 / 720.0);
    let p = p.mul_add(r, 1.0 / 120.0);
    let p = p.mul_add(r, 1.0 / 24.0);
    let p = p.mul_add(r, 1.0 / 6.0);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r, 1.0);
    let p = p.mul_add(r, 1.0);
    // The low bits of `shifted` hold `n`: moved into the exponent they multiply by 2^n.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if vanishes { 0.0 } else { p * scale }
}

/// The error function within 4e-7, without branches: beyond 4 it is 1 in `f32`, below it is `x p(x^2) / q(x^2)`.
///
/// # Source
/// The coefficients are those of Eigen's and XLA's `erf` for floats.
#[inline(always)]
pub(crate) fn erf_f32(x: f32) -> f32 {
    let x = if x > 4.0 { 4.0 } else { x };
    let x = if x < -4.0 { -4.0 } else { x };
    let square = x * x;
    let p: f32 = -2.726_142_3e-10;
    let p = p.mul_add(square, 2.770_681_4e-8);
    let p = p.mul_add(square, -2.101_024e-6);
    let p = p.mul_add(square, -5.692_506_4e-5);
    let p = p.mul_add(square, -7.349_906_3e-4);
    let p = p.mul_add(square, -2.954_6e-3);
    let p = p.mul_add(square, -1.609_603_3e-2);
    let q: f32 = -1.456_607_2e-5;
    let q = q.mul_add(square, -2.133_740_6e-4);
    let q = q.mul_add(square, -1.682_827e-3);
    let q = q.mul_add(square, -7.373_329e-3);
    let q = q.mul_add(square, -1.426_473_9e-2);
    x * p / q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_functions_are_close_to_exact_ones() {
        for i in -20_000..20_000 {
            let x = i as f32 * 4e-3;
            let exact = f64::from(x).exp();
            assert!(
                (f64::from(exp_f32(x)) / exact - 1.0).abs() < 3e-7,
                "exp({x})"
            );
            assert!(
                (f64::from(erf_f32(x)) - libm::erf(f64::from(x))).abs() < 4e-7,
                "erf({x})"
            );
        }
        for x in [-87.1, -1e9, f32::NEG_INFINITY] {
            assert_eq!(exp_f32(x).to_bits(), 0, "exp({x})");
        }
        assert!(exp_f32(f32::NAN).is_nan());
        assert!(erf_f32(f32::NAN).is_nan());
    }
}
