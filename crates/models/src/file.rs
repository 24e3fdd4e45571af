//! Whole files in and out: read with the path in the error, written so that nobody ever sees half of one.
//!
//! Deliberately not here: any format.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tempfile::NamedTempFile;

use crate::{Error, Result};

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// The content of a JSON file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, wanted: &'static str) -> Result<T> {
    serde_json::from_slice(&read(path)?).map_err(|error| Error::Json {
        path: path.to_owned(),
        line: error.line().max(1),
        wanted,
        source: error.into(),
    })
}

/// Writes a file in one step as others see it: under a temporary name beside it, synced, then renamed.
///
/// If `fill` or the disk fails, what was there before is still there, and nothing else is.
///
/// # Errors
/// [`Error::Write`].
pub fn replace_file(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    Staged::new(path, fill)?.commit()
}

/// A file that is written and synced, under a temporary name; dropped without [`Staged::commit`], it is gone.
pub(crate) struct Staged {
    file: NamedTempFile,
    path: PathBuf,
}

impl Staged {
    pub(crate) fn new(
        path: &Path,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Self> {
        let stage = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix(".").suffix(".partial");
            // A temporary file is private by default; this one becomes an ordinary file.
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            let mut writer =
                io::BufWriter::with_capacity(1 << 20, builder.tempfile_in(parent(path))?);
            fill(&mut writer)?;
            let file = writer
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        match stage() {
            Ok(file) => Ok(Self {
                file,
                path: path.to_owned(),
            }),
            Err(source) => Err(Error::Write {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Gives the file its name.
    pub(crate) fn commit(self) -> Result<()> {
        let Self { file, path } = self;
        let renamed = file.persist(&path).map_err(|error| error.error);
        // The new name is on disk only once the directory is.
        #[cfg(unix)]
        let renamed = renamed.and_then(|_| fs::File::open(parent(&path))?.sync_all());
        renamed
            .map(drop)
            .map_err(|source| Error::Write { path, source })
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
