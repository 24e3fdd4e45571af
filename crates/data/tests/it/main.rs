//! The crate from outside: files in, episodes out, and what each bad input is told.
//!
//! Deliberately not here: private helpers, and anything that needs a network or files from elsewhere, save `real_data`,
//! which looks where `METASHOT_DATA` points and otherwise says that it skips.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop where it stands"
)]

mod bio;
mod corpus;
mod decode;
mod frozen;
mod image_episode;
mod image_set;
mod labelled;
mod ner_episode;
mod omniglot;
mod real_data;
mod scheme;
mod spans;
mod split;
mod support;
mod tags;
mod tokenize;
mod transitions;
mod unlabelled;

use std::{error::Error as _, path::Path};

use expect_test::Expect;
use metashot_data::Result;

/// The message of an error with `dir` written as `DIR`, and whether it has a cause. What a cause says is the affair of
/// the library or the operating system underneath.
fn check_error<T>(result: Result<T>, dir: Option<&Path>, expected: &Expect) {
    let error = result.err().expect("an error is expected");
    let message = error.to_string();
    let message = dir.map_or(message.clone(), |dir| {
        message.replace(&dir.display().to_string(), "DIR")
    });
    expected.assert_eq(&if error.source().is_some() {
        message + " (and the cause)"
    } else {
        message
    });
}
