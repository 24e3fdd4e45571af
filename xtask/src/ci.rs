//! What CI runs, step by step.
//!
//! Deliberately not here: anything only CI can do.
//! A person runs the same steps with `cargo xtask ci`.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::tools;

/// Runs every step, and stops at the first that fails.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let mut done = Vec::new();
    for mut step in steps() {
        let shown = show(&step);
        eprintln!("\n==> {shown}");
        let start = Instant::now();
        let status = step
            .current_dir(tools::root())
            .status()
            .with_context(|| tools::failed_to_start(&step))?;
        done.push((shown, start.elapsed(), status.success()));
        if !status.success() {
            break;
        }
    }

    println!();
    for (step, time, ok) in &done {
        println!(
            "{} {} {step}",
            if *ok { "ok    " } else { "FAILED" },
            minutes(*time)
        );
    }
    let all_ok = done.iter().all(|(_, _, ok)| *ok);
    Ok(if all_ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Cheapest first, so that a slip shows early; then the main job as a newcomer would run it, and what it is made of.
fn steps() -> Vec<Command> {
    let cargo = |line: &str| {
        let mut command = tools::cargo();
        command.args(line.split_whitespace());
        command
    };
    let mut doc = cargo("doc --workspace --no-deps");
    doc.env("RUSTDOCFLAGS", "-D warnings");
    vec![
        cargo("fmt --all --check"),
        cargo("clippy --workspace --all-targets -- -D warnings"),
        doc,
        cargo("test --workspace"),
        cargo("xtask train"),
        cargo("xtask fixtures --check"),
    ]
}

/// A step as a person would type it.
fn show(step: &Command) -> String {
    let set = step
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}=\"{}\" ", name.display(), value?.display())));
    let args = step.get_args().map(|arg| format!(" {}", arg.display()));
    set.chain(["cargo".to_owned()]).chain(args).collect()
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    format!("{:>3}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_read_as_they_are_typed() {
        let shown: Vec<_> = steps().iter().map(show).collect();
        assert_eq!(
            shown,
            [
                "cargo fmt --all --check",
                "cargo clippy --workspace --all-targets -- -D warnings",
                "RUSTDOCFLAGS=\"-D warnings\" cargo doc --workspace --no-deps",
                "cargo test --workspace",
                "cargo xtask train",
                "cargo xtask fixtures --check",
            ]
        );
    }

    #[test]
    fn times_are_minutes_and_seconds() {
        assert_eq!(minutes(Duration::from_millis(4_400)), "  0:04");
        assert_eq!(minutes(Duration::from_secs(754)), " 12:34");
    }
}
