//! A directory of its own for each test, and the program run in it.
//!
//! Not here: tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// A directory that goes when the test ends.
pub(crate) struct Dir {
    root: TempDir,
}

impl Dir {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file and returns its path as text.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// The program with these arguments, in this directory, with no network and no data of the machine's.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metashot"));
        command
            .args(args)
            .current_dir(self.path())
            .env_remove("METASHOT_DATA")
            .env("HF_HOME", self.path().join("hub"))
            .env("HF_HUB_OFFLINE", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// `train` with the embedded recipe made as small as it can be, and more arguments.
    pub(crate) fn train(&self, args: &[&str]) -> Output {
        self.run(&[&TINY, args].concat())
    }
}

/// The embedded recipe in a few seconds.
pub(crate) const TINY: [&str; 13] = [
    "train",
    "--threads=2",
    "--outer-steps=4",
    "--warmup-steps=1",
    "--tasks-per-step=2",
    "--validation-episodes=2",
    "--test-episodes=3",
    "--inner-steps=1",
    "--test-steps=1",
    "--set=evaluation.every=2",
    "--set=evaluation.finetune_lr=[0.1]",
    "--set=evaluation.finetune_steps=[1]",
    "--seed=1",
];

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The fixtures of the repository.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/default")
}
