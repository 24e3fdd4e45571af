//! Counts and invariants on released corpora and pictures, where `METASHOT_DATA` names a directory that holds them.
//!
//! Deliberately not here: what the small files of the other modules can show as well.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use metashot_data::{
    ClassSampler, ClassShape, disjoint,
    image::{
        ImageFormat, Normalize, read_class_folders, read_omniglot, read_vinyals_split, rotated_name,
    },
    text::{
        Corpus, DomainSampler, LabelScheme, NerSampler, NerShape, OrphanInside, SupportRule,
        Tokenizer, episode_line, parse_episodes, read_bio,
    },
};

#[expect(clippy::print_stderr, reason = "a test that skips says so")]
fn data(of: &str) -> Option<PathBuf> {
    let Some(root) = env::var_os("METASHOT_DATA") else {
        eprintln!("skipped: METASHOT_DATA names no directory with {of}");
        return None;
    };
    Some(Path::new(&root).join(of))
}

fn read(path: &Path) -> Corpus {
    read_bio(path, OrphanInside::Reject).unwrap()
}

#[test]
fn released_corpora_have_their_published_counts() {
    let Some(root) = data("ner") else { return };
    let check = |file: &str, published: [usize; 5]| {
        let corpus = read(&root.join(file));
        let lengths = || corpus.sentences.iter().map(|sentence| sentence.words.len());
        let found = [
            corpus.sentences.len(),
            lengths().sum(),
            corpus.entity_counts().iter().sum(),
            corpus.types.len(),
            lengths().max().unwrap(),
        ];
        assert_eq!(found, published, "{file}");
    };
    // Sentences, tokens, entities, types, longest.
    check(
        "fewnerd-inter-part/train.txt",
        [13012, 345_620, 30608, 36, 188],
    );
    check(
        "fewnerd-inter-part/dev.txt",
        [11710, 312_919, 27797, 36, 188],
    );
    check(
        "fewnerd-inter-part/test.txt",
        [14006, 312_762, 28341, 17, 299],
    );
    check("crossner/politics/test.txt", [651, 27585, 4209, 9, 81]);
    check("crossner/science/train.txt", [200, 7100, 1075, 17, 84]);
    check("crossner/music/dev.txt", [380, 15591, 2679, 13, 79]);
    check("ncbi-disease/train.txt", [5432, 136_086, 5145, 1, 123]);
    check("wnut17/train.txt", [3394, 62730, 1975, 6, 41]);
    check("gum-part/dev.txt", [508, 10033, 1919, 10, 74]);
    check("bionlp13cg/test.txt", [1906, 52771, 6881, 16, 145]);
}

#[test]
fn fewnerd_splits_share_sentences_and_no_types() {
    let Some(root) = data("ner/fewnerd-inter-part") else {
        return;
    };
    let (train, test) = (read(&root.join("train.txt")), read(&root.join("test.txt")));
    disjoint(&[("train", &train.types), ("test", &test.types)]).unwrap();
    assert_eq!(
        test.sentences.len() - test.without_duplicates().sentences.len(),
        972
    );
    let fair = train.without_duplicates().without(&test);
    assert_eq!(
        train.sentences.len() - train.without_duplicates().sentences.len(),
        93
    );
    assert!(fair.sentences.len() < train.without_duplicates().sentences.len());
    assert_eq!(fair.without(&test), fair);
}

#[test]
fn support_sets_of_other_domains_keep_the_rule() {
    let Some(root) = data("ner") else { return };
    let check = |domain: &str, pool: &str, k_shot: usize| {
        let dir = root.join(domain);
        let (pool, queries) = (read(&dir.join(pool)), read(&dir.join("test.txt")));
        for rule in [SupportRule::Greedy, SupportRule::MinimumIncluding] {
            let sampler = DomainSampler::new(&pool, &queries, k_shot, rule).unwrap();
            for index in 0..5 {
                let episode = sampler.episode(0, index);
                assert_eq!(episode.query.len(), queries.sentences.len());
                let mut reached = vec![0; episode.types.len()];
                for sentence in &episode.support {
                    assert!(
                        episode
                            .query
                            .iter()
                            .all(|query| query.words != sentence.words)
                    );
                    for span in &sentence.spans {
                        reached[span.label] += 1;
                    }
                }
                assert!(
                    reached.iter().all(|&count| count >= k_shot),
                    "{domain}: {reached:?}"
                );
                let line = episode_line(&episode, None);
                let frozen = parse_episodes(&line, Path::new("episodes.jsonl")).unwrap();
                assert_eq!(frozen.episodes[0].hash(), episode.hash(), "{domain}");
            }
        }
    };
    for domain in [
        "crossner/politics",
        "crossner/science",
        "crossner/music",
        "wnut17",
        "ncbi-disease",
    ] {
        check(domain, "dev.txt", 1);
        check(domain, "dev.txt", 5);
    }
    check("bionlp13cg", "dev.txt", 1);
    check("bionlp13cg", "train.txt", 5);
}

