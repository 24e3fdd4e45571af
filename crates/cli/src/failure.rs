//! How an error is shown: the chain of its causes on stderr, and an exit code.
//!
//! Deliberately not here: remedies; an error that knows one says it in its own text.

use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Writes the error and its causes to stderr; a broken pipe is no error of ours.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let broken_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken_pipe) {
        return ExitCode::SUCCESS;
    }
    // Nothing is left to do where stderr cannot be written to.
    let _ = io::stderr().write_all(render(error).as_bytes());
    ExitCode::FAILURE
}

fn render(error: &anyhow::Error) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut last = String::new();
    for cause in error.chain() {
        let message = cause.to_string();
        if lines.is_empty() {
            lines.push(format!("error: {message}\n"));
        } else if !last.ends_with(&message) {
            // Some libraries repeat their cause's text in their own.
            let indented = message.trim_end().replace('\n', "\n    ");
            lines.push(format!("  caused by: {indented}\n"));
        }
        last = message;
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    #[test]
    fn shows_the_chain_of_causes_once_each() {
        let error = Err::<(), _>(anyhow::anyhow!("no such file"))
            .context("failed to read `a.txt`: no such file")
            .context("the recipe cannot run")
            .unwrap_err();
        let text =
            "error: the recipe cannot run\n  caused by: failed to read `a.txt`: no such file\n";
        assert_eq!(super::render(&error), text);
    }
}
