//! Scaled dot-product attention over sentences of their own lengths.
//!
//! Sentences lie one after another in one array of tokens, so there is no padding to compute or to mask. Not here:
//! the projections, which are linear layers.

use std::sync::Arc;

use candle_core::Tensor;

use super::fused::{Fused, apply};
use crate::{
    error::{Error, Result},
    kernels::{
        attention::{self as kernel, Tiling},
        for_float, tensor, with_slices,
    },
    value::Value,
};

/// Multi-head attention of every token to the tokens of its own sentence.
///
/// # Shapes
/// - `q`, `k`, `v` and result: `(tokens, hidden)`, the sentences one after another
/// - `lengths`: tokens of each sentence; their sum is `tokens`
///
/// # Source
/// Vaswani et al. 2017, "Attention is all you need", equation 1 and section 3.2.2.
///
/// # Errors
/// When the shapes do not fit, or `hidden` does not divide into `n_heads`.
pub fn attention(
    q: &Value,
    k: &Value,
    v: &Value,
    lengths: &[usize],
    n_heads: usize,
) -> Result<Value> {
    let n_tokens: usize = lengths.iter().sum();
    let fits = matches!(q.dims(), [tokens, hidden] if *tokens == n_tokens && n_heads > 0 && hidden % n_heads == 0);
    if !fits || k.dims() != q.dims() || v.dims() != q.dims() {
        return Err(Error::Shape {
            op: "attention",
            expected: format!(
                "q, k, v ({n_tokens} tokens, hidden) with hidden a multiple of {n_heads} heads"
            ),
            found: format!("{:?}, {:?} and {:?}", q.dims(), k.dims(), v.dims()),
        });
    }
    apply(
        Attention {
            lengths: lengths.into(),
            n_heads,
        },
        &[q, k, v],
    )
}

#[derive(Clone)]
pub(crate) struct Attention {
    pub(crate) lengths: Arc<[usize]>,
    pub(crate) n_heads: usize,
}

impl Attention {
    fn heads(&self, like: &Tensor) -> Tiling<'_> {
        Tiling {
            lengths: &self.lengths,
            n_heads: self.n_heads,
            hidden: like.dims()[1],
        }
    }
}

impl Fused for Attention {
    const NAME: &'static str = "attention";

    fn composed(&self, inputs: &[Value]) -> Result<Value> {
        let hidden = inputs[0].dims()[1];
        let size = hidden / self.n_heads;
        let mut start = 0;
        let sentences = self.lengths.iter().map(|&len| {
            let heads = |x: &Value| {
                x.narrow(0, start, len)?
                    .reshape(&[len, self.n_heads, size])?
                    .permute(&[1, 0, 2])
            };
            let (q, k, v) = (heads(&inputs[0])?, heads(&inputs[1])?, heads(&inputs[2])?);
            start += len;
            let scores = q.matmul(&k.t()?)?.affine(1.0 / (size as f64).sqrt(), 0.0)?;
            scores
                .softmax()?
                .matmul(&v)?
                .permute(&[1, 0, 2])?
                .reshape(&[len, hidden])
        });
        Value::cat(&sentences.collect::<Result<Vec<_>>>()?, 0)
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let &[q, k, v] = inputs else {
            unreachable!("attention has three inputs")
        };
        for_float!(q, T => {
            let (out, p) = with_slices([q, k, v], |[a, b, c]| kernel::forward::<T>(a, b, c, self.heads(q)))?;
            let n_probabilities = p.len();
            Ok((tensor(out, q.dims())?, vec![tensor(p, &[n_probabilities])?]))
        })
    }

    fn backward(&self, inputs: &[&Tensor], kept: &[Tensor], grad: &Tensor) -> Result<Vec<Tensor>> {
        let &[q, k, v] = inputs else {
            unreachable!("attention has three inputs")
        };
        let dims = q.dims();
        for_float!(q, T => {
            let (dq, dk, dv) = with_slices([q, k, v, &kept[0], grad], |[a, b, c, p, g]| {
                kernel::backward::<T>([a, b, c], p, g, self.heads(q))
            })?;
            Ok(vec![tensor(dq, dims)?, tensor(dk, dims)?, tensor(dv, dims)?])
        })
    }

    fn backward_twice(
        &self,
        inputs: &[&Tensor],
        kept: &[Tensor],
        grad: &Tensor,
        cotangents: &[Option<&Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let &[q, k, v] = inputs else {
            unreachable!("attention has three inputs")
        };
        let zeros = q.zeros_like()?;
        let [a, b, c] = [0, 1, 2].map(|at| cotangents[at].unwrap_or(&zeros));
        for_float!(q, T => {
            let grads = with_slices([q, k, v, &kept[0], grad, a, b, c], |[x, y, z, p, g, a, b, c]| {
                kernel::backward_twice::<T>([x, y, z], p, g, [a, b, c], self.heads(q))
            })?;
            grads.into_iter().map(|grad| Ok(Some(tensor(grad, q.dims())?))).collect()
        })
    }
}
