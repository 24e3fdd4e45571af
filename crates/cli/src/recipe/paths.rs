//! Where the files are that a recipe names.
//!
//! Deliberately not here: reading them.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Finds the files of a recipe: as they are named, or below a data directory.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    data: Option<PathBuf>,
    embedded: Option<PathBuf>,
}

impl Paths {
    /// What stands before the name of a file that is part of the program.
    pub(crate) const EMBEDDED: &str = "embedded:";

    /// Relative names that do not exist are looked up below `data`; `embedded` is where embedded files were written.
    pub fn new(data: Option<PathBuf>, embedded: Option<PathBuf>) -> Self {
        Self { data, embedded }
    }

    /// The file or directory of that name.
    ///
    /// # Errors
    /// When there is none, with the places that were looked at and the remedy.
    pub fn find(&self, name: &str) -> Result<PathBuf> {
        if let (Some(name), Some(root)) = (name.strip_prefix(Self::EMBEDDED), &self.embedded) {
            return Ok(root.join(name));
        }
        let plain = PathBuf::from(name);
        if plain.exists() {
            return Ok(plain);
        }
        match &self.data {
            Some(root) if plain.is_relative() => {
                let below = root.join(name);
                if below.exists() {
                    return Ok(below);
                }
                bail!("found neither `{name}` nor `{}`", below.display())
            }
            None if plain.is_relative() => bail!(
                "found no `{name}`; relative names are also looked up below the directory that `--data` or \
                 `METASHOT_DATA` names"
            ),
            _ => bail!("found no `{name}`"),
        }
    }

    /// The directory of a local model of that name, if there is one.
    pub fn find_directory(&self, name: &str) -> Option<PathBuf> {
        self.find(name)
            .ok()
            .filter(|path: &PathBuf| Path::is_dir(path))
    }
}
