//! Words to ids, with a small tokenizer whose file switches on truncation and padding.

use std::{array, fs, path::Path};

use expect_test::expect;
use metashot_data::text::{Encoded, IGNORE_INDEX, LabelScheme, Span, Tokenizer, Window};
use tokenizers::{
    AddedToken, PaddingParams, PaddingStrategy, TruncationParams, models::wordpiece::WordPiece,
    normalizers::BertNormalizer, pre_tokenizers::bert::BertPreTokenizer,
    processors::template::TemplateProcessing,
};

use crate::check_error;

const VOCABULARY: [&str; 14] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "ada", "love", "##lace", "in", "new", "york", "##s", "-",
    ".", "caf",
];

/// A `tokenizer.json` in the manner of BERT that truncates and pads to 6.
fn tokenizer_json() -> String {
    let vocabulary: [_; VOCABULARY.len()] =
        array::from_fn(|id| (VOCABULARY[id].to_owned(), id as u32));
    let model = WordPiece::builder()
        .vocab(vocabulary)
        .unk_token("[UNK]".to_owned())
        .build()
        .unwrap();
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(special).unwrap();
    let template = TemplateProcessing::builder()
        .try_single("[CLS] $A [SEP]")
        .unwrap()
        .special_tokens(vec![("[CLS]", 2), ("[SEP]", 3)])
        .build()
        .unwrap();
    tokenizer
        .with_normalizer(Some(BertNormalizer::new(true, true, None, true)))
        .unwrap()
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(template))
        .with_padding(Some(PaddingParams {
            strategy: PaddingStrategy::Fixed(6),
            ..Default::default()
        }))
        .with_truncation(Some(TruncationParams {
            max_length: 6,
            ..Default::default()
        }))
        .unwrap();
    tokenizer.to_string(false).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_bytes(tokenizer_json().as_bytes(), Path::new("tokenizer.json")).unwrap()
}

fn encode(words: &[&str], max_len: usize) -> Encoded {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    tokenizer().encode_words(&words, max_len).unwrap()
}

/// Tokens with the word that each begins.
fn check(words: &[&str], max_len: usize, expected: &[(&str, Option<usize>)]) {
    let encoded = encode(words, max_len);
    let tokens = encoded.ids.iter().map(|&id| VOCABULARY[id as usize]);
    let found: Vec<_> = tokens.zip(encoded.first_subword.iter().copied()).collect();
    assert_eq!(found, expected, "{words:?} in {max_len}");
    let begun: Vec<usize> = encoded.first_subword.iter().flatten().copied().collect();
    assert_eq!(
        begun,
        (0..encoded.n_words).collect::<Vec<_>>(),
        "one first sub-word for each word"
    );
}

const CLS: (&str, Option<usize>) = ("[CLS]", None);
const SEP: (&str, Option<usize>) = ("[SEP]", None);

#[test]
fn marks_the_first_subword_of_each_word() {
    check(
        &["Ada", "Lovelaces", "in", "New-York."],
        64,
        &[
            CLS,
            ("ada", Some(0)),
            ("love", Some(1)),
            ("##lace", None),
            ("##s", None),
            ("in", Some(2)),
            ("new", Some(3)),
            ("-", None),
            ("york", None),
            (".", None),
            SEP,
        ],
    );
    check(&["zebra"], 64, &[CLS, ("[UNK]", Some(0)), SEP]);
}

