//! What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere. Always on stderr.
//!
//! Deliberately not here: results, which go to stdout.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far something has come.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    bar: Option<ProgressBar>,
    last_line: Instant,
    started: Instant,
    first: u64,
}

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Starts at `first` of `total` steps.
    pub(crate) fn new(what: &'static str, first: u64, total: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{prefix} {bar:30} {pos}/{len}  {msg}  {eta} left");
            let bar = ProgressBar::new(total)
                .with_prefix(what)
                .with_position(first);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        Self {
            what,
            total,
            bar,
            last_line: now,
            started: now,
            first,
        }
    }

    /// Shows that `done` steps are done.
    pub(crate) fn step(&mut self, done: u64, message: impl FnOnce() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(message());
        } else if self.last_line.elapsed() >= LINE_EVERY || done == self.total {
            self.last_line = Instant::now();
            let so_far = done.saturating_sub(self.first).max(1);
            let left =
                self.started.elapsed().as_secs_f64() / so_far as f64 * (self.total - done) as f64;
            let parts = [
                format!("{} {done}/{}", self.what, self.total),
                message(),
                format!("{left:.0} s left"),
            ];
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            self.line(&parts.join("  "));
        }
    }

    /// Shows a line that stays.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => say(text),
        }
    }

    /// How long it has taken since [`Progress::new`].
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line to stderr.
pub(crate) fn say(text: &str) {
    // Progress is a courtesy: where stderr is closed the run goes on.
    let _ = writeln!(stderr(), "{text}");
}
