//! The files that are part of the program: the corpus and the small BERT of the default recipe.
//!
//! Deliberately not here: how they were made (`cargo xtask fixtures`).

use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../fixtures/default/", $name)).as_slice())),+]
    };
}

const FILES: [(&str, &[u8]); 8] = files![
    "train.txt",
    "validation.txt",
    "test.txt",
    "bert/config.json",
    "bert/tokenizer.json",
    "bert/tokenizer_config.json",
    "bert/vocab.txt",
    "bert/model.safetensors",
];

/// Writes the files to a temporary directory, which goes when the value does.
///
/// # Errors
/// When the directory cannot be made or written.
pub(crate) fn unpack() -> Result<TempDir> {
    let directory = tempfile::tempdir().context("failed to make a temporary directory")?;
    for (name, content) in FILES {
        write(&directory.path().join(name), content)?;
    }
    Ok(directory)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent)
        .with_context(|| format!("failed to make `{}`", parent.display()))?;
    std::fs::write(path, content).with_context(|| format!("failed to write `{}`", path.display()))
}
