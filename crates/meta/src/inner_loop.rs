//! The inner loop: gradient descent on one task's support loss, and the gradient of the query loss through it.
//!
//! Not here: many tasks (`meta_step`) and what is done with the gradient (`optimizer`).

use candle_core::Tensor;
use metashot_autograd::{
    Error as GradientError, Order, Params, Patterns, Value, grad_or_none, grad_params, ops::dot,
    pull_back,
};

use crate::error::{Error, LossError, Result};

/// How a task is adapted to.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use metashot_autograd::{Order, Params, Patterns, Value};
/// use metashot_meta::{InnerLoop, LossError, task_gradient};
///
/// // Support loss (w - 1)^2 and query loss w^2: one step of 0.25 goes from w to 0.5 w + 0.5.
/// let mut slow = Params::new();
/// slow.insert("w", Tensor::new(3f64, &Device::Cpu)?);
/// let support = |p: &Params<Value>| {
///     let d = p.get("w")?.affine(1.0, -1.0)?;
///     d.mul(&d)
/// };
/// let query = |p: &Params<Value>| p.get("w")?.mul(p.get("w")?);
/// let inner = InnerLoop { steps: 1, lr: 0.25, adapt: Patterns::all(), order: Order::Higher };
/// let task = task_gradient(&slow, support, query, &inner, &Patterns::all())?;
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
}

/// The outcome of adapting to a task.
#[derive(Clone, Debug)]
pub struct Adapted {
    /// All parameters: the fast weights, and the start where nothing adapts.
    pub fast: Params,
    /// The support loss before each step and after the last.
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
        theta.zip_with(gradient, |theta, gradient| {
            check_finite(gradient.tensor(), "support gradient", step)?;
            let change = Value::constant(gradient.tensor().clone()).affine(-self.lr, 0.0)?;
            Ok(Value::constant(theta.clone()).add(&change)?.into_tensor())
        })
    }
}

/// Adapts to a task by gradient descent on its support loss, keeping no graph.
///
/// # Errors
/// When the loss fails, does not reach a parameter that adapts, or is not finite.
pub fn adapt<E: Into<LossError>>(
    slow: &Params,
    support: impl Fn(&Params<Value>) -> Result<Value, E>,
    inner: &InnerLoop,
) -> Result<Adapted> {
    inner.validate()?;
    let (mut theta, rest) = slow.split(&inner.adapt)?;
    let rest = rest.constants();
    let mut support_losses = Vec::with_capacity(inner.steps + 1);
    for step in 0..inner.steps {
        let fast = theta.variables();
        let loss = evaluate(&support, &rest.overlaid(&fast))?;
        support_losses.push(finite(&loss, "support loss", step)?);
        let gradient = grad_params(&loss, &fast, Order::First)?;
        theta = inner.descend(&theta, &gradient, step)?;
    }
    let last = evaluate(&support, &rest.overlaid(&theta.constants()))?;
    support_losses.push(finite(&last, "support loss", inner.steps)?);
    Ok(Adapted {
        fast: slow.overlaid(&theta),
        support_losses,
    })
}

