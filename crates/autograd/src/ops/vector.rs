//! Arithmetic on whole parameters, outside the graph: what optimizers do with gradients, in one pass over memory.
//!
//! On a thread of a rayon pool the idle ones of it take over pieces, whose size is fixed, so that the number of threads changes
//! no bit. Not here: anything that is differentiated.

use candle_core::{D, DType, Device, Tensor};

use crate::{
    error::{Error, Result},
    kernels::{self, first_row, for_float, on_host, reduce, repeats_a_row, vector},
};

/// The sum of the inner products of pairs of tensors, each in `f64` in a fixed order.
///
/// # Errors
/// When the shapes of a pair differ.
pub fn dot<'a>(pairs: impl IntoIterator<Item = (&'a Tensor, &'a Tensor)>) -> Result<f64> {
    let (mut sum, mut elsewhere) = (0.0, [Vec::new(), Vec::new()]);
    for (a, b) in pairs {
        same_shape("dot", a, b)?;
        if hosted(&[a, b]) {
            sum += reduce::dot(a, b)?;
        } else {
            elsewhere[0].push(a);
            elsewhere[1].push(b);
        }
    }
    if !elsewhere[0].is_empty() {
        let [a, b] = elsewhere.map(|tensors| widest(&in_rows(&tensors)?));
        sum += total(&(a? * b?)?)?;
    }
    Ok(sum)
}

/// Whether no element of any of these is infinite or NaN.
///
/// # Errors
/// When the tensor operation fails.
pub fn all_finite<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<bool> {
    let mut elsewhere = Vec::new();
    for x in tensors {
        if !on_host(x) {
            elsewhere.push(x);
            continue;
        }
        let finite =
            for_float!(x, T => kernels::with_slices([x], |[x]: [&[T]; 1]| vector::all_finite(x)))?;
        if !finite {
            return Ok(false);
        }
    }
    // Zero times what is not finite is NaN.
    Ok(elsewhere.is_empty() || total(&in_rows(&elsewhere)?.affine(0.0, 0.0)?)? == 0.0)
}

/// `x - lr * g` for each pair of a tensor and its gradient, or `None` if an element of a gradient is infinite or NaN.
///
/// # Errors
/// When the shapes of a pair differ.
pub fn descend(pairs: &[(&Tensor, &Tensor)], lr: f64) -> Result<Option<Vec<Tensor>>> {
    let elsewhere = pairs.iter().filter(|(x, g)| !hosted(&[x, g]));
    if !all_finite(elsewhere.map(|&(_, g)| g))? {
        return Ok(None);
    }
    let mut lower = Vec::with_capacity(pairs.len());
    for &(x, g) in pairs {
        same_shape("descend", x, g)?;
        if !hosted(&[x, g]) {
            lower.push((x - g.affine(lr, 0.0)?)?);
            continue;
        }
        let next = for_float!(x, T => {
            let (next, finite) = kernels::with_slices([x, g], |[x, g]| vector::descend::<T>(x, lr, g))?;
            finite.then(|| kernels::tensor(next, x.dims())).transpose()?
        });
        match next {
            Some(next) => lower.push(next),
            None => return Ok(None),
        }
    }
    Ok(Some(lower))
}

/// The sum of the squares of all elements, in `f64` and in a fixed order.
///
/// # Errors
/// When the tensor operation fails.
pub fn sum_of_squares<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    let (mut sum, mut elsewhere) = (0.0, Vec::new());
    for x in tensors {
        if on_host(x) {
            sum += for_float!(x, T => kernels::with_slices([x], |[x]: [&[T]; 1]| vector::sum_of_squares(x)))?;
        } else {
            elsewhere.push(x);
        }
    }
    if !elsewhere.is_empty() {
        sum += total(&widest(&in_rows(&elsewhere)?)?.sqr()?)?;
    }
    Ok(sum)
}

/// `factor * x`.
///
/// # Errors
/// When the tensor operation fails.
pub fn scale(x: &Tensor, factor: f64) -> Result<Tensor> {
    if on_host(x) {
        return for_float!(x, T => {
            let out = kernels::with_slices([x], |[x]: [&[T]; 1]| vector::scale(x, factor))?;
            kernels::tensor(out, x.dims())
        });
    }
    Ok(x.affine(factor, 0.0)?)
}

