//! Flags that change one setting of a recipe each.
//!
//! Deliberately not here: flags that are no setting, such as where the results go.

use anyhow::{Context, Result, bail};
use clap::Args;
use toml::{Table, Value};

use super::{DeviceKind, Head, MemoryUse, MetaOrder, TasksRun};

/// Flags that change one setting of a recipe each.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings (each overrides the recipe)")]
pub struct Overrides {
    /// Any setting by its path in the recipe, such as `--set inner.lr=0.1`; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of weights, episodes and bootstrap
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where tensors live
    #[arg(long, value_enum)]
    pub device: Option<DeviceKind>,
    /// Tasks that run side by side; 0 for every core
    #[arg(long)]
    pub threads: Option<usize>,
    /// Directory in Hugging Face layout, or name of a hub model
    #[arg(long, value_name = "DIR|ORG/NAME")]
    pub backbone: Option<String>,
    /// Where the encoder's weights come from: `pretrained`, `random`, or the directory of another model or run
    #[arg(long, value_name = "START")]
    pub init: Option<String>,
    /// Classes of an episode
    #[arg(long)]
    pub n_way: Option<usize>,
    /// Support examples of each class
    #[arg(long)]
    pub k_shot: Option<usize>,
    /// Query examples of each class in training
    #[arg(long)]
    pub n_query: Option<usize>,
    /// Gradient steps on the support set in training
    #[arg(long)]
    pub inner_steps: Option<usize>,
    /// Gradient steps on the support set in evaluation
    #[arg(long)]
    pub test_steps: Option<usize>,
    /// Length of an inner step
    #[arg(long)]
    pub inner_lr: Option<f64>,
    /// Parameters that adapt: a pattern of names; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub adapt: Vec<String>,
    /// Where the head of a task starts
    #[arg(long, value_enum)]
    pub head: Option<Head>,
    /// Whether the meta-gradient goes through the inner gradients
    #[arg(long, value_enum)]
    pub order: Option<MetaOrder>,
    /// What is kept of an inner step until the exact meta-gradient comes back to it
    #[arg(long, value_enum)]
    pub memory: Option<MemoryUse>,
    /// Updates of the start
    #[arg(long)]
    pub outer_steps: Option<usize>,
    /// Tasks of one update
    #[arg(long)]
    pub tasks_per_step: Option<usize>,
    /// How the tasks of one update are worked on
    #[arg(long, value_enum)]
    pub tasks: Option<TasksRun>,
    /// Learning rate of the updates
    #[arg(long)]
    pub outer_lr: Option<f64>,
    /// Updates over which the learning rate rises
    #[arg(long)]
    pub warmup_steps: Option<usize>,
    /// Episodes of a validation
    #[arg(long)]
    pub validation_episodes: Option<usize>,
    /// Episodes of the final table
    #[arg(long)]
    pub test_episodes: Option<usize>,
    /// File with frozen episodes: the final table has all of them, in place of drawn ones
    #[arg(long, value_name = "FILE", conflicts_with = "test_episodes")]
    pub episodes: Option<String>,
}

impl Overrides {
    /// Writes the settings that were given into a recipe's table.
    ///
    /// # Errors
    /// A `--set` that is not `KEY=VALUE`, or whose path goes through something that is no table.
    pub fn apply(&self, table: &mut Table) -> Result<()> {
        for assignment in &self.set {
            let Some((key, value)) = assignment.split_once('=') else {
                bail!("`--set` wants `KEY=VALUE`, found `{assignment}`");
            };
            put(table, key.trim(), parse(value.trim()))?;
        }
        let backbone = if table.contains_key("sentences") {
            "sentences.backbone"
        } else {
            "ner.backbone"
        };
        let count = |value: Option<usize>| value.map(|value| Value::Integer(value as i64));
        let settings = [
            ("seed", self.seed.map(|seed| Value::Integer(seed as i64))),
            ("device", self.device.map(Value::try_from).transpose()?),
            ("threads", count(self.threads)),
            (backbone, self.backbone.clone().map(Value::String)),
            ("ner.init", self.init.clone().map(Value::String)),
            ("episodes.n_way", count(self.n_way)),
            ("episodes.k_shot", count(self.k_shot)),
            ("episodes.n_query", count(self.n_query)),
            ("inner.steps", count(self.inner_steps)),
            ("inner.test_steps", count(self.test_steps)),
            ("inner.lr", self.inner_lr.map(Value::Float)),
            (
                "inner.adapt",
                (!self.adapt.is_empty()).then(|| Value::from(self.adapt.clone())),
            ),
            ("inner.head", self.head.map(Value::try_from).transpose()?),
            ("inner.order", self.order.map(Value::try_from).transpose()?),
            (
                "inner.memory",
                self.memory.map(Value::try_from).transpose()?,
            ),
            ("outer.steps", count(self.outer_steps)),
            ("outer.tasks_per_step", count(self.tasks_per_step)),
            ("outer.tasks", self.tasks.map(Value::try_from).transpose()?),
            ("outer.lr", self.outer_lr.map(Value::Float)),
            ("outer.warmup_steps", count(self.warmup_steps)),
            (
                "evaluation.validation_episodes",
                count(self.validation_episodes),
            ),
            ("evaluation.test_episodes", count(self.test_episodes)),
            (
                "evaluation.episodes",
                self.episodes.clone().map(Value::String),
            ),
        ];
        for (key, value) in settings {
            if let Some(value) = value {
                put(table, key, value)?;
            }
        }
        Ok(())
    }
}

/// A value as TOML reads it; what is no TOML value is a string, so that words need no quotes.
pub(super) fn parse(value: &str) -> Value {
    let whole = |value: &str| format!("x = {value}").parse::<Table>().ok()?.remove("x");
    whole(value).unwrap_or_else(|| Value::String(value.to_owned()))
}

pub(super) fn put(table: &mut Table, key: &str, value: Value) -> Result<()> {
    let mut table = table;
    let mut path: Vec<&str> = key.split('.').collect();
    let last = path.pop().unwrap_or_default();
    for part in path {
        table = table
            .entry(part)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .with_context(|| format!("`{key}` is no setting: `{part}` is a value, not a table"))?;
    }
    // A whole number where the recipe has a fraction is what people write: `--set inner.lr=1`.
    let value = match (table.get(last), value) {
        (Some(Value::Float(_)), Value::Integer(whole)) => Value::Float(whole as f64),
        (_, value) => value,
    };
    table.insert(last.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_need_no_quotes() {
        assert_eq!(parse("3"), Value::Integer(3));
        assert_eq!(parse("0.5"), Value::Float(0.5));
        assert_eq!(parse("[\"a\", \"b\"]"), Value::from(vec!["a", "b"]));
        assert_eq!(parse("exact"), Value::String("exact".into()));
        assert_eq!(
            parse("data/train.txt"),
            Value::String("data/train.txt".into())
        );
    }

    #[test]
    fn a_whole_number_can_stand_for_a_fraction() {
        let mut table: Table = "[inner]\nlr = 0.5".parse().unwrap();
        put(&mut table, "inner.lr", parse("1")).unwrap();
        assert_eq!(table["inner"]["lr"], Value::Float(1.0));
        assert!(put(&mut table, "inner.lr.x", parse("1")).is_err());
    }
}