#[test]
fn truncation_and_padding_of_the_file_do_not_leak() {
    assert!(
        tokenizer_json().contains(r#""max_length":6"#),
        "the file truncates"
    );
    assert!(tokenizer_json().contains(r#"{"Fixed":6}"#), "the file pads");
    check(&["ada"], 64, &[CLS, ("ada", Some(0)), SEP]);
    assert_eq!(encode(&["ada"; 30], 64).ids.len(), 32);
    assert_eq!(encode(&["lovelaces"; 4], 64).ids.len(), 14);
}

#[test]
fn truncation_never_cuts_through_a_word() {
    let words = ["ada", "lovelaces", "in"];
    check(&words, 3, &[CLS, ("ada", Some(0)), SEP]);
    check(&words, 4, &[CLS, ("ada", Some(0)), SEP]);
    check(&words, 5, &[CLS, ("ada", Some(0)), SEP]);
    let two = [
        CLS,
        ("ada", Some(0)),
        ("love", Some(1)),
        ("##lace", None),
        ("##s", None),
        SEP,
    ];
    check(&words, 6, &two);
    assert_eq!(encode(&words, 6).n_words, 2);
    assert_eq!(encode(&words, 7).n_words, 3);
    // A word that does not fit ends the sentence, even where a shorter one after it would fit.
    check(&["lovelaces", "in"], 4, &[CLS, SEP]);
}

#[test]
fn word_without_subwords_becomes_unknown() {
    check(
        &["ada", "\u{200c}", "in", "\u{2063}", ""],
        64,
        &[
            CLS,
            ("ada", Some(0)),
            ("[UNK]", Some(1)),
            ("in", Some(2)),
            ("[UNK]", Some(3)),
            ("[UNK]", Some(4)),
            SEP,
        ],
    );
    check(
        &["\u{200c}", "\u{200c}"],
        3,
        &[CLS, ("[UNK]", Some(0)), SEP],
    );
    check(&[], 3, &[CLS, SEP]);
}

#[test]
fn labels_stand_at_first_subwords() {
    let encoded = encode(&["Ada", "Lovelaces", "in", "York"], 7);
    let spans = [
        Span {
            label: 0,
            start: 0,
            end: 2,
        },
        Span {
            label: 1,
            start: 3,
            end: 4,
        },
    ];
    let labels = LabelScheme::Bio.encode(&spans, 4);
    let ignored = IGNORE_INDEX;
    assert_eq!(
        encoded.align(&labels),
        [ignored, 1, 2, ignored, ignored, 0, ignored]
    );
    assert_eq!(
        encoded.align(&LabelScheme::Bio.encode(&spans, encoded.n_words)),
        encoded.align(&labels)
    );
    assert_eq!(encoded.word_positions(), [1, 2, 5]);
}

#[test]
fn ids_of_tokens_and_vocabulary_size_are_told() {
    assert_eq!(tokenizer().vocab_size(), VOCABULARY.len());
    assert_eq!(tokenizer().token_id("[SEP]"), Some(3));
    assert_eq!(tokenizer().token_id("[MASK]"), None);
}

#[test]
fn length_without_room_for_a_word_is_an_error() {
    let words = ["ada".to_owned()];
    let expected =
        expect!["`max_len`: expected more than the 2 special tokens of a sentence, found 2"];
    check_error(tokenizer().encode_words(&words, 2), None, &expected);
    assert!(tokenizer().encode_words(&words, 0).is_err());
}

#[test]
fn missing_and_foreign_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let check = |expected| check_error(Tokenizer::from_file(&path), Some(dir.path()), &expected);
    check(expect![
        "failed to read `DIR/tokenizer.json` (and the cause)"
    ]);

    for foreign in ["", "{\"model_type\": \"bert\"}", "{", "[PAD]\n[UNK]\n"] {
        fs::write(&path, foreign).unwrap();
        check(expect![
            "`DIR/tokenizer.json` is not a tokenizer in the format of `tokenizer.json` (and the cause)"
        ]);
    }

    fs::write(&path, tokenizer_json()).unwrap();
    assert!(Tokenizer::from_file(&path).is_ok());

    let other = tokenizer_json().replace(r#""unk_token":"[UNK]""#, r#""unk_token":"<oov>""#);
    fs::write(&path, other).unwrap();
    check(expect![
        "`DIR/tokenizer.json`: expected the unknown token `<oov>` in the vocabulary, found none"
    ]);
}

/// The windows of `n` words, of which every third has three sub-words.
fn windows(n: usize, max_len: usize) -> (Vec<String>, Vec<Window>) {
    let words: Vec<String> = (0..n)
        .map(|word| if word % 3 == 2 { "new.york" } else { "in" }.to_owned())
        .collect();
    let windows = tokenizer().encode_windows(&words, max_len).unwrap();
    (words, windows)
}

#[test]
fn a_sentence_that_fits_is_one_window() {
    let (words, windows) = windows(6, 12);
    let encoded = tokenizer().encode_words(&words, 12).unwrap();
    assert_eq!(encoded.ids.len(), 12);
    let whole = Window {
        encoded,
        words: 0..6,
        read: 0..6,
    };
    assert_eq!(windows, [whole]);
}

#[test]
fn windows_overlap_and_every_word_is_read_once() {
    for max_len in 3..40 {
        for n in [0, 1, 2, 7, 40] {
            let (words, windows) = windows(n, max_len);
            let mut read = 0;
            for (at, window) in windows.iter().enumerate() {
                assert!(window.encoded.ids.len() <= max_len);
                assert_eq!(window.read.start, read, "{n} words in windows of {max_len}");
                assert!(
                    window.words.start <= window.read.start && window.read.end <= window.words.end
                );
                // What a window says of a word is what the words alone would say.
                let alone = tokenizer()
                    .encode_words(&words[window.words.clone()], 1000)
                    .unwrap();
                if alone.ids.len() <= max_len {
                    assert_eq!(window.encoded, alone);
                }
                assert_eq!(window.encoded.word_positions().len(), window.words.len());
                if max_len >= 20 && at > 0 {
                    let before = &windows[at - 1];
                    assert!(
                        before.words.end > window.words.start,
                        "windows do not overlap"
                    );
                    assert!(
                        window.read.start > window.words.start,
                        "a word is read at an edge"
                    );
                    assert!(
                        before.read.end < before.words.end,
                        "a word is read at an edge"
                    );
                }
                read = window.read.end;
            }
            assert_eq!(read, n);
        }
    }
}

#[test]
fn a_word_that_is_longer_than_a_window_keeps_its_first_sub_words() {
    let words = ["in", "new.york.new.york", "in"].map(String::from);
    let windows = tokenizer().encode_windows(&words, 5).unwrap();
    let ids: Vec<&[u32]> = windows
        .iter()
        .map(|window| &window.encoded.ids[..])
        .collect();
    assert_eq!(ids, [&[2, 7, 3][..], &[2, 8, 12, 9, 3], &[2, 7, 3]]);
    let cut = windows.iter().map(|window| window.encoded.n_cut);
    assert_eq!(cut.collect::<Vec<_>>(), [0, 4, 0]);
}

#[test]
fn the_written_tokenizer_neither_cuts_nor_pads() {
    let json = tokenizer().to_json().unwrap();
    let again = tokenizers::Tokenizer::from_bytes(json.as_bytes()).unwrap();
    let ids = |words: &str| again.encode(words, true).unwrap().get_ids().to_vec();
    assert_eq!(ids("in"), [2, 7, 3]);
    assert_eq!(ids("in in in in in in in").len(), 9);
}

#[test]
fn a_text_or_a_pair_has_its_special_tokens_and_segments() {
    let tokenizer = tokenizer();
    let (ids, segments) = tokenizer.encode_text("in new York.", None).unwrap();
    assert_eq!(ids, [2, 7, 8, 9, 12, 3]);
    assert_eq!(segments, [0; 6]);
}
