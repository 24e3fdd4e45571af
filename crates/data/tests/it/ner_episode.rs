//! N-way K~2K-shot episodes of sentences.

use std::{collections::BTreeSet, path::Path, thread};

use expect_test::{Expect, expect};
use metashot_data::text::{
    Corpus, NerEpisode, NerSampler, NerShape, OrphanInside, Span, parse_bio,
};

use crate::check_error;

fn corpus(text: &str) -> Corpus {
    parse_bio(text, Path::new("corpus.txt"), OrphanInside::Reject).unwrap()
}

/// A corpus from entity types: `A BB AC` is three sentences, the second with two entities of type B.
fn sentences(spec: &str) -> Corpus {
    let mut text = String::new();
    for types in spec.split_whitespace() {
        for kind in types.chars() {
            text.extend([kind, ' ', 'B', '-', kind, '\n']);
        }
        text += "end O\n\n";
    }
    corpus(&text)
}

fn all(corpus: &Corpus) -> Vec<usize> {
    (0..corpus.types.len()).collect()
}

fn shape(n_way: usize, k_shot: usize, n_query: usize) -> NerShape {
    NerShape {
        n_way,
        k_shot,
        n_query,
    }
}

/// Sentences of six types, alone, repeated and mixed, so that the rule has something to pass over.
fn mixed() -> Corpus {
    let mut spec = String::new();
    for (at, kind) in "ABCDEF".chars().enumerate() {
        let next = "ABCDEF".chars().nth((at + 1) % 6).unwrap();
        spec += &format!(
            "{kind} {kind}{kind} {kind}{next} {kind}{kind}{next} {kind}{kind}{kind}{kind}{kind} "
        )
        .repeat(4);
    }
    sentences(&spec)
}

/// Entities of each class in a set, and a panic for a sentence of another type.
fn count(corpus: &Corpus, episode: &NerEpisode, set: &[usize]) -> Vec<usize> {
    let mut counts = vec![0; episode.types.len()];
    for &sentence in set {
        let sentence = &corpus.sentences[sentence];
        let spans = episode.spans(sentence);
        assert_eq!(
            spans.len(),
            sentence.spans.len(),
            "every entity is of a drawn type"
        );
        for span in spans {
            counts[span.label] += 1;
        }
    }
    counts
}

#[test]
fn sets_hold_k_to_two_k_of_each_type_and_share_no_sentence() {
    let corpus = mixed();
    for (n_way, k_shot, n_query) in [(2, 1, 1), (3, 2, 1), (5, 1, 3), (6, 2, 2)] {
        let sampler =
            NerSampler::new(&corpus, &all(&corpus), shape(n_way, k_shot, n_query)).unwrap();
        for index in 0..50 {
            let episode = sampler.episode(3, index).unwrap();
            assert_eq!(episode.types.iter().collect::<BTreeSet<_>>().len(), n_way);
            for (set, k) in [(&episode.support, k_shot), (&episode.query, n_query)] {
                let counts = count(&corpus, &episode, set);
                assert!(
                    counts.iter().all(|count| (k..=2 * k).contains(count)),
                    "{counts:?} for {k}"
                );
            }
            let together: BTreeSet<_> = episode.support.iter().chain(&episode.query).collect();
            assert_eq!(together.len(), episode.support.len() + episode.query.len());
        }
    }
}

#[test]
fn no_sentence_is_taken_that_adds_nothing() {
    let corpus = mixed();
    let sampler = NerSampler::new(&corpus, &all(&corpus), shape(4, 2, 2)).unwrap();
    for index in 0..50 {
        let episode = sampler.episode(0, index).unwrap();
        for set in [&episode.support, &episode.query] {
            let mut reached = [0; 4];
            for &sentence in set {
                let spans = episode.spans(&corpus.sentences[sentence]);
                assert!(spans.iter().any(|span| reached[span.label] < 2));
                for span in spans {
                    reached[span.label] += 1;
                }
            }
        }
    }
}

