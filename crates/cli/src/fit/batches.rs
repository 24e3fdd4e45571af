//! Examples in batches, batches in parts, and the generators that all of it is drawn with.
//!
//! Deliberately not here: what is trained on them.

use std::cell::RefCell;

use metashot_data::text::Hidden;
use metashot_models::TokenBatch;
use rand::seq::SliceRandom;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// Tokens of which some have an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Example {
    /// The token ids, special tokens included.
    pub ids: Vec<u32>,
    /// The places of the tokens that have an answer.
    pub positions: Vec<u32>,
    /// Their answers: classes of the model.
    pub targets: Vec<u32>,
}

impl From<Hidden> for Example {
    fn from(hidden: Hidden) -> Self {
        let Hidden {
            ids,
            positions,
            targets,
        } = hidden;
        Self {
            ids,
            positions,
            targets,
        }
    }
}

/// Examples that one thread works on.
pub(super) struct Part {
    pub(super) batch: TokenBatch,
    pub(super) rows: Vec<u32>,
    pub(super) targets: Vec<i64>,
}

/// Examples of a part: a part costs as much as adding up a gradient, however few they are.
pub(super) const PART: usize = 16;
/// Parts of a batch at least, so that there is work for every thread.
const MIN_PARTS: usize = 8;

/// What a random choice is for; each has generators of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Setting examples aside.
    HeldOut,
    /// The order of an epoch, by its number.
    Order,
    /// What is hidden at a step, by its number.
    Hidden,
    /// What is hidden in a validation.
    Validation,
}

/// The generator for a purpose: a function of the seed and a number alone, so that a resumed run draws the same.
pub(crate) fn generator(seed: u64, purpose: Purpose, number: u64) -> ChaCha8Rng {
    // An odd multiplier keeps different seeds different.
    let seed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut rng = ChaCha8Rng::seed_from_u64(seed.wrapping_add(purpose as u64 + 1));
    rng.set_stream(number);
    rng
}

/// The numbers below `n` in two parts that the seed draws, each in rising order: those that are held out, one at least,
/// and the others, one at least where there are two.
pub(crate) fn hold_out(n: usize, share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut generator(seed, Purpose::HeldOut, 0));
    let n_held_out = ((n as f64 * share).round() as usize)
        .min(n.saturating_sub(1))
        .max(1.min(n));
    let mut rest = order.split_off(n_held_out);
    order.sort_unstable();
    rest.sort_unstable();
    (order, rest)
}

/// Which examples make up the batch of each step: every one once an epoch, in an order of the epoch's own.
pub(crate) struct Batches {
    n_examples: usize,
    size: usize,
    seed: u64,
    /// The epoch that was asked for last, and its order.
    latest: RefCell<Option<(u64, Vec<usize>)>>,
}

impl Batches {
    pub(crate) fn new(n_examples: usize, size: usize, seed: u64) -> Self {
        Self {
            n_examples,
            size,
            seed,
            latest: RefCell::new(None),
        }
    }

    /// Steps of an epoch; its last batch may be smaller.
    pub(crate) fn per_epoch(&self) -> u64 {
        self.n_examples.div_ceil(self.size) as u64
    }

    /// The examples of a step.
    pub(crate) fn at(&self, step: u64) -> Vec<usize> {
        let (epoch, batch) = (step / self.per_epoch(), step % self.per_epoch());
        let mut latest = self.latest.borrow_mut();
        let order = match &mut *latest {
            Some((of, order)) if *of == epoch => order,
            other => {
                let mut order: Vec<usize> = (0..self.n_examples).collect();
                order.shuffle(&mut generator(self.seed, Purpose::Order, epoch));
                &mut other.insert((epoch, order)).1
            }
        };
        let start = batch as usize * self.size;
        order[start..(start + self.size).min(order.len())].to_vec()
    }
}

impl Part {
    pub(super) fn new<'a>(examples: impl IntoIterator<Item = &'a Example>) -> Self {
        let examples: Vec<&Example> = examples.into_iter().collect();
        let mut part = Self {
            batch: TokenBatch::from_sequences(examples.iter().map(|example| &example.ids)),
            rows: Vec::new(),
            targets: Vec::new(),
        };
        let mut start = 0;
        for example in examples {
            part.rows
                .extend(example.positions.iter().map(|at| start + at));
            part.targets
                .extend(example.targets.iter().map(|&target| i64::from(target)));
            start += example.ids.len() as u32;
        }
        part
    }
}

/// A batch in parts of about the same number of tokens; the order of the examples within it does not matter.
pub(super) fn parts(mut examples: Vec<Example>) -> Vec<Part> {
    examples.sort_by_key(|example| std::cmp::Reverse(example.ids.len()));
    let n_parts = examples
        .len()
        .div_ceil(PART)
        .max(MIN_PARTS)
        .min(examples.len());
    // Dealt to and fro: who gets the longest of one round gets the shortest of the next.
    let of = |part: usize| {
        examples
            .chunks(n_parts)
            .enumerate()
            .filter_map(move |(round, dealt)| {
                let at = if round % 2 == 0 {
                    part
                } else {
                    n_parts - 1 - part
                };
                dealt.get(at)
            })
    };
    (0..n_parts)
        .map(|part| Part::new(of(part)))
        .filter(|part| !part.targets.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_comes_once_an_epoch_in_an_order_of_its_own() {
        let batches = Batches::new(10, 4, 7);
        assert_eq!(batches.per_epoch(), 3);
        let epoch = |number: u64| -> Vec<usize> {
            (0..3)
                .flat_map(|batch| batches.at(3 * number + batch))
                .collect()
        };
        let (first, second) = (epoch(0), epoch(1));
        assert_ne!(first, second);
        // A step does not depend on those before it.
        assert_eq!(batches.at(1), first[4..8]);
        for mut order in [first, second] {
            order.sort_unstable();
            assert_eq!(order, (0..10).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_held_out_is_nowhere_else() {
        for (n, share, expected) in [
            (100, 0.1, 10),
            (100, 0.001, 1),
            (3, 0.99, 2),
            (1, 0.5, 1),
            (0, 0.5, 0),
        ] {
            let (held_out, rest) = hold_out(n, share, 3);
            assert_eq!(held_out.len(), expected, "{share} of {n}");
            let mut all = [held_out, rest].concat();
            all.sort_unstable();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
        assert_ne!(hold_out(100, 0.1, 3), hold_out(100, 0.1, 4));
    }

    #[test]
    fn parts_hold_each_example_once_and_are_about_as_long() {
        for n in [1, 5, 16, 100, 400] {
            // The answer to an example's only question is its number.
            let example = |number: u32| Example {
                ids: vec![1; 2 + (number as usize * 7) % 40],
                positions: vec![1],
                targets: vec![number],
            };
            let parts = parts((0..n).map(example).collect());
            assert!(parts.len() >= MIN_PARTS.min(n as usize));
            let mut seen: Vec<i64> = parts.iter().flat_map(|part| part.targets.clone()).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..i64::from(n)).collect::<Vec<_>>());
            let lengths = || parts.iter().map(|part| part.batch.n_tokens());
            let (shortest, longest) = (lengths().min().unwrap(), lengths().max().unwrap());
            assert!(
                n < 100 || longest < shortest + 42,
                "{shortest} to {longest}"
            );
            for part in &parts {
                let second = |&row: &u32| part.batch.positions[row as usize] == 1;
                assert!(part.rows.iter().all(second), "rows are places in the part");
            }
        }
    }
}
