//! Where randomness comes from: one stream of `ChaCha8Rng` for every `(seed, index)`.
//!
//! Deliberately not here: any generator with a state that outlives a call.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// The generator of episode `index`. Streams of one seed are independent, so no episode has to be drawn before another.
pub(crate) fn episode_rng(seed: u64, index: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    rng
}

/// `amount` of the items, without repetition, in random order.
pub(crate) fn draw(
    rng: &mut ChaCha8Rng,
    items: impl IntoIterator<Item = usize>,
    amount: usize,
) -> Vec<usize> {
    let mut items: Vec<usize> = items.into_iter().collect();
    items.partial_shuffle(rng, amount).0.to_vec()
}