/// The query loss after adapting, and its gradient with respect to the parameters of the start that `train` names.
///
/// With `theta_{k+1} = theta_k - lr g(theta_k)` and `u_K` the gradient of the query loss at `theta_K`, the exact
/// gradient follows `u_k = u_{k+1} - lr H(theta_k) u_{k+1}`. Only the `theta_k` are kept; each step's graph is built
/// again when the recursion comes to it, so memory does not grow with the number of steps beyond the stored
/// parameters. A parameter that does not adapt has a gradient too: the query loss depends on it directly, and the
/// inner gradients do.
///
/// # Source
/// Finn, Abbeel and Levine 2017, "Model-agnostic meta-learning", equation 1 (exact) and section 5.2 (first order).
///
/// # Errors
/// When a loss fails or is not finite, the support loss does not reach a parameter that adapts, or neither loss
/// reaches one that is trained.
pub fn task_gradient<E: Into<LossError>>(
    slow: &Params,
    support: impl Fn(&Params<Value>) -> Result<Value, E>,
    query: impl Fn(&Params<Value>) -> Result<Value, E>,
    inner: &InnerLoop,
    train: &Patterns,
) -> Result<TaskGradient> {
    inner.validate()?;
    let (start, rest) = slow.split(&inner.adapt)?;
    train.check(slow.names())?;
    // What neither adapts nor is trained stays off the graph.
    let (trained, frozen): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|(name, _)| train.matches(name));
    let trained: Params = trained.into_iter().collect();
    let frozen = frozen.into_iter().collect::<Params>().constants();

    let mut support_losses = Vec::with_capacity(inner.steps);
    let mut theta = start;
    // What the way back needs: the points passed for the exact gradient, the sum of the steps for first order.
    let mut passed = Vec::new();
    let mut descent: Option<Params<Value>> = None;
    // The last step's graph is the first that the recursion needs: it is not built twice.
    let mut last = None;
    for step in 0..inner.steps {
        let exact = inner.order == Order::Higher && step + 1 == inner.steps;
        let graph = if exact {
            StepGraph::exact(&support, &theta, &trained, &frozen)?
        } else {
            StepGraph::first(&support, &theta, &trained, &frozen)?
        };
        support_losses.push(finite(&graph.loss, "support loss", step)?);
        let next = inner.descend(&theta, &graph.gradient, step)?;
        match inner.order {
            Order::Higher => passed.push(theta),
            Order::First => {
                descent = Some(match descent {
                    None => graph.gradient.clone(),
                    Some(sum) => sum.zip_with(&graph.gradient, Value::add)?,
                });
            }
        }
        theta = next;
        last = exact.then_some(graph);
    }

    let variables = theta.variables().overlaid(&trained.variables());
    let loss = evaluate(&query, &frozen.overlaid(&variables))?;
    let query_loss = finite(&loss, "query loss", inner.steps)?;
    let inputs: Vec<&Value> = variables.values().collect();
    let gradients = grad_or_none(&loss, &inputs, Order::First)?;
    let mut pulled: Params<Option<Value>> = variables
        .names()
        .map(str::to_owned)
        .zip(gradients)
        .collect();
    drop((loss, variables));

    let mut lr_gradient = 0.0;
    match inner.order {
        Order::First => {
            // The inner gradients count as constants, so the last weights are the start minus the rate times their sum.
            for (name, gradient) in descent.iter().flat_map(Params::iter) {
                if let Some(u) = pulled.get(name)? {
                    lr_gradient -= dot(gradient.tensor(), u.tensor())?;
                }
            }
        }
        Order::Higher => {
            for theta in passed.iter().rev() {
                let graph = match last.take() {
                    Some(graph) => graph,
                    None => StepGraph::exact(&support, theta, &trained, &frozen)?,
                };
                lr_gradient += graph.pull_back(&mut pulled, inner.lr)?;
            }
        }
    }

    let mut gradient = Params::new();
    for (name, pulled) in pulled {
        if train.matches(&name) {
            let Some(value) = pulled else {
                return Err(GradientError::Unreached {
                    input: format!("parameter `{name}`"),
                }
                .into());
            };
            check_finite(value.tensor(), "meta-gradient", inner.steps)?;
            gradient.insert(name, value.into_tensor());
        }
    }
    Ok(TaskGradient {
        query_loss,
        support_losses,
        gradient,
        lr_gradient,
    })
}

/// The support loss at one point of the inner loop and its gradient with respect to what adapts.
struct StepGraph {
    loss: Value,
    gradient: Params<Value>,
    /// What adapts and what is trained without adapting.
    variables: Params<Value>,
}

impl StepGraph {
    /// The gradient as a number.
    fn first<E: Into<LossError>>(
        support: impl Fn(&Params<Value>) -> Result<Value, E>,
        theta: &Params,
        trained: &Params,
        frozen: &Params<Value>,
    ) -> Result<Self> {
        let variables = theta.variables();
        let loss = evaluate(
            &support,
            &frozen.overlaid(&trained.constants()).overlaid(&variables),
        )?;
        let gradient = grad_params(&loss, &variables, Order::First)?;
        Ok(Self {
            loss: loss.detach(),
            gradient,
            variables,
        })
    }

    /// The gradient as a function of all that the meta-gradient is asked for.
    fn exact<E: Into<LossError>>(
        support: impl Fn(&Params<Value>) -> Result<Value, E>,
        theta: &Params,
        trained: &Params,
        frozen: &Params<Value>,
    ) -> Result<Self> {
        let adapting = theta.variables();
        let variables = adapting.overlaid(&trained.variables());
        let loss = evaluate(&support, &frozen.overlaid(&variables))?;
        let gradient = grad_params(&loss, &adapting, Order::Higher)?;
        Ok(Self {
            loss,
            gradient,
            variables,
        })
    }

    /// Takes `u` from after this step to before it, and returns the step's share of the learning rate's derivative.
    fn pull_back(&self, u: &mut Params<Option<Value>>, lr: f64) -> Result<f64> {
        let mut lr_gradient = 0.0;
        let mut pairs = Vec::with_capacity(self.gradient.len());
        for (name, gradient) in self.gradient.iter() {
            if let Some(u) = u.get(name)? {
                lr_gradient -= dot(gradient.tensor(), u.tensor())?;
                pairs.push((gradient, u.affine(-lr, 0.0)?));
            }
        }
        let inputs: Vec<&Value> = self.variables.values().collect();
        let products = pull_back(&pairs, &inputs, Order::First)?;
        for (name, product) in self.variables.names().zip(products) {
            if let Some(product) = product {
                let sum = match u.get(name)? {
                    Some(u) => u.add(&product)?,
                    None => product,
                };
                u.insert(name, Some(sum));
            }
        }
        Ok(lr_gradient)
    }
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

fn check_finite(gradient: &Tensor, what: &'static str, step: usize) -> Result<()> {
    if dot(gradient, gradient)?.is_finite() {
        Ok(())
    } else {
        Err(Error::NotFinite { what, step })
    }
}
