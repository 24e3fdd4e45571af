//! Class folders, decoding, resizing, normalising, rotations.

use std::{fs, path::Path};

use expect_test::{Expect, expect};
use image::{GrayImage, Luma, Rgb, RgbImage};
use metashot_data::image::{ImageFormat, ImageSet, Normalize, read_class_folders};
use proptest::prelude::*;

use crate::check_error;

const GREY: ImageFormat = ImageFormat {
    channels: 1,
    height: 2,
    width: 3,
};

fn write(path: &Path, picture: &GrayImage) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

/// A 2 x 3 picture with the values 0, 51, 102, 153, 204, 255, which are fifths of one.
fn fifths() -> GrayImage {
    GrayImage::from_fn(3, 2, |x, y| Luma([51 * (3 * y + x) as u8]))
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance,
            "{found} is not {expected}"
        );
    }
}

#[test]
fn reads_folders_and_files_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for (class, file) in [
        ("zebra", "1.png"),
        ("ant", "b.PNG"),
        ("ant", "a.jpeg"),
        ("ant", "c.jpg"),
        (".git", "x.png"),
    ] {
        write(&root.join(class).join(file), &fifths());
    }
    write(&root.join("ant/.hidden.png"), &fifths());
    fs::write(root.join("ant/notes.txt"), "not a picture").unwrap();
    fs::write(root.join("README"), "not a class").unwrap();

    let set = read_class_folders(root, GREY, Normalize::UNIT).unwrap();
    assert_eq!(set.classes, ["ant", "zebra"]);
    assert_eq!(set.images, [vec![0, 1, 2], vec![3]]);
    assert_eq!(set.format(), GREY);
    assert_close(&set.pixels(1), &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 1e-6);
    assert_close(&set.pixels(3), &set.pixels(1), 0.0);
}

#[test]
fn normalises_and_inverts() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("ant/a.png"), &fifths());
    let check = |normalize, expected: &[f32]| {
        let set = read_class_folders(dir.path(), GREY, normalize).unwrap();
        assert_close(&set.pixels(0), expected, 1e-6);
    };
    check(Normalize::INK, &[1.0, 0.8, 0.6, 0.4, 0.2, 0.0]);
    check(
        Normalize {
            mean: 0.5,
            std: 0.1,
            invert: false,
        },
        &[-5.0, -3.0, -1.0, 1.0, 3.0, 5.0],
    );
    check(
        Normalize {
            mean: 1.0,
            std: 2.0,
            invert: true,
        },
        &[0.0, -0.1, -0.2, -0.3, -0.4, -0.5],
    );
}

#[test]
fn colours_are_planes_and_grey_is_their_weighted_mean() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("ant")).unwrap();
    let picture = RgbImage::from_fn(2, 1, |x, _| {
        if x == 0 {
            Rgb([255, 51, 0])
        } else {
            Rgb([0, 102, 204])
        }
    });
    picture.save(dir.path().join("ant/a.png")).unwrap();
    let read = |channels| {
        let format = ImageFormat {
            channels,
            height: 1,
            width: 2,
        };
        read_class_folders(dir.path(), format, Normalize::UNIT)
            .unwrap()
            .pixels(0)
            .into_owned()
    };
    assert_close(&read(3), &[1.0, 0.0, 0.2, 0.4, 0.0, 0.8], 1e-6);
    // Rec. 709 luma.
    assert_close(
        &read(1),
        &[0.2126 + 0.7152 * 0.2, 0.7152 * 0.4 + 0.0722 * 0.8],
        1e-3,
    );

    write(
        &dir.path().join("ant/a.png"),
        &GrayImage::from_pixel(2, 1, Luma([51])),
    );
    assert_close(&read(3), &[0.2; 6], 1e-6);
}

#[test]
fn shrinking_weighs_every_pixel() {
    let dir = tempfile::tempdir().unwrap();
    // A stroke of one pixel on 105 columns: sampling without weights would lose it in most places.
    for column in 0..105 {
        let picture =
            GrayImage::from_fn(105, 105, |x, _| Luma([if x == column { 0 } else { 255 }]));
        write(
            &dir.path().join(format!("stroke/{column:03}.png")),
            &picture,
        );
    }
    let set = read_class_folders(dir.path(), ImageFormat::OMNIGLOT, Normalize::INK).unwrap();
    for &image in &set.images[0] {
        let pixels = set.pixels(image);
        let ink: f32 = pixels[..28].iter().sum();
        // A column is 28 / 105 = 0.27 of a column of the small picture; at the edges the window is cut off.
        assert!(
            (0.13..0.55).contains(&ink),
            "stroke {image} keeps {ink} of its ink"
        );
        assert!(pixels.iter().all(|value| (0.0..=1.0).contains(value)));
        assert_close(&pixels[28 * 27..], &pixels[..28], 1e-6);
    }
}

