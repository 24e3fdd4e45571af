//! Honest few-shot episodes from named-entity corpora and pictures.
//!
//! [`text`] goes from two-column BIO files to token ids with aligned labels, and to N-way K~2K-shot episodes.
//! [`image`] goes from class folders or the Omniglot release to pixels, and to N-way K-shot episodes.
//! Everything random is a function of `(seed, index)`: the thousandth episode is drawn without the first 999, and two
//! learners that ask for the same pair see the same episode.
//!
//! Deliberately not here: tensors, devices, batching, models.
//! Whoever wants tensors copies these plain vectors into the library of their choice.
//!
//! ```
//! use std::path::Path;
//! use metashot_data::text::{NerSampler, NerShape, OrphanInside, parse_bio};
//!
//! let text = "Ada B-PER\nsmiled O\n\nBob B-PER\nleft O\nRome B-LOC\n\nOslo B-LOC\nsleeps O\n\nEve B-PER\nsaw O\nKyiv B-LOC\n";
//! let corpus = parse_bio(text, Path::new("example.txt"), OrphanInside::Reject)?;
//! let shape = NerShape { n_way: 2, k_shot: 1, n_query: 1 };
//! let sampler = NerSampler::new(&corpus, &[0, 1], shape)?;
//!
//! let episode = sampler.episode(7, 1000)?;
//! assert_eq!(episode, sampler.episode(7, 1000)?);
//! for &sentence in &episode.support {
//!     assert!(!episode.query.contains(&sentence));
//! }
//! # Ok::<(), metashot_data::Error>(())
//! ```

mod class_episode;
mod error;
mod file;
mod hash;
pub mod image;
mod rng;
mod split;
pub mod text;

pub use class_episode::{ClassEpisode, ClassSampler, ClassShape};
pub use error::{Error, Result};
pub use file::read_text;
pub use hash::{ContentHash, hash_file};
pub use split::{ClassSplit, disjoint};
