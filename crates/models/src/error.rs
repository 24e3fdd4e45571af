//! The one error type of the crate: a variant for each thing that a user can do something about.
//!
//! Deliberately not here: how an error is shown. Causes are kept as sources, so that a front end can print the chain.

use std::{
    error, fmt, io,
    path::{Path, PathBuf},
};

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause reported by a library underneath, kept opaque so that its version is no part of this crate's interface.
type Cause = Box<dyn error::Error + Send + Sync>;

/// What can be wrong with a configuration, a checkpoint or an input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is missing or cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file or directory cannot be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// A file is not JSON, or lacks what its format asks for.
    #[error("{}:{line}: expected {wanted}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the file should hold.
        wanted: &'static str,
        /// What the JSON library said.
        source: Cause,
    },

    /// A file that can be read says something that cannot be used.
    #[error("`{}` cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is at fault.
        source: Box<Error>,
    },

    /// A value handed in, or read from a configuration, is outside of its range.
    #[error("`{name}`: expected {wanted}, found {found}")]
    Setting {
        /// The name of the setting.
        name: String,
        /// Its range.
        wanted: String,
        /// The value.
        found: String,
    },

    /// A directory has no weights in the format that is read.
    #[error("`{}`: expected `model.safetensors` or `model.safetensors.index.json`, found {found}", dir.display())]
    NoWeights {
        /// The directory.
        dir: PathBuf,
        /// What lies there instead.
        found: &'static str,
    },

    /// A file is not in the safetensors format, or is cut short.
    #[error("`{}` is not a whole safetensors file", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What the safetensors library said.
        source: Cause,
    },

    /// A checkpoint lacks a parameter.
    #[error("`{}`: no parameter `{name}`{}", path.display(), nearest(near.as_deref()))]
    MissingParameter {
        /// The checkpoint.
        path: PathBuf,
        /// The parameter that the model has.
        name: String,
        /// The name in the checkpoint that looks most like it.
        near: Option<String>,
    },

    /// A checkpoint has a parameter that the model has no place for.
    #[error("`{}`: parameter `{name}` is none of the model's {wanted}", path.display())]
    SurplusParameter {
        /// The checkpoint.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// How many parameters the model has.
        wanted: usize,
    },

    /// A parameter of a checkpoint has another shape than the model gives it.
    #[error("`{}`: parameter `{name}`: expected shape {wanted}, found {found}", path.display())]
    Shape {
        /// The checkpoint.
        path: PathBuf,
        /// The parameter.
        name: String,
        /// The shape in the model.
        wanted: String,
        /// The shape in the checkpoint.
        found: String,
    },

    /// A tensor of a checkpoint has an element type that is of no use.
    #[error("`{}`: tensor `{name}`: expected {wanted}, found {found}", path.display())]
    ElementType {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The types that can be used.
        wanted: &'static str,
        /// The type of the tensor.
        found: String,
    },

    /// A sentence that the model cannot read.
    #[error("sentence {index}: expected {wanted}, found {found}")]
    Sentence {
        /// Its place in the batch, from 0.
        index: usize,
        /// What the model can read.
        wanted: String,
        /// What the sentence has.
        found: String,
    },

    /// A tensor operation failed, or a parameter that the model reads was not handed in.
    #[error(transparent)]
    Autograd(#[from] metashot_autograd::Error),
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::Autograd(error.into())
    }
}

impl Error {
    /// The same, said by a file.
    pub(crate) fn said_by(self, path: &Path) -> Self {
        Self::Unusable {
            path: path.to_owned(),
            source: Box::new(self),
        }
    }

    /// A [`Error::Setting`] from anything that can be shown.
    pub(crate) fn setting(name: &str, wanted: impl Into<String>, found: &dyn fmt::Display) -> Self {
        Self::Setting {
            name: name.to_owned(),
            wanted: wanted.into(),
            found: found.to_string(),
        }
    }
}

/// A shape as messages show it: `(2, 3)`.
pub(crate) fn show(dims: &[usize]) -> String {
    format!(
        "({})",
        dims.iter()
            .map(usize::to_string)
            .collect::<Vec<_>>()
            .join(", ")
    )
}

fn nearest(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; near it is `{near}`"))
}
