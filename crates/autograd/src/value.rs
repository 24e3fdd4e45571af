//! A tensor that remembers how it was made, when somebody wants its gradient.
//!
//! Not here: the operations (`ops`) and the walk over the graph (`grad`).

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fmt, slice,
    sync::Arc,
};

use candle_core::{DType, Device, Tensor};

use crate::error::{Error, Result};

/// How far the result of a differentiation can itself be differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The gradient is a number: its rules run on constants and build no graph.
    First,
    /// The gradient is a function of the inputs: its rules build a graph of their own, so that it can be
    /// differentiated again, to any order.
    Higher,
}

/// A [`Tensor`] and, when a gradient is wanted, the operation that made it.
///
/// Cloning copies two pointers. A value whose inputs are all constants is a constant: it holds no graph, so work
/// that needs no gradient costs no memory.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::{Order, Value, grad};
///
/// let x = Value::variable(Tensor::new(3f64, &Device::Cpu)?);
/// let y = x.mul(&x)?.mul(&x)?;                                  // x^3
/// let dy = grad(&y, &[&x], Order::Higher)?.remove(0);           // 3 x^2
/// let ddy = grad(&dy, &[&x], Order::First)?.remove(0);          // 6 x
/// assert_eq!(ddy.tensor().to_scalar::<f64>()?, 18.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Value {
    tensor: Tensor,
    source: Option<Source>,
}

/// Which output of which node a value is.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) node: Arc<Node>,
    pub(crate) slot: usize,
}

/// One application of an operation. A node without an operation is a variable.
pub(crate) struct Node {
    pub(crate) op: Option<Box<dyn Op>>,
    pub(crate) parents: Vec<Option<Source>>,
    pub(crate) n_outputs: usize,
    /// The size of the outputs, which are what the nodes after it keep.
    pub(crate) bytes: usize,
}

/// An operation's gradient rule, together with what it keeps from its forward pass.
///
/// Implement it to add an operation: compute the result on tensors, then hand it to [`Value::from_op`].
pub trait Op: Send + Sync {
    /// The name shown in debug output.
    fn name(&self) -> &'static str;

    /// The gradients of the parents, in the order the parents were given to [`Value::from_op`], from those of the
    /// outputs: at least one of `grads` is there. An entry may be `None` when [`Rule::wants`] says that nobody
    /// asks for it, or when it is zero.
    ///
    /// Values that were kept must pass through [`Rule::saved`] (or [`Rule::output`] for the operation's own
    /// result), which cuts them off the graph for [`Order::First`].
    ///
    /// # Errors
    /// When a tensor operation fails.
    fn backward(&self, grads: &[Option<Value>], rule: &Rule<'_>) -> Result<Vec<Option<Value>>>;

    /// How to compute the only output again from what is kept, if that is so cheap that nobody should keep the output.
    fn again(&self) -> Option<Again<'_>> {
        None
    }
}

/// How to compute a tensor once more.
pub(crate) type Again<'a> = Box<dyn Fn() -> Result<Tensor> + 'a>;

/// A value that an operation keeps for its rule.
pub(crate) enum Kept {
    Value(Value),
    /// The output of an operation that is cheaper to run again than to keep.
    Again(Source),
}

/// What a gradient rule may ask while it runs.
pub struct Rule<'a> {
    pub(crate) order: Order,
    pub(crate) node: &'a Arc<Node>,
    pub(crate) wanted: &'a [bool],
    /// See [`Rule::begun`].
    pub(crate) begun: &'a [Cell<Option<Tensor>>],
    pub(crate) restored: &'a RefCell<Restored>,
}

/// What was computed again last, as the operations that read it often follow one another: an activation and its derivative.
pub(crate) type Restored = [Option<(Source, Tensor)>; 2];