/// `((a + b) + c) + ..`, from the first tensor to the last.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::ops::sum_in_order;
///
/// let x = Tensor::new(&[1f32, 2.0], &Device::Cpu)?;
/// assert_eq!(sum_in_order(&[&x, &x, &x])?.to_vec1::<f32>()?, [3.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When there are none, or their shapes differ.
pub fn sum_in_order(tensors: &[&Tensor]) -> Result<Tensor> {
    let [first, rest @ ..] = tensors else {
        return Err(Error::Shape {
            op: "sum_in_order",
            expected: "one tensor or more".into(),
            found: "none".into(),
        });
    };
    for other in rest {
        same_shape("sum_in_order", first, other)?;
    }
    if rest.is_empty() {
        return Ok((*first).clone());
    }
    if hosted(tensors) {
        return for_float!(first, T => {
            let out = kernels::with_all_slices(tensors, vector::sum_in_order::<T>)?;
            kernels::tensor(out, first.dims())
        });
    }
    let mut sum = (*first).clone();
    for other in rest {
        sum = (sum + *other)?;
    }
    Ok(sum)
}

/// [`sum_in_order`] for tensors of one shape.
pub(crate) fn add_all(tensors: &[&Tensor]) -> Result<Tensor> {
    let (first, rest) = tensors
        .split_first()
        .expect("a sum of gradients has a gradient");
    if rest.is_empty() {
        return Ok((*first).clone());
    }
    let alike = rest.iter().all(|other| other.dims() == first.dims());
    if alike && hosted(tensors) {
        // A bias sends the same to every row: it is added row by row, and not spread out first.
        let (repeated, dense): (Vec<&Tensor>, Vec<&Tensor>) =
            tensors.iter().partition(|tensor| repeats_a_row(tensor));
        if dense.is_empty() {
            let (last, rest) = repeated.split_last().expect("two or more");
            let spread = last.contiguous()?;
            return add_all(&[&[&spread], rest].concat());
        }
        let rows = repeated
            .into_iter()
            .map(first_row)
            .collect::<Result<Vec<_>>>()?;
        let rows: Vec<&Tensor> = rows.iter().collect();
        return for_float!(first, T => {
            let out = kernels::with_all_slices(&dense, |dense| {
                kernels::with_all_slices(&rows, |rows| vector::add_all::<T>(dense, rows))
            })??;
            kernels::tensor(out, first.dims())
        });
    }
    let mut sum = (*first).clone();
    for other in rest {
        same_shape("sum of gradients", &sum, other)?;
        sum = (sum + *other)?;
    }
    Ok(sum)
}

/// One update of a parameter by Adam with decoupled weight decay.
///
/// `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`, and
/// `p = keep p - rate m / (sqrt(v / correction) + eps)`.
///
/// # Source
/// Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// The decay of the first moment.
    pub beta1: f64,
    /// The decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// The learning rate over the first moment's bias correction.
    pub rate: f64,
    /// The second moment's bias correction.
    pub correction: f64,
    /// What weight decay leaves of the parameter.
    pub keep: f64,
}

impl AdamStep {
    /// The parameter and its two moments after the update.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn update(&self, [p, g, m, v]: [&Tensor; 4]) -> Result<[Tensor; 3]> {
        for other in [g, m, v] {
            same_shape("adam", p, other)?;
        }
        if hosted(&[p, g, m, v]) {
            return for_float!(p, T => {
                let [p_next, m_next, v_next] = kernels::with_slices([p, g, m, v], |x| vector::adam::<T>(self, x))?;
                let tensor = |elements| kernels::tensor(elements, p.dims());
                Ok([tensor(p_next)?, tensor(m_next)?, tensor(v_next)?])
            });
        }
        let m = (m.affine(self.beta1, 0.0)? + g.affine(1.0 - self.beta1, 0.0)?)?;
        let v = (v.affine(self.beta2, 0.0)? + g.sqr()?.affine(1.0 - self.beta2, 0.0)?)?;
        let size = v
            .affine(1.0 / self.correction, 0.0)?
            .sqrt()?
            .affine(1.0, self.eps)?;
        let p = (p.affine(self.keep, 0.0)? - (m.affine(self.rate, 0.0)? / size)?)?;
        Ok([p, m, v])
    }
}

