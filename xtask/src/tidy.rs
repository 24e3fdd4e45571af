//! Checks what the compiler does not: file headers and sizes, crate direction, manifests, the changelog.
//!
//! [`text`] looks at one file's text, [`manifest`] at what cargo knows of the crates.
//! Each check is a function from text to findings; this file walks the repository and puts names to them.
//! It runs as `cargo xtask tidy` and as a test, so the rules hold wherever the tests pass.
//!
//! Deliberately not here: what rustfmt, clippy or rustdoc already say.

mod manifest;
mod text;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::tools;

/// One thing to put right.
#[derive(Debug)]
struct Finding {
    /// Relative to the repository's root.
    path: PathBuf,
    /// Counted from one.
    line: usize,
    message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

/// Prints every finding; fails if there is one.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let findings = check(tools::root())?;
    for finding in &findings {
        println!("{finding}");
    }
    eprintln!("tidy: {} to put right", findings.len());
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Every finding in the repository at `root`, sorted by file.
fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in files(root)? {
        let bytes = fs::read(root.join(&path)).with_context(|| failed_to_read(&path))?;
        // What is not text holds no prose to check.
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        findings.extend(
            check_file(&path, &text)
                .into_iter()
                .map(|(line, message)| Finding {
                    path: path.clone(),
                    line,
                    message,
                }),
        );
    }
    findings.extend(check_crates(root)?);
    findings.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Ok(findings)
}

fn check_file(path: &Path, text: &str) -> Vec<(usize, String)> {
    let mut found = text::machine_paths(text);
    // Data may have any ending and any spaces; what people write may not.
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy());
    if matches!(
        extension.as_deref(),
        None | Some("rs" | "toml" | "md" | "yml" | "sh")
    ) {
        found.extend(text::trailing_space(text));
    }
    if extension.as_deref() == Some("rs") {
        found.extend(text::no_header(text));
        found.extend(text::forbidden(text));
        if !is_test_code(path) {
            found.extend(text::too_long(text));
        }
    }
    found
}

fn check_crates(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| failed_to_read(path));
    let packages = manifest::packages(&root.join("Cargo.toml"))?;
    let changelog = read(&root.join("CHANGELOG.md"))?;
    // `cargo metadata` names files from the real root, with any symbolic link resolved.
    let real_root = root.canonicalize().with_context(|| failed_to_read(root))?;
    let mut findings = Vec::new();
    for package in &packages {
        let text = read(&package.manifest_path)?;
        let mut found = manifest::own_versions(&text);
        for (dependency, message) in manifest::direction(package) {
            found.push((manifest::line_of(&text, dependency), message));
        }
        let path = package
            .manifest_path
            .strip_prefix(&real_root)
            .unwrap_or(&package.manifest_path);
        findings.extend(found.into_iter().map(|(line, message)| Finding {
            path: path.to_owned(),
            line,
            message,
        }));

        let found = manifest::changelog(&changelog, &package.name, &package.version);
        findings.extend(found.map(|(line, message)| Finding {
            path: "CHANGELOG.md".into(),
            line,
            message,
        }));
    }
    Ok(findings)
}

/// Every file of the repository, relative to `root`, without what git is told to ignore at the top.
fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let ignore = match fs::read_to_string(root.join(".gitignore")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| failed_to_read(&root.join(".gitignore"))),
    };
    let skipped: Vec<_> = ignore
        .lines()
        .filter_map(|line| line.strip_prefix('/'))
        .chain([".git"])
        .collect();

    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(root.join(&folder)).with_context(|| failed_to_read(&folder))?;
        for entry in entries {
            let entry = entry.with_context(|| failed_to_read(&folder))?;
            let path = folder.join(entry.file_name());
            if skipped.iter().any(|name| path == Path::new(name)) {
                continue;
            }
            let kind = entry.file_type().with_context(|| failed_to_read(&path))?;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Whether the whole file is test code: `tests.rs`, or anything in a `tests` folder.
fn is_test_code(path: &Path) -> bool {
    path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests")
}

fn failed_to_read(path: &Path) -> String {
    format!("failed to read `{}`", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn this_repository_is_tidy() {
        let findings = check(tools::root()).unwrap();
        assert!(findings.is_empty(), "\n{}", shown(&findings).join("\n"));
    }

    /// The smallest workspace that breaks rules in every kind of file.
    #[test]
    fn every_kind_of_file_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(".gitignore", "/target\n");
        write("target/notes.md", "ignored \n");
        write(".git/notes.md", "ignored \n");
        write(
            "Cargo.toml",
            "[workspace]\nmembers = [\"data\", \"autograd\"]\n",
        );
        write("CHANGELOG.md", "# Changelog\n\n## 0.2.0\n");
        write(
            "autograd/Cargo.toml",
            "[package]\nname = \"metashot-autograd\"\nversion = \"0.2.0\"\n",
        );
        write("autograd/src/lib.rs", "fn f() {}\n");
        write(
            "autograd/tests/long.rs",
            &format!("//! Long.\n{}", "\n".repeat(700)),
        );
        write(
            "data/Cargo.toml",
            "[package]\nname = \"metashot-data\"\nversion = \"0.1.0\"\n\n[dependencies]\nmetashot-autograd = { path = \"../autograd\" }\n",
        );
        write(
            "data/src/lib.rs",
            &format!("//! Long.\n{}#[ignore]\n", "\n".repeat(700)),
        );
        write("fixtures/corpus.txt", "spaces are data \n");
        write("README.md", "spaces are not \n");
        fs::write(root.path().join("weights.bin"), [0xff, 0xfe, b' ', b'\n']).unwrap();

        assert_eq!(
            shown(&check(root.path()).unwrap()),
            [
                "CHANGELOG.md:3: the top version is `0.2.0`, `metashot-data` is at `0.1.0`",
                "README.md:1: space at the end of the line",
                "autograd/src/lib.rs:1: a file opens with `//!` that says what it is",
                "data/Cargo.toml:6: a dependency says `workspace = true`; its version belongs to the workspace's manifest",
                "data/Cargo.toml:6: `metashot-data` may not depend on `metashot-autograd`",
                "data/src/lib.rs:600: 702 lines without tests, at most 600: split the file",
                "data/src/lib.rs:702: `#[ignore]`: a test that does not run proves nothing; say at run time why it skips",
            ]
        );
    }
}
