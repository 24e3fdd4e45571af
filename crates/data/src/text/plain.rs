//! Plain text: files with a sentence or a paragraph on each line, read line by line.
//!
//! Deliberately not here: finding sentences in running text, and any markup.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use crate::{Error, Result};

/// Calls `f` with every line of a UTF-8 file that is not blank. The file is never in memory as a whole; line ends may be
/// CRLF, the last may be missing, and a byte-order mark is skipped.
///
/// # Errors
/// A file that cannot be read, is not UTF-8 (with the line) or has only blank lines; what `f` fails with.
pub fn for_each_line(path: &Path, mut f: impl FnMut(&str) -> Result<()>) -> Result<()> {
    for_each_numbered_line(path, "lines of text", |_, line| f(line))
}

/// The same with the number of each line, from 1; `wanted` is what the file lacks if it has only blank lines.
pub(super) fn for_each_numbered_line(
    path: &Path,
    wanted: &str,
    mut f: impl FnMut(usize, &str) -> Result<()>,
) -> Result<()> {
    let read_error = |source| Error::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(read_error)?);
    let (mut bytes, mut row, mut n_lines) = (Vec::new(), 0, 0);
    while reader.read_until(b'\n', &mut bytes).map_err(read_error)? > 0 {
        row += 1;
        let line = str::from_utf8(&bytes).map_err(|error| Error::Line {
            path: path.to_path_buf(),
            line: row,
            wanted: "UTF-8",
            found: format!("byte 0x{:02x}", bytes[error.valid_up_to()]),
        })?;
        let line = line.strip_prefix('\u{feff}').unwrap_or(line).trim();
        if !line.is_empty() {
            n_lines += 1;
            f(row, line)?;
        }
        bytes.clear();
    }
    if n_lines == 0 {
        return Err(Error::Nothing {
            path: path.to_path_buf(),
            wanted: wanted.into(),
        });
    }
    Ok(())
}
