//! The inner loop: gradient descent on one task's support loss, and the gradient of the query loss through it.
//!
//! Not here: many tasks (`meta_step`) and what is done with the gradient (`optimizer`).

use candle_core::Tensor;
use metashot_autograd::{
    Error as GradientError, Order, Params, Patterns, Value, grad_or_none, grad_params, graph_bytes,
    ops::{all_finite, descend, dot},
    pull_back_onto,
};

use crate::error::{Error, LossError, Result};

/// How a task is adapted to.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::{Order, Params, Patterns, Value};
/// use metashot_meta::{InnerLoop, LossError, Memory, task_gradient, unprepared};
///
/// // Support loss (w - 1)^2 and query loss w^2: one step of 0.25 goes from w to 0.5 w + 0.5.
/// let mut slow = Params::new();
/// slow.insert("w", Tensor::new(3f64, &Device::Cpu)?);
/// let support = |p: &Params<Value>| {
///     let d = p.get("w")?.affine(1.0, -1.0)?;
///     d.mul(&d)
/// };
/// let query = |p: &Params<Value>| p.get("w")?.mul(p.get("w")?);
/// let inner = InnerLoop {
///     steps: 1,
///     lr: 0.25,
///     adapt: Patterns::all(),
///     order: Order::Higher,
///     memory: Memory::Flat,
/// };
/// let task = task_gradient(&slow, unprepared, support, query, &inner, &Patterns::all())?;
/// assert_eq!(task.query_loss, 4.0);
/// // d (0.5 w + 0.5)^2 / d w = 0.5 w + 0.5, where first-order MAML has 2 (0.5 w + 0.5).
/// assert_eq!(task.gradient.get("w")?.to_scalar::<f64>()?, 2.0);
/// # Ok::<(), LossError>(())
/// ```
#[derive(Clone, Debug)]
pub struct InnerLoop {
    /// Gradient steps on the support loss; 0 leaves the start as it is.
    pub steps: usize,
    /// The length of a step.
    pub lr: f64,
    /// The parameters that adapt; the others stay at the start.
    pub adapt: Patterns,
    /// [`Order::Higher`] for the exact meta-gradient, [`Order::First`] for first-order MAML.
    pub order: Order,
    /// What is kept of a step for the exact meta-gradient; the numbers are the same.
    pub memory: Memory,
}

/// What is kept of an inner step until the meta-gradient comes back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The parameters: the step's graph is built again, and memory does not grow with the number of steps beyond them.
    Flat,
    /// The step's graph: nothing is computed twice, and memory grows with the number of steps.
    Fast,
}

/// What is computed once for a task, ahead of its inner loop, as functions of the start.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// Parameters in place of the start's, or beside them: a head that starts from the support set's prototypes.
    pub start: Params<Value>,
    /// What never adapts and is computed from what does not: the output of the layers below those that adapt. The
    /// losses find it among their parameters, so its names must be of its own.
    pub fixed: Params<Value>,
}

/// A task for which nothing is computed ahead of its inner loop: the `prepare` of most tasks.
///
/// # Errors
/// None.
pub fn unprepared<E>(_: &Params<Value>) -> std::result::Result<Prepared, E> {
    Ok(Prepared::default())
}

/// The outcome of adapting to a task.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// All parameters: the fast weights, and the start where nothing adapts.
    pub fast: Params,
    /// The support loss before each step.
    pub support_losses: Vec<f64>,
}

/// One task's share of the meta-gradient.
#[derive(Clone, Debug)]
pub struct TaskGradient {
    /// The query loss at the fast weights.
    pub query_loss: f64,
    /// The support loss before each step.
    pub support_losses: Vec<f64>,
    /// The query loss's gradient with respect to each trained parameter of the start.
    pub gradient: Params,
    /// The query loss's derivative with respect to the inner learning rate.
    pub lr_gradient: f64,
}

impl InnerLoop {
    /// No step at all: the start is used as it is.
    pub fn none() -> Self {
        Self {
            steps: 0,
            lr: 0.0,
            adapt: Patterns::default(),
            order: Order::First,
            memory: Memory::Flat,
        }
    }

    /// Fails if a setting is out of its range.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn validate(&self) -> Result<()> {
        let fits = self.lr.is_finite() && self.lr >= 0.0;
        Error::unless(fits, "inner_lr", "a number that is not negative", &self.lr)
    }

    /// One step down. A gradient that is not finite stops here: a relu turns NaN into 0, so the next loss may hide it.
    fn descend(&self, theta: &Params, gradient: &Params<Value>, step: usize) -> Result<Params> {
        let mut pairs = Vec::with_capacity(theta.len());
        for (name, theta) in theta.iter() {
            pairs.push((theta, gradient.get(name)?.tensor()));
        }
        let what = "support gradient";
        let lower = descend(&pairs, self.lr)?.ok_or(Error::NotFinite { what, step })?;
        Ok(theta.names().map(str::to_owned).zip(lower).collect())
    }
}

