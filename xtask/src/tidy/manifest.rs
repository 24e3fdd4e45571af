//! Checks on what cargo knows of the workspace's crates: who depends on whom, and at which version.
//!
//! Deliberately not here: crates of others; `deny.toml` says which of those may come in.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::tools;

/// The crates of this workspace, and the crates of this workspace that each may depend on.
/// What only tests need is free, as long as nobody needs the binaries.
const MAY_DEPEND_ON: [(&str, &[&str]); 6] = [
    ("metashot-autograd", &[]),
    ("metashot-data", &[]),
    ("metashot-models", &["metashot-autograd"]),
    ("metashot-meta", &["metashot-autograd"]),
    (
        "metashot",
        &[
            "metashot-autograd",
            "metashot-data",
            "metashot-models",
            "metashot-meta",
        ],
    ),
    ("xtask", &[]),
];

/// The crates that nobody may depend on.
const BINARIES: [&str; 2] = ["metashot", "xtask"];

/// A crate of this workspace, as `cargo metadata` tells of it.
#[derive(Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for an ordinary dependency.
    kind: Option<String>,
    /// Where it lies, if it is in this workspace.
    path: Option<PathBuf>,
}

/// The crates of the workspace whose manifest is at `manifest`.
pub(super) fn packages(manifest: &Path) -> anyhow::Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }

    let mut command = tools::cargo();
    command
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version=1",
            "--manifest-path",
        ])
        .arg(manifest);
    let output = command
        .output()
        .with_context(|| tools::failed_to_start(&command))?;
    if !output.status.success() {
        bail!(
            "`cargo metadata` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)
        .context("failed to read what `cargo metadata` printed")?;
    Ok(metadata.packages)
}

/// The dependencies of `package` that point the wrong way.
pub(super) fn direction(package: &Package) -> Vec<(&str, String)> {
    let name = &package.name;
    let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(known, _)| known == name) else {
        return vec![(
            "",
            format!("`{name}` has no line in the table of who may depend on whom"),
        )];
    };
    let wrong = |dependency: &&Dependency| match dependency.kind.as_deref() {
        Some("dev") => BINARIES.contains(&dependency.name.as_str()),
        _ => !allowed.contains(&dependency.name.as_str()),
    };
    let ours = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.path.is_some());
    ours.filter(wrong)
        .map(|dependency| {
            (
                dependency.name.as_str(),
                format!("`{name}` may not depend on `{}`", dependency.name),
            )
        })
        .collect()
}

/// The dependencies in a member's manifest that do not take their version from the workspace.
pub(super) fn own_versions(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut among_dependencies = false;
    for (i, line) in manifest.lines().enumerate() {
        let line: String = line.split_whitespace().collect();
        let own_version = if let Some(section) = line.strip_prefix('[') {
            among_dependencies = section.trim_end_matches(']').ends_with("dependencies");
            // `[dependencies.name]` has its version lines apart from its name.
            section.contains("dependencies.")
        } else {
            let is_dependency = among_dependencies && !line.is_empty() && !line.starts_with('#');
            is_dependency && !line.contains("workspace=true")
        };
        if own_version {
            found.push((
                i + 1,
                "a dependency says `workspace = true`; its version belongs to the workspace's manifest".to_owned(),
            ));
        }
    }
    found
}

/// The line of a manifest that names `dependency`, else the first.
pub(super) fn line_of(manifest: &str, dependency: &str) -> usize {
    let names = |line: &str| {
        line.strip_prefix(dependency)
            .is_some_and(|rest| !dependency.is_empty() && rest.starts_with([' ', '.', '=']))
    };
    manifest.lines().position(names).unwrap_or(0) + 1
}