#[test]
fn every_episode_is_addressable() {
    let corpus = mixed();
    let sampler = NerSampler::new(&corpus, &all(&corpus), shape(3, 1, 1)).unwrap();
    let in_order: Vec<NerEpisode> = (0..40)
        .map(|index| sampler.episode(9, index).unwrap())
        .collect();
    for index in (0..40).rev() {
        assert_eq!(sampler.episode(9, index as u64).unwrap(), in_order[index]);
    }
    let different = |one: &[NerEpisode]| one.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(different(&in_order), 39);
    assert_ne!(sampler.episode(10, 0).unwrap(), in_order[0]);
    assert!(sampler.episode(u64::MAX, u64::MAX).is_ok());

    let elsewhere = thread::scope(|scope| {
        scope
            .spawn(|| sampler.episode(9, 7).unwrap())
            .join()
            .unwrap()
    });
    assert_eq!(elsewhere, in_order[7]);
}

/// The draw itself is pinned: a result that names a seed must mean the same episodes in the next version.
#[test]
fn episodes_of_a_seed_stay_the_same() {
    let corpus = mixed();
    let sampler = NerSampler::new(&corpus, &all(&corpus), shape(3, 1, 2)).unwrap();
    let check = |seed, index, expected: Expect| {
        let NerEpisode {
            types,
            support,
            query,
        } = sampler.episode(seed, index).unwrap();
        expected.assert_eq(&format!("{types:?} {support:?} {query:?}"));
    };
    check(0, 0, expect!["[2, 3, 5] [45, 100, 47] [101, 66, 58]"]);
    check(0, 1, expect!["[2, 3, 5] [52, 100] [60, 111, 45, 61, 57]"]);
    check(
        1,
        1000,
        expect!["[1, 4, 5] [96, 106, 25] [105, 80, 85, 98, 26]"],
    );
}

#[test]
fn all_types_and_their_order_come_up() {
    let corpus = mixed();
    let sampler = NerSampler::new(&corpus, &all(&corpus), shape(2, 1, 1)).unwrap();
    let drawn: BTreeSet<Vec<usize>> = (0..600)
        .map(|index| sampler.episode(1, index).unwrap().types)
        .collect();
    assert_eq!(drawn.len(), 6 * 5);
}

#[test]
fn only_allowed_types_are_drawn() {
    let corpus = mixed();
    let sampler = NerSampler::new(&corpus, &[1, 2, 5], shape(2, 1, 1)).unwrap();
    for index in 0..50 {
        let episode = sampler.episode(2, index).unwrap();
        assert!(episode.types.iter().all(|kind| [1, 2, 5].contains(kind)));
        count(&corpus, &episode, &episode.support);
        count(&corpus, &episode, &episode.query);
    }
}

#[test]
fn spans_are_relabelled_by_class() {
    let corpus = sentences("ABC");
    let episode = NerEpisode {
        types: vec![2, 0],
        support: vec![],
        query: vec![],
    };
    let relabelled = episode.spans(&corpus.sentences[0]);
    assert_eq!(
        relabelled,
        [
            Span {
                label: 1,
                start: 0,
                end: 1
            },
            Span {
                label: 0,
                start: 2,
                end: 3
            }
        ]
    );
}

