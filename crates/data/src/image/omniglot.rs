//! The Omniglot release: its zip archives, and the class lists of Vinyals et al.
//!
//! Lake et al., Human-level concept learning through probabilistic program induction (Science 2015).
//!
//! Deliberately not here: stroke data and the one-shot classification runs.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use zip::{ZipArchive, result::ZipError};

use crate::{
    Error, Result,
    file::{excerpt, read_text},
    image::{
        picture::{ImageFormat, Normalize, Source},
        set::ImageSet,
    },
};

/// Reads `images_background.zip`, `images_evaluation.zip` or both, without unpacking them.
///
/// Entries are `<set>/<alphabet>/<character>/<drawing>.png`; a class is named `alphabet/character`. Only classes that
/// `keep` says yes to are decoded. Classes, and drawings in them, come in the order of their names.
///
/// # Errors
/// An archive that cannot be read, is none or has no drawing in it; a character that is in two archives; a drawing
/// that does not decode; a `keep` that keeps nothing; a format or normalisation out of range.
pub fn read_omniglot(
    archives: &[PathBuf],
    keep: impl Fn(&str) -> bool,
    format: ImageFormat,
    normalize: Normalize,
) -> Result<ImageSet> {
    let mut classes: BTreeMap<String, (&Path, Vec<Source>)> = BTreeMap::new();
    for archive in archives {
        for (class, drawings) in read_archive(archive, &keep)? {
            if let Some((other, _)) = classes.insert(class.clone(), (archive, drawings)) {
                return Err(Error::Overlap {
                    name: class,
                    first: other.display().to_string(),
                    second: archive.display().to_string(),
                });
            }
        }
    }
    if classes.is_empty() {
        return Err(Error::TooFewClasses {
            purpose: "a picture set".to_owned(),
            wanted: 1,
            found: 0,
        });
    }
    ImageSet::decode(
        format,
        normalize,
        classes
            .into_iter()
            .map(|(class, (_, drawings))| (class, drawings))
            .collect(),
    )
}

/// The drawings of an archive by class, still encoded.
fn read_archive(path: &Path, keep: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Vec<Source>>> {
    let file = File::open(path).map_err(|source| Error::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let damaged = |source: ZipError| Error::Archive {
        path: path.to_path_buf(),
        source: Box::new(source),
    };
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;

    let mut names = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        if let Some(class) = class_of(&entry.name().map_err(damaged)?) {
            names.push((class, index));
        }
    }
    if names.is_empty() {
        let wanted = "entries like `images_background/alphabet/character01/0001_01.png`".to_owned();
        return Err(Error::Nothing {
            path: path.to_path_buf(),
            wanted,
        });
    }

    let mut classes: BTreeMap<String, Vec<Source>> = BTreeMap::new();
    for (class, index) in names.into_iter().filter(|(class, _)| keep(class)) {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let path = path.join(&*entry.name().map_err(damaged)?);
        let mut bytes = Vec::new();
        if let Err(source) = entry.read_to_end(&mut bytes) {
            return Err(Error::Archive {
                path,
                source: Box::new(source),
            });
        }
        classes.entry(class).or_default().push(Source {
            path,
            bytes: Some(bytes),
        });
    }
    for drawings in classes.values_mut() {
        drawings.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    }
    Ok(classes)
}

/// The class of an entry, if it is a drawing.
fn class_of(name: &str) -> Option<String> {
    let mut parts = name.split('/');
    let (_set, alphabet, character, drawing) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_drawing = Path::new(drawing)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    (is_drawing && parts.next().is_none()).then(|| format!("{alphabet}/{character}"))
}

/// Reads a class list of the Vinyals split: lines `alphabet/character/rotNNN`, as pairs of class and degrees.
/// [`rotated_name`](crate::image::rotated_name) of a pair is the name of the class after
/// [`ImageSet::with_rotations`].
///
/// # Errors
/// A file that cannot be read or has no lines; a line of another form.
///
/// # Source
/// Vinyals et al., Matching Networks for One Shot Learning (NIPS 2016); the lists are those that Snell et al.,
/// Prototypical Networks for Few-shot Learning (NIPS 2017), released with their code.
pub fn read_vinyals_split(path: &Path) -> Result<Vec<(String, u32)>> {
    let text = read_text(path)?;
    let mut classes = Vec::new();
    for (row, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        classes.push(parse_rotated(line.trim()).ok_or_else(|| Error::Line {
            path: path.to_path_buf(),
            line: row + 1,
            wanted: "`alphabet/character/rotNNN` with 000, 090, 180 or 270",
            found: excerpt(line),
        })?);
    }
    if classes.is_empty() {
        return Err(Error::Nothing {
            path: path.to_path_buf(),
            wanted: "lines `alphabet/character/rotNNN`".to_owned(),
        });
    }
    Ok(classes)
}

fn parse_rotated(line: &str) -> Option<(String, u32)> {
    let (class, rotation) = line.rsplit_once('/')?;
    let degrees = match rotation {
        "rot000" => 0,
        "rot090" => 90,
        "rot180" => 180,
        "rot270" => 270,
        _ => return None,
    };
    class.split_once('/').map(|_| (class.to_owned(), degrees))
}