#[test]
fn fewnerd_episodes_keep_the_rule() {
    let Some(root) = data("ner/fewnerd-inter-part") else {
        return;
    };
    let corpus = read(&root.join("test.txt")).without_duplicates();
    let types: Vec<usize> = (0..corpus.types.len()).collect();
    for (n_way, k) in [(5, 1), (5, 5), (10, 1), (10, 5)] {
        let shape = NerShape {
            n_way,
            k_shot: k,
            n_query: k,
        };
        let sampler = NerSampler::new(&corpus, &types, shape).unwrap();
        let mut seen = BTreeSet::new();
        for index in 0..200 {
            let episode = sampler.episode(0, index).unwrap();
            seen.extend(episode.types.iter().copied());
            for set in [&episode.support, &episode.query] {
                let mut counts = vec![0; n_way];
                for &sentence in set {
                    let sentence = &corpus.sentences[sentence];
                    let spans = episode.spans(sentence);
                    assert_eq!(spans.len(), sentence.spans.len());
                    for span in spans {
                        counts[span.label] += 1;
                    }
                }
                assert!(
                    counts.iter().all(|count| (k..=2 * k).contains(count)),
                    "{counts:?}"
                );
            }
            assert!(
                episode
                    .support
                    .iter()
                    .all(|sentence| !episode.query.contains(sentence))
            );
        }
        assert_eq!(seen.len(), 17, "every type comes up");
    }
}

#[test]
fn minilm_tokens_are_those_of_the_tokenizers_library() {
    let Some(root) = data("minilm-l6-v2") else {
        return;
    };
    let path = root.join("tokenizer.json");
    let ours = Tokenizer::from_file(&path).unwrap();
    assert_eq!(ours.vocab_size(), 30522);
    let mut theirs = tokenizers::Tokenizer::from_bytes(fs::read(&path).unwrap()).unwrap();
    assert!(theirs.get_truncation().is_some() && theirs.get_padding().is_some());
    theirs.with_padding(None).with_truncation(None).unwrap();

    let mut rescued = 0;
    let mut longest = 0;
    for file in [
        "fewnerd-inter-part/train.txt",
        "fewnerd-inter-part/test.txt",
        "wnut17/dev.txt",
    ] {
        for sentence in &read(&root.parent().unwrap().join("ner").join(file)).sentences {
            let words: Vec<&str> = sentence.words.iter().map(String::as_str).collect();
            let expected = theirs.encode(words, true).unwrap();
            let found = ours.encode_words(&sentence.words, 4096).unwrap();
            assert_eq!(found.n_words, sentence.words.len());
            longest = longest.max(found.ids.len());
            if found.ids.len() == expected.get_ids().len() {
                assert_eq!(found.ids, expected.get_ids());
            } else {
                rescued += found.ids.len() - expected.get_ids().len();
                let words_left: BTreeSet<_> = expected.get_word_ids().iter().flatten().collect();
                assert_eq!(
                    sentence.words.len() - words_left.len(),
                    found.ids.len() - expected.get_ids().len()
                );
            }

            let cut = ours.encode_words(&sentence.words, 32).unwrap();
            assert!(cut.ids.len() <= 32);
            assert_eq!(cut.ids[..cut.ids.len() - 1], found.ids[..cut.ids.len() - 1]);
            let next = cut.ids.len() - 1;
            assert!(
                found.first_subword[next].is_some() || next + 1 == found.ids.len(),
                "cut through a word"
            );
            let labels = LabelScheme::Bio.encode(&sentence.spans, sentence.words.len());
            let aligned = cut.align(&labels).into_iter();
            let carried: Vec<usize> = aligned
                .filter_map(|label| usize::try_from(label).ok())
                .collect();
            assert_eq!(carried, labels[..cut.n_words]);
        }
    }
    assert!(longest > 128, "the file's truncation would have shown");
    assert!(rescued > 0, "words without sub-words were met");
}

#[test]
fn omniglot_is_whole_and_its_lists_fit() {
    let Some(root) = data("omniglot") else { return };
    let archives = ["images_background.zip", "images_evaluation.zip"].map(|name| root.join(name));
    let set = read_omniglot(&archives, |_| true, ImageFormat::OMNIGLOT, Normalize::INK).unwrap();
    assert_eq!(set.classes.len(), 1623);
    assert!(set.images.iter().all(|images| images.len() == 20));
    let ink: f32 = (0..32460)
        .map(|image| set.pixels(image).iter().sum::<f32>())
        .sum::<f32>()
        / (32460.0 * 784.0);
    assert!(
        (0.05..0.12).contains(&ink),
        "about a twelfth of the paper is ink, found {ink}"
    );

    let set = set.with_rotations().unwrap();
    let list = |name: &str| -> Vec<String> {
        let classes = read_vinyals_split(&root.join(format!("splits/vinyals/{name}.txt"))).unwrap();
        classes
            .iter()
            .map(|(class, degrees)| rotated_name(class, *degrees))
            .collect()
    };
    let (train, val, test) = (list("train"), list("val"), list("test"));
    assert_eq!([train.len(), val.len(), test.len()], [4112, 688, 1692]);
    disjoint(&[("train", &train), ("val", &val), ("test", &test)]).unwrap();
    let part = set.select(&test).unwrap();
    let sampler = ClassSampler::new(
        &part.classes,
        &part.images,
        ClassShape {
            n_way: 20,
            k_shot: 1,
            n_query: 15,
        },
    )
    .unwrap();
    assert_eq!(sampler.episode(0, 0).query.len(), 300);
}

#[test]
fn scans_in_class_folders_are_read() {
    let Some(root) = data("medical/mednist-subset") else {
        return;
    };
    let format = ImageFormat {
        channels: 1,
        height: 64,
        width: 64,
    };
    let set = read_class_folders(&root, format, Normalize::UNIT).unwrap();
    assert_eq!(
        set.classes,
        ["AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"]
    );
    assert!(set.images.iter().all(|images| images.len() == 500));
    assert!((0..3000).all(|image| {
        set.pixels(image)
            .iter()
            .all(|value| (0.0..=1.0).contains(value))
    }));
}