/// Adapts to a task by gradient descent on its support loss, keeping no graph.
///
/// `prepare` is as for [`task_gradient`]; what it returns and does not adapt is no part of the result.
///
/// # Errors
/// When a function fails, the loss does not reach a parameter that adapts, or is not finite.
pub fn adapt<E: Into<LossError>>(
    slow: &Params,
    prepare: impl Fn(&Params<Value>) -> Result<Prepared, E>,
    support: impl Fn(&Params<Value>) -> Result<Value, E>,
    inner: &InnerLoop,
) -> Result<Adapted> {
    inner.validate()?;
    let update = |step, theta: Params, gradient| inner.descend(&theta, &gradient, step);
    adapt_by(slow, prepare, support, (&inner.adapt, inner.steps), update)
}

/// The same with an update of one's own: `update` is given the number of the step, from 0, the parameters that adapt and
/// their gradient. An optimizer with a memory keeps it in the closure.
///
/// # Errors
/// As [`adapt`], and what `update` returns.
pub fn adapt_by<E: Into<LossError>>(
    slow: &Params,
    prepare: impl Fn(&Params<Value>) -> Result<Prepared, E>,
    support: impl Fn(&Params<Value>) -> Result<Value, E>,
    (patterns, steps): (&Patterns, usize),
    mut update: impl FnMut(usize, Params, Params<Value>) -> Result<Params>,
) -> Result<Adapted> {
    let prepared = prepared(prepare, &slow.constants())?;
    let start = slow.overlaid(&prepared.start.tensors());
    let (mut theta, rest) = start.split(patterns)?;
    let rest = rest.constants().overlaid(&prepared.fixed);
    let mut support_losses = Vec::with_capacity(steps);
    for step in 0..steps {
        let fast = theta.variables();
        let loss = evaluate(&support, &rest.overlaid(&fast))?;
        support_losses.push(finite(&loss, "support loss", step)?);
        let gradient = grad_params(loss, &fast, Order::First)?;
        theta = update(step, theta, gradient)?;
    }
    Ok(Adapted {
        fast: start.overlaid(&theta),
        support_losses,
    })
}

/// The query loss after adapting, and its gradient with respect to the parameters of the start that `train` names.
///
/// With `theta_{k+1} = theta_k - lr g(theta_k)` and `u_K` the gradient of the query loss at `theta_K`, the exact
/// gradient follows `u_k = u_{k+1} - lr H(theta_k) u_{k+1}`. Only what [`Memory`] says is kept of a step. A parameter
/// that does not adapt has a gradient too: the query loss depends on it directly, and the inner gradients do.
///
/// `prepare` computes from the start what the steps have in common, see [`Prepared`]; the meta-gradient goes back
/// through it.
///
/// # Source
/// Finn, Abbeel and Levine 2017, "Model-agnostic meta-learning", equation 1 (exact) and section 5.2 (first order).
///
/// # Errors
/// When a function fails or a loss is not finite, the support loss does not reach a parameter that adapts, or neither
/// loss reaches one that is trained.
pub fn task_gradient<E: Into<LossError>>(
    slow: &Params,
    prepare: impl Fn(&Params<Value>) -> Result<Prepared, E>,
    support: impl Fn(&Params<Value>) -> Result<Value, E>,
    query: impl Fn(&Params<Value>) -> Result<Value, E>,
    inner: &InnerLoop,
    train: &Patterns,
) -> Result<TaskGradient> {
    inner.validate()?;
    let Start {
        sources,
        prepared,
        mut theta,
        wanted,
        frozen,
    } = Start::new(slow, prepare, &inner.adapt, train)?;

    let mut support_losses = Vec::with_capacity(inner.steps);
    // What the way back needs: the points passed for the exact gradient, the sum of the steps for first order.
    let mut passed = Vec::new();
    let mut descent: Option<Params<Value>> = None;
    for step in 0..inner.steps {
        // The last step's graph is the first that the recursion needs: it is never built twice.
        let keep = inner.memory == Memory::Fast || step + 1 == inner.steps;
        let graph = if inner.order == Order::Higher && keep {
            StepGraph::exact(&support, &theta, &wanted, &frozen)?
        } else {
            StepGraph::first(&support, &theta, &wanted, &frozen)?
        };
        support_losses.push(finite(&graph.loss, "support loss", step)?);
        let next = inner.descend(&theta, &graph.gradient, step)?;
        match inner.order {
            Order::Higher if keep => passed.push(Passed::Graph(graph)),
            Order::Higher => passed.push(Passed::Point(theta)),
            Order::First => {
                descent = Some(match descent {
                    None => graph.gradient,
                    Some(sum) => sum.zip_with(&graph.gradient, Value::add)?,
                });
            }
        }
        theta = next;
    }

    let (query_loss, mut pulled) = query_gradient(query, &theta, &wanted, &frozen, inner.steps)?;
    let mut lr_gradient = 0.0;
    // The inner gradients count as constants, so the last weights are the start minus the rate times their sum.
    if let Some(descent) = &descent {
        lr_gradient -= product(descent, &pulled)?;
    }
    while let Some(passed) = passed.pop() {
        let graph = match passed {
            Passed::Graph(graph) => graph,
            Passed::Point(theta) => StepGraph::exact(&support, &theta, &wanted, &frozen)?,
        };
        lr_gradient += graph.pull_back(&mut pulled, inner.lr)?;
    }

    prepared.pull_back(&mut pulled, &sources)?;
    let mut gradient = Params::new();
    for name in sources.names() {
        let Some(value) = pulled.remove(name).flatten() else {
            return Err(GradientError::Unreached {
                input: format!("parameter `{name}`"),
            }
            .into());
        };
        gradient.insert(name, value.into_tensor());
    }
    check_finite(gradient.values(), "meta-gradient", inner.steps)?;
    Ok(TaskGradient {
        query_loss,
        support_losses,
        gradient,
        lr_gradient,
    })
}