#[test]
fn plain_pictures_stay_plain_in_any_size() {
    let dir = tempfile::tempdir().unwrap();
    for (name, width, height) in [("big", 61, 17), ("small", 1, 1), ("exact", 5, 4)] {
        write(
            &dir.path().join(format!("ant/{name}.png")),
            &GrayImage::from_pixel(width, height, Luma([153])),
        );
    }
    let format = ImageFormat {
        channels: 1,
        height: 4,
        width: 5,
    };
    let set = read_class_folders(dir.path(), format, Normalize::UNIT).unwrap();
    for image in 0..3 {
        assert_close(&set.pixels(image), &[0.6; 20], 1e-6);
    }
}

#[test]
fn bad_trees_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("pictures");
    let check = |expected: Expect| {
        check_error(
            read_class_folders(&root, GREY, Normalize::UNIT),
            Some(dir.path()),
            &expected,
        );
    };
    check(expect!["failed to read `DIR/pictures` (and the cause)"]);

    fs::write(&root, "a file").unwrap();
    check(expect!["failed to read `DIR/pictures` (and the cause)"]);

    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    check(expect![
        "`DIR/pictures`: expected a folder for each class, found none"
    ]);

    write(&root.join("ant/a.png"), &fifths());
    fs::create_dir(root.join("bee")).unwrap();
    check(expect![
        "`DIR/pictures/bee`: expected pictures that end in .png, .jpg or .jpeg, found none"
    ]);

    write(&root.join("bee/a.png"), &fifths());
    fs::write(root.join("bee/b.jpg"), "no picture").unwrap();
    check(expect![
        "failed to decode the picture `DIR/pictures/bee/b.jpg` (and the cause)"
    ]);

    let whole = fs::read(root.join("bee/a.png")).unwrap();
    fs::write(root.join("bee/b.jpg"), &whole[..whole.len() / 2]).unwrap();
    check(expect![
        "failed to decode the picture `DIR/pictures/bee/b.jpg` (and the cause)"
    ]);

    fs::remove_file(root.join("bee/b.jpg")).unwrap();
    assert!(read_class_folders(&root, GREY, Normalize::UNIT).is_ok());
}

#[test]
fn the_first_bad_picture_is_named_at_any_thread_count() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..50 {
        let path = dir.path().join(format!("ant/{number:02}.png"));
        write(&path, &fifths());
        if number % 7 == 3 {
            fs::write(&path, "no picture").unwrap();
        }
    }
    for _ in 0..10 {
        let error = read_class_folders(dir.path(), GREY, Normalize::UNIT).unwrap_err();
        assert!(error.to_string().ends_with("03.png`"), "{error}");
    }
}

#[test]
fn formats_out_of_range_are_named() {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("ant/a.png"), &fifths());
    let check = |format, normalize, expected: Expect| {
        check_error(
            read_class_folders(dir.path(), format, normalize),
            None,
            &expected,
        );
    };
    let unit = Normalize::UNIT;
    check(
        ImageFormat {
            channels: 2,
            ..GREY
        },
        unit,
        expect!["`channels`: expected 1 or 3, found 2"],
    );
    check(
        ImageFormat { height: 0, ..GREY },
        unit,
        expect!["`height`: expected 1 or more, found 0"],
    );
    check(
        ImageFormat { width: 0, ..GREY },
        unit,
        expect!["`width`: expected 1 or more, found 0"],
    );
    check(
        GREY,
        Normalize { std: 0.0, ..unit },
        expect!["`std`: expected a finite number above 0, found 0"],
    );
    check(
        GREY,
        Normalize {
            mean: f32::NAN,
            ..unit
        },
        expect!["`mean`: expected a finite number, found NaN"],
    );
}

