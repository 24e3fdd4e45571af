//! The release archives and the class lists, in small.

use std::{
    fs::{self, File},
    io::{Cursor, Write},
    path::{Path, PathBuf},
    slice,
};

use expect_test::{Expect, expect};
use image::{GrayImage, ImageFormat as FileFormat, Luma};
use metashot_data::image::{
    ImageFormat, Normalize, read_omniglot, read_vinyals_split, rotated_name,
};
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::check_error;

const TINY: ImageFormat = ImageFormat {
    channels: 1,
    height: 2,
    width: 2,
};

/// A 2 x 2 drawing of one shade, as a PNG.
fn drawing(shade: u8) -> Vec<u8> {
    let mut png = Cursor::new(Vec::new());
    GrayImage::from_pixel(2, 2, Luma([shade]))
        .write_to(&mut png, FileFormat::Png)
        .unwrap();
    png.into_inner()
}

fn archive(path: &Path, method: CompressionMethod, entries: &[(&str, Vec<u8>)]) -> PathBuf {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, bytes) in entries {
        let options = SimpleFileOptions::default().compression_method(method);
        if name.ends_with('/') {
            zip.add_directory(*name, options).unwrap();
        } else {
            zip.start_file(*name, options).unwrap();
            zip.write_all(bytes).unwrap();
        }
    }
    zip.finish().unwrap();
    path.to_path_buf()
}

/// Two small archives in the layout of the release, with the clutter that real ones have.
fn archives(dir: &Path, method: CompressionMethod) -> Vec<PathBuf> {
    let background = [
        ("images_background/", vec![]),
        ("images_background/Greek/", vec![]),
        ("images_background/Greek/character02/", vec![]),
        (
            "images_background/Greek/character02/0002_02.png",
            drawing(51),
        ),
        (
            "images_background/Greek/character02/0002_01.png",
            drawing(0),
        ),
        (
            "images_background/Greek/character01/0001_01.png",
            drawing(102),
        ),
        ("images_background/Greek/.DS_Store", vec![1, 2, 3]),
        (
            "__MACOSX/images_background/Greek/character01/._0001_01.png",
            vec![1, 2, 3],
        ),
    ];
    let evaluation = [(
        "images_evaluation/Ge_ez/character01/1001_01.png",
        drawing(255),
    )];
    vec![
        archive(&dir.join("background.zip"), method, &background),
        archive(&dir.join("evaluation.zip"), method, &evaluation),
    ]
}

#[test]
fn reads_characters_of_all_archives_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let archives = archives(dir.path(), method);
        let set = read_omniglot(&archives, |_| true, TINY, Normalize::INK).unwrap();
        assert_eq!(
            set.classes,
            [
                "Ge_ez/character01",
                "Greek/character01",
                "Greek/character02"
            ]
        );
        assert_eq!(set.images, [vec![0], vec![1], vec![2, 3]]);
        let ink: Vec<f32> = (0..4).map(|image| set.pixels(image)[0]).collect();
        let expected = [0.0, 0.6, 1.0, 0.8];
        assert!(
            ink.iter()
                .zip(expected)
                .all(|(ink, expected)| (ink - expected).abs() < 1e-6),
            "{ink:?}"
        );
    }
}

#[test]
fn decodes_only_what_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let entries = [
        (
            "images_background/Greek/character01/0001_01.png",
            drawing(0),
        ),
        (
            "images_background/Greek/character02/0002_01.png",
            b"no picture".to_vec(),
        ),
    ];
    let archives = [archive(
        &dir.path().join("a.zip"),
        CompressionMethod::Stored,
        &entries,
    )];
    let read = |keep: fn(&str) -> bool| read_omniglot(&archives, keep, TINY, Normalize::INK);
    assert_eq!(
        read(|class| class == "Greek/character01").unwrap().classes,
        ["Greek/character01"]
    );
    check_error(
        read(|_| true),
        Some(dir.path()),
        &expect![
            "failed to decode the picture `DIR/a.zip/images_background/Greek/character02/0002_01.png` (and the cause)"
        ],
    );
    check_error(
        read(|_| false),
        None,
        &expect!["a picture set needs 1 or more classes, found 0"],
    );
    check_error(
        read_omniglot(&[], |_| true, TINY, Normalize::INK),
        None,
        &expect!["a picture set needs 1 or more classes, found 0"],
    );
}