/// A changelog whose top version is not the one `package` is at.
pub(super) fn changelog(changelog: &str, package: &str, version: &str) -> Option<(usize, String)> {
    let headings = changelog
        .lines()
        .enumerate()
        .filter_map(|(i, line)| Some((i + 1, line.strip_prefix("## ")?)));
    let Some((line, heading)) = headings.into_iter().next() else {
        return Some((1, "no version: `## VERSION - DATE` is missing".to_owned()));
    };
    let top = heading.split_whitespace().next().unwrap_or_default();
    (top != version).then(|| {
        (
            line,
            format!("the top version is `{top}`, `{package}` is at `{version}`"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Package {
        let dependencies = dependencies.iter().map(|(name, kind, ours)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(str::to_owned),
            path: ours.then(PathBuf::new),
        });
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: dependencies.collect(),
        }
    }

    #[test]
    fn crates_point_one_way() {
        for (from, to, kind, right) in [
            ("metashot-models", "metashot-autograd", None, true),
            ("metashot-meta", "metashot-autograd", None, true),
            ("metashot", "metashot-meta", None, true),
            ("metashot-meta", "metashot-models", Some("dev"), true),
            ("metashot-meta", "metashot-models", None, false),
            ("metashot-meta", "metashot-models", Some("build"), false),
            ("metashot-models", "metashot-data", None, false),
            ("metashot-autograd", "metashot-data", None, false),
            ("metashot-data", "metashot-autograd", None, false),
            ("metashot-data", "metashot", None, false),
            ("metashot-data", "metashot", Some("dev"), false),
            ("metashot", "xtask", Some("dev"), false),
            ("xtask", "metashot", None, false),
        ] {
            let package = package(from, &[("serde", None, false), (to, kind, true)]);
            let wrong: Vec<_> = direction(&package)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            assert_eq!(
                wrong,
                if right { vec![] } else { vec![to] },
                "{from} -> {to} {kind:?}"
            );
        }
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        assert_eq!(direction(&package("metashot-new", &[])).len(), 1);
    }

    #[test]
    fn versions_belong_to_the_workspace() {
        let lines = |text: &str| {
            own_versions(text)
                .into_iter()
                .map(|(line, _)| line)
                .collect::<Vec<_>>()
        };
        let right = "[package]\nversion = \"1\"\n\n[dependencies]\n# why\na.workspace = true\nb = { workspace = true, features = [\"x\"] }\n\n[lints]\nworkspace = true\n";
        assert_eq!(lines(right), [0; 0]);
        assert_eq!(lines("[dependencies]\na = \"1\"\n"), [2]);
        assert_eq!(
            lines("[dev-dependencies]\na.workspace = true\nb = { path = \"../b\" }\n"),
            [3]
        );
        assert_eq!(lines("[build-dependencies]\na = \"1\"\n"), [2]);
        assert_eq!(lines("[target.'cfg(unix)'.dependencies]\na = \"1\"\n"), [2]);
        assert_eq!(lines("[dependencies.a]\nversion = \"1\"\n"), [1]);
        assert_eq!(
            lines("[dependencies]\na.workspace = true\n[features]\ncuda = []\n"),
            [0; 0]
        );
    }

    #[test]
    fn a_dependency_is_found_by_its_whole_name() {
        let manifest =
            "[dependencies]\nmetashot-data.workspace = true\nmetashot = { workspace = true }\n";
        assert_eq!(line_of(manifest, "metashot-data"), 2);
        assert_eq!(line_of(manifest, "metashot"), 3);
        assert_eq!(line_of(manifest, "serde"), 1);
        assert_eq!(line_of(manifest, ""), 1);
    }

    #[test]
    fn the_changelog_keeps_up() {
        let line = |text: &str| changelog(text, "metashot", "0.2.0").map(|(line, _)| line);
        assert_eq!(
            line("# Changelog\n\n## 0.2.0 - 2026-11-22\n\n## 0.1.0 - 2026-01-01\n"),
            None
        );
        assert_eq!(
            line("# Changelog\n\n## 0.1.0 - 2026-01-01\n\n## 0.2.0 - 2026-11-22\n"),
            Some(3)
        );
        assert_eq!(line("# Changelog\n"), Some(1));
    }
}
