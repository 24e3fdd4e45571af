//! The crate from outside: files in, episodes out, and what each bad input is told.
//!
//! Deliberately not here: private helpers, and anything that needs a network or files from elsewhere, save `real_data`,
//! which looks where `METASHOT_DATA` points and otherwise says that it skips.

mod bio;
mod corpus;
mod image_episode;
mod image_set;
mod ner_episode;
mod omniglot;
mod real_data;
mod scheme;
mod split;
mod tokenize;

use std::{error::Error as _, path::Path};

use expect_test::Expect;
use metashot_data::{Error, Result};

/// The error of a result with its causes, as a front end prints them, and with `dir` written as `DIR`.
fn check_error<T>(result: Result<T>, dir: Option<&Path>, expected: &Expect) {
    let error = result.err().expect("an error is expected");
    let shown = chain(&error);
    let shown = dir.map_or(shown.clone(), |dir| shown.replace(&dir.display().to_string(), "DIR"));
    expected.assert_eq(&shown);
}

fn chain(error: &Error) -> String {
    let mut shown = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        shown += &format!("\n  caused by: {error}");
        cause = error.source();
    }
    shown
}
