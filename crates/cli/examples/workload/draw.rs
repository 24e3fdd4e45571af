//! Inputs that stand for data: pixels, token ids, labels.
//!
//! Deliberately not here: first values of weights, which are the models' own.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// A generator of inputs.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// Another stream than that of the weights, which start from the same seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1);
        Self(rng)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.0.next_u32()) * n as u64) >> 32) as usize
    }

    /// This many numbers in `0..1`.
    pub(crate) fn pixels(&mut self, count: usize) -> Vec<f32> {
        let mut pixel = || (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32;
        (0..count).map(|_| pixel()).collect()
    }
}