impl Rule<'_> {
    /// A kept value, as the order of this differentiation wants it.
    pub fn saved(&self, value: &Value) -> Value {
        match self.order {
            Order::First => value.detach(),
            Order::Higher => value.clone(),
        }
    }

    /// The same for a value that may have to be computed again.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub(crate) fn restored(&self, kept: &Kept) -> Result<Value> {
        match kept {
            Kept::Value(value) => Ok(self.saved(value)),
            Kept::Again(source) => {
                let tensor = self.again(source)?;
                Ok(Value {
                    tensor,
                    source: (self.order == Order::Higher).then(|| source.clone()),
                })
            }
        }
    }

    /// The output of an operation that is cheap, computed again unless it was lately.
    fn again(&self, source: &Source) -> Result<Tensor> {
        let mut latest = self.restored.borrow_mut();
        let is_it = |of: &Source| Arc::ptr_eq(&of.node, &source.node);
        if let Some((_, tensor)) = latest.iter().flatten().find(|(of, _)| is_it(of)) {
            return Ok(tensor.clone());
        }
        let again = source.node.again().expect("it was cheap when it was kept");
        // Before the next takes its memory.
        latest[1] = None;
        let tensor = again()?;
        latest.swap(0, 1);
        latest[0] = Some((source.clone(), tensor.clone()));
        Ok(tensor)
    }

    /// Takes what is there already of this parent's gradient, for the rule to add its share to: a sum of products then takes no
    /// pass of its own.
    pub(crate) fn begun(&self, parent: usize) -> Option<Tensor> {
        self.begun[parent].take()
    }

    /// The operation's own output `slot`, from its kept tensor, as the order of this differentiation wants it.
    pub fn output(&self, tensor: &Tensor, slot: usize) -> Value {
        let source = match self.order {
            Order::First => None,
            Order::Higher => Some(Source {
                node: Arc::clone(self.node),
                slot,
            }),
        };
        Value {
            tensor: tensor.clone(),
            source,
        }
    }

    /// The order of this differentiation.
    pub fn order(&self) -> Order {
        self.order
    }

    /// How many parents the operation has.
    pub fn n_parents(&self) -> usize {
        self.wanted.len()
    }

    /// Whether the gradient of this parent is needed.
    pub fn wants(&self, parent: usize) -> bool {
        self.wanted[parent]
    }

    /// The gradient of this parent if it is needed.
    ///
    /// # Errors
    /// When `gradient` fails.
    pub fn when_wanted(
        &self,
        parent: usize,
        gradient: impl FnOnce() -> Result<Value>,
    ) -> Result<Option<Value>> {
        self.wants(parent).then(gradient).transpose()
    }
}

impl Value {
    /// A value that nothing is differentiated with respect to.
    pub fn constant(tensor: Tensor) -> Self {
        Self {
            tensor,
            source: None,
        }
    }

    /// A value that gradients can be asked for.
    pub fn variable(tensor: Tensor) -> Self {
        let node = Arc::new(Node {
            op: None,
            parents: Vec::new(),
            n_outputs: 1,
            bytes: 0,
        });
        Self {
            tensor,
            source: Some(Source { node, slot: 0 }),
        }
    }

    /// A constant of these numbers, with the element type and on the device of another value.
    ///
    /// # Errors
    /// When the numbers do not fill the shape.
    pub fn constant_like(numbers: &[f64], dims: &[usize], like: &Self) -> Result<Self> {
        // Not every device has `f64`, so the numbers are rounded before they get there.
        let tensor = Tensor::from_slice(numbers, dims, &Device::Cpu)?.to_dtype(like.dtype())?;
        Ok(Self::constant(tensor.to_device(like.device())?))
    }

    /// The result of an operation; `op` is built only if a parent is on the graph.
    pub fn from_op(tensor: Tensor, parents: &[&Self], op: impl FnOnce() -> Box<dyn Op>) -> Self {
        let node = Node::new(slice::from_ref(&tensor), parents, op);
        Self {
            tensor,
            source: node.map(|node| Source { node, slot: 0 }),
        }
    }

    /// The results of an operation with several outputs.
    pub fn from_op_many(
        tensors: Vec<Tensor>,
        parents: &[&Self],
        op: impl FnOnce() -> Box<dyn Op>,
    ) -> Vec<Self> {
        let node = Node::new(&tensors, parents, op);
        let source = |slot| {
            node.as_ref().map(|node| Source {
                node: Arc::clone(node),
                slot,
            })
        };
        let values = tensors.into_iter().enumerate();
        values
            .map(|(slot, tensor)| Self {
                tensor,
                source: source(slot),
            })
            .collect()
    }