/// A tensor in the widest type of its device.
fn widest(x: &Tensor) -> Result<Tensor> {
    let widest = if x.device().is_metal() {
        DType::F32
    } else {
        DType::F64
    };
    Ok(x.to_dtype(widest)?)
}

/// All elements of some tensors of one type, filled up with zeros to rows of one length: a GPU then does in one operation
/// what would be one for each of many small tensors.
fn in_rows(tensors: &[&Tensor]) -> Result<Tensor> {
    const ROW: usize = 1024;
    let mut parts = Vec::with_capacity(tensors.len() + 1);
    for tensor in tensors {
        parts.push(tensor.flatten_all()?);
    }
    let n: usize = tensors.iter().map(|tensor| tensor.elem_count()).sum();
    let missing = n.next_multiple_of(ROW) - n;
    if missing > 0 {
        let like = tensors[0];
        parts.push(Tensor::zeros(missing, like.dtype(), like.device())?);
    }
    Ok(Tensor::cat(&parts, 0)?.reshape(((), ROW))?)
}

/// The sum of all elements, row by row first: a GPU adds up each row on a processor of its own, but one row on one alone.
fn total(rows: &Tensor) -> Result<f64> {
    let sum = rows.sum(D::Minus1)?.sum_all()?.to_device(&Device::Cpu)?;
    Ok(sum.to_dtype(DType::F64)?.to_scalar()?)
}

/// Whether the kernels can work on all of them.
fn hosted(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|x| on_host(x) && x.dtype() == tensors[0].dtype())
}