/// An estimate of the memory that one inner step's graph takes in an exact meta-gradient, in bytes: what
/// [`Memory::Fast`] keeps for every step.
///
/// # Errors
/// As [`task_gradient`].
pub fn step_graph_bytes<E: Into<LossError>>(
    slow: &Params,
    prepare: impl Fn(&Params<Value>) -> Result<Prepared, E>,
    support: impl Fn(&Params<Value>) -> Result<Value, E>,
    adapt: &Patterns,
    train: &Patterns,
) -> Result<usize> {
    let start = Start::new(slow, prepare, adapt, train)?;
    let graph = StepGraph::exact(support, &start.theta, &start.wanted, &start.frozen)?;
    Ok(graph_bytes(graph.gradient.values()))
}

/// Where an inner loop starts, and what it has around it.
struct Start {
    /// The trained part of the start, on the graph of what was prepared.
    sources: Params<Value>,
    prepared: Prepared,
    /// What adapts.
    theta: Params,
    /// What does not adapt and has a meta-gradient.
    wanted: Params,
    /// What neither adapts nor is trained, and stays off the graph.
    frozen: Params<Value>,
}

impl Start {
    fn new<E: Into<LossError>>(
        slow: &Params,
        prepare: impl Fn(&Params<Value>) -> Result<Prepared, E>,
        adapt: &Patterns,
        train: &Patterns,
    ) -> Result<Self> {
        let (trained, rest) = slow.split(train)?;
        let sources = trained.variables();
        let slow = rest.constants().overlaid(&sources);
        let prepared = prepared(prepare, &slow)?;
        // What was prepared stands for what it was prepared from.
        let (theta, rest) = slow.overlaid(&prepared.start).split(adapt)?;
        let (frozen, wanted): (Vec<_>, Vec<_>) = rest
            .overlaid(&prepared.fixed)
            .into_iter()
            .partition(|(_, value)| value.is_constant());
        Ok(Self {
            sources,
            prepared,
            theta: theta.tensors(),
            wanted: wanted.into_iter().collect::<Params<Value>>().tensors(),
            frozen: frozen.into_iter().collect(),
        })
    }
}

fn prepared<E: Into<LossError>>(
    prepare: impl Fn(&Params<Value>) -> Result<Prepared, E>,
    slow: &Params<Value>,
) -> Result<Prepared> {
    prepare(slow).map_err(|error| Error::Caller(error.into()))
}

impl Prepared {
    /// Takes gradients from what was prepared to the start it was prepared from.
    fn pull_back(self, pulled: &mut Params<Option<Value>>, sources: &Params<Value>) -> Result<()> {
        let mut pairs = Vec::with_capacity(self.start.len() + self.fixed.len());
        for (name, value) in self.start.into_iter().chain(self.fixed) {
            if let Some(u) = pulled.remove(&name).flatten()
                && !value.is_constant()
            {
                pairs.push((value, u));
            }
        }
        if pairs.is_empty() {
            return Ok(());
        }
        add_pulled_back(pairs, sources, pulled)
    }
}

/// What is kept of a step.
enum Passed {
    Point(Params),
    Graph(StepGraph),
}

