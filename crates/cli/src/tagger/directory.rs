//! A directory that appears with all of its files or not at all.
//!
//! Deliberately not here: what is in the files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// A directory under a temporary name beside the one that it is to have; dropped, it is gone.
pub(crate) struct NewDirectory {
    staged: TempDir,
    target: PathBuf,
    overwrite: bool,
}

impl NewDirectory {
    /// Makes the temporary directory.
    ///
    /// # Errors
    /// When there is something of that name and it may not be replaced, or nothing can be made beside it.
    pub(crate) fn new(target: &Path, overwrite: bool) -> Result<Self> {
        if target.exists() && !overwrite {
            bail!(
                "`{}` is there already; replace it by `--overwrite`, or name another directory by `--out`",
                target.display()
            );
        }
        if target.exists() && !target.is_dir() {
            bail!("`{}` is a file, not a directory", target.display());
        }
        let make = || {
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            let parent = match target.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            fs::create_dir_all(parent)?;
            let mut builder = tempfile::Builder::new();
            let prefix = format!(".{name}.");
            builder.prefix(&prefix).suffix(".partial");
            // A temporary directory is private by default; this one becomes an ordinary directory.
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
            builder.tempdir_in(parent)
        };
        let staged = make().with_context(|| format!("failed to make `{}`", target.display()))?;
        Ok(Self {
            staged,
            target: target.to_owned(),
            overwrite,
        })
    }

    /// Where the files are to be written.
    pub(crate) fn path(&self) -> &Path {
        self.staged.path()
    }

    /// Gives the directory its name.
    ///
    /// # Errors
    /// When that fails; what had the name before still has it.
    pub(crate) fn commit(self) -> Result<()> {
        let Self {
            staged,
            target,
            overwrite,
        } = self;
        let context = || format!("failed to write `{}`", target.display());
        if overwrite && target.exists() {
            // A directory that is not empty cannot be renamed over, so the earlier one steps aside first.
            let aside = staged.path().with_extension("replaced");
            fs::rename(&target, &aside).with_context(context)?;
            if let Err(error) = fs::rename(staged.path(), &target) {
                let _ = fs::rename(&aside, &target);
                return Err(error).with_context(context);
            }
            let _ = staged.keep();
            return fs::remove_dir_all(&aside)
                .with_context(|| format!("failed to remove `{}`", aside.display()));
        }
        fs::rename(staged.path(), &target).with_context(context)?;
        let _ = staged.keep();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_directory_is_replaced_whole_or_stays() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("a/b");
        let write = |overwrite, name: &str| -> Result<()> {
            let new = NewDirectory::new(&target, overwrite)?;
            fs::write(new.path().join(name), "x")?;
            new.commit()
        };
        write(false, "first").unwrap();
        let error = write(false, "second").unwrap_err().to_string();
        assert!(error.contains("`--overwrite`"), "{error}");
        assert!(target.join("first").exists());
        write(true, "second").unwrap();
        assert!(target.join("second").exists() && !target.join("first").exists());
        drop(NewDirectory::new(&target, true).unwrap());
        assert!(target.join("second").exists());
        let left = fs::read_dir(root.path().join("a")).unwrap().count();
        assert_eq!(left, 1, "temporary directories are left behind");
    }
}
