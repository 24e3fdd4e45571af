//! Named entities: from two-column files and JSON lines to typed spans, token ids with aligned labels, and episodes,
//! drawn by the rules of the literature or frozen in a file; tag sequences as `seqeval` reads them. Labelled texts, from
//! CSV and JSON lines. Plain text: vocabularies trained on it, and words hidden in it.
//!
//! Deliberately not here: scores, batches.

mod bio;
mod corpus;
mod decode;
mod episode;
mod frozen;
mod label_set;
mod labelled;
mod masking;
mod plain;
mod scheme;
mod spans;
mod support;
mod tagging_episode;
mod tags;
mod tokenize;
mod transitions;
mod vocabulary;
mod words;

pub use bio::{OrphanInside, parse_bio, read_bio};
pub use corpus::{Corpus, Sentence, Span};
pub use episode::{NerEpisode, NerSampler, NerShape};
pub use frozen::{
    DataFile, EpisodesHeader, EpisodesOrigin, FrozenEpisodes, episode_line, inspect_episodes,
    parse_episodes, read_episodes,
};
pub use label_set::{LabelSet, Role};
pub use labelled::{Columns, LabelledSet, LabelledText, parse_labelled, read_labelled};
pub use masking::{Hidden, Masking, Passage};
pub use plain::for_each_line;
pub use scheme::LabelScheme;
pub use spans::{parse_spans, read_spans};
pub use support::{DomainSampler, SupportRule};
pub use tagging_episode::{EpisodesHasher, TaggingEpisode};
pub use tags::{TagEntity, TagReading, tag_entities, tag_entity_pair};
pub use tokenize::{Encoded, IGNORE_INDEX, Tokenizer, Window};
pub use transitions::Transitions;
pub use vocabulary::{Vocabulary, WordCounts};
pub use words::{Word, split_words};
