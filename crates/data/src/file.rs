//! Reading whole files with the path, and for text the line, in the error.
//!
//! Deliberately not here: any format.

use std::{fs, path::Path};

use crate::{Error, Result};

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::Read {
        path: path.to_path_buf(),
        source,
    })
}

/// The text of a UTF-8 file.
///
/// # Errors
/// A file that cannot be read, or the line of the first byte that is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let bytes = error.as_bytes();
        Error::Line {
            path: path.to_path_buf(),
            line: bytes[..valid].split(|&byte| byte == b'\n').count(),
            wanted: "UTF-8",
            found: format!("byte 0x{:02x}", bytes[valid]),
        }
    })
}

/// A line of a file that something may be wrong with.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) path: &'a Path,
    /// From 1.
    pub(crate) line: usize,
}

impl Place<'_> {
    /// What was wanted there and what there is, as an error.
    pub(crate) fn wanted(self, wanted: &'static str, found: impl Into<String>) -> Error {
        Error::Line {
            path: self.path.to_path_buf(),
            line: self.line,
            wanted,
            found: found.into(),
        }
    }
}

/// A line as shown in a message: quoted, short, with nothing that a terminal would act on.
pub(crate) fn excerpt(line: &str) -> String {
    const SHOWN: usize = 60;
    let shown: String = line
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if line.chars().nth(SHOWN).is_some() {
        format!("`{shown}..`")
    } else {
        format!("`{shown}`")
    }
}
