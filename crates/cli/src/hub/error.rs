//! Why a model could not be found, each with the way out.

use std::path::PathBuf;

use hf_hub::api::sync::ApiError;

use super::MODEL_FILES;

/// Why a model could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// It is written as neither.
    #[error(
        "`{reference}` is neither a folder nor the name of a hub model: wanted a folder that exists, or `ORG/NAME`"
    )]
    NotAModel {
        /// What was asked for.
        reference: String,
    },
    /// A file, perhaps the weights themselves.
    #[error(
        "`{reference}` is a file: wanted the folder that holds it, with {}",
        listed()
    )]
    IsAFile {
        /// What was asked for.
        reference: String,
    },
    /// Not a branch, tag or commit.
    #[error("revision `{revision}` of `{model}`: wanted a branch, tag or commit")]
    NotARevision {
        /// The model on the hub.
        model: String,
        /// What was asked for.
        revision: String,
    },
    /// Nothing says where the cache is.
    #[error(
        "no home folder to keep hub models in: set `HF_HOME`, or give a local model with `--backbone DIR`"
    )]
    NoHome,
    /// It would have to be fetched, and that is switched off.
    #[error(
        "`{model}` at `{revision}` is neither a folder nor in the cache `{}`, and the network is switched off by \
         `HF_HUB_OFFLINE`: give a folder with {} as `--backbone DIR`, or run `metashot download {model}` online first",
        cache.display(), listed()
    )]
    Offline {
        /// The model on the hub.
        model: String,
        /// Its branch, tag or commit.
        revision: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// The hub does not have it, or does not show it to everyone.
    #[error(
        "`{endpoint}` gives no `{file}` for `{model}` at `{revision}` (status {status}): check the name; if the model \
         is not open to everyone set `HF_TOKEN`; or give a folder with {} as `--backbone DIR`",
        listed()
    )]
    NotThere {
        /// The model on the hub.
        model: String,
        /// Its branch, tag or commit.
        revision: String,
        /// Which of [`MODEL_FILES`].
        file: &'static str,
        /// The hub's address.
        endpoint: String,
        /// HTTP's status.
        status: u16,
    },
    /// The network, the hub or the disk failed.
    #[error(
        "failed to fetch `{file}` of `{model}` from `{endpoint}` into `{}`: run again to go on from here, or give a \
         folder with {} as `--backbone DIR`",
        cache.display(), listed()
    )]
    Fetch {
        /// The model on the hub.
        model: String,
        /// Which of [`MODEL_FILES`].
        file: &'static str,
        /// The hub's address.
        endpoint: String,
        /// The folder it should go to.
        cache: PathBuf,
        /// What went wrong.
        #[source]
        source: Box<ApiError>,
    },
    /// What came is not what was announced; it has been deleted.
    #[error(
        "`{file}` of `{model}` came with {found} bytes instead of {expected} and was deleted: run again to fetch it anew"
    )]
    WrongSize {
        /// The model on the hub.
        model: String,
        /// Which of [`MODEL_FILES`].
        file: &'static str,
        /// Bytes that the hub announced.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
}

fn listed() -> String {
    MODEL_FILES.map(|file| format!("`{file}`")).join(", ")
}
