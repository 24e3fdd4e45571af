//! Rows by index: an embedding table's lookup, and its dual.
//!
//! Not here: picking one element a row, which the losses do on their own.

use candle_core::Tensor;

use super::only;
use crate::{
    error::{Error, Result},
    value::{Op, Rule, Value},
};

/// `y[i] = x[index[i]]`.
struct Rows {
    index: Tensor,
    n_rows: usize,
}

impl Op for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).add_rows(&self.index, self.n_rows)?)])
    }
}

/// `y[index[i]] += x[i]` on zeros.
struct AddRows {
    index: Tensor,
}

impl Op for AddRows {
    fn name(&self) -> &'static str {
        "add_rows"
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).rows(&self.index)?)])
    }
}

impl Value {
    /// The rows of a table that `index` names, in its order.
    ///
    /// # Shapes
    /// - `self`: `(rows, features)`, or `(tasks, rows, features)` for an index whose shares, task after task, are looked up
    ///   each in its task's table
    /// - result: `(picked, features)`
    ///
    /// # Errors
    /// When an index is out of range, or there are not as many for each task.
    pub fn lookup(&self, index: &[u32]) -> Result<Self> {
        let &[n_tasks, n_rows, n_features] = self.dims() else {
            return self.rows(&Tensor::new(index, self.device())?);
        };
        let fits = n_tasks > 0 && index.len().is_multiple_of(n_tasks);
        if !fits || index.iter().any(|&row| row as usize >= n_rows) {
            return Err(Error::Shape {
                op: "lookup",
                expected: format!("rows below {n_rows}, as many for each of {n_tasks} tasks"),
                found: format!("{} rows", index.len()),
            });
        }
        let of_task = (index.len() / n_tasks).max(1);
        let index: Vec<u32> = index
            .chunks(of_task)
            .enumerate()
            .flat_map(|(task, share)| share.iter().map(move |row| (task * n_rows) as u32 + row))
            .collect();
        self.reshape(&[n_tasks * n_rows, n_features])?
            .rows(&Tensor::new(index, self.device())?)
    }

    /// The rows that `index` names, in its order.
    ///
    /// # Shapes
    /// - `self`: `(rows, ..)`
    /// - `index`: `(picked)`, `u32`
    /// - result: `(picked, ..)`
    ///
    /// # Errors
    /// When an index is out of range.
    pub fn rows(&self, index: &Tensor) -> Result<Self> {
        let tensor = self.tensor().index_select(index, 0)?;
        Ok(Self::from_op(tensor, &[self], || {
            Box::new(Rows {
                index: index.clone(),
                n_rows: self.dims()[0],
            })
        }))
    }

    /// The dual of [`Value::rows`]: row `i` of `self` is added to row `index[i]` of `n_rows` rows of zeros.
    ///
    /// # Shapes
    /// - `self`: `(picked, ..)`
    /// - `index`: `(picked)`, `u32`
    /// - result: `(n_rows, ..)`
    ///
    /// # Errors
    /// When an index is out of range.
    pub fn add_rows(&self, index: &Tensor, n_rows: usize) -> Result<Self> {
        let mut dims = self.dims().to_vec();
        dims[0] = n_rows;
        let zeros = Tensor::zeros(dims, self.dtype(), self.device())?;
        let tensor = zeros.index_add(index, &self.tensor().contiguous()?, 0)?;
        Ok(Self::from_op(tensor, &[self], || {
            Box::new(AddRows {
                index: index.clone(),
            })
        }))
    }
}
