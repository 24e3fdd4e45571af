//! Frozen episodes: their file, their hash, and what each bad file is told.

use std::{fs, path::Path};

use expect_test::{Expect, expect};
use metashot_data::{
    ContentHash, Error, hash_file,
    text::{
        DataFile, EpisodesHasher, EpisodesHeader, EpisodesOrigin, LabelScheme, NerEpisode,
        NerSampler, NerShape, OrphanInside, Sentence, Span, TaggingEpisode, episode_line,
        inspect_episodes, parse_bio, parse_episodes, read_episodes,
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::check_error;

const FEW_NERD: &str = include_str!("../data/few-nerd.jsonl");

fn span(label: usize, start: usize, end: usize) -> Span {
    Span { label, start, end }
}

fn sentence(words: &str, spans: &[Span]) -> Sentence {
    Sentence {
        words: words.split(' ').map(str::to_owned).collect(),
        spans: spans.to_vec(),
        line: 1,
    }
}

/// Two classes, with neighbours of one type, which IO labels alone run together.
fn episode() -> TaggingEpisode {
    TaggingEpisode {
        types: vec!["city".into(), "person".into()],
        support: vec![
            sentence(
                "Rome Oslo Ada",
                &[span(0, 0, 1), span(0, 1, 2), span(1, 2, 3)],
            ),
            sentence("nobody here", &[]),
        ],
        query: vec![sentence(
            "Zoë in New 🏙 \u{2028}",
            &[span(1, 0, 1), span(0, 2, 4)],
        )],
    }
}

fn header(episodes: &[TaggingEpisode]) -> EpisodesHeader {
    let mut hasher = EpisodesHasher::new();
    for episode in episodes {
        hasher.add(episode);
    }
    EpisodesHeader {
        hash: hasher.finish(),
        episodes: episodes.len(),
        origin: EpisodesOrigin {
            protocol: "few-nerd".into(),
            n_way: 2,
            k_shot: 1,
            n_query: Some(1),
            seed: u64::MAX,
            split: None,
            data: vec![DataFile {
                name: "test.txt".into(),
                role: "test".into(),
                sha256: ContentHash::of(b"words"),
            }],
        },
    }
}

/// The text of a file with a header.
fn file(episodes: &[TaggingEpisode]) -> String {
    let header = header(episodes);
    let lines = episodes.iter().enumerate();
    lines
        .map(|(at, episode)| episode_line(episode, (at == 0).then_some(&header)) + "\n")
        .collect()
}

fn name() -> &'static Path {
    Path::new("episodes.jsonl")
}

fn refused(text: &str, expected: &Expect) {
    check_error(parse_episodes(text, name()), None, expected);
}

/// A line with this query set and more keys, letter by letter: a message names the column.
fn line(query: &str, more: &str) -> String {
    let support = r#"{"word": [["Oslo"]], "label": [["city"]]}"#;
    format!(r#"{{"types": ["city"], "support": {support}, "query": {query}{more}}}"#)
}

/// The first line of our file, changed.
fn changed(change: impl Fn(&mut Value)) -> String {
    let mut line: Value = serde_json::from_str(&file(&[episode()])).unwrap();
    change(&mut line);
    line.to_string()
}

#[test]
fn what_few_nerd_released_is_read() {
    let frozen = parse_episodes(FEW_NERD, name()).unwrap();
    assert_eq!(frozen.header, None);
    assert_eq!(frozen.episodes.len(), 2);
    let [first, second] = &frozen.episodes[..] else {
        unreachable!()
    };
    assert_eq!(first.types, ["location-water", "building-school"]);
    assert_eq!(first.support[0].spans, [span(0, 1, 3), span(1, 5, 7)]);
    assert_eq!(first.support[1].spans, []);
    assert_eq!(
        first.query[0].spans,
        [span(1, 0, 4), span(0, 4, 5)],
        "labels alone cannot part two schools"
    );
    assert_eq!(second.query[0].words, ["at", "Ākademi"]);
    assert_eq!((first.support[1].line, second.support[0].line), (1, 2));
}

/// The figures are those of `hash_episodes.py`.
#[test]
fn the_hash_is_the_documented_one() {
    let frozen = parse_episodes(FEW_NERD, name()).unwrap();
    let check = |hash: ContentHash, expected: Expect| expected.assert_eq(&hash.to_string());
    check(
        frozen.episodes[0].hash(),
        expect!["275b4ac247c84a861d8233739d840c573dd19df7850c5d64e18cd8157c84bdf4"],
    );
    check(
        frozen.episodes[1].hash(),
        expect!["2f70e2bcfc9de3114c147a2a95dca7974f0fff8653c263cf5037ff3717ef1c1c"],
    );
    check(
        frozen.hash,
        expect!["6b7b689dd95fa57e65599430a4844bdf436be89a067de130e260998a1623abac"],
    );
}

#[test]
fn what_we_write_is_what_programs_for_few_nerd_expect() {
    let text = file(&[episode(), episode()]);
    assert!(text.is_ascii(), "{text}");
    for (at, line) in text.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["types"], json!(["city", "person"]));
        assert_eq!(
            line["support"]["label"],
            json!([["city", "city", "person"], ["O", "O"]])
        );
        assert_eq!(
            line["query"]["word"],
            json!([["Zoë", "in", "New", "🏙", "\u{2028}"]])
        );
        assert_eq!(
            line["query"]["label"],
            json!([["person", "O", "city", "city", "O"]])
        );
        assert_eq!(
            line.get("metashot").is_some(),
            at == 0,
            "a header in the first line only"
        );
    }
}

