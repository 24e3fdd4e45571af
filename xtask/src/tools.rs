//! The programs xtask starts: cargo, and through it the release binary and the fixture maker.
//!
//! Deliberately not here: the flags of `metashot`.
//! They are passed on unread, so that the binary alone says which exist; only `--device` is looked at, because it
//! decides what is built.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

/// The repository's root folder.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The cargo that runs this program, so that a nested call uses the same toolchain.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo told this program about this package would make build scripts of others run again, and with them
    // everything that depends on those.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Builds `metashot` in release for the device that `args` ask for, and runs it on `args`.
pub(crate) fn metashot(subcommand: Option<&str>, args: &[OsString]) -> Command {
    let mut command = cargo();
    command.args([
        "run",
        "--release",
        "--package",
        "metashot",
        "--bin",
        "metashot",
    ]);
    if let Some(feature) = device_feature(args) {
        command.args(["--features", feature]);
    }
    command.arg("--").args(subcommand).args(args);
    command
}

/// Runs the fixture maker; with `check` it only compares.
pub(crate) fn fixtures(check: bool) -> Command {
    let mut command = cargo();
    command.arg("run");
    // Making them trains a model; a check is quick, and the tests have its build already.
    command.args((!check).then_some("--release"));
    command.args(["--package", "metashot", "--example", "fixtures", "--"]);
    command.args(check.then_some("--check"));
    command
}

/// Gives this process over to `command`, so that its exit status is ours and a Ctrl-C is its own to handle.
#[cfg(unix)]
pub(crate) fn become_command(mut command: Command) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;

    // `exec` returns only when the program could not be started.
    Err(command.exec()).with_context(|| failed_to_start(&command))
}

/// Runs `command` to its end and hands on its exit status.
#[cfg(not(unix))]
pub(crate) fn become_command(mut command: Command) -> anyhow::Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| failed_to_start(&command))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The context of an error in starting `command`.
pub(crate) fn failed_to_start(command: &Command) -> String {
    format!("failed to start `{}`", command.get_program().display())
}

/// The cargo feature that the asked device needs.
/// An unknown device needs none: `metashot` itself reports it, with the list of those there are.
fn device_feature(args: &[OsString]) -> Option<&'static str> {
    let mut feature = None;
    for (i, arg) in args.iter().enumerate() {
        let asked = match arg.to_str() {
            Some("--device") => args.get(i + 1).and_then(|next| next.to_str()),
            Some(text) => text.strip_prefix("--device="),
            None => None,
        };
        feature = match asked {
            Some("cuda") => Some("cuda"),
            Some("metal") => Some("metal"),
            Some(_) => None,
            None => feature,
        };
    }
    feature
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    fn check(command: &Command, expected: &str) {
        let args: Vec<_> = command
            .get_args()
            .map(|arg| arg.to_str().unwrap())
            .collect();
        assert_eq!(args.join(" "), expected);
    }

    #[test]
    fn the_device_decides_what_is_built() {
        for (args, feature) in [
            ("", None),
            ("--device cpu", None),
            ("--device cuda", Some("cuda")),
            ("--recipe a.toml --device metal --seed 3", Some("metal")),
            ("--device=cuda", Some("cuda")),
            ("--device toaster", None),
            ("--device", None),
            ("--devices cuda", None),
            ("--device cuda --device cpu", None),
        ] {
            assert_eq!(device_feature(&words(args)), feature, "{args}");
        }
    }

    #[test]
    fn nested_cargo_is_not_told_of_this_package() {
        let command = cargo();
        let removed: Vec<_> = command
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name)
            .collect();
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
            assert!(env::var_os(name).is_some(), "cargo sets it for tests");
            assert!(removed.contains(&name.as_ref()), "{name}");
        }
    }

    #[test]
    fn arguments_reach_metashot_as_they_stand() {
        check(
            &metashot(Some("train"), &[]),
            "run --release --package metashot --bin metashot -- train",
        );
        check(
            &metashot(Some("train"), &words("--recipe a.toml --device cuda")),
            "run --release --package metashot --bin metashot --features cuda -- train --recipe a.toml --device cuda",
        );
        check(
            &metashot(None, &words("--help")),
            "run --release --package metashot --bin metashot -- --help",
        );
        check(
            &fixtures(false),
            "run --release --package metashot --example fixtures --",
        );
        check(
            &fixtures(true),
            "run --package metashot --example fixtures -- --check",
        );
    }
}
