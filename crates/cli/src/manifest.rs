//! `manifest.json`: what a result came from, so that it can be told apart from another and made again.
//!
//! Deliberately not here: the result.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result};
use metashot_data::{ContentHash, hash_file};
use metashot_models::replace_file;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

use crate::{model_dir::TOKENIZER, recipe::DeviceKind};

/// The name of the file.
pub(crate) const MANIFEST: &str = "manifest.json";

/// What a result came from.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Manifest {
    /// The command that made it.
    pub command: String,
    /// The version of this program.
    pub version: String,
    /// Every setting, as it was resolved.
    pub settings: Map<String, Json>,
    /// The seed, where chance has a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The update that a run which had stopped went on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<u64>,
    /// The hash of the episodes that were measured on, where they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub episodes_hash: Option<ContentHash>,
    /// The files that were read, tokenizers among them.
    pub data: Vec<HashedFile>,
    /// The weights that were started from; none where they were drawn.
    pub start: Vec<HashedFile>,
    /// The weights that came of it, or those that were measured.
    pub weights: Vec<HashedFile>,
    /// What else a command has to say.
    #[serde(flatten)]
    pub more: Map<String, Json>,
    /// Where tensors lived.
    pub device: DeviceKind,
    /// What ran side by side; it does not change a result.
    pub threads: usize,
    /// The machine.
    pub machine: Machine,
    /// When it began, in UTC.
    pub started: String,
    /// When it ended, in UTC.
    pub ended: String,
    /// The time between the two.
    pub seconds: f64,
}

/// A file and its content.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct HashedFile {
    /// What the settings call it, or its place in a directory that they name.
    pub name: String,
    /// Its length, or that of all files of a directory.
    pub bytes: u64,
    /// The SHA-256 of its content; of a directory, that of what `sha256sum` prints of its files, sorted by name.
    pub sha256: ContentHash,
}

/// What a result was computed on.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Machine {
    /// The model of the processor, as it calls itself.
    pub cpu: String,
    /// How many cores this process may use.
    pub cores: usize,
    /// The operating system and the kind of processor.
    pub platform: String,
}

/// A manifest of something that is still going on.
pub(crate) struct Begun {
    manifest: Manifest,
    clock: Instant,
}

impl Begun {
    /// Notes what is known at the start.
    pub(crate) fn new(
        command: &str,
        seed: Option<u64>,
        (device, threads): (DeviceKind, usize),
    ) -> Self {
        let manifest = Manifest {
            command: command.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            settings: Map::new(),
            seed,
            resumed_at: None,
            episodes_hash: None,
            data: Vec::new(),
            start: Vec::new(),
            weights: Vec::new(),
            more: Map::new(),
            device,
            threads,
            machine: Machine::this(),
            started: utc(SystemTime::now()),
            ended: String::new(),
            seconds: 0.0,
        };
        Self {
            manifest,
            clock: Instant::now(),
        }
    }

    /// Notes the settings.
    ///
    /// # Errors
    /// When they are no table.
    pub(crate) fn settings(&mut self, settings: &impl Serialize) -> Result<()> {
        let settings = serde_json::to_value(settings)?;
        self.manifest.settings = serde_json::from_value(settings)?;
        Ok(())
    }

    /// Notes a file or a directory of data, each once.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn data(&mut self, name: &str, path: &Path) -> Result<()> {
        note(&mut self.manifest.data, name, path)
    }

    /// Notes what a model's directory says of its sizes and its vocabulary.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn model(&mut self, name: &str, directory: &Path) -> Result<()> {
        for file in ["config.json", TOKENIZER] {
            let path = directory.join(file);
            if path.exists() {
                self.data(&format!("{name}/{file}"), &path)?;
            }
        }
        Ok(())
    }

    /// Notes the weights that are started from.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn start(&mut self, name: &str, directory: &Path) -> Result<()> {
        note_weights(&mut self.manifest.start, name, directory)
    }

    /// Notes that a run goes on.
    pub(crate) fn resumed_at(&mut self, step: u64) {
        self.manifest.resumed_at = Some(step);
    }

    /// Notes which episodes were measured on.
    pub(crate) fn episodes(&mut self, hash: Option<ContentHash>) {
        self.manifest.episodes_hash = hash;
    }

    /// Notes something that only this command has.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub(crate) fn more(&mut self, key: &str, value: &impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value)?;
        self.manifest.more.insert(key.to_owned(), value);
        Ok(())
    }

    /// Notes the weights in a directory, the time, and writes the manifest into `into`.
    ///
    /// # Errors
    /// When the weights cannot be read or the manifest cannot be written.
    pub(crate) fn write(self, weights: &Path, into: &Path) -> Result<()> {
        let Self {
            mut manifest,
            clock,
        } = self;
        note_weights(&mut manifest.weights, "", weights)?;
        manifest.ended = utc(SystemTime::now());
        manifest.seconds = clock.elapsed().as_secs_f64();
        let text = serde_json::to_string_pretty(&manifest)? + "\n";
        Ok(replace_file(&into.join(MANIFEST), |file| {
            file.write_all(text.as_bytes())
        })?)
    }
}

