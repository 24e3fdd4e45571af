//! Support sets of all types of a domain, against all sentences of its test file.
//!
//! An N-way episode has few types and few queries, and many of them make a result. Here an episode has every type of a
//! domain in its support set and a whole test file as its queries, as someone would meet them who moves to that domain;
//! a few of them make a result.
//!
//! Deliberately not here: N-way episodes (`episode`), and the choice of types (see
//! [`Corpus::restrict`](crate::text::Corpus::restrict)).

use rand::seq::SliceRandom;

use crate::{
    Error, Result,
    error::at_least_one,
    rng::episode_rng,
    text::{Corpus, Span, TaggingEpisode},
};

/// How sentences are picked until each type has K entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupportRule {
    /// The rarest type first: sentences with it are drawn until it has K entities, then the next rarer type is looked
    /// at, which may have some by then. A type may end up with many more than K.
    ///
    /// # Source
    /// Yang and Katiyar, Simple and Effective Few-Shot Named Entity Recognition with Structured Nearest Neighbor Learning
    /// (EMNLP 2020), Algorithm 1: `NNShot` and `StructShot`. Types that are equally frequent come in the order of their
    /// names, which the paper leaves open.
    Greedy,
    /// Sentences are drawn type by type in the same way, and then every sentence is taken out again without which each
    /// type still has K entities: each type has at least K, and whichever sentence is removed, some type no longer has.
    ///
    /// # Source
    /// Hou et al., Few-shot Slot Tagging with Collapsed Dependency Transfer and Label-enhanced Task-adaptive Projection
    /// Network (ACL 2020), the "minimum-including" algorithm. Types come in the order of their names and sentences are
    /// tried in the order they were drawn in, which the paper leaves open. What is counted are entities of a type; the
    /// authors' program counts sentences with a label, counts `B-` and `I-` apart, keeps some sentences that it could
    /// remove, and repeats sentences where there are too few.
    MinimumIncluding,
}

/// Draws support sets: any of them, in any order, from any thread.
///
/// ```
/// use std::path::Path;
/// use metashot_data::text::{DomainSampler, OrphanInside, SupportRule, parse_bio};
///
/// let read = |text| parse_bio(text, Path::new("example.txt"), OrphanInside::Reject);
/// let train = read("Ada B-PER\nin O\nRome B-LOC\n\nOslo B-LOC\n\nBob B-PER\n")?;
/// let test = read("Oslo B-LOC\n\nEve B-PER\n")?;
/// let sampler = DomainSampler::new(&train, &test, 1, SupportRule::MinimumIncluding)?;
/// let episode = sampler.episode(7, 1000);
/// assert_eq!(episode.types, ["LOC", "PER"]);
/// assert_eq!(episode.query.len(), 2);
/// // Oslo is a query, so only one sentence with a place is left to learn from.
/// assert_eq!(episode.support[0].words, ["Ada", "in", "Rome"]);
/// assert_eq!(episode.support.len(), 1);
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct DomainSampler {
    pool: Corpus,
    /// An episode with the queries and an empty support set.
    blank: TaggingEpisode,
    k_shot: usize,
    rule: SupportRule,
    /// The types in the order in which they are filled.
    order: Vec<usize>,
    /// For each type the sentences with it.
    with_type: Vec<Vec<usize>>,
}

impl DomainSampler {
    /// A sampler of support sets from `pool`, each against all of `queries`. Sentences of `pool` that repeat one before
    /// or stand in `queries` too are left out.
    ///
    /// # Errors
    /// A `k_shot` of zero, a type of `queries` that `pool` does not have, or types with fewer than `k_shot` entities
    /// left in `pool`.
    pub fn new(pool: &Corpus, queries: &Corpus, k_shot: usize, rule: SupportRule) -> Result<Self> {
        at_least_one("k_shot", k_shot)?;
        let blank = TaggingEpisode::against(pool, &[], queries)?;
        let in_all = pool.entity_counts();
        let pool = pool.without_duplicates().without(queries);
        let counts = pool.entity_counts();
        let few = (0..counts.len()).filter(|&kind| counts[kind] < k_shot);
        let few: Vec<String> = few
            .map(|kind| {
                let (name, found) = (&pool.types[kind], counts[kind]);
                format!("{found} of `{name}` ({} in all sentences)", in_all[kind])
            })
            .collect();
        if !few.is_empty() {
            let found = few.join(", ");
            return Err(Error::TooFewForSupport { k_shot, found });
        }
        let mut order: Vec<usize> = (0..pool.types.len()).collect();
        if rule == SupportRule::Greedy {
            order.sort_by_key(|&kind| counts[kind]);
        }
        let mut with_type = vec![Vec::new(); pool.types.len()];
        for (index, sentence) in pool.sentences.iter().enumerate() {
            for span in &sentence.spans {
                let sentences: &mut Vec<usize> = &mut with_type[span.label];
                if sentences.last() != Some(&index) {
                    sentences.push(index);
                }
            }
        }
        Ok(Self {
            pool,
            blank,
            k_shot,
            rule,
            order,
            with_type,
        })
    }

    /// Episode `index` of `seed`: always the same one.
    pub fn episode(&self, seed: u64, index: u64) -> TaggingEpisode {
        let support = self.support(seed, index);
        let sentences = support.iter().map(|&index| &self.pool.sentences[index]);
        TaggingEpisode {
            support: sentences.cloned().collect(),
            ..self.blank.clone()
        }
    }

    /// The sentences of a support set in the order in which they were drawn.
    fn support(&self, seed: u64, index: u64) -> Vec<usize> {
        let mut rng = episode_rng(seed, index);
        let mut reached = vec![0; self.pool.types.len()];
        let mut taken = vec![false; self.pool.sentences.len()];
        let mut support = Vec::new();
        for &kind in &self.order {
            if reached[kind] >= self.k_shot {
                continue;
            }
            let left = self.with_type[kind].iter().copied();
            let mut left: Vec<usize> = left.filter(|&sentence| !taken[sentence]).collect();
            left.shuffle(&mut rng);
            // There are K entities in all, so they do not run out before K are reached.
            for sentence in left {
                if reached[kind] >= self.k_shot {
                    break;
                }
                taken[sentence] = true;
                support.push(sentence);
                for span in self.spans(sentence) {
                    reached[span.label] += 1;
                }
            }
        }
        if self.rule == SupportRule::MinimumIncluding {
            // One pass is enough: what cannot be spared now can be spared even less with others gone.
            support.retain(|&sentence| {
                for span in self.spans(sentence) {
                    reached[span.label] -= 1;
                }
                let needed = reached.iter().any(|&count| count < self.k_shot);
                if needed {
                    for span in self.spans(sentence) {
                        reached[span.label] += 1;
                    }
                }
                needed
            });
        }
        support
    }

    fn spans(&self, sentence: usize) -> &[Span] {
        &self.pool.sentences[sentence].spans
    }
}