#[test]
fn what_is_written_is_read_and_nothing_is_lost() {
    let episodes = [episode(), episode()];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("episodes.jsonl");
    fs::write(&path, file(&episodes)).unwrap();
    let frozen = read_episodes(&path).unwrap();
    assert_eq!(frozen.header, Some(header(&episodes)));
    assert_eq!(frozen.hash, header(&episodes).hash);
    assert_eq!(frozen.episodes[0], episode());
    assert_eq!(inspect_episodes(&path).unwrap().1.len(), 0);
}

#[test]
fn the_hash_does_not_depend_on_how_the_json_is_written() {
    let expected = parse_episodes(&file(&[episode()]), name()).unwrap().hash;
    let mut line: Value = serde_json::from_str(&file(&[episode()])).unwrap();
    for key in ["metashot", "hash"] {
        line.as_object_mut().unwrap().remove(key);
    }
    // `Value` has its own order of keys, and writes what is not ASCII as it is.
    let spaced = line
        .to_string()
        .replace("\":", "\" :  ")
        .replace(",\"", " ,\t\"");
    let text = format!("\u{feff}\n  {spaced} \r\n\n");
    assert_eq!(parse_episodes(&text, name()).unwrap().hash, expected);
}

#[test]
fn the_hash_depends_on_everything_else() {
    let hash = |change: &dyn Fn(&mut TaggingEpisode)| {
        let mut episode = episode();
        change(&mut episode);
        episode.hash()
    };
    let mut hashes = vec![
        hash(&|_| {}),
        hash(&|episode| episode.types.swap(0, 1)),
        hash(&|episode| episode.types[0].push('x')),
        hash(&|episode| episode.support.swap(0, 1)),
        hash(&|episode| episode.support[0].words[0].push('x')),
        hash(&|episode| episode.support[0].spans[0].end += 1),
        hash(&|episode| episode.support[0].spans[0].label = 1),
        hash(&|episode| {
            episode.support[0].spans.remove(0);
        }),
        // The same words, cut elsewhere.
        hash(&|episode| episode.support[1] = sentence("nobodyhere", &[])),
        hash(&|episode| episode.support[1] = sentence("nobody her e", &[])),
        hash(&|episode| {
            let moved = episode.support.pop().unwrap();
            episode.query.insert(0, moved);
        }),
    ];
    let n = hashes.len();
    hashes.sort_by_key(ContentHash::to_string);
    hashes.dedup();
    assert_eq!(hashes.len(), n);
    assert_eq!(hash(&|episode| episode.support[0].line = 7), hash(&|_| {}));
}

#[test]
fn a_sampler_has_the_hash_of_the_file_that_it_would_write() {
    let text =
        "Ada B-PER\nin O\nRome B-LOC\n\nOslo B-LOC\n\nBob B-PER\n\nEve B-PER\nKyiv B-LOC\n\n";
    let corpus = parse_bio(text, Path::new("a.txt"), OrphanInside::Reject).unwrap();
    let shape = NerShape {
        n_way: 2,
        k_shot: 1,
        n_query: 1,
    };
    let sampler = NerSampler::new(&corpus, &[0, 1], shape).unwrap();
    let mut hasher = EpisodesHasher::new();
    let mut episodes = Vec::new();
    for index in 0..5 {
        let drawn: NerEpisode = sampler.episode(3, index).unwrap();
        let episode = TaggingEpisode::new(&corpus, &drawn);
        hasher.add_hash(episode.hash());
        for (sentence, &picked) in episode.query.iter().zip(&drawn.query) {
            assert_eq!(sentence.spans, drawn.spans(&corpus.sentences[picked]));
        }
        episodes.push(episode);
    }
    assert_eq!(
        parse_episodes(&file(&episodes), name()).unwrap().hash,
        hasher.finish()
    );
}

