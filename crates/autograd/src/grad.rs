//! The reverse walk: gradients, gradients that can be differentiated again, and Hessian-vector products.
//!
//! Not here: gradient rules (`ops`) and optimisers.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    sync::Arc,
};

use candle_core::Tensor;

use crate::{
    error::{Error, Result},
    kernels::repeats_a_row,
    ops::add_all,
    params::Params,
    value::{Node, Order, Rule, Source, Value},
};

/// The gradient of a scalar `loss` with respect to each of `inputs`.
///
/// A loss that is given away, not lent, gives the memory of its graph back as the walk passes.
///
/// # Shapes
/// - `loss`: one element
/// - result: as `inputs`, in their order
///
/// # Errors
/// [`Error::NotScalar`], [`Error::NotVariable`], and [`Error::Unreached`], which names the first input that the
/// loss does not depend on by its position; use [`grad_or_none`] where that may happen.
pub fn grad(loss: impl Into<Value>, inputs: &[&Value], order: Order) -> Result<Vec<Value>> {
    grad_or_none(loss, inputs, order)?
        .into_iter()
        .enumerate()
        .map(|(index, gradient)| {
            gradient.ok_or_else(|| Error::Unreached {
                input: format!("input {index}"),
            })
        })
        .collect()
}

/// [`grad`] for named parameters: errors name the parameter.
///
/// # Errors
/// As [`grad`].
pub fn grad_params(
    loss: impl Into<Value>,
    params: &Params<Value>,
    order: Order,
) -> Result<Params<Value>> {
    let inputs: Vec<&Value> = params.values().collect();
    let name = |index: usize| {
        let name = params.names().nth(index).unwrap_or_default();
        format!("parameter `{name}`")
    };
    if let Some(index) = inputs.iter().position(|input| input.is_constant()) {
        return Err(Error::NotVariable { input: name(index) });
    }
    let gradients = grad_or_none(loss, &inputs, order)?;
    params
        .names()
        .zip(gradients)
        .enumerate()
        .map(|(index, (key, gradient))| {
            let gradient = gradient.ok_or_else(|| Error::Unreached { input: name(index) })?;
            Ok((key.to_owned(), gradient))
        })
        .collect()
}

/// [`grad`] with `None` for an input that the loss does not depend on: its gradient is zero by structure, not
/// only by value.
///
/// # Errors
/// [`Error::NotScalar`], [`Error::NotVariable`], or a failing tensor operation.
pub fn grad_or_none(
    loss: impl Into<Value>,
    inputs: &[&Value],
    order: Order,
) -> Result<Vec<Option<Value>>> {
    let loss = loss.into();
    if loss.tensor().elem_count() != 1 {
        return Err(Error::NotScalar {
            shape: loss.dims().to_vec(),
        });
    }
    let seed = Value::constant(loss.tensor().ones_like()?);
    pull_back(vec![(loss, seed)], inputs, order)
}

/// The vector-Jacobian product: what `outputs` weighted by their cotangents pull back to each of `inputs`.
/// `None` stands for a zero by structure.
///
/// What only `outputs` holds of their graph is freed as the walk passes.
///
/// # Errors
/// [`Error::NotVariable`], or a failing tensor operation.
pub fn pull_back(
    outputs: Vec<(Value, Value)>,
    inputs: &[&Value],
    order: Order,
) -> Result<Vec<Option<Value>>> {
    let nothing = vec![None; inputs.len()];
    walk(outputs, inputs, nothing, order, Beyond::Follow)
}

/// [`pull_back`] added to what there is already of each input's gradient, which takes no pass of its own where the last
/// operation is a product.
///
/// # Shapes
/// - `begun` and result: as `inputs`, in their order
///
/// # Errors
/// As [`pull_back`].
pub fn pull_back_onto(
    outputs: Vec<(Value, Value)>,
    inputs: &[&Value],
    begun: Vec<Option<Value>>,
) -> Result<Vec<Option<Value>>> {
    walk(outputs, inputs, begun, Order::First, Beyond::Follow)
}

