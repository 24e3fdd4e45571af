//! Scaled dot-product attention over sentences of their own lengths.
//!
//! Sentences lie one after another in one array of tokens, so there is no padding to compute or to mask. Not here:
//! the projections, which are linear layers.

use std::sync::Arc;

use candle_core::Tensor;

use super::{
    fused::{Fused, apply},
    index::Places,
};
use crate::{
    error::{Error, Result},
    kernels::{
        attention::{self as kernel, Tiling},
        for_float, tensor, with_optional_slices, with_slices,
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

/// Sentences of different lengths as a rectangle, each filled up to the longest.
struct Padding {
    places: Places,
    /// `(sentences, 1, 1, longest)`: 0 where there is a token, and so far below it where there is none that its
    /// exponential is 0.
    mask: Value,
}

impl Padding {
    /// For tokens like these; none if nothing has to be filled up.
    fn new(lengths: &[usize], longest: usize, like: &Value) -> Result<Option<Self>> {
        if lengths.iter().all(|&length| length == longest) {
            return Ok(None);
        }
        let n_places = lengths.len() * longest;
        let (mut places, mut mask) = (Vec::new(), vec![-1e9; n_places]);
        for (sentence, &length) in lengths.iter().enumerate() {
            let there = sentence * longest..sentence * longest + length;
            mask[there.clone()].fill(0.0);
            places.extend(there.map(|place| place as u32));
        }
        Ok(Some(Self {
            places: Places::new(&places, n_places, like.device())?,
            mask: Value::constant_like(&mask, &[lengths.len(), 1, 1, longest], like)?,
        }))
    }
}

impl Fused for Attention {
    const NAME: &'static str = "attention";

    /// All sentences at once, as long as the longest: a few large products in place of some for each sentence.
    fn composed(&self, inputs: &[Value]) -> Result<Value> {
        let hidden = inputs[0].dims()[1];
        let size = hidden / self.n_heads;
        let n = self.lengths.len();
        let longest = self.lengths.iter().copied().max().unwrap_or(0);
        let padding = Padding::new(&self.lengths, longest, &inputs[0])?;
        let heads = |x: &Value| {
            let x = match &padding {
                Some(padding) => x.put_in_places(&padding.places)?,
                None => x.clone(),
            };
            x.reshape(&[n, longest, self.n_heads, size])?
                .permute(&[0, 2, 1, 3])
        };
        let (q, k, v) = (heads(&inputs[0])?, heads(&inputs[1])?, heads(&inputs[2])?);
        let scores = q.matmul(&k.t()?)?.affine(1.0 / (size as f64).sqrt(), 0.0)?;
        let scores = match &padding {
            Some(padding) => scores.add(&padding.mask)?,
            None => scores,
        };
        let out = scores
            .softmax()?
            .matmul(&v)?
            .permute(&[0, 2, 1, 3])?
            .reshape(&[n * longest, hidden])?;
        match &padding {
            Some(padding) => out.taken_from_places(&padding.places),
            None => Ok(out),
        }
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let &[q, k, v] = inputs else {
            unreachable!("attention has three inputs")
        };
        for_float!(q, T => {
            let (out, p) = with_slices([q, k, v], |qkv| kernel::forward::<T>(qkv, self.heads(q)))?;
            let n_probabilities = p.len();
            Ok((tensor(out, q.dims())?, vec![tensor(p, &[n_probabilities])?]))
        })
    }

    fn output(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let &[q, k, v] = inputs else {
            unreachable!("attention has three inputs")
        };
        for_float!(q, T => {
            let out = with_slices([q, k, v], |qkv| kernel::output::<T>(qkv, self.heads(q)))?;
            tensor(out, q.dims())
        })
    }

    fn backward(
        &self,
        inputs: &[&Tensor],
        kept: &[Tensor],
        grad: &Tensor,
        begun: &dyn Fn(usize) -> Option<Tensor>,
    ) -> Result<Vec<Tensor>> {
        let &[q, k, v] = inputs else {
            unreachable!("attention has three inputs")
        };
        let dims = q.dims();
        for_float!(q, T => {
            let begun = [0, 1, 2].map(begun);
            let grads = with_slices([q, k, v, &kept[0], grad], |[a, b, c, p, g]| {
                with_optional_slices(begun.each_ref().map(Option::as_ref), |begun| {
                    kernel::backward::<T>([a, b, c], (p, g), begun, self.heads(q))
                })
            })??;
            grads.into_iter().map(|grad| tensor(grad, dims)).collect()
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