#[test]
fn a_changed_file_is_told_both_hashes() {
    let text = file(&[episode(), episode()]);
    let other = text.replacen("nobody", "anybody", 1);
    refused(
        &other,
        &expect![
            "episodes.jsonl:1: expected the hash ce0441769e2c29f6f797810da2e6c3ebed2f449e80fed5539b2e2ef34e0982a2, which the file gives for this episode, found 5a87cafdfb2e93f013565ac21a920722fbe5a02563ee7a3014254f84a892f1dc: the content was changed"
        ],
    );
    // The same change with the hash of the line taken away, or put right: the header still knows.
    let mut lines: Vec<Value> = other
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lines[0].as_object_mut().unwrap().remove("hash");
    refused(
        &format!("{}\n{}\n", lines[0], lines[1]),
        &expect![
            "episodes.jsonl:1: expected the hash eed09a893dd2972999bc7a4946c07065e4bc8cdd88429f3c99166696a2aae184, which the file gives for the episodes of this file, found 06ac68d60d8a92f76f6826c09322b33cb00d7d35364de56ddbf38da0b9fec6c7: the content was changed"
        ],
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("episodes.jsonl");
    fs::write(&path, other).unwrap();
    let (frozen, mismatches) = inspect_episodes(&path).unwrap();
    assert_eq!(frozen.episodes.len(), 2);
    let lines: Vec<usize> = mismatches
        .iter()
        .map(|error| match error {
            Error::HashMismatch { line, .. } => *line,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(lines, [1, 1], "the first episode, and all of them");
    check_error(
        read_episodes(&path),
        Some(dir.path()),
        &expect![
            "DIR/episodes.jsonl:1: expected the hash ce0441769e2c29f6f797810da2e6c3ebed2f449e80fed5539b2e2ef34e0982a2, which the file gives for this episode, found 5a87cafdfb2e93f013565ac21a920722fbe5a02563ee7a3014254f84a892f1dc: the content was changed"
        ],
    );
}

#[test]
fn episodes_in_another_order_are_other_episodes() {
    let mut second = episode();
    second.types.swap(0, 1);
    let text = file(&[episode(), second]);
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let header = lines[0]
        .as_object_mut()
        .unwrap()
        .remove("metashot")
        .unwrap();
    lines[1]["metashot"] = header;
    let swapped = format!("{}\n{}\n", lines[1], lines[0]);
    assert!(matches!(
        parse_episodes(&swapped, name()),
        Err(Error::HashMismatch { line: 1, .. })
    ));
}

#[test]
fn a_file_that_was_cut_off_is_told_so() {
    let text = file(&[episode(), episode(), episode()]);
    let whole_lines: String = text.lines().take(2).flat_map(|line| [line, "\n"]).collect();
    refused(
        &whole_lines,
        &expect![
            "`episodes.jsonl`: expected 3 episodes, as the first line says, found 2: the file was cut off"
        ],
    );
    refused(
        &text[..text.len() - 40],
        &expect![
            "episodes.jsonl:3: expected an episode: an object with `types`, `support` and `query`, each half with `word` and `label`, found something else: EOF while parsing a string (column 374)"
        ],
    );
    refused(
        &format!("{text}{}\n", episode_line(&episode(), None)),
        &expect!["`episodes.jsonl`: expected 3 episodes, as the first line says, found 4"],
    );
}

#[test]
fn a_bad_line_is_told_what_is_wrong_and_where() {
    let good = episode_line(&episode(), None);
    refused(
        "",
        &expect!["`episodes.jsonl`: expected episodes, found none"],
    );
    refused(
        " \n\n",
        &expect!["`episodes.jsonl`: expected episodes, found none"],
    );
    refused(
        &format!("{good}\nnonsense\n"),
        &expect![
            "episodes.jsonl:2: expected an episode: an object with `types`, `support` and `query`, each half with `word` and `label`, found something else: expected ident (column 2)"
        ],
    );
    refused(
        &line(r#"{"word": [["a"]]}"#, ""),
        &expect![
            "episodes.jsonl:1: expected an episode: an object with `types`, `support` and `query`, each half with `word` and `label`, found something else: missing field `label` (column 100)"
        ],
    );
    refused(
        &changed(|line| line["query"]["label"][0][0] = json!("river")),
        &expect![
            "episodes.jsonl:1: expected `O` or one of the episode's `types`, found `river` in sentence 1 of `query`"
        ],
    );
    refused(
        &changed(|line| line["query"]["label"][0][0] = json!("B-city")),
        &expect![
            "episodes.jsonl:1: expected `O` or one of the episode's `types`, found `B-city` in sentence 1 of `query`"
        ],
    );
    refused(
        &changed(|line| {
            line["support"]["label"][0].as_array_mut().unwrap().pop();
        }),
        &expect![
            "episodes.jsonl:1: expected a label for each word, found 2 labels for 3 words in sentence 1 of `support`"
        ],
    );
    refused(
        &changed(|line| {
            line["support"]["label"].as_array_mut().unwrap().pop();
        }),
        &expect![
            "episodes.jsonl:1: expected as many lists of labels, and of spans if there are any, as of words, found 1 for 2 sentences in `support`"
        ],
    );
    refused(
        &changed(|line| {
            line["support"]["spans"].as_array_mut().unwrap().pop();
        }),
        &expect![
            "episodes.jsonl:1: expected as many lists of labels, and of spans if there are any, as of words, found 1 for 2 sentences in `support`"
        ],
    );
    refused(
        &changed(|line| line["support"]["word"][1] = json!([])),
        &expect![
            "episodes.jsonl:1: expected 1 or more words, found none in sentence 2 of `support`"
        ],
    );
    refused(
        &changed(|line| line["types"] = json!([])),
        &expect!["episodes.jsonl:1: expected 1 or more `types`, found none"],
    );
    refused(
        &changed(|line| line["types"] = json!(["city", "person", "city"])),
        &expect![
            "episodes.jsonl:1: expected `types` with names of their own, none of them `O`, found `city`"
        ],
    );
    refused(
        &changed(|line| line["types"] = json!(["city", "person", "O"])),
        &expect![
            "episodes.jsonl:1: expected `types` with names of their own, none of them `O`, found `O`"
        ],
    );
    refused(
        &changed(|line| line["types"] = json!(["city", "person", "river"])),
        &expect![
            "episodes.jsonl:1: expected an entity of each type in `support`, found none of `river`"
        ],
    );
    refused(
        &changed(|line| line["query"] = json!({"word": [], "label": []})),
        &expect!["episodes.jsonl:1: expected 1 or more sentences in `query`, found none"],
    );
    refused(
        &line(
            r#"{"word": [["a"]], "label": [["O"]]}"#,
            r#", "hash": "12""#,
        ),
        &expect![
            "episodes.jsonl:1: expected an episode: an object with `types`, `support` and `query`, each half with `word` and `label`, found something else: `hash`: expected 64 hex digits, found `12` (column 133)"
        ],
    );
}

#[test]
fn spans_that_contradict_the_labels_are_refused() {
    let spans = |spans: Value| changed(|line| line["support"]["spans"][0] = spans.clone());
    refused(
        &spans(json!([[0, 1, "city"], [2, 3, "person"]])),
        &expect![
            "episodes.jsonl:1: expected `spans` that say the same as `label`, found others in sentence 1 of `support`"
        ],
    );
    refused(
        &spans(json!([[0, 1, "city"], [1, 2, "person"], [2, 3, "person"]])),
        &expect![
            "episodes.jsonl:1: expected `spans` that say the same as `label`, found others in sentence 1 of `support`"
        ],
    );
    refused(
        &spans(json!([[0, 2, "city"], [1, 2, "city"], [2, 3, "person"]])),
        &expect![
            "episodes.jsonl:1: expected spans of 1 or more words, in order and none over another, found words 1..2 of 3 in sentence 1 of `support`"
        ],
    );
    refused(
        &spans(json!([[0, 4, "city"]])),
        &expect![
            "episodes.jsonl:1: expected spans of 1 or more words, in order and none over another, found words 0..4 of 3 in sentence 1 of `support`"
        ],
    );
    refused(
        &spans(json!([[1, 1, "city"]])),
        &expect![
            "episodes.jsonl:1: expected spans of 1 or more words, in order and none over another, found words 1..1 of 3 in sentence 1 of `support`"
        ],
    );
    refused(
        &spans(json!([[0, 1, "river"]])),
        &expect![
            "episodes.jsonl:1: expected `O` or one of the episode's `types`, found `river` in sentence 1 of `support`"
        ],
    );
    refused(
        &line(
            r#"{"word": [["a"]], "label": [["city"]], "spans": [[[0, 1]]]}"#,
            "",
        ),
        &expect![
            "episodes.jsonl:1: expected an episode: an object with `types`, `support` and `query`, each half with `word` and `label`, found something else: invalid length 2, expected a tuple of size 3 (column 139)"
        ],
    );
}

#[test]
fn a_header_that_this_program_does_not_know_is_refused() {
    refused(
        &changed(|line| line["metashot"]["version"] = json!(2)),
        &expect![
            "episodes.jsonl:1: expected version 1 of the header under `metashot`, the only one that this program knows, found version 2"
        ],
    );
    refused(
        &changed(|line| line["metashot"] = json!("x")),
        &expect![[
            r#"episodes.jsonl:1: expected a header under `metashot` with its `version`, found "x""#
        ]],
    );
    refused(
        &changed(|line| {
            line["metashot"].as_object_mut().unwrap().remove("seed");
        }),
        &expect![
            "episodes.jsonl:1: expected a header under `metashot`, found missing field `seed`"
        ],
    );
    refused(
        &changed(|line| line["metashot"]["n_way"] = json!(5)),
        &expect!["episodes.jsonl:1: expected as many types as `n_way` in the header, found 2"],
    );
    // What a later version adds to the header is no reason to refuse the episodes.
    let more = changed(|line| line["metashot"]["more"] = json!(1));
    assert!(parse_episodes(&more, name()).is_ok());
}

#[test]
fn a_byte_that_is_not_utf8_has_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("episodes.jsonl");
    let mut bytes = FEW_NERD.as_bytes().to_vec();
    let at = bytes.len() - 20;
    bytes[at] = 0xe9;
    fs::write(&path, bytes).unwrap();
    check_error(
        read_episodes(&path),
        Some(dir.path()),
        &expect!["DIR/episodes.jsonl:2: expected UTF-8, found byte 0xe9"],
    );
    fs::write(&path, "\n").unwrap();
    check_error(
        read_episodes(&path),
        Some(dir.path()),
        &expect!["`DIR/episodes.jsonl`: expected episodes, found none"],
    );
    check_error(
        read_episodes(&dir.path().join("nowhere")),
        Some(dir.path()),
        &expect!["failed to read `DIR/nowhere` (and the cause)"],
    );
}

#[test]
fn hashes_are_those_of_sha256sum() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("abc");
    fs::write(&path, "abc").unwrap();
    expect!["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
        .assert_eq(&hash_file(&path).unwrap().to_string());
    let large = vec![7; 200_000];
    fs::write(&path, &large).unwrap();
    assert_eq!(hash_file(&path).unwrap(), ContentHash::of(&large));
    check_error(
        "12".parse::<ContentHash>(),
        None,
        &expect!["`hash`: expected 64 hex digits, found `12`"],
    );
    let not_hex = format!("+1{}", "0".repeat(62));
    assert!(not_hex.parse::<ContentHash>().is_err());
}

fn any_episode() -> impl Strategy<Value = TaggingEpisode> {
    let sentence = (
        prop::collection::vec("\\PC{0,3}|[\"\\\\\u{0}\u{85}]", 1..8),
        any::<[u8; 8]>(),
    );
    let half = prop::collection::vec(sentence, 1..4);
    (half.clone(), half).prop_map(|halves| {
        let types = vec!["a".to_owned(), "B-é".to_owned()];
        let sentences = |half: Vec<(Vec<String>, [u8; 8])>| -> Vec<Sentence> {
            half.into_iter()
                .map(|(words, marks)| {
                    let labels: Vec<usize> = marks
                        .iter()
                        .take(words.len())
                        .map(|mark| usize::from(mark % 5))
                        .collect();
                    Sentence {
                        spans: LabelScheme::Bio.decode(&labels),
                        words,
                        line: 1,
                    }
                })
                .collect()
        };
        let mut support = sentences(halves.0);
        support.push(sentence_of_both());
        TaggingEpisode {
            types,
            support,
            query: sentences(halves.1),
        }
    })
}

fn sentence_of_both() -> Sentence {
    sentence("x y", &[span(0, 0, 1), span(1, 1, 2)])
}

proptest! {
    #[test]
    fn any_episode_survives(episode in any_episode()) {
        let frozen = parse_episodes(&episode_line(&episode, None), name()).unwrap();
        prop_assert_eq!(&frozen.episodes[0], &episode);
        prop_assert_eq!(frozen.episodes[0].hash(), episode.hash());
    }
}