/// [`pull_back`] that takes the inputs as independent of one another: it does not follow one input to another.
pub(crate) fn pull_back_partially(
    outputs: Vec<(Value, Value)>,
    inputs: &[&Value],
    order: Order,
) -> Result<Vec<Option<Value>>> {
    let nothing = vec![None; inputs.len()];
    walk(outputs, inputs, nothing, order, Beyond::Stop)
}

/// What to do with that which lies behind a wanted input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beyond {
    Follow,
    Stop,
}

fn walk(
    outputs: Vec<(Value, Value)>,
    inputs: &[&Value],
    mut begun: Vec<Option<Value>>,
    order: Order,
    beyond: Beyond,
) -> Result<Vec<Option<Value>>> {
    let wanted = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            input.source().cloned().ok_or_else(|| Error::NotVariable {
                input: format!("input {index}"),
            })
        })
        .collect::<Result<Vec<Source>>>()?;
    // Of an output only its place in the graph is needed.
    let mut roots: Vec<(Source, Value)> = outputs
        .into_iter()
        .filter_map(|(output, cotangent)| Some((output.into_source()?, cotangent)))
        .collect();
    // The last is walked first: a bias sends back a row, which the products after it begin with at no cost.
    roots.sort_by_key(|(_, cotangent)| cotangent.dims().len() < 2);
    let mut graph = Graph::reaching(roots.iter().map(|(source, _)| source), &wanted, beyond);
    let mut gradients: Vec<Vec<Vec<Value>>> = graph
        .nodes
        .iter()
        .map(|node| vec![Vec::new(); node.n_outputs])
        .collect();
    for (source, cotangent) in roots {
        if let Some((index, slot)) = graph.find(&source) {
            gradients[index][slot].push(cotangent);
        }
    }
    for (source, begun) in wanted.iter().zip(&mut begun) {
        // What is behind an input has no part in what is there already.
        if let Some((index, slot)) = graph.find(source).filter(|_| source.node.op.is_none()) {
            gradients[index][slot].extend(begun.take());
        }
    }
    let restored = RefCell::default();
    while let Some(node) = graph.nodes.pop() {
        let (index, node) = (graph.nodes.len(), &node);
        let Some(op) = &node.op else { continue };
        // A node whose own gradient is asked for keeps it; any other gives its memory back here.
        let asked = wanted.iter().any(|source| Arc::ptr_eq(&source.node, node));
        if gradients[index].iter().all(Vec::is_empty) || (asked && beyond == Beyond::Stop) {
            continue;
        }
        let shares = std::mem::take(&mut gradients[index]);
        let outputs = shares
            .iter()
            .map(|shares| total(shares))
            .collect::<Result<Vec<_>>>()?;
        drop(shares);
        if asked {
            let kept = outputs.iter().map(|sum| sum.iter().cloned().collect());
            gradients[index] = kept.collect();
        }
        let parents: Vec<_> = node
            .parents
            .iter()
            .map(|parent| parent.as_ref().and_then(|p| graph.find(p)))
            .collect();
        let needed: Vec<bool> = parents.iter().map(Option::is_some).collect();
        let parts: Vec<Cell<Option<Tensor>>> = parents
            .iter()
            .map(|parent| {
                let (parent, slot) = parent.filter(|_| order == Order::First)?;
                take_begun(&mut gradients[parent][slot])
            })
            .map(Cell::new)
            .collect();
        let rule = Rule {
            order,
            node,
            wanted: &needed,
            begun: &parts,
            restored: &restored,
        };
        let results = op.backward(&outputs, &rule)?;
        for ((parent, part), gradient) in parents.into_iter().zip(parts).zip(results) {
            if let Some((parent, slot)) = parent {
                let shares = [part.into_inner().map(Value::constant), gradient];
                gradients[parent][slot].extend(shares.into_iter().flatten());
            }
        }
    }
    wanted
        .iter()
        .zip(begun)
        .map(|(source, begun)| {
            let shares = graph
                .find(source)
                .map(|(index, slot)| &gradients[index][slot]);
            let shares: Vec<Value> = begun
                .iter()
                .chain(shares.into_iter().flatten())
                .cloned()
                .collect();
            total(&shares)
        })
        .collect()
}

