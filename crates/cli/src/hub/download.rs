//! Bringing a model from the hub into the cache.
//!
//! Deliberately not here: trying again.
//! What has come stays, so running again goes on from there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::Cache;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError};

use super::{Hub, HubError, MODEL_FILES, Progress, repo};

/// One model on its way from the hub to the cache.
pub(super) struct Download<'a> {
    pub(super) hub: &'a Hub,
    pub(super) model: &'a str,
    pub(super) revision: &'a str,
}

impl Download<'_> {
    /// Fetches what is missing, and gives the folder of the whole.
    pub(super) fn run(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<PathBuf, HubError> {
        let first = MODEL_FILES[0];
        let cache = Cache::new(self.hub.cache.clone());
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(self.hub.endpoint.clone())
            .with_token(self.hub.token.clone())
            .with_progress(false)
            .build()
            .map_err(|error| self.failed(first, error))?;

        // All files come from the commit that the revision is at now, even if it moves while they come.
        let url = api.repo(repo(self.model, self.revision)).url(first);
        let commit = api
            .metadata(&url)
            .map_err(|error| self.failed(first, error))?
            .commit_hash()
            .to_owned();
        let snapshot = cache.repo(repo(self.model, &commit)).pointer_path(&commit);
        for file in MODEL_FILES {
            if !snapshot.join(file).is_file() {
                self.file(&api, &cache, &commit, file, progress)?;
            }
        }
        // Last, so that the revision leads to this commit only once it is whole.
        cache
            .repo(repo(self.model, self.revision))
            .create_ref(&commit)
            .map_err(|error| self.failed(first, ApiError::from(error)))?;
        Ok(snapshot)
    }

    fn file(
        &self,
        api: &Api,
        cache: &Cache,
        commit: &str,
        file: &'static str,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), HubError> {
        let pinned = repo(self.model, commit);
        let remote = api.repo(pinned.clone());
        let metadata = api
            .metadata(&remote.url(file))
            .map_err(|error| self.failed(file, error))?;
        let expected = metadata.size() as u64;

        // hf-hub goes on where a broken fetch stopped, but gives up for ever on one with nothing left to ask for.
        let blob = cache.repo(pinned).blob_path(metadata.etag());
        let part = blob.with_extension("part");
        if fs::metadata(&part).is_ok_and(|part| part.len() >= expected) {
            self.delete(file, &part)?;
        }

        let report = Report {
            file,
            done: 0,
            total: expected,
            progress,
        };
        let path = remote
            .download_with_progress(file, report)
            .map_err(|error| self.failed(file, error))?;
        let found = fs::metadata(&path)
            .map_err(|error| self.failed(file, error.into()))?
            .len();
        if found != expected {
            self.delete(file, &path)?;
            self.delete(file, &blob)?;
            return Err(HubError::WrongSize {
                model: self.model.to_owned(),
                file,
                expected,
                found,
            });
        }
        Ok(())
    }

    fn delete(&self, file: &'static str, path: &Path) -> Result<(), HubError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed(file, error.into()))
            }
            _ => Ok(()),
        }
    }

    fn failed(&self, file: &'static str, error: ApiError) -> HubError {
        let model = self.model.to_owned();
        let endpoint = self.hub.endpoint.clone();
        // 401 is also the hub's answer to a name it does not know.
        if let ApiError::RequestError(request) = &error
            && let ureq::Error::StatusCode(status @ (401 | 403 | 404)) = **request
        {
            return HubError::NotThere {
                model,
                revision: self.revision.to_owned(),
                file,
                endpoint,
                status,
            };
        }
        HubError::Fetch {
            model,
            file,
            endpoint,
            cache: self.hub.cache.clone(),
            source: Box::new(error),
        }
    }
}

/// Hands hf-hub's progress on.
struct Report<'a> {
    file: &'static str,
    done: u64,
    total: u64,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl hf_hub::api::Progress for Report<'_> {
    fn init(&mut self, _size: usize, _name: &str) {
        self.done = 0;
    }

    fn update(&mut self, bytes: usize) {
        self.done += bytes as u64;
        (self.progress)(Progress {
            file: self.file,
            done: self.done,
            total: self.total,
        });
    }

    fn finish(&mut self) {}
}
