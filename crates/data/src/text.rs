//! Named entities: from two-column files to typed spans, token ids with aligned labels, and K~2K-shot episodes.
//!
//! Deliberately not here: sub-word models (they come with a model's `tokenizer.json`), scores, batches.

mod bio;
mod corpus;
mod episode;
mod scheme;
mod tokenize;

pub use bio::{OrphanInside, parse_bio, read_bio};
pub use corpus::{Corpus, Sentence, Span};
pub use episode::{NerEpisode, NerSampler, NerShape};
pub use scheme::LabelScheme;
pub use tokenize::{Encoded, IGNORE_INDEX, Tokenizer};
