//! Class splits.

use expect_test::expect;
use metashot_data::{ClassSplit, disjoint};

use crate::check_error;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_class_in_two_sets_is_named() {
    let (train, rest) = (names(&["a", "b"]), names(&["c"]));
    assert!(ClassSplit::new(train.clone(), rest.clone(), vec![]).is_ok());
    let check = |validation, test, expected| {
        check_error(
            ClassSplit::new(train.clone(), validation, test),
            None,
            &expected,
        );
    };
    check(
        names(&["b"]),
        rest.clone(),
        expect!["class `b` stands in both `train` and `validation`"],
    );
    check(
        rest.clone(),
        names(&["d", "a"]),
        expect!["class `a` stands in both `train` and `test`"],
    );
    check(
        rest.clone(),
        names(&["c"]),
        expect!["class `c` stands in both `validation` and `test`"],
    );
    check(
        rest.clone(),
        names(&["d", "d"]),
        expect!["class `d` stands twice in `test`"],
    );
}

#[test]
fn any_number_of_sets_can_be_checked() {
    let (one, two) = (names(&["a", "b"]), names(&["c", "a"]));
    assert!(disjoint(&[]).is_ok());
    assert!(disjoint(&[("base", &one), ("novel", &two[..1])]).is_ok());
    let expected = expect!["class `a` stands in both `base` and `novel`"];
    check_error(
        disjoint(&[("base", &one), ("novel", &two)]),
        None,
        &expected,
    );
}

#[test]
fn random_split_is_a_partition_that_the_seed_decides() {
    let all: Vec<String> = (0..40).map(|number| format!("class{number:02}")).collect();
    let split = ClassSplit::random(&all, 8, 12, 5).unwrap();
    assert_eq!(
        (split.train.len(), split.validation.len(), split.test.len()),
        (20, 8, 12)
    );
    let mut together = [
        split.train.clone(),
        split.validation.clone(),
        split.test.clone(),
    ]
    .concat();
    together.sort_unstable();
    assert_eq!(together, all);

    let reversed: Vec<String> = all.iter().rev().cloned().collect();
    assert_eq!(ClassSplit::random(&reversed, 8, 12, 5).unwrap(), split);
    assert_ne!(ClassSplit::random(&all, 8, 12, 6).unwrap(), split);
}

#[test]
fn random_split_of_too_few_names_is_an_error() {
    let all = names(&["a", "b", "c"]);
    assert!(ClassSplit::random(&all, 1, 1, 0).is_ok());
    let expected =
        expect!["a split with 1 for validation and 2 for test needs 4 or more classes, found 3"];
    check_error(ClassSplit::random(&all, 1, 2, 0), None, &expected);
    let twice = names(&["a", "b", "a"]);
    check_error(
        ClassSplit::random(&twice, 1, 1, 0),
        None,
        &expect!["class `a` stands twice in `names`"],
    );
}
