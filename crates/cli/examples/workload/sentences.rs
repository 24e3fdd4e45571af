//! Sentences: as many tokens as asked, or as many as real sentences have.
//!
//! The lengths in `lengths/` were made by the script beside them. Deliberately not here: labels.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use metashot_data::text::{OrphanInside, Tokenizer, read_bio};

use crate::draw::Draw;

/// Ids that `MiniLM`'s vocabulary has.
pub(crate) const VOCABULARY: usize = 30522;
/// The limit of the Few-NERD recipe; longer sentences are left out.
const LONGEST: usize = 96;
/// How many sentences of the training part `lengths/fewnerd.txt` knows.
const KNOWN: usize = 1000;

/// Random ids of these lengths.
pub(crate) fn random(draw: &mut Draw, lengths: impl IntoIterator<Item = usize>) -> Vec<Vec<u32>> {
    let mut sentence = |len| {
        (0..len)
            .map(|_| 1 + draw.below(VOCABULARY - 1) as u32)
            .collect()
    };
    lengths.into_iter().map(&mut sentence).collect()
}

/// Sentences of Few-NERD's training part: their real tokens where `data` is given, else random ones of their lengths.
pub(crate) fn few_nerd(
    draw: &mut Draw,
    data: Option<&Path>,
    count: usize,
) -> Result<Vec<Vec<u32>>> {
    let mut all = match data {
        Some(data) => tokenized(data)?,
        None => random(
            &mut Draw::new(0),
            parse(include_str!("lengths/fewnerd.txt"))?,
        ),
    };
    all.retain(|sentence| sentence.len() <= LONGEST);
    ensure!(
        count <= all.len(),
        "{count} sentences are asked for, there are {}",
        all.len()
    );
    // Each at most once.
    Ok((0..count)
        .map(|_| all.swap_remove(draw.below(all.len())))
        .collect())
}

/// The lengths of the peers' 512 sentences to tag, shortest first.
pub(crate) fn tagging_lengths() -> Result<Vec<usize>> {
    parse(include_str!("lengths/tagging.txt"))
}

fn tokenized(data: &Path) -> Result<Vec<Vec<u32>>> {
    let corpus = read_bio(
        &data.join("ner/fewnerd-inter-part/train.txt"),
        OrphanInside::Reject,
    )?;
    let tokenizer = Tokenizer::from_file(&data.join("minilm-l6-v2/tokenizer.json"))?;
    let first = corpus.sentences.iter().take(KNOWN);
    first
        .map(|sentence| Ok(tokenizer.encode_words(&sentence.words, usize::MAX)?.ids))
        .collect()
}

fn parse(lengths: &str) -> Result<Vec<usize>> {
    let mut lines = lengths.lines();
    lines
        .try_fold(Vec::new(), |mut all, line| {
            all.push(line.parse()?);
            Ok::<_, std::num::ParseIntError>(all)
        })
        .context("a length is no number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagging_has_the_peers_tokens() {
        let lengths = tagging_lengths().unwrap();
        assert_eq!(lengths.len(), 512);
        assert!(lengths.is_sorted());
        assert_eq!(lengths.iter().sum::<usize>(), 12_644);
        // As the peers pad them, in batches of 32.
        let padded: usize = lengths.chunks(32).map(|batch| 32 * batch[31]).sum();
        assert_eq!(padded, 14_720);
    }

    #[test]
    fn known_lengths_are_those_of_the_real_sentences() {
        let Some(data) = std::env::var_os("METASHOT_DATA") else {
            eprintln!("skipped: METASHOT_DATA does not say where Few-NERD is");
            return;
        };
        let real: Vec<usize> = tokenized(Path::new(&data))
            .unwrap()
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(real, parse(include_str!("lengths/fewnerd.txt")).unwrap());
    }
}
