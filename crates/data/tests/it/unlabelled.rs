//! Text without labels: reading it, a vocabulary trained on it, and whole words hidden in it.

use std::{collections::BTreeMap, path::Path};

use metashot_data::{
    Error,
    text::{Masking, Passage, Tokenizer, Vocabulary, WordCounts, for_each_line},
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Lines of words that share stems and endings, so that there are pieces to find.
fn lines() -> Vec<String> {
    let stems = ["mill", "ash", "brack", "ox", "stan", "wood"];
    let endings = ["ford", "ham", "wick", "bury", "ley"];
    let town = |at: usize| format!("{}{}", stems[at % 6], endings[at / 6 % 5]);
    (0..120)
        .map(|at| {
            format!(
                "The mayor of {} met those of {}, {} and Šárka.",
                town(at),
                town(at * 7 + 1),
                town(at * 11 + 5)
            )
        })
        .collect()
}

fn trained(size: usize, lowercase: bool) -> Vocabulary {
    let mut counts = WordCounts::new(lowercase);
    for line in lines() {
        counts.add(&line).unwrap();
    }
    counts.train(size).unwrap()
}

fn tokenizer(vocabulary: &Vocabulary) -> Tokenizer {
    Tokenizer::from_bytes(vocabulary.json.as_bytes(), Path::new("tokenizer.json")).unwrap()
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

#[test]
fn a_vocabulary_has_the_pieces_that_are_frequent() {
    let vocabulary = trained(120, true);
    assert!(vocabulary.tokens.len() <= 120);
    assert_eq!(
        vocabulary.tokens[..5],
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    );
    for piece in ["mayor", "of", "##ford", "sarka", ","] {
        assert!(
            vocabulary.tokens.contains(&piece.to_owned()),
            "no `{piece}`"
        );
    }
    let tokenizer = tokenizer(&vocabulary);
    assert_eq!(tokenizer.vocab_size(), vocabulary.tokens.len());
    let ids = |text: &str| tokenizer.passages(text, 50).unwrap().remove(0).ids;
    assert_eq!(ids("ŠÁRKA of Oxley"), ids("sarka of oxley"));
    let pieces: Vec<&str> = ids("Woodford, sarka")
        .into_iter()
        .map(|id| vocabulary.tokens[id as usize].as_str())
        .collect();
    assert_eq!(
        pieces.concat().replace("##", ""),
        "[CLS]woodford,sarka[SEP]"
    );

    let cased = trained(140, false);
    assert!(cased.tokens.contains(&"The".to_owned()));
    assert!(!cased.tokens.contains(&"the".to_owned()));
}

#[test]
fn the_same_text_gives_the_same_vocabulary() {
    // Hash maps of the trainer have another order each time.
    let first = trained(110, true);
    for _ in 0..8 {
        assert_eq!(trained(110, true), first);
    }
}

#[test]
fn a_vocabulary_too_small_for_the_characters_is_refused() {
    let mut counts = WordCounts::new(true);
    counts.add("abc bca").unwrap();
    // Five special tokens, three characters at a start and within a word.
    let error = counts.train(10).unwrap_err().to_string();
    assert_eq!(
        error,
        "`vocabulary size`: expected 11 or more, for the special tokens and each character, found 10"
    );
    assert_eq!(counts.train(11).unwrap().tokens.len(), 11);
}

#[test]
fn long_text_is_cut_between_words_and_none_is_lost() {
    let vocabulary = trained(90, true);
    let tokenizer = tokenizer(&vocabulary);
    let text = lines()[..6].join(" ");
    let inner = |passages: &[Passage]| -> Vec<u32> {
        let of = |passage: &Passage| passage.ids[1..passage.ids.len() - 1].to_vec();
        passages.iter().flat_map(of).collect()
    };
    let whole = tokenizer.passages(&text, 10_000).unwrap();
    assert_eq!(whole.len(), 1);
    let parts = tokenizer.passages(&text, 16).unwrap();
    assert!(parts.len() > 5);
    assert_eq!(inner(&parts), inner(&whole));
    let n_words = |passages: &[Passage]| passages.iter().map(|p| p.words.len()).sum::<usize>();
    assert_eq!(n_words(&parts), n_words(&whole));
    for passage in &parts {
        assert!(passage.ids.len() <= 16);
        let (first, last) = (passage.ids[0], passage.ids[passage.ids.len() - 1]);
        assert_eq!(
            [first, last].map(|id| vocabulary.tokens[id as usize].as_str()),
            ["[CLS]", "[SEP]"]
        );
    }
    // Three tokens leave room for one: words are cut too.
    let single = tokenizer.passages(&text, 3).unwrap();
    assert_eq!(inner(&single), inner(&whole));
    assert!(matches!(
        tokenizer.passages(&text, 2),
        Err(Error::Setting { .. })
    ));
}

#[test]
fn unknown_words_are_not_hidden() {
    let tokenizer = tokenizer(&trained(90, true));
    let passage = tokenizer.passages("the 漢 mayor", 16).unwrap().remove(0);
    assert_eq!(passage.words.len(), 2, "{passage:?}");
    let nothing = tokenizer.passages("漢", 16).unwrap().remove(0);
    let masking = Masking::new(&tokenizer, 0.5).unwrap();
    let hidden = masking.hide(&nothing, &mut rng(1));
    assert!(hidden.positions.is_empty());
    assert_eq!(hidden.ids, nothing.ids);
}

#[test]
fn whole_words_are_hidden_or_none_of_their_tokens() {
    let tokenizer = tokenizer(&trained(70, true));
    let masking = Masking::new(&tokenizer, 0.3).unwrap();
    let mut n_long = 0;
    for (at, line) in lines().iter().enumerate() {
        let passage = tokenizer.passages(line, 128).unwrap().remove(0);
        let hidden = masking.hide(&passage, &mut rng(at as u64));
        assert!(!hidden.positions.is_empty());
        for word in &passage.words {
            let inside = word
                .clone()
                .filter(|position| hidden.positions.contains(position));
            let n_inside = inside.count();
            assert!(
                [0, word.len()].contains(&n_inside),
                "{word:?} in {hidden:?}"
            );
            n_long += usize::from(n_inside > 1);
        }
        for (position, id) in (0u32..).zip(&passage.ids) {
            match hidden.positions.iter().position(|p| *p == position) {
                Some(at) => assert_eq!(hidden.targets[at], *id),
                None => assert_eq!(hidden.ids[position as usize], *id),
            }
        }
    }
    assert!(n_long > 50, "words of several tokens were hidden: {n_long}");
}

#[test]
fn as_many_tokens_are_hidden_and_replaced_as_is_said() {
    let vocabulary = trained(150, true);
    let tokenizer = tokenizer(&vocabulary);
    let passage = tokenizer
        .passages(&lines().join(" "), 100_000)
        .unwrap()
        .remove(0);
    let masking = Masking::new(&tokenizer, 0.15).unwrap();
    let mask = tokenizer.token_id("[MASK]").unwrap();
    let (mut n_hidden, mut n_mask, mut n_same, mut stand_ins) = (0, 0, 0, BTreeMap::new());
    let n_draws = 40;
    for seed in 0..n_draws {
        let hidden = masking.hide(&passage, &mut rng(seed));
        n_hidden += hidden.positions.len();
        for (position, target) in hidden.positions.iter().zip(&hidden.targets) {
            match hidden.ids[*position as usize] {
                id if id == mask => n_mask += 1,
                id if id == *target => n_same += 1,
                id => *stand_ins.entry(id).or_insert(0) += 1,
            }
        }
    }
    let share = |part: usize, whole: usize| part as f64 / whole as f64;
    let tokens = passage.ids.len() * n_draws as usize;
    let near = |found: f64, wanted: f64| (found - wanted).abs() < 0.01;
    assert!(
        near(share(n_hidden, tokens), 0.15),
        "{}",
        share(n_hidden, tokens)
    );
    assert!(near(share(n_mask, n_hidden), 0.8));
    // Now and then the token that stands in is the same one.
    assert!(near(share(n_same, n_hidden), 0.1));
    assert!(stand_ins.len() > 100, "any token may stand in");
    assert!(stand_ins.keys().all(|id| *id >= 5), "but a special one");
    let again = masking.hide(&passage, &mut rng(3));
    assert_eq!(again, masking.hide(&passage, &mut rng(3)));
    assert_ne!(again, masking.hide(&passage, &mut rng(4)));
}

#[test]
fn a_share_that_is_none_is_refused() {
    let tokenizer = tokenizer(&trained(90, true));
    for share in [0.0, 1.0, f64::NAN, -0.1] {
        assert!(matches!(
            Masking::new(&tokenizer, share),
            Err(Error::Setting { .. })
        ));
    }
}

#[test]
fn lines_are_read_in_any_dress() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let mut lines = Vec::new();
        for_each_line(&path, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .map(|()| lines)
    };
    let lines = read("\u{feff}one\r\n\r\n  two \n\nthree".as_bytes()).unwrap();
    assert_eq!(lines, ["one", "two", "three"]);
    let error = read(b"one\ntwo\xff\n").unwrap_err().to_string();
    assert!(
        error.ends_with("a.txt:2: expected UTF-8, found byte 0xff"),
        "{error}"
    );
    assert!(matches!(read(b" \n\n"), Err(Error::Nothing { .. })));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(
        for_each_line(&path, |_| Ok(())),
        Err(Error::Read { .. })
    ));
}
