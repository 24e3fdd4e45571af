//! N-way K-shot episodes of pictures.

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use metashot_data::{
    ClassEpisode, ClassSampler, ClassShape,
    image::{ImageFormat, ImageSet},
};

use crate::check_error;

/// Classes `c0`, `c1` and so on with so many pictures.
fn set(sizes: &[usize]) -> ImageSet {
    let format = ImageFormat {
        channels: 1,
        height: 1,
        width: 1,
    };
    let class = |(number, &size): (usize, &usize)| (format!("c{number}"), vec![vec![0.0]; size]);
    ImageSet::from_pixels(format, sizes.iter().enumerate().map(class).collect()).unwrap()
}

fn shape(n_way: usize, k_shot: usize, n_query: usize) -> ClassShape {
    ClassShape {
        n_way,
        k_shot,
        n_query,
    }
}

#[test]
fn episodes_have_their_shape_and_share_no_picture() {
    let set = set(&[6, 7, 8, 6, 9, 20]);
    for (n_way, k_shot, n_query) in [(1, 1, 5), (5, 1, 1), (6, 4, 2)] {
        let sampler =
            ClassSampler::new(&set.classes, &set.images, shape(n_way, k_shot, n_query)).unwrap();
        for index in 0..50 {
            let episode = sampler.episode(4, index);
            assert_eq!(episode.classes.iter().collect::<BTreeSet<_>>().len(), n_way);
            for (part, per_class) in [(&episode.support, k_shot), (&episode.query, n_query)] {
                assert_eq!(part.len(), n_way * per_class);
                for (position, &(image, label)) in part.iter().enumerate() {
                    assert_eq!(label, position / per_class, "class-major");
                    assert!(set.images[episode.classes[label]].contains(&image));
                }
            }
            let images: BTreeSet<_> = episode
                .support
                .iter()
                .chain(&episode.query)
                .map(|(image, _)| image)
                .collect();
            assert_eq!(images.len(), n_way * (k_shot + n_query));
        }
    }
}

#[test]
fn every_episode_is_addressable() {
    let set = set(&[5; 10]);
    let sampler = ClassSampler::new(&set.classes, &set.images, shape(3, 1, 2)).unwrap();
    let in_order: Vec<ClassEpisode> = (0..40).map(|index| sampler.episode(9, index)).collect();
    for index in (0..40).rev() {
        assert_eq!(sampler.episode(9, index as u64), in_order[index]);
    }
    assert!(in_order.windows(2).all(|pair| pair[0] != pair[1]));
    assert_ne!(sampler.episode(10, 0), in_order[0]);
}

/// The draw itself is pinned: a result that names a seed must mean the same episodes in the next version.
#[test]
fn episodes_of_a_seed_stay_the_same() {
    let set = set(&[5; 10]);
    let sampler = ClassSampler::new(&set.classes, &set.images, shape(3, 1, 2)).unwrap();
    let check = |seed, index, expected: Expect| {
        let ClassEpisode {
            classes,
            support,
            query,
        } = sampler.episode(seed, index);
        expected.assert_eq(&format!("{classes:?} {support:?} {query:?}"));
    };
    check(
        0,
        0,
        expect![
            "[1, 7, 6] [(5, 0), (39, 1), (32, 2)] [(9, 0), (8, 0), (36, 1), (35, 1), (31, 2), (33, 2)]"
        ],
    );
    check(
        0,
        1,
        expect![
            "[3, 1, 6] [(17, 0), (5, 1), (32, 2)] [(19, 0), (16, 0), (8, 1), (6, 1), (31, 2), (34, 2)]"
        ],
    );
    check(
        1,
        1000,
        expect![
            "[7, 4, 6] [(38, 0), (20, 1), (33, 2)] [(36, 0), (35, 0), (21, 1), (24, 1), (34, 2), (31, 2)]"
        ],
    );
}

#[test]
fn every_class_and_picture_comes_up_at_every_place() {
    let set = set(&[3; 4]);
    let sampler = ClassSampler::new(&set.classes, &set.images, shape(2, 1, 1)).unwrap();
    let supports: BTreeSet<_> = (0..3000)
        .map(|index| sampler.episode(0, index).support)
        .collect();
    assert_eq!(supports.len(), 4 * 3 * 3 * 3);
}

#[test]
fn what_cannot_succeed_is_refused_at_once() {
    let check = |sizes: &[usize], shape, expected: Expect| {
        let set = set(sizes);
        check_error(
            ClassSampler::new(&set.classes, &set.images, shape),
            None,
            &expected,
        );
    };
    check(
        &[5, 5],
        shape(3, 1, 1),
        expect!["a 3-way episode needs 3 or more classes, found 2"],
    );
    check(
        &[6, 5, 9],
        shape(2, 1, 5),
        expect!["class `c1`: k_shot 1 and n_query 5 need 6 examples, found 5"],
    );
    check(
        &[5],
        shape(0, 1, 1),
        expect!["`n_way`: expected 1 or more, found 0"],
    );
    check(
        &[5],
        shape(1, 0, 1),
        expect!["`k_shot`: expected 1 or more, found 0"],
    );
    check(
        &[5],
        shape(1, 1, 0),
        expect!["`n_query`: expected 1 or more, found 0"],
    );
    let set = set(&[5]);
    let too_many = shape(1, usize::MAX, usize::MAX);
    assert!(ClassSampler::new(&set.classes, &set.images, too_many).is_err());
}
