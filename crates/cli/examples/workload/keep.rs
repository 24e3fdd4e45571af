//! What an inner loop keeps of its steps, as the command line names it.
//!
//! Deliberately not here: the choice by free memory, which is the program's (`--memory auto`).

use clap::ValueEnum;
use metashot_meta::Memory;
use serde::Serialize;

#[derive(Clone, Copy, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Keep {
    /// The weights before each step; its graph is built a second time.
    Flat,
    /// The graph of each step.
    Fast,
}

impl From<Keep> for Memory {
    fn from(keep: Keep) -> Self {
        match keep {
            Keep::Flat => Self::Flat,
            Keep::Fast => Self::Fast,
        }
    }
}