    /// The number behind the value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The number behind the value, owned.
    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// The same number as a constant.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::constant(self.tensor.clone())
    }

    /// Whether nothing behind this value can be differentiated.
    pub fn is_constant(&self) -> bool {
        self.source.is_none()
    }

    pub(crate) fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    pub(crate) fn into_source(self) -> Option<Source> {
        self.source
    }

    /// The value as an operation should keep it that needs it in its rule.
    pub(crate) fn kept(&self) -> Kept {
        match &self.source {
            Some(source) if source.node.again().is_some() => Kept::Again(source.clone()),
            _ => Kept::Value(self.clone()),
        }
    }

    /// The shape as a slice.
    pub fn dims(&self) -> &[usize] {
        self.tensor.dims()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.tensor.dtype()
    }

    /// Where the tensor lives.
    pub fn device(&self) -> &Device {
        self.tensor.device()
    }

    /// A scalar as `f64`, whatever its type.
    ///
    /// # Errors
    /// When the value has more than one element.
    pub fn to_f64(&self) -> Result<f64> {
        if self.tensor.elem_count() != 1 {
            return Err(Error::NotScalar {
                shape: self.dims().to_vec(),
            });
        }
        Ok(self
            .tensor
            .flatten_all()?
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F64)?
            .to_vec1::<f64>()?[0])
    }
}

/// An estimate of the memory that the graph behind some values holds, in bytes: the outputs of all its operations but
/// those that are computed again, each counted once. A view counts as if it were a copy; what a fused operation keeps
/// beside its output does not count.
pub fn graph_bytes<'a>(values: impl IntoIterator<Item = &'a Value>) -> usize {
    let mut seen = HashSet::new();
    let mut pending: Vec<&Arc<Node>> = values
        .into_iter()
        .filter_map(|value| value.source.as_ref().map(|source| &source.node))
        .collect();
    let mut bytes = 0;
    while let Some(node) = pending.pop() {
        if seen.insert(Arc::as_ptr(node)) {
            bytes += node.bytes;
            pending.extend(node.parents.iter().flatten().map(|source| &source.node));
        }
    }
    bytes
}

fn size(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}

/// The same value, so that functions which may free what they are given can be lent it too.
impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made_by = match &self.source {
            None => "constant",
            Some(source) => source.node.op.as_ref().map_or("variable", |op| op.name()),
        };
        write!(f, "Value({:?} {:?}, {made_by})", self.dims(), self.dtype())
    }
}

impl Drop for Node {
    /// Frees a long chain in a loop: the default recursion overflows the stack of a worker thread.
    fn drop(&mut self) {
        let mut pending = Vec::new();
        self.release(&mut pending);
        while let Some(node) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(node) {
                node.release(&mut pending);
            }
        }
    }
}

impl Node {
    fn again(&self) -> Option<Again<'_>> {
        self.op.as_ref()?.again()
    }

    /// A node for an operation, unless all its parents are constants.
    fn new(
        outputs: &[Tensor],
        parents: &[&Value],
        op: impl FnOnce() -> Box<dyn Op>,
    ) -> Option<Arc<Self>> {
        let parents: Vec<_> = parents.iter().map(|parent| parent.source.clone()).collect();
        let on_graph = parents.iter().any(Option::is_some);
        on_graph.then(|| {
            let op = op();
            let is_kept = op.again().is_none();
            Arc::new(Self {
                op: Some(op),
                parents,
                n_outputs: outputs.len(),
                bytes: outputs.iter().filter(|_| is_kept).map(size).sum(),
            })
        })
    }

    /// Drops the operation while `parents` still holds what it kept, so that this frees no node; then hands the
    /// parents over.
    fn release(&mut self, pending: &mut Vec<Arc<Self>>) {
        self.op = None;
        pending.extend(self.parents.drain(..).flatten().map(|source| source.node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_is_as_large_as_the_outputs_on_it() {
        let x = Value::variable(Tensor::zeros((4, 8), DType::F32, &Device::Cpu).unwrap());
        assert_eq!(graph_bytes([&x]), 0);
        let y = x.mul(&x).unwrap();
        let z = y.add(&x).unwrap();
        assert_eq!(graph_bytes([&y, &z]), 2 * 4 * 8 * 4);
        assert_eq!(graph_bytes([&z.detach()]), 0);
    }
}
