//! What can go wrong when a graph is built or differentiated.
//!
//! Not here: errors of files, models or training; those belong to the crates that own them.

/// An error of `metashot-autograd`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A gradient was asked for a value that the loss does not depend on.
    #[error("the loss does not reach {input}, so it has no gradient with respect to it")]
    Unreached {
        /// Which input: its parameter name or its position.
        input: String,
    },
    /// A gradient was asked of something that is not a single number.
    #[error("a gradient needs a scalar loss, found shape {shape:?}")]
    NotScalar {
        /// The shape of what was passed as the loss.
        shape: Vec<usize>,
    },
    /// A gradient was asked with respect to a constant.
    #[error(
        "{input} is a constant; make it with `Value::variable` to differentiate with respect to it"
    )]
    NotVariable {
        /// Which input: its parameter name or its position.
        input: String,
    },
    /// An operation got operands whose shapes do not fit.
    #[error("`{op}`: expected {expected}, found {found}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What it wanted, with named axes.
        expected: String,
        /// What it got.
        found: String,
    },
    /// A parameter that a model or a caller asked for is not there.
    #[error("no parameter `{name}`{}", nearest(.known))]
    UnknownParameter {
        /// The name asked for.
        name: String,
        /// Names that look like it.
        known: Vec<String>,
    },
    /// A pattern of parameter names matched none.
    #[error("pattern `{pattern}` matches no parameter; there are, for example, {}", list(.known))]
    UnmatchedPattern {
        /// The pattern.
        pattern: String,
        /// A few of the names there are.
        known: Vec<String>,
    },
    /// Candle failed: out of memory, a device error, an unsupported type.
    #[error("tensor operation failed")]
    Candle(#[from] candle_core::Error),
}

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn nearest(known: &[String]) -> String {
    if known.is_empty() {
        String::new()
    } else {
        format!("; near it are {}", list(known))
    }
}

fn list(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}