/// A scalar function's gradient at `inputs` and its Hessian times `vectors`, from one graph.
///
/// The Hessian is never formed: the product is the gradient of `<gradient, vector>`, at about three times the cost
/// of the gradient (Pearlmutter 1994, "Fast exact multiplication by the Hessian").
///
/// # Shapes
/// `vectors` and both results as `inputs`.
///
/// # Errors
/// As [`grad`]; a Hessian that is zero by structure gives zeros.
pub fn hessian_vector_product(
    loss: &Value,
    inputs: &[&Value],
    vectors: &[Tensor],
) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    let gradients = grad(loss, inputs, Order::Higher)?;
    let cotangents = vectors.iter().cloned().map(Value::constant);
    let pairs = gradients.iter().cloned().zip(cotangents).collect();
    let products = pull_back(pairs, inputs, Order::First)?
        .into_iter()
        .zip(inputs)
        .map(|(product, input)| match product {
            Some(product) => Ok(product.into_tensor()),
            None => Ok(input.tensor().zeros_like()?),
        })
        .collect::<Result<_>>()?;
    Ok((
        gradients.into_iter().map(Value::into_tensor).collect(),
        products,
    ))
}

/// Takes the share to which the next may be added: the only one, or the only one that is no row repeated.
fn take_begun(shares: &mut Vec<Value>) -> Option<Tensor> {
    let mut dense = (0..shares.len()).filter(|&at| !repeats_a_row(shares[at].tensor()));
    let only = match (dense.next(), dense.next()) {
        (Some(only), None) => only,
        (None, _) if shares.len() == 1 => 0,
        _ => return None,
    };
    shares[only]
        .is_constant()
        .then(|| shares.remove(only).into_tensor())
}

/// What a value's uses send back to it, added when it is needed: all at once if none is on a graph.
fn total(shares: &[Value]) -> Result<Option<Value>> {
    let Some((first, rest)) = shares.split_first() else {
        return Ok(None);
    };
    if shares.iter().all(Value::is_constant) {
        let tensors: Vec<&Tensor> = shares.iter().map(Value::tensor).collect();
        return Ok(Some(Value::constant(add_all(&tensors)?)));
    }
    let sum = rest
        .iter()
        .try_fold(first.clone(), |sum, share| sum.add(share))?;
    Ok(Some(sum))
}

/// The nodes on a path from the roots to a wanted value, parents first.
struct Graph {
    nodes: Vec<Arc<Node>>,
    index: HashMap<*const Node, usize>,
}

impl Graph {
    /// A depth-first walk without recursion: graphs of graphs are thousands of nodes deep.
    fn reaching<'a>(
        roots: impl Iterator<Item = &'a Source>,
        wanted: &'a [Source],
        beyond: Beyond,
    ) -> Self {
        let mut reaches: HashMap<*const Node, bool> = wanted
            .iter()
            .map(|source| (Arc::as_ptr(&source.node), true))
            .collect();
        let mut visited: HashSet<*const Node> = HashSet::new();
        let mut graph = Self {
            nodes: Vec::new(),
            index: HashMap::new(),
        };
        let mut stack: Vec<(&'a Arc<Node>, usize)> = Vec::new();
        for root in roots {
            if visited.insert(Arc::as_ptr(&root.node)) {
                stack.push((&root.node, 0));
            }
            while let Some((node, next)) = stack.pop() {
                let key = Arc::as_ptr(node);
                let stop = beyond == Beyond::Stop && reaches.contains_key(&key);
                if let Some(parent) = node.parents.get(next).filter(|_| !stop) {
                    stack.push((node, next + 1));
                    if let Some(parent) = parent
                        && visited.insert(Arc::as_ptr(&parent.node))
                    {
                        stack.push((&parent.node, 0));
                    }
                    continue;
                }
                let on_path = reaches.get(&key).copied().unwrap_or(false)
                    || node
                        .parents
                        .iter()
                        .flatten()
                        .any(|parent| reaches.get(&Arc::as_ptr(&parent.node)) == Some(&true));
                reaches.insert(key, on_path);
                if on_path {
                    graph.index.insert(key, graph.nodes.len());
                    graph.nodes.push(Arc::clone(node));
                }
            }
        }
        graph
    }

    fn find(&self, source: &Source) -> Option<(usize, usize)> {
        self.index
            .get(&Arc::as_ptr(&source.node))
            .map(|&index| (index, source.slot))
    }
}
