//! A directory of its own for each test, and the program run in it.
//!
//! Not here: tests.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use candle_core::{Device, Tensor};
use metashot_models::checkpoint::{Metadata, save_params};
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

    /// Six small classes of pictures in folders; returns the path of a recipe for them.
    pub(crate) fn pictures(&self) -> String {
        let picture = |shade: u8| {
            let mut bytes = std::io::Cursor::new(Vec::new());
            image::GrayImage::from_pixel(8, 8, image::Luma([shade]))
                .write_to(&mut bytes, image::ImageFormat::Png)
                .unwrap();
            bytes.into_inner()
        };
        for class in 0..6 {
            for drawing in 0..3 {
                self.file(
                    &format!("classes/c{class}/{drawing}.png"),
                    picture(class * 40 + drawing),
                );
            }
        }
        self.file(
            "pictures.toml",
            "[pictures]\ndata = [\"classes\"]\nvalidation_classes = 2\ntest_classes = 2\nsize = 8\nchannels = 1\n\
             invert = false\nfilters = 4\n\
             [episodes]\nn_way = 2\nk_shot = 1\nn_query = 1\ntest_n_query = 1\n\
             [inner]\nsteps = 1\ntest_steps = 1\nlr = 0.1\nadapt = [\"*\"]\norder = \"exact\"\n\
             [outer]\nsteps = 2\ntasks_per_step = 1\nlr = 1e-3\nwarmup_steps = 0\nlr_floor = 1.0\nweight_decay = 0.0\n\
             clip_norm = 0.0\ntrain = [\"*\"]\n\
             [evaluation]\nevery = 1\nvalidation_episodes = 2\ntest_episodes = 2\nfinetune_lr = [0.1]\n\
             finetune_steps = [1]\n",
        )
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

/// Runs the program and kills it as soon as a line of its talk begins like this.
pub(crate) fn kill_at(dir: &Dir, args: &[&str], start: &str) {
    let mut child = dir
        .command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    for line in lines {
        if line.starts_with(start) {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
}

/// Compares a model's ids and logits of a text with Python's: runs `METASHOT_PYTHON`, or `python3`, if it has
/// `transformers`, and else says that it does not.
pub(crate) fn python_agrees(model: &Path, words: &str, ids: &[u32], logits: &Tensor) {
    let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    let expected = [
        ("ids".to_owned(), Tensor::new(ids, &Device::Cpu).unwrap()),
        ("logits".to_owned(), logits.clone()),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("expected.safetensors");
    save_params(&path, &expected.into_iter().collect(), &Metadata::new()).unwrap();
    let python = std::env::var_os("METASHOT_PYTHON").unwrap_or_else(|| "python3".into());
    let run = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/load_saved.py"))
        .args([model, &path])
        .arg(words)
        .env("HF_HUB_OFFLINE", "1")
        .output();
    let skip = |why: &str| {
        let line = format!("skipped the comparison with transformers: {why}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    };
    match run {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() == Some(77) => skip("python has none"),
        Ok(output) => panic!("{}", text(&output.stderr)),
        Err(error) => skip(&format!("python does not start: {error}")),
    }
}
