//! The task axis: several tasks in one operation, each with parameters of its own.
//!
//! The rows of the tasks lie one task after another, as many of each. A parameter with an axis more than usual, in
//! front, has a copy for each task, and [`linear`](super::linear), [`layer_norm`](super::layer_norm),
//! [`conv2d`](super::conv2d), [`norm_relu_pool`](super::norm_relu_pool) and [`Value::lookup`] use each copy on its
//! task's rows alone. So a model that is made of these runs many tasks at once without knowing it: on a GPU one large
//! kernel in place of many small ones. Not here: which parameters have copies, and rows that fill up a short task.

use crate::{
    error::{Error, Result},
    value::Value,
};

impl Value {
    /// A copy for each task.
    ///
    /// # Shapes
    /// - result: `(tasks, ..)`, where `self` is `(..)`
    ///
    /// # Errors
    /// When the tensor operation fails.
    pub fn for_each_task(&self, n_tasks: usize) -> Result<Self> {
        let dims: Vec<usize> = [n_tasks].iter().chain(self.dims()).copied().collect();
        self.broadcast_to(&dims)
    }

    /// Each task's share of the rows.
    ///
    /// # Shapes
    /// - `self`: `(rows, ..)`, the tasks one after another
    /// - result: `(tasks, rows / tasks, ..)`
    ///
    /// # Errors
    /// When the rows cannot be shared out evenly.
    pub fn by_task(&self, n_tasks: usize) -> Result<Self> {
        let Some((&n_rows, rest)) = self.dims().split_first() else {
            return Err(uneven(n_tasks, self));
        };
        if n_tasks == 0 || !n_rows.is_multiple_of(n_tasks) {
            return Err(uneven(n_tasks, self));
        }
        let dims: Vec<usize> = [n_tasks, n_rows / n_tasks]
            .iter()
            .chain(rest)
            .copied()
            .collect();
        self.reshape(&dims)
    }
}

/// How many tasks parameters have copies for, each given with the number of axes that it has without; `None` where all
/// tasks share them.
pub(super) fn n_tasks(op: &'static str, params: &[(&Value, usize)]) -> Result<Option<usize>> {
    let mut own = params
        .iter()
        .filter(|(value, rank)| value.dims().len() == rank + 1)
        .map(|(value, _)| value.dims()[0]);
    let Some(n_tasks) = own.next() else {
        return Ok(None);
    };
    match own.find(|&other| other != n_tasks) {
        None => Ok(Some(n_tasks)),
        Some(other) => Err(Error::Shape {
            op,
            expected: format!("parameters of {n_tasks} tasks"),
            found: format!("some of {other}"),
        }),
    }
}

/// A parameter as something that broadcasts over `(tasks, rows, ..)`, whether or not each task has its own.
///
/// # Shapes
/// - `param`: `(features)` or `(tasks, features)`
/// - result: `(features)` or `(tasks, 1, .., features)` with `rank` axes
pub(super) fn over_rows(param: &Value, rank: usize) -> Result<Value> {
    match *param.dims() {
        [n_tasks, n_features] => {
            let mut dims = vec![1; rank];
            (dims[0], dims[rank - 1]) = (n_tasks, n_features);
            param.reshape(&dims)
        }
        _ => Ok(param.clone()),
    }
}

fn uneven(n_tasks: usize, rows: &Value) -> Error {
    Error::Shape {
        op: "by_task",
        expected: format!("as many rows for each of {n_tasks} tasks"),
        found: format!("{:?}", rows.dims()),
    }
}