/// The query loss and its gradient with respect to what adapted and what else is wanted.
fn query_gradient<E: Into<LossError>>(
    query: impl Fn(&Params<Value>) -> Result<Value, E>,
    theta: &Params,
    wanted: &Params,
    frozen: &Params<Value>,
    steps: usize,
) -> Result<(f64, Params<Option<Value>>)> {
    let variables = theta.variables().overlaid(&wanted.variables());
    let loss = evaluate(&query, &frozen.overlaid(&variables))?;
    let number = finite(&loss, "query loss", steps)?;
    let inputs: Vec<&Value> = variables.values().collect();
    let gradients = grad_or_none(loss, &inputs, Order::First)?;
    let names = variables.names().map(str::to_owned);
    Ok((number, names.zip(gradients).collect()))
}

/// The support loss at one point of the inner loop and its gradient with respect to what adapts.
struct StepGraph {
    /// A constant.
    loss: Value,
    gradient: Params<Value>,
    /// What adapts and what else the meta-gradient is asked for.
    variables: Params<Value>,
}

impl StepGraph {
    /// The gradient as a number.
    fn first<E: Into<LossError>>(
        support: impl Fn(&Params<Value>) -> Result<Value, E>,
        theta: &Params,
        wanted: &Params,
        frozen: &Params<Value>,
    ) -> Result<Self> {
        let variables = theta.variables();
        let loss = evaluate(
            &support,
            &frozen.overlaid(&wanted.constants()).overlaid(&variables),
        )?;
        Ok(Self {
            loss: loss.detach(),
            gradient: grad_params(loss, &variables, Order::First)?,
            variables,
        })
    }

    /// The gradient as a function of all that the meta-gradient is asked for.
    fn exact<E: Into<LossError>>(
        support: impl Fn(&Params<Value>) -> Result<Value, E>,
        theta: &Params,
        wanted: &Params,
        frozen: &Params<Value>,
    ) -> Result<Self> {
        let adapting = theta.variables();
        let variables = adapting.overlaid(&wanted.variables());
        let loss = evaluate(&support, &frozen.overlaid(&variables))?;
        Ok(Self {
            loss: loss.detach(),
            gradient: grad_params(loss, &adapting, Order::Higher)?,
            variables,
        })
    }

    /// Takes `u` from after this step to before it, and returns the step's share of the learning rate's derivative.
    fn pull_back(self, u: &mut Params<Option<Value>>, lr: f64) -> Result<f64> {
        let lr_gradient = -product(&self.gradient, u)?;
        let mut pairs = Vec::with_capacity(self.gradient.len());
        for (name, gradient) in self.gradient {
            if let Some(u) = u.get(&name)? {
                pairs.push((gradient, u.affine(-lr, 0.0)?));
            }
        }
        add_pulled_back(pairs, &self.variables, u)?;
        Ok(lr_gradient)
    }
}

/// The inner product of an inner gradient with what is pulled back, where that is there.
fn product(gradient: &Params<Value>, pulled: &Params<Option<Value>>) -> Result<f64> {
    let mut pairs = Vec::with_capacity(gradient.len());
    for (name, gradient) in gradient.iter() {
        if let Some(u) = pulled.get(name)? {
            pairs.push((gradient.tensor(), u.tensor()));
        }
    }
    Ok(dot(pairs)?)
}

/// Adds what `outputs` weighted by their cotangents pull back to some variables to the gradients of the same names.
fn add_pulled_back(
    outputs: Vec<(Value, Value)>,
    variables: &Params<Value>,
    gradients: &mut Params<Option<Value>>,
) -> Result<()> {
    let inputs: Vec<&Value> = variables.values().collect();
    let names = || variables.names();
    let begun = names().map(|name| gradients.remove(name).flatten());
    let sums = pull_back_onto(outputs, &inputs, begun.collect())?;
    for (name, sum) in names().zip(sums) {
        gradients.insert(name, sum);
    }
    Ok(())
}

fn evaluate<E: Into<LossError>>(
    loss: impl Fn(&Params<Value>) -> Result<Value, E>,
    params: &Params<Value>,
) -> Result<Value> {
    loss(params).map_err(|error| Error::Caller(error.into()))
}

fn finite(loss: &Value, what: &'static str, step: usize) -> Result<f64> {
    let number = loss.to_f64()?;
    if number.is_finite() {
        Ok(number)
    } else {
        Err(Error::NotFinite { what, step })
    }
}

fn check_finite<'a>(
    gradients: impl IntoIterator<Item = &'a Tensor>,
    what: &'static str,
    step: usize,
) -> Result<()> {
    if all_finite(gradients)? {
        Ok(())
    } else {
        Err(Error::NotFinite { what, step })
    }
}