impl Manifest {
    /// Reads the manifest of a directory.
    ///
    /// # Errors
    /// When there is none or it is none of ours.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(MANIFEST);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("failed to read `{}`", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("`{}` is not a manifest", path.display()))
    }
}

impl Machine {
    fn this() -> Self {
        let cpus = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
        let cpu = System::new_with_specifics(cpus).ok();
        let cpu = cpu.and_then(|system| Some(system.cpus().first()?.brand().trim().to_owned()));
        Self {
            cpu: cpu.unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        }
    }
}

/// Adds a file or a directory, unless it is there.
fn note(files: &mut Vec<HashedFile>, name: &str, path: &Path) -> Result<()> {
    if files.iter().any(|file| file.name == name) {
        return Ok(());
    }
    let (bytes, sha256) = if path.is_dir() {
        hash_directory(path)?
    } else {
        (length(path)?, hash_file(path)?)
    };
    files.push(HashedFile {
        name: name.to_owned(),
        bytes,
        sha256,
    });
    Ok(())
}

/// Adds the weights of a directory: those of a model in Hugging Face's layout, else the best start of a run.
fn note_weights(files: &mut Vec<HashedFile>, name: &str, directory: &Path) -> Result<()> {
    let all = entries(directory)?;
    let is_model = all.iter().any(|path| path.ends_with("config.json"));
    let is_weights = |file: &str| {
        let is_safetensors = Path::new(file)
            .extension()
            .is_some_and(|e| e == "safetensors");
        if is_model {
            is_safetensors && file.starts_with("model")
        } else {
            file == "best.safetensors"
        }
    };
    for path in all {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if is_weights(&file) {
            let name = if name.is_empty() {
                file.into_owned()
            } else {
                format!("{name}/{file}")
            };
            note(files, &name, &path)?;
        }
    }
    Ok(())
}

fn hash_directory(root: &Path) -> Result<(u64, ContentHash)> {
    let (mut bytes, mut lines) = (0, Vec::new());
    let mut ahead = vec![root.to_owned()];
    while let Some(directory) = ahead.pop() {
        for path in entries(&directory)? {
            if path.is_dir() {
                ahead.push(path);
            } else {
                bytes += length(&path)?;
                let place = path.strip_prefix(root).unwrap_or(&path);
                let place = place.to_string_lossy().replace('\\', "/");
                lines.push((place, hash_file(&path)?));
            }
        }
    }
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    let lines: Vec<String> = lines
        .iter()
        .map(|(place, hash)| format!("{hash}  {place}\n"))
        .collect();
    let text = lines.concat();
    Ok((bytes, ContentHash::of(text.as_bytes())))
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        let mut paths = fs::read_dir(directory)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    };
    read().with_context(|| format!("failed to read `{}`", directory.display()))
}

fn length(path: &Path) -> Result<u64> {
    let metadata =
        fs::metadata(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    Ok(metadata.len())
}

/// A time as RFC 3339 has it, to the second.
fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn files_are_hashed_by_their_content_and_directories_by_their_files() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/one", "abc");
        write("two", "");
        let mut files = Vec::new();
        note(&mut files, "all", root.path()).unwrap();
        note(&mut files, "one", &root.path().join("a/one")).unwrap();
        note(&mut files, "one", &root.path().join("two")).unwrap();
        let found: Vec<_> = files
            .iter()
            .map(|file| (file.name.as_str(), file.bytes, file.sha256.short()))
            .collect();
        let lines = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a/one\n\
                     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  two\n";
        let all = ContentHash::of(lines.as_bytes()).short();
        assert_eq!(
            found,
            [("all", 3, all), ("one", 3, "ba7816bf8f01".to_owned())]
        );
    }

    #[test]
    fn weights_are_a_models_or_the_best_of_a_run() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str| fs::write(root.path().join(name), name).unwrap();
        let names = || {
            let mut files = Vec::new();
            note_weights(&mut files, "x", root.path()).unwrap();
            files.into_iter().map(|file| file.name).collect::<Vec<_>>()
        };
        for name in ["best.safetensors", "state.safetensors", "config.toml"] {
            write(name);
        }
        assert_eq!(names(), ["x/best.safetensors"]);
        for name in ["config.json", "model.safetensors"] {
            write(name);
        }
        assert_eq!(names(), ["x/model.safetensors"]);
    }
}
