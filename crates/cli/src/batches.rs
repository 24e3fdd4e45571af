//! Sentences that go through a model together, where nobody wants a gradient.
//!
//! Deliberately not here: padding, of which there is none, and batches of training (`fit`).

use std::ops::Range;

/// The smallest batch is not split further: this part of what is taken at once.
const LEAST_PART: usize = 8;

/// Neighbours that go together: batches of about `at_once` tokens or fewer, each at least one sentence, in such a number
/// and so even that workers that take one after another have the same to do.
///
/// `lengths` are the tokens of each sentence.
pub fn even_batches(lengths: &[usize], at_once: usize, workers: usize) -> Vec<Range<usize>> {
    let n_tokens: usize = lengths.iter().sum();
    let at_once = at_once.max(1);
    let most = n_tokens.div_ceil((at_once / LEAST_PART).max(1));
    let count = n_tokens
        .div_ceil(at_once)
        .next_multiple_of(workers.max(1))
        .min(most);
    let mut batches: Vec<Range<usize>> = Vec::with_capacity(count);
    let (mut before, mut last) = (0, None);
    for (at, &length) in lengths.iter().enumerate() {
        // The batch that the sentence's middle falls into when the tokens are divided evenly.
        let batch = (2 * before + length) * count / (2 * n_tokens).max(1);
        before += length;
        match batches.last_mut() {
            Some(range) if last == Some(batch) => range.end = at + 1,
            _ => batches.push(at..at + 1),
        }
        last = Some(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(lengths: &[usize], batches: &[Range<usize>]) -> Vec<usize> {
        let of = |range: &Range<usize>| lengths[range.clone()].iter().sum();
        batches.iter().map(of).collect()
    }

    #[test]
    fn batches_are_even_and_as_many_for_each_worker() {
        let lengths: Vec<usize> = (0..500).map(|i| 3 + i * 7919 % 90).collect();
        let total: usize = lengths.iter().sum();
        for workers in [1, 2, 3, 4, 16] {
            let batches = even_batches(&lengths, 512, workers);
            assert_eq!(batches.len() % workers, 0);
            let starts: Vec<usize> = batches.iter().map(|range| range.start).collect();
            let ends: Vec<usize> = batches.iter().map(|range| range.end).collect();
            assert_eq!((starts[0], ends[ends.len() - 1]), (0, lengths.len()));
            assert_eq!(starts[1..], ends[..ends.len() - 1]);
            let mean = total / batches.len();
            assert!(mean <= 512);
            for n in tokens(&lengths, &batches) {
                assert!(n.abs_diff(mean) <= 92, "{n} tokens, {mean} in the mean");
            }
        }
    }

    #[test]
    fn few_tokens_are_split_for_the_workers_but_not_to_crumbs() {
        let lengths = [40; 10];
        assert_eq!(
            tokens(&lengths, &even_batches(&lengths, 512, 2)),
            [200, 200]
        );
        assert_eq!(even_batches(&lengths, 512, 64).len(), 7);
        assert_eq!(even_batches(&lengths, 4096, 64).len(), 1);
        // A sentence is never cut.
        assert_eq!(even_batches(&[600, 3], 64, 4), [0..1, 1..2]);
        assert_eq!(even_batches(&[5, 5], 1, 1), [0..1, 1..2]);
        assert!(even_batches(&[], 512, 2).is_empty());
    }
}