#[test]
fn bad_archives_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zip");
    let check = |paths: &[PathBuf], expected: Expect| {
        check_error(
            read_omniglot(paths, |_| true, TINY, Normalize::INK),
            Some(dir.path()),
            &expected,
        );
    };
    check(
        slice::from_ref(&path),
        expect!["failed to read `DIR/a.zip` (and the cause)"],
    );

    fs::write(&path, "no archive").unwrap();
    check(
        slice::from_ref(&path),
        expect!["failed to read the zip archive `DIR/a.zip` (and the cause)"],
    );

    archive(
        &path,
        CompressionMethod::Stored,
        &[("strokes/Greek/1.txt", vec![])],
    );
    check(
        slice::from_ref(&path),
        expect![
            "`DIR/a.zip`: expected entries like `images_background/alphabet/character01/0001_01.png`, found none"
        ],
    );

    // The directory of a zip stands at its end: half a file is no archive.
    let archives = archives(dir.path(), CompressionMethod::Stored);
    let whole = fs::read(&archives[0]).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    check(
        slice::from_ref(&path),
        expect!["failed to read the zip archive `DIR/a.zip` (and the cause)"],
    );

    // A byte inside of a stored drawing is caught by the checksum.
    let at = whole.windows(4).position(|bytes| bytes == b"IDAT").unwrap();
    let mut flipped = whole;
    flipped[at + 6] ^= 0xff;
    fs::write(&path, &flipped).unwrap();
    check(
        slice::from_ref(&path),
        expect![
            "failed to read the zip archive `DIR/a.zip/images_background/Greek/character02/0002_02.png` (and the cause)"
        ],
    );

    check(
        &[archives[0].clone(), archives[0].clone()],
        expect!["class `Greek/character01` stands twice in `DIR/background.zip`"],
    );
}

#[test]
fn reads_class_lists() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.txt");
    fs::write(
        &path,
        "Greek/character01/rot000\r\nMalay_(Jawi_-_Tagalog)/character40/rot270\n\n",
    )
    .unwrap();
    let classes = read_vinyals_split(&path).unwrap();
    assert_eq!(
        classes,
        [
            ("Greek/character01".to_owned(), 0),
            ("Malay_(Jawi_-_Tagalog)/character40".to_owned(), 270)
        ]
    );
    let names: Vec<String> = classes
        .iter()
        .map(|(class, degrees)| rotated_name(class, *degrees))
        .collect();
    assert_eq!(
        names,
        [
            "Greek/character01/rot000",
            "Malay_(Jawi_-_Tagalog)/character40/rot270"
        ]
    );

    let check = |text: &str, expected: Expect| {
        fs::write(&path, text).unwrap();
        check_error(read_vinyals_split(&path), Some(dir.path()), &expected);
    };
    check(
        "",
        expect!["`DIR/train.txt`: expected lines `alphabet/character/rotNNN`, found none"],
    );
    check(
        "Greek/character01/rot000\nGreek/character01/rot045\n",
        expect![
            "DIR/train.txt:2: expected `alphabet/character/rotNNN` with 000, 090, 180 or 270, found `Greek/character01/rot045`"
        ],
    );
    check(
        "Greek/rot000\n",
        expect![
            "DIR/train.txt:1: expected `alphabet/character/rotNNN` with 000, 090, 180 or 270, found `Greek/rot000`"
        ],
    );
    check(
        "Greek/character01\n",
        expect![
            "DIR/train.txt:1: expected `alphabet/character/rotNNN` with 000, 090, 180 or 270, found `Greek/character01`"
        ],
    );
}

#[test]
fn rotations_are_named_as_in_the_class_lists() {
    let dir = tempfile::tempdir().unwrap();
    let archives = archives(dir.path(), CompressionMethod::Stored);
    let set = read_omniglot(&archives, |_| true, TINY, Normalize::INK)
        .unwrap()
        .with_rotations()
        .unwrap();
    assert_eq!(
        set.select(&[rotated_name("Greek/character02", 90)])
            .unwrap()
            .images[0]
            .len(),
        2
    );
}
