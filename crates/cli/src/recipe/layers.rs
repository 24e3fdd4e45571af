//! Settings in layers: the defaults, a TOML file over them, flags over both.
//!
//! Deliberately not here: the settings themselves.

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::{
    DeviceKind,
    overrides::{parse, put},
};

/// Flags of `pretrain` and `finetune` that change settings which both have.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Settings (each overrides the recipe)")]
pub struct RunFlags {
    /// Any setting by its path, such as `--set training.weight_decay=0.1`; repeatable
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Seed of all that is drawn
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where tensors live
    #[arg(long, value_enum)]
    pub device: Option<DeviceKind>,
    /// Parts of a batch that are worked on side by side; 0 for every core
    #[arg(long)]
    pub threads: Option<usize>,
}

/// The settings that a TOML text and flags come to.
pub(super) fn resolve<T: Default + Serialize + DeserializeOwned>(
    (text, name): (&str, &str),
    flags: impl IntoIterator<Item = (&'static str, Option<Value>)>,
    run: &RunFlags,
) -> Result<T> {
    let file: Table = text
        .parse()
        .with_context(|| format!("`{name}` is not a TOML file"))?;
    let mut table = Table::try_from(T::default())?;
    merge(&mut table, file);
    for assignment in &run.set {
        let Some((key, value)) = assignment.split_once('=') else {
            bail!("`--set` wants `KEY=VALUE`, found `{assignment}`");
        };
        put(&mut table, key.trim(), parse(value.trim()))?;
    }
    let shared = [
        ("seed", run.seed.map(|seed| Value::Integer(seed as i64))),
        ("device", run.device.map(Value::try_from).transpose()?),
        ("threads", count(run.threads)),
    ];
    for (key, value) in flags.into_iter().chain(shared) {
        if let Some(value) = value {
            put(&mut table, key, value)?;
        }
    }
    table
        .try_into()
        .with_context(|| format!("the settings of `{name}` and of the flags do not fit"))
}

/// A number as a TOML value.
pub(super) fn count(value: Option<usize>) -> Option<Value> {
    value.map(|value| Value::Integer(value as i64))
}

/// Writes `over` on `table`, table by table.
fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(over)) => merge(below, over),
            (Some(below @ Value::Float(_)), Value::Integer(whole)) => {
                *below = Value::Float(whole as f64);
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}