/// An operand of another shape could be broadcast, and would compute the wrong thing.
fn same_shape(op: &'static str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dims() == b.dims() {
        return Ok(());
    }
    Err(Error::Shape {
        op,
        expected: "two equal shapes".into(),
        found: format!("{:?} and {:?}", a.dims(), b.dims()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adam_kernel_is_the_composition_of_tensor_operations() {
        let at = |salt: u32| -> Tensor {
            let numbers = (0..37).map(|i| f64::from((i * 7 + salt * 11) % 13) / 13.0 + 0.1);
            Tensor::from_iter(numbers, &Device::Cpu).unwrap()
        };
        let step = AdamStep {
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            rate: 0.1,
            correction: 0.5,
            keep: 0.99,
        };
        let [p, g, m, v] = [at(0), at(1), at(2), at(3)];
        let kernel = step.update([&p, &g, &m, &v]).unwrap();
        for i in 0..37 {
            let number = |x: &Tensor| x.get(i).unwrap().to_scalar::<f64>().unwrap();
            let (p, g, m, v) = (number(&p), number(&g), number(&m), number(&v));
            let (m, v) = (0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g);
            let p = 0.99 * p - 0.1 * m / ((v / 0.5).sqrt() + 1e-8);
            for (wanted, found) in [p, m, v].iter().zip(&kernel) {
                assert!((wanted - number(found)).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn operands_of_other_shapes_are_refused() {
        let a = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let b = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
        assert!(dot([(&a, &b)]).is_err());
        assert!(descend(&[(&a, &b)], 1.0).is_err());
        assert!(sum_in_order(&[&a, &b]).is_err());
        assert!(sum_in_order(&[]).is_err());
    }

    #[test]
    fn one_element_that_is_not_finite_is_found_wherever_it_is() {
        // Whole rows of lanes, what is left of them, and the next piece.
        let n = (1 << 15) + 200;
        for at in [0, 63, 64, 150, (1 << 15) - 1, 1 << 15, n - 1] {
            for (number, wanted) in [
                (1e38f32, true),
                (f32::NAN, false),
                (f32::NEG_INFINITY, false),
            ] {
                let mut numbers = vec![-3e38f32; n];
                numbers[at] = number;
                let x = Tensor::new(numbers, &Device::Cpu).unwrap();
                assert_eq!(all_finite([&x]).unwrap(), wanted, "{number} at {at}");
                let lower = descend(&[(&x, &x)], 0.5).unwrap();
                assert_eq!(lower.is_some(), wanted, "{number} at {at}");
            }
        }
    }

    #[test]
    fn descending_is_what_a_gpu_computes() {
        let x = Tensor::arange(0f64, 150.0, &Device::Cpu).unwrap();
        let g = x.affine(-0.25, 3.0).unwrap();
        let pairs = [(&x, &g), (&g, &x)];
        let by_kernel = descend(&pairs, 0.5).unwrap().unwrap();
        let composed = kernels::without(|| descend(&pairs, 0.5)).unwrap().unwrap();
        for (found, wanted) in by_kernel.iter().zip(&composed) {
            let numbers = |x: &Tensor| x.to_vec1::<f64>().unwrap();
            assert_eq!(numbers(found), numbers(wanted));
        }
        let infinite = (&g / 0.0).unwrap();
        for pairs in [[(&x, &g), (&x, &infinite)], [(&x, &infinite), (&x, &g)]] {
            assert!(descend(&pairs, 0.5).unwrap().is_none());
            assert!(kernels::without(|| descend(&pairs, 0.5)).unwrap().is_none());
        }
    }

    #[test]
    fn what_a_gpu_adds_up_is_what_a_cpu_does() {
        for n in [1usize, 512, 1024, 1500] {
            let numbers = (0..2 * n).map(|i| (i % 7) as f64 - 2.5);
            let x = Tensor::from_iter(numbers, &Device::Cpu).unwrap();
            let x = x.reshape((2, n)).unwrap();
            let (y, z) = (x.affine(0.5, 1.0).unwrap(), x.get(0).unwrap());
            let pairs = || [(&x, &y), (&z, &z)];
            let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b.abs(), "{a} {b}");
            close(
                kernels::without(|| dot(pairs())).unwrap(),
                dot(pairs()).unwrap(),
            );
            close(
                kernels::without(|| sum_of_squares([&x, &z])).unwrap(),
                sum_of_squares([&x, &z]).unwrap(),
            );
            for number in [1.0, f64::NAN, f64::INFINITY] {
                let last = Tensor::new(&[0.0, number], &Device::Cpu).unwrap();
                let finite = kernels::without(|| all_finite([&x, &last])).unwrap();
                assert_eq!(finite, number.is_finite());
            }
        }
    }

    #[test]
    fn views_are_read_where_they_are() {
        let x = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let sum = sum_in_order(&[&x.t().unwrap(), &x]).unwrap();
        assert_eq!(sum.to_vec2::<f32>().unwrap(), [[2.0, 5.0], [5.0, 8.0]]);
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let numbers = (0..300_000u32).map(|i| (f64::from(i) * 0.37).sin() as f32);
        let x = Tensor::from_iter(numbers, &Device::Cpu).unwrap();
        let y = scale(&x, 0.3).unwrap();
        let step = AdamStep {
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            rate: 0.1,
            correction: 0.5,
            keep: 0.99,
        };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let sum = sum_in_order(&[&x, &y, &x]).unwrap();
                let [p, ..] = step
                    .update([&x, &y, &x, &scale(&x, -1.0).unwrap()])
                    .unwrap();
                let bits = |x: &Tensor| -> Vec<u32> {
                    x.to_vec1::<f32>()
                        .unwrap()
                        .iter()
                        .map(|x| x.to_bits())
                        .collect()
                };
                (
                    sum_of_squares([&sum]).unwrap().to_bits(),
                    bits(&sum),
                    bits(&p),
                )
            })
        };
        let one = run(1);
        assert_eq!(one, run(3));
        let wanted: f64 = (0..300_000u32)
            .map(|i| f64::from((f64::from(i) * 0.37).sin() as f32) * 2.3)
            .map(|x| x * x)
            .sum();
        assert!((f64::from_bits(one.0) / wanted - 1.0).abs() < 1e-6);
    }
}
