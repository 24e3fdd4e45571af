//! Raw text to words with their offsets.
//!
//! Deliberately not here: sentence splitting, and sub-words, which come from a model's `tokenizer.json`.

use unicode_segmentation::UnicodeSegmentation;

/// A word of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word<'a> {
    /// The word.
    pub text: &'a str,
    /// Its first character: Unicode scalar values from the start of the text, as Python counts them.
    pub start: usize,
    /// One past its last character.
    pub end: usize,
    /// Its first byte in the text.
    pub byte: usize,
}

/// The words of a text: what lies between the word boundaries of Unicode, with punctuation marks as words of their own.
///
/// An apostrophe is a word too, so that a name can be marked in `Ada's` and in `l'Italia`. White space, control
/// characters and invisible marks belong to no word.
///
/// ```
/// use metashot_data::text::split_words;
///
/// let words: Vec<&str> = split_words("Zoë's 3.5 km in the U.S.").iter().map(|word| word.text).collect();
/// assert_eq!(words, ["Zoë", "'", "s", "3.5", "km", "in", "the", "U.S", "."]);
/// assert_eq!((split_words("Zoë's")[1].start, split_words("Zoë's")[1].end), (3, 4));
/// ```
///
/// # Source
/// Unicode Standard Annex 29, "Unicode text segmentation", section 4.1; we also part words at apostrophes.
pub fn split_words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let (mut start, mut byte) = (0, 0);
    for piece in text
        .split_word_bounds()
        .flat_map(|piece| piece.split_inclusive(APOSTROPHES).flat_map(cut_apostrophe))
    {
        // A mark after a space makes one piece with it.
        let word = piece.trim_start_matches(is_blank);
        let skipped = piece.len() - word.len();
        let word = word.trim_end_matches(is_blank);
        let first = start + piece[..skipped].chars().count();
        let end = first + word.chars().count();
        if !word.is_empty() {
            words.push(Word {
                text: word,
                start: first,
                end,
                byte: byte + skipped,
            });
        }
        start += piece.chars().count();
        byte += piece.len();
    }
    words
}

const APOSTROPHES: [char; 2] = ['\'', '\u{2019}'];

/// An apostrophe at the end becomes a piece of its own.
fn cut_apostrophe(piece: &str) -> impl Iterator<Item = &str> {
    let word = piece.trim_end_matches(APOSTROPHES);
    let (word, rest) = piece.split_at(word.len());
    [word, rest].into_iter().filter(|piece| !piece.is_empty())
}

/// Whether a character shows nothing.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
        )
}
