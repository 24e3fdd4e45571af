//! Rows by index: an embedding table's lookup, rows put to places of their own, and the dual of each.
//!
//! Not here: picking one element a row, which the losses do on their own.

use candle_core::{Device, Tensor};

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

/// A place of its own for each of some rows.
#[derive(Clone)]
pub(crate) struct Places {
    /// The place of each row.
    of_rows: Tensor,
    /// The row in each place, or their number where there is none.
    rows_in: Tensor,
}

impl Places {
    /// `of_rows`: the place of each row, all below `n_places` and none twice.
    pub(crate) fn new(of_rows: &[u32], n_places: usize, device: &Device) -> Result<Self> {
        let mut rows_in = vec![of_rows.len() as u32; n_places];
        for (row, &place) in of_rows.iter().enumerate() {
            rows_in[place as usize] = row as u32;
        }
        Ok(Self {
            of_rows: Tensor::new(of_rows, device)?,
            rows_in: Tensor::new(rows_in, device)?,
        })
    }
}

/// Rows to their places, or back from there: each is the other's gradient, and neither adds anything up, which a GPU is
/// slow at.
struct Move {
    places: Places,
    is_back: bool,
}

impl Op for Move {
    fn name(&self) -> &'static str {
        if self.is_back {
            "rows from places"
        } else {
            "rows to places"
        }
    }

    fn backward(&self, grads: &[Option<Value>], _rule: &Rule<'_>) -> Result<Vec<Option<Value>>> {
        Ok(vec![Some(only(grads).moved(&self.places, !self.is_back)?)])
    }
}

impl Value {
    /// Each row at its place, and zeros elsewhere.
    ///
    /// # Shapes
    /// - `self`: `(rows, features)`
    /// - result: `(places, features)`
    pub(crate) fn put_in_places(&self, places: &Places) -> Result<Self> {
        self.moved(places, false)
    }

    /// The dual of [`Value::put_in_places`]: what is at the place of each row.
    pub(crate) fn taken_from_places(&self, places: &Places) -> Result<Self> {
        self.moved(places, true)
    }

    fn moved(&self, places: &Places, is_back: bool) -> Result<Self> {
        let tensor = if is_back {
            self.tensor().index_select(&places.of_rows, 0)?
        } else {
            let nothing = Tensor::zeros((1, self.dims()[1]), self.dtype(), self.device())?;
            Tensor::cat(&[self.tensor(), &nothing], 0)?.index_select(&places.rows_in, 0)?
        };
        Ok(Self::from_op(tensor, &[self], || {
            Box::new(Move {
                places: places.clone(),
                is_back,
            })
        }))
    }

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
