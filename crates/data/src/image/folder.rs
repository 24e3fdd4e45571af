//! A tree with a folder for each class: `root/<class>/*.png`, `.jpg` or `.jpeg`.
//!
//! Deliberately not here: deeper trees. Hidden entries, and files with other endings, are passed over.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    image::{
        picture::{ImageFormat, Normalize, Source},
        set::ImageSet,
    },
};

/// Reads a class-per-folder tree; classes and pictures come in the order of their names.
///
/// # Errors
/// A root that is no directory or has no folder in it, a folder without a picture, a picture that does not decode, a
/// format or normalisation out of range.
pub fn read_class_folders(
    root: &Path,
    format: ImageFormat,
    normalize: Normalize,
) -> Result<ImageSet> {
    let nothing = |path: &Path, wanted: &str| Error::Nothing {
        path: path.to_path_buf(),
        wanted: wanted.to_owned(),
    };
    let mut classes = Vec::new();
    for folder in visible_entries(root)?
        .into_iter()
        .filter(|entry| entry.is_dir())
    {
        let pictures: Vec<Source> = visible_entries(&folder)?
            .into_iter()
            .filter(|entry| is_picture(entry))
            .map(|path| Source { path, bytes: None })
            .collect();
        if pictures.is_empty() {
            return Err(nothing(&folder, "pictures that end in .png, .jpg or .jpeg"));
        }
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        classes.push((name, pictures));
    }
    if classes.is_empty() {
        return Err(nothing(root, "a folder for each class"));
    }
    ImageSet::decode(format, normalize, classes)
}

/// What is in a directory, sorted, without hidden entries.
fn visible_entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |source| Error::Read {
        path: directory.to_path_buf(),
        source,
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push(entry.path());
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

fn is_picture(path: &Path) -> bool {
    let is = |ending: &str| {
        path.extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
    };
    path.is_file() && (is("png") || is("jpg") || is("jpeg"))
}
