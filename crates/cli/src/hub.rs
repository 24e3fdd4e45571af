//! Finding a model: a folder as it is, else the Hugging Face cache, else the hub.
//!
//! This is the one place that touches the network, and only for a model that is neither a folder nor in the cache.
//! The cache is the one Python's `transformers` uses, laid out the same way, so neither fetches what the other has.
//!
//! Deliberately not here: reading the files, and showing progress.
//! Looking for a newer version is not here either: a cached model stays what it was until it is deleted or another
//! revision is asked for, so that a run means the same with and without a network.

mod download;
mod error;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::{Repo, RepoType};

pub use error::HubError;

/// The files that make a model whole.
pub const MODEL_FILES: [&str; 3] = ["config.json", "tokenizer.json", "model.safetensors"];

/// Where models come from and where they are kept.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The address of the hub, without a slash at its end.
    pub endpoint: String,
    /// The folder with a folder for each model.
    pub cache: PathBuf,
    /// Says to the hub who is asking, for models that not everyone may read.
    pub token: Option<String>,
    /// Whether the network must not be touched.
    pub offline: bool,
}

/// How far the fetching of one file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// One of [`MODEL_FILES`].
    pub file: &'a str,
    /// Bytes that are here, those of an earlier try included.
    pub done: u64,
    /// Bytes of the whole file.
    pub total: u64,
}

impl Hub {
    /// The hub and cache that the environment names, in the way of Python's `huggingface_hub`: `HF_ENDPOINT`,
    /// `HF_HUB_CACHE`, `HF_HOME`, `XDG_CACHE_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    ///
    /// [`HubError::NoHome`] if nothing says where the cache is.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_vars(|name| env::var_os(name), env::home_dir())
    }

    fn from_vars(
        var: impl Fn(&str) -> Option<OsString>,
        user_home: Option<PathBuf>,
    ) -> Result<Self, HubError> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        let text = |name: &str| var(name).and_then(|value| value.into_string().ok());
        let folder = |name: &str| var(name).map(PathBuf::from);

        let home = folder("HF_HOME")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(user_home?.join(".cache/huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| Some(home.as_ref()?.join("hub")))
            .ok_or(HubError::NoHome)?;
        // Where `hf auth login` leaves the token; most people have none.
        let saved_token = || fs::read_to_string(home.as_ref()?.join("token")).ok();
        let token = text("HF_TOKEN")
            .or_else(saved_token)
            .map(|token| token.trim().to_owned());
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let offline = text("HF_HUB_OFFLINE").unwrap_or_default().to_uppercase();
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token: token.filter(|token| !token.is_empty()),
            offline: matches!(offline.as_str(), "1" | "ON" | "YES" | "TRUE"),
        })
    }
}

/// The folder with the files of the model that `reference` names, fetching them if they are nowhere here.
///
/// A folder that exists is taken as it is; anything else is `ORG/NAME` on the hub, at `revision` (a branch, tag or
/// commit; `main` if none is given).
/// A fetch that is broken off is not taken for a model later; the next one goes on where it stopped.
///
/// # Errors
///
/// If `reference` is neither, if the model cannot be fetched, or if it is not cached while [`Hub::offline`] is set.
///
/// # Examples
///
/// ```
/// use metashot::hub::{Hub, HubError, resolve_model};
///
/// let cache = std::env::temp_dir().join("metashot-doc-no-such-cache");
/// let hub = Hub { endpoint: "https://huggingface.co".into(), cache, token: None, offline: true };
/// assert_eq!(resolve_model(&hub, ".", None, &mut |_| ())?, std::path::Path::new("."));
///
/// let error = resolve_model(&hub, "some/model", None, &mut |_| ()).unwrap_err();
/// assert!(matches!(error, HubError::Offline { .. }));
/// # Ok::<(), HubError>(())
/// ```
pub fn resolve_model(
    hub: &Hub,
    reference: &str,
    revision: Option<&str>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, HubError> {
    let path = Path::new(reference);
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    if path.is_file() {
        return Err(HubError::IsAFile {
            reference: reference.to_owned(),
        });
    }
    if !is_model_name(reference) {
        return Err(HubError::NotAModel {
            reference: reference.to_owned(),
        });
    }
    let revision = revision.unwrap_or("main");
    if !is_revision(revision) {
        return Err(HubError::NotARevision {
            model: reference.to_owned(),
            revision: revision.to_owned(),
        });
    }
    if let Some(folder) = cached(&hub.cache, reference, revision) {
        return Ok(folder);
    }
    if hub.offline {
        return Err(HubError::Offline {
            model: reference.to_owned(),
            revision: revision.to_owned(),
            cache: hub.cache.clone(),
        });
    }
    download::Download {
        hub,
        model: reference,
        revision,
    }
    .run(progress)
}

/// The folder of a model in the cache, if it is whole.
fn cached(cache: &Path, model: &str, revision: &str) -> Option<PathBuf> {
    let folder = cache.join(repo(model, revision).folder_name());
    // A commit stands for itself.
    let commit = fs::read_to_string(folder.join("refs").join(revision))
        .unwrap_or_else(|_| revision.to_owned());
    let snapshot = folder.join("snapshots").join(commit.trim());
    MODEL_FILES
        .iter()
        .all(|file| snapshot.join(file).is_file())
        .then_some(snapshot)
}

fn repo(model: &str, revision: &str) -> Repo {
    Repo::with_revision(model.to_owned(), RepoType::Model, revision.to_owned())
}

/// `ORG/NAME`, each of letters, digits, `-`, `_` and `.`, by the hub's rules.
fn is_model_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && !part.ends_with(['-', '.'])
    };
    let no_runs = !text.contains("--") && !text.contains("..");
    no_runs
        && text.len() <= 96
        && text
            .split_once('/')
            .is_some_and(|(org, name)| is_part(org) && is_part(name))
}

/// What git takes for the name of a branch or tag, as far as it matters to a path and an address.
fn is_revision(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.');
    text.split('/').all(is_part)
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./+@".contains(c))
}

#[cfg(test)]
mod tests;
