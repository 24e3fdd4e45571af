//! Runs a step over and over, and says in one line how long it took and how much memory the process had at most.
//!
//! Deliberately not here: what a step is.

use std::{fs, time::Instant};

use anyhow::{Result, ensure};
use candle_core::Device;
use clap::Args;
use metashot::{
    device,
    recipe::{DeviceKind, TasksRun},
};
use serde::Serialize;
use serde_json::{Value, json};

/// How long to measure, and with what.
#[derive(Args, Serialize)]
pub(crate) struct Bound {
    /// Threads.
    #[arg(long, default_value_t = 4, global = true)]
    pub(crate) threads: usize,
    /// Steps before the first that is timed.
    #[arg(long, default_value_t = 2, global = true)]
    pub(crate) warmup: u64,
    /// Steps that are timed, at most.
    #[arg(long, default_value_t = 20, global = true)]
    pub(crate) steps: u64,
    /// No step begins after this many seconds of timing; there is one at least.
    #[arg(long, default_value_t = 10.0, global = true)]
    pub(crate) max_seconds: f64,
    /// The seed of weights and inputs.
    #[arg(long, default_value_t = 0, global = true)]
    pub(crate) seed: u64,
    /// Where tensors live; a GPU needs a build with the feature `cuda` or `metal`.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) device: DeviceKind,
    /// How the tasks of a meta-step are worked on.
    #[arg(long, value_enum, default_value_t, global = true)]
    pub(crate) tasks: TasksRun,
}

/// What was measured.
pub(crate) struct Times {
    /// Of each step.
    seconds: Vec<f64>,
    /// What the first and the last step returned.
    first: f64,
    last: f64,
}

impl Bound {
    /// Opens the device.
    pub(crate) fn open(&self) -> Result<Device> {
        device::open(self.device)
    }

    /// Whether the tasks of a meta-step are one batch.
    pub(crate) fn is_batched(&self) -> bool {
        self.tasks.is_batch(self.device)
    }

    /// Times `step`, which is told its number and returns a loss or another number that shows what was computed.
    pub(crate) fn time(&self, mut step: impl FnMut(u64) -> Result<f64>) -> Result<Times> {
        ensure!(self.threads > 0, "`--threads` must be at least 1");
        ensure!(self.steps > 0, "`--steps` must be at least 1");
        let (mut seconds, mut first, mut last) = (Vec::new(), None, f64::NAN);
        for index in 0..self.warmup {
            last = step(index)?;
            first.get_or_insert(last);
        }
        let begin = Instant::now();
        for index in self.warmup..self.warmup + self.steps {
            let start = Instant::now();
            last = step(index)?;
            seconds.push(start.elapsed().as_secs_f64());
            first.get_or_insert(last);
            if begin.elapsed().as_secs_f64() > self.max_seconds {
                break;
            }
        }
        Ok(Times {
            seconds,
            first: first.unwrap_or(last),
            last,
        })
    }

    /// The line of a piece of work: `units` of `per_second` and this arithmetic in each step.
    pub(crate) fn line(
        &self,
        work: &str,
        settings: &impl Serialize,
        times: Times,
        (per_second, units): (&str, usize),
        flop: f64,
    ) -> Result<Value> {
        let Times {
            mut seconds,
            first,
            last,
        } = times;
        seconds.sort_by(f64::total_cmp);
        let (median, least) = (median(&seconds), seconds[0]);
        Ok(json!({
            "work": work,
            "settings": serde_json::to_value(settings)?,
            "threads": self.threads,
            "device": self.device,
            "tasks": self.tasks,
            "seed": self.seed,
            "timed_steps": seconds.len(),
            "median_s": median,
            "min_s": least,
            per_second: units as f64 / median,
            "gflop_per_step": flop / 1e9,
            "gflops": flop / median / 1e9,
            "peak_rss_mb": peak_rss_mb(),
            "first": first,
            "last": last,
        }))
    }
}

/// Of numbers in order, one at least.
fn median(sorted: &[f64]) -> f64 {
    let (low, high) = ((sorted.len() - 1) / 2, sorted.len() / 2);
    f64::midpoint(sorted[low], sorted[high])
}

/// The most memory that this process had resident, where the system says so (Linux).
fn peak_rss_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes / 1024.0)
}
