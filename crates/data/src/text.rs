//! Named entities: from two-column files to typed spans, token ids with aligned labels, and K~2K-shot episodes. Plain
//! text: vocabularies trained on it, and words hidden in it.
//!
//! Deliberately not here: scores, batches.

mod bio;
mod corpus;
mod episode;
mod masking;
mod plain;
mod scheme;
mod tokenize;
mod vocabulary;

pub use bio::{OrphanInside, parse_bio, read_bio};
pub use corpus::{Corpus, Sentence, Span};
pub use episode::{NerEpisode, NerSampler, NerShape};
pub use masking::{Hidden, Masking, Passage};
pub use plain::for_each_line;
pub use scheme::LabelScheme;
pub use tokenize::{Encoded, IGNORE_INDEX, Tokenizer};
pub use vocabulary::{Vocabulary, WordCounts};
