//! Arithmetic on whole parameters, outside the graph: what optimizers do with gradients, in one pass over memory.
//!
//! Not here: anything that is differentiated.

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Tensor, WithDType};

use crate::{
    error::{Error, Result},
    kernels::{self, for_float, on_host, reduce, vector},
};

/// The inner product of two tensors of one shape, summed in `f64` in a fixed order.
///
/// # Errors
/// When the shapes differ.
pub fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    same_shape("dot", a, b)?;
    if hosted([a, b]) {
        return reduce::dot(a, b);
    }
    Ok((a.to_dtype(DType::F64)? * b.to_dtype(DType::F64)?)?
        .sum_all()?
        .to_scalar()?)
}

/// `x + scale * y`.
///
/// # Errors
/// When the shapes differ.
pub fn add_scaled(x: &Tensor, scale: f64, y: &Tensor) -> Result<Tensor> {
    same_shape("add_scaled", x, y)?;
    if hosted([x, y]) {
        return vector::add_scaled(x, scale, y);
    }
    Ok((x + y.affine(scale, 0.0)?)?)
}

/// A sum of tensors of one shape that is written in place.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::ops::RunningSum;
///
/// let x = Tensor::new(&[1f32, 2.0], &Device::Cpu)?;
/// let mut sum = RunningSum::new(&x)?;
/// sum.add(&x)?;
/// assert_eq!(sum.into_tensor().to_vec1::<f32>()?, [2.0, 4.0]);
/// assert_eq!(x.to_vec1::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunningSum {
    /// Nobody else holds its memory: it began as a copy.
    tensor: Tensor,
}

impl RunningSum {
    /// The sum of one tensor.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn new(first: &Tensor) -> Result<Self> {
        Ok(Self {
            tensor: first.contiguous()?.copy()?,
        })
    }

    /// Adds a tensor.
    ///
    /// # Errors
    /// When its shape differs.
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        same_shape("sum", &self.tensor, x)?;
        if hosted([&self.tensor, x]) {
            self.tensor.inplace_op2(&x.contiguous()?, &AddTo)?;
        } else {
            self.tensor = (&self.tensor + x)?;
        }
        Ok(())
    }

    /// The sum.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }
}

/// Adds the second operand to the first; both are row-major, the first from its start.
struct AddTo;

impl InplaceOp2 for AddTo {
    fn name(&self) -> &'static str {
        "add to"
    }

    fn cpu_fwd(
        &self,
        sum: &mut CpuStorage,
        _: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<()> {
        let from = layout.start_offset();
        let range = from..from + layout.shape().elem_count();
        match sum {
            CpuStorage::F32(sum) => vector::add_to(sum, &f32::cpu_storage_as_slice(x)?[range]),
            CpuStorage::F64(sum) => vector::add_to(sum, &f64::cpu_storage_as_slice(x)?[range]),
            _ => candle_core::bail!("a sum runs in place in f32 and f64"),
        }
        Ok(())
    }
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
        if hosted([p, g, m, v]) {
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

/// Whether the kernels can work on all of them.
fn hosted<const N: usize>(tensors: [&Tensor; N]) -> bool {
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
    use candle_core::Device;

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
        assert!(dot(&a, &b).is_err());
        assert!(add_scaled(&a, 1.0, &b).is_err());
        assert!(RunningSum::new(&a).unwrap().add(&b).is_err());
    }

    #[test]
    fn running_sum_reads_views_where_they_are() {
        let x = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let mut sum = RunningSum::new(&x.t().unwrap()).unwrap();
        sum.add(&x).unwrap();
        assert_eq!(
            sum.into_tensor().to_vec2::<f32>().unwrap(),
            [[2.0, 5.0], [5.0, 8.0]]
        );
    }
}