#[test]
fn what_cannot_succeed_is_refused_at_once() {
    let check = |spec: &str, shape, expected: Expect| {
        let corpus = sentences(spec);
        check_error(
            NerSampler::new(&corpus, &all(&corpus), shape),
            None,
            &expected,
        );
    };
    check(
        "A B A B",
        shape(3, 1, 1),
        expect!["a 3-way episode needs 3 or more classes, found 2"],
    );
    check(
        "A B",
        shape(0, 1, 1),
        expect!["`n_way`: expected 1 or more, found 0"],
    );
    check(
        "A B",
        shape(1, 0, 1),
        expect!["`k_shot`: expected 1 or more, found 0"],
    );
    check(
        "A B",
        shape(1, 1, 0),
        expect!["`n_query`: expected 1 or more, found 0"],
    );
    check(
        "A A A B B",
        shape(2, 2, 1),
        expect![
            "entity type `B`: k_shot 2 and n_query 1 need 3 entities in 2 or more sentences, found 2 in 2 usable (of 2 in the corpus)"
        ],
    );
    // Two entities, but in one sentence, which cannot be in both sets.
    check(
        "A A BB",
        shape(2, 1, 1),
        expect![
            "entity type `B`: k_shot 1 and n_query 1 need 2 entities in 2 or more sentences, found 2 in 1 usable (of 2 in the corpus)"
        ],
    );
    // Only beside more types than an episode has.
    check(
        "A A B B C C ABCD ABCD",
        shape(3, 1, 1),
        expect![
            "entity type `D`: k_shot 1 and n_query 1 need 2 entities in 2 or more sentences, found 0 in 0 usable (of 2 in the corpus)"
        ],
    );
    // Only in sentences with more than 2K of it.
    check(
        "A A BBB BBB BBB",
        shape(1, 1, 1),
        expect![
            "entity type `B`: k_shot 1 and n_query 1 need 2 entities in 2 or more sentences, found 0 in 0 usable (of 9 in the corpus)"
        ],
    );
    check(
        "A A B B",
        shape(1, usize::MAX, 1),
        expect![
            "entity type `A`: k_shot 18446744073709551615 and n_query 1 need 18446744073709551615 entities in 2 or more sentences, found 2 in 2 usable (of 2 in the corpus)"
        ],
    );
}

#[test]
fn types_outside_of_the_allowed_ones_make_a_sentence_unusable() {
    let corpus = sentences("A A AB AB B");
    let expected = expect![
        "entity type `B`: k_shot 1 and n_query 1 need 2 entities in 2 or more sentences, found 1 in 1 usable (of 3 in the corpus)"
    ];
    check_error(
        NerSampler::new(&corpus, &[1], shape(1, 1, 1)),
        None,
        &expected,
    );
    let masked = corpus.mask(&["B"]).unwrap();
    assert!(NerSampler::new(&masked, &[0], shape(1, 1, 1)).is_ok());
}

#[test]
fn types_must_be_indices_into_the_corpus() {
    let corpus = sentences("A A B B");
    let expected = expect!["`types`: expected indices below 2, each once, found 2"];
    check_error(
        NerSampler::new(&corpus, &[0, 2], shape(1, 1, 1)),
        None,
        &expected,
    );
    let expected = expect!["`types`: expected indices below 2, each once, found 1"];
    check_error(
        NerSampler::new(&corpus, &[1, 1], shape(1, 1, 1)),
        None,
        &expected,
    );
}

#[test]
fn types_that_never_meet_are_told_and_do_not_spin() {
    // Each type stands in two usable sentences, but any two types meet in one only.
    let corpus = sentences("AB BC CA");
    let sampler = NerSampler::new(&corpus, &all(&corpus), shape(2, 1, 1)).unwrap();
    for index in 0..20 {
        assert!(sampler.episode(0, index).is_err());
    }
    check_error(
        sampler.episode(0, 0),
        None,
        &expect![
            "no 2-way episode in 100 draws: at the last, entity type `A` reached 0 of 1 entities in the query set, with 0 sentences of the drawn types to choose from"
        ],
    );
}

#[test]
fn types_that_cannot_be_completed_are_drawn_again() {
    let corpus = sentences("AB AB BC CA");
    let sampler = NerSampler::new(&corpus, &all(&corpus), shape(2, 1, 1)).unwrap();
    for index in 0..50 {
        let episode = sampler.episode(0, index).unwrap();
        assert_eq!(
            episode.types.iter().collect::<BTreeSet<_>>(),
            BTreeSet::from([&0, &1])
        );
    }
}