#[test]
fn pixels_in_memory_are_checked() {
    let check = |classes, expected: Expect| {
        check_error(ImageSet::from_pixels(GREY, classes), None, &expected);
    };
    let class = |name: &str, values| (name.to_owned(), vec![vec![0.0; 6], vec![0.0; values]]);
    check(
        vec![class("a", 6), class("b", 5)],
        expect!["`b`: expected 6 numbers in a picture, found 5"],
    );
    check(
        vec![class("a", 6), class("a", 6)],
        expect!["class `a` stands twice in `classes`"],
    );
    assert!(ImageSet::from_pixels(GREY, vec![class("a", 6), class("b", 6)]).is_ok());
}

/// Two classes of one and two square pictures with values that tell where they came from.
fn numbered(channels: usize, side: usize) -> ImageSet {
    let format = ImageFormat {
        channels,
        height: side,
        width: side,
    };
    let picture = |from: usize| {
        (0..format.n_values())
            .map(|value| (1000 * from + value) as f32)
            .collect()
    };
    let classes = vec![
        ("a".to_owned(), vec![picture(0)]),
        ("b".to_owned(), vec![picture(1), picture(2)]),
    ];
    ImageSet::from_pixels(format, classes).unwrap()
}

#[test]
fn turns_counter_clockwise() {
    let set = numbered(1, 3).with_rotations().unwrap();
    let check =
        |class: usize, expected: [f32; 9]| assert_eq!(*set.pixels(set.images[class][0]), expected);
    check(0, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    check(1, [2.0, 5.0, 8.0, 1.0, 4.0, 7.0, 0.0, 3.0, 6.0]);
    check(2, [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
    check(3, [6.0, 3.0, 0.0, 7.0, 4.0, 1.0, 8.0, 5.0, 2.0]);
}

#[test]
fn each_rotation_is_a_class_of_its_own() {
    let set = numbered(1, 2).with_rotations().unwrap();
    let names = [
        "a/rot000", "a/rot090", "a/rot180", "a/rot270", "b/rot000", "b/rot090", "b/rot180",
        "b/rot270",
    ];
    assert_eq!(set.classes, names);
    assert_eq!(
        set.images.iter().map(Vec::len).collect::<Vec<_>>(),
        [1, 1, 1, 1, 2, 2, 2, 2]
    );
    let mut images = set.images.concat();
    images.sort_unstable();
    assert_eq!(images, (0..12).collect::<Vec<_>>());
}

#[test]
fn only_square_pictures_turn() {
    let set = ImageSet::from_pixels(GREY, vec![("a".to_owned(), vec![vec![0.0; 6]])]).unwrap();
    let expected = expect!["`height x width`: expected a square, for quarter turns, found 2 x 3"];
    check_error(set.with_rotations(), None, &expected);
}

proptest! {
    #[test]
    fn rotations_add_up(channels in 1..4usize, side in 1..6usize) {
        prop_assume!(channels != 2);
        let twice = numbered(channels, side).with_rotations().unwrap().with_rotations().unwrap();
        let pixels = |name: &str| {
            let class = twice.classes.iter().position(|class| class == name).unwrap();
            twice.pixels(twice.images[class][1]).into_owned()
        };
        prop_assert_eq!(pixels("b/rot090/rot270"), pixels("b/rot000/rot000"));
        prop_assert_eq!(pixels("b/rot090/rot090"), pixels("b/rot180/rot000"));
        prop_assert_eq!(pixels("b/rot180/rot090"), pixels("b/rot270/rot000"));
        let mut sorted = pixels("b/rot270/rot000");
        sorted.sort_unstable_by(f32::total_cmp);
        prop_assert_eq!(sorted, pixels("b/rot000/rot000"));
    }
}

#[test]
fn selects_classes_in_the_order_asked_for() {
    let set = numbered(1, 2).with_rotations().unwrap();
    let names = ["b/rot090", "a/rot000"].map(String::from);
    let part = set.select(&names).unwrap();
    assert_eq!(part.classes, names);
    assert_eq!(part.images[0].len(), 2);
    assert_eq!(part.pixels(part.images[0][1]), set.pixels(set.images[5][1]));
    assert_eq!(part.pixels(part.images[1][0]), set.pixels(set.images[0][0]));

    let check = |names: &[&str], expected| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        check_error(set.select(&names), None, &expected);
    };
    check(
        &["a/rot000", "c/rot000"],
        expect!["class `c/rot000` is not among the 8 classes of the set"],
    );
    check(
        &["a/rot000", "a/rot000"],
        expect!["class `a/rot000` stands twice in `selected`"],
    );
}
