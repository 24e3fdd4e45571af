//! One measurement: a process that prints one JSON line, and what the rest of the machine did meanwhile.
//!
//! Deliberately not here: what is run.

use std::{
    ffi::OsStr,
    fs,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tools;

/// Why a program was run.
///
/// In the order of a round.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// To find out which variant is the fastest; not in the table.
    Trial,
    /// candle's large matrix product, beside which a rate is read.
    Yardstick,
    Ours,
    Peer,
}

/// One measurement.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Run {
    pub(crate) work: String,
    pub(crate) side: Side,
    pub(crate) variant: String,
    /// From 1; 0 for trials.
    pub(crate) round: usize,
    pub(crate) threads: usize,
    /// Cores that other programs used meanwhile, where the system tells (Linux).
    pub(crate) other_cores: Option<f64>,
    /// What it was called with, without paths.
    pub(crate) args: Vec<String>,
    /// What it printed.
    pub(crate) result: Value,
}

/// A program to run, by the name that the table gives it.
pub(crate) struct Program {
    variant: &'static str,
    command: Command,
}

impl Program {
    pub(crate) fn new(variant: &'static str, path: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(path);
        command.stdin(Stdio::null());
        Self { variant, command }
    }

    pub(crate) fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end and returns what it printed.
    pub(crate) fn execute(&mut self) -> anyhow::Result<String> {
        let output = self.command.output().with_context(|| {
            format!(
                "{}: `--python` must name a Python that has what the peers' scripts import",
                tools::failed_to_start(&self.command)
            )
        })?;
        if !output.status.success() {
            bail!(explain(
                &self.command,
                &String::from_utf8_lossy(&output.stderr)
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it to its end and reads the line that it printed last.
    pub(crate) fn measure(
        mut self,
        (work, side, round): (&str, Side, usize),
        threads: usize,
    ) -> anyhow::Result<Run> {
        let before = Load::now();
        let printed = self.execute()?;
        let other_cores = before
            .zip(Load::now())
            .map(|(before, after)| after.others_since(&before));
        let line = printed.lines().last().unwrap_or_default();
        let result = serde_json::from_str(line).with_context(|| {
            format!(
                "{} printed no JSON line, but `{line}`",
                shown(&self.command)
            )
        })?;
        Ok(Run {
            work: work.to_owned(),
            side,
            variant: self.variant.to_owned(),
            round,
            threads,
            other_cores,
            args: plain_args(&self.command),
            result,
        })
    }
}

impl Run {
    /// What it does in a second: tasks, sentences, or 10^9 operations of a matrix product.
    ///
    /// # Errors
    /// When the line has no such number.
    pub(crate) fn rate(&self) -> anyhow::Result<f64> {
        let keys = ["/tasks_per_s", "/sents_per_s"];
        let found = keys.iter().find_map(|key| self.number(key));
        found.or_else(|| self.gflops()).with_context(|| {
            format!(
                "the line of `{}` has no rate: {}",
                self.variant, self.result
            )
        })
    }

    /// 10^9 operations a second, as the program counts them.
    pub(crate) fn gflops(&self) -> Option<f64> {
        self.number("/gflops")
            .or_else(|| self.number("/sizes/2048/median"))
    }

    /// The most memory that its processes had, in MB.
    pub(crate) fn memory(&self) -> Option<f64> {
        self.number("/peak_rss_mb")
    }

    /// A line to be read while it goes on.
    pub(crate) fn summary(&self) -> anyhow::Result<String> {
        let side = format!("{:?}", self.side).to_lowercase();
        let mut parts = vec![format!(
            "{side:<9} {:<18} {:>9.3}/s",
            self.variant,
            self.rate()?
        )];
        parts.extend(self.gflops().map(|rate| format!("{rate:>7.1} GFLOP/s")));
        parts.extend(self.memory().map(|memory| format!("{memory:>7.0} MB")));
        let others = self.other_cores.filter(|&others| others > 0.1);
        parts.extend(others.map(|others| format!("  others used {others:.1} cores")));
        Ok(parts.join(" "))
    }

    fn number(&self, pointer: &str) -> Option<f64> {
        self.result.pointer(pointer)?.as_f64()
    }
}

/// What the machine and this program's children have used so far.
struct Load {
    at: Instant,
    busy: f64,
    ours: f64,
}

impl Load {
    /// Linux tells both in hundredths of a second.
    const TICKS: f64 = 100.0;

    fn now() -> Option<Self> {
        let numbers = |text: &str| -> Vec<f64> {
            text.split_whitespace()
                .filter_map(|word| word.parse().ok())
                .collect()
        };
        // user, nice, system, idle, iowait, irq, softirq, steal
        let machine = numbers(fs::read_to_string("/proc/stat").ok()?.lines().next()?);
        let busy = machine.iter().take(8).sum::<f64>() - machine.get(3)? - machine.get(4)?;
        // After the name in brackets: user and system time at 11 and 12, that of ended children at 13 and 14.
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let ours = fields
            .get(11..15)?
            .iter()
            .filter_map(|field| field.parse::<f64>().ok())
            .sum();
        Some(Self {
            at: Instant::now(),
            busy,
            ours,
        })
    }

    /// The cores that others used on average.
    fn others_since(&self, before: &Self) -> f64 {
        let wall = (self.at - before.at).as_secs_f64();
        let others = (self.busy - before.busy) - (self.ours - before.ours);
        (others / Self::TICKS / wall).max(0.0)
    }
}

/// What went wrong in a program, and what to do about it.
fn explain(command: &Command, stderr: &str) -> String {
    let last = stderr
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it says nothing");
    let python = command.get_program().display();
    if let Some((_, module)) = last.split_once("No module named ") {
        let module = module
            .trim_matches('\'')
            .split('.')
            .next()
            .unwrap_or(module);
        return format!(
            "`{python}` has no module `{module}`: install it (`{python} -m pip install {module}`), or name with \
             `--python` one that has it"
        );
    }
    format!("{} failed: {last}", shown(command))
}

/// A command as a person would read it.
fn shown(command: &Command) -> String {
    let args: Vec<_> = command
        .get_args()
        .map(|arg| arg.display().to_string())
        .collect();
    format!("`{} {}`", command.get_program().display(), args.join(" "))
}

/// The arguments with only the last part of a path: a record is to hold nothing of the machine.
fn plain_args(command: &Command) -> Vec<String> {
    let plain = |arg: &OsStr| {
        let text = arg.to_string_lossy();
        text.rsplit('/').next().unwrap_or(&text).to_owned()
    };
    command.get_args().map(plain).collect()
}

/// The only way to make a run without a program.
#[cfg(test)]
pub(crate) fn example(work: &str, side: Side, variant: &str, round: usize, result: Value) -> Run {
    Run {
        work: work.to_owned(),
        side,
        variant: variant.to_owned(),
        round,
        threads: 4,
        other_cores: Some(0.0),
        args: Vec::new(),
        result,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(result: Value) -> Run {
        example("w", Side::Peer, "v", 1, result)
    }

    #[test]
    fn rates_are_read_from_every_kind_of_line() {
        let rate = |result| line(result).rate().ok();
        assert_eq!(rate(json!({"tasks_per_s": 3.5, "gflops": 7})), Some(3.5));
        assert_eq!(rate(json!({"sents_per_s": 300, "gflops": 7})), Some(300.0));
        assert_eq!(rate(json!({"gflops": 7})), Some(7.0));
        assert_eq!(
            rate(json!({"sizes": {"2048": {"median": 260.0}}})),
            Some(260.0)
        );
        assert_eq!(rate(json!({"median_s": 1})), None);
    }

    #[test]
    fn a_missing_module_is_named_with_the_remedy() {
        let command = Command::new("python3");
        let stderr = "Traceback\n  line 3\nModuleNotFoundError: No module named 'jax.numpy'\n";
        let message = explain(&command, stderr);
        assert!(message.contains("no module `jax`"), "{message}");
        assert!(
            message.contains("pip install jax") && message.contains("--python"),
            "{message}"
        );
    }

    #[test]
    fn a_failure_ends_with_the_last_line_of_what_it_said() {
        let mut command = Command::new("python3");
        command.args(["peer.py", "--threads", "4"]);
        let message = explain(&command, "Traceback\nValueError: too few\n\n");
        assert_eq!(
            message,
            "`python3 peer.py --threads 4` failed: ValueError: too few"
        );
    }

    #[test]
    fn a_program_that_is_not_there_names_the_flag() {
        let error = Program::new("torch", "no-such-python")
            .execute()
            .unwrap_err();
        assert!(format!("{error:#}").contains("--python"), "{error:#}");
    }

    #[test]
    fn records_hold_no_folders() {
        let mut command = Command::new("python3");
        command.args(["a/b/peer.py", "--model", "c/d.onnx"]);
        assert_eq!(plain_args(&command), ["peer.py", "--model", "d.onnx"]);
    }
}
