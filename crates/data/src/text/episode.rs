//! N-way K~2K-shot episodes of sentences, by the greedy rule of Few-NERD.
//!
//! A sentence brings all of its entities at once, so exactly K of each type is rarely to be had. The rule settles for
//! K to 2K: sentences are taken in random order, and one is passed over if it holds an entity of a type that was not
//! drawn, if it would bring a type above 2K, or if all of its types have K already.
//!
//! Deliberately not here: tokens, and the removal of repeated sentences
//! (see [`Corpus::without_duplicates`](crate::text::Corpus::without_duplicates)).

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::{
    Error, Result,
    error::at_least_one,
    rng::{draw, episode_rng},
    text::{Corpus, Sentence, Span},
};

/// How many draws of types an episode may take. A draw fails when its types do not meet in enough sentences; most
/// corpora complete nearly every first draw, and a hundred failures in a row say that it is not for bad luck.
const MAX_DRAWS: usize = 100;

/// The shape of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NerShape {
    /// Entity types.
    pub n_way: usize,
    /// Entities of each type in the support set: this many to twice this many.
    pub k_shot: usize,
    /// Entities of each type in the query set: this many to twice this many.
    pub n_query: usize,
}

/// One episode. No sentence is in both sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NerEpisode {
    /// The entity types by class, as indices into [`Corpus::types`]; the order is drawn too.
    pub types: Vec<usize>,
    /// Indices into [`Corpus::sentences`].
    pub support: Vec<usize>,
    /// Indices into [`Corpus::sentences`].
    pub query: Vec<usize>,
}

impl NerEpisode {
    /// The spans of a sentence with classes `0..n_way` as labels; spans of other types are left out.
    pub fn spans(&self, sentence: &Sentence) -> Vec<Span> {
        let class = |span: &Span| self.types.iter().position(|&kind| kind == span.label);
        sentence
            .spans
            .iter()
            .filter_map(|span| class(span).map(|label| Span { label, ..*span }))
            .collect()
    }
}

/// Draws episodes from a corpus: any of them, in any order, from any thread.
///
/// # Source
/// Ding et al., Few-NERD: A Few-Shot Named Entity Recognition Dataset (ACL 2021), Algorithm 1. Their sampler picks
/// sentences until it succeeds and never ends where it cannot. Counts only grow, so a sentence that is passed over
/// once would be passed over for good: one walk through the candidates in random order tries all of them, with the
/// same outcome, and ends.
///
/// ```
/// use std::path::Path;
/// use metashot_data::text::{NerSampler, NerShape, OrphanInside, parse_bio};
///
/// let corpus = parse_bio("Ada B-PER\n\nBob B-PER\n", Path::new("example.txt"), OrphanInside::Reject)?;
/// let sampler = NerSampler::new(&corpus, &[0], NerShape { n_way: 1, k_shot: 1, n_query: 1 })?;
/// let episode = sampler.episode(0, 0)?;
/// assert_ne!(episode.support, episode.query);
///
/// let too_many = NerShape { n_way: 1, k_shot: 2, n_query: 1 };
/// assert!(NerSampler::new(&corpus, &[0], too_many).is_err());
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct NerSampler {
    /// Names of all types of the corpus.
    names: Vec<String>,
    types: Vec<usize>,
    shape: NerShape,
    candidates: Vec<Candidate>,
}

/// A sentence that some episode could hold.
#[derive(Debug, Clone)]
struct Candidate {
    sentence: usize,
    /// The types of its entities and how many of each.
    counts: Vec<(usize, usize)>,
}

/// The class that kept a set from being completed, and how far it got.
struct Shortfall {
    class: usize,
    found: usize,
}

impl NerSampler {
    /// A sampler of the given types (indices into [`Corpus::types`]).
    ///
    /// # Errors
    /// A shape with a zero in it, an index that is no type or comes twice, fewer types than `n_way`, or a type that
    /// cannot fill a support and a query set from the sentences that hold no other types than the given ones.
    pub fn new(corpus: &Corpus, types: &[usize], shape: NerShape) -> Result<Self> {
        let NerShape {
            n_way,
            k_shot,
            n_query,
        } = shape;
        at_least_one("n_way", n_way)?;
        at_least_one("k_shot", k_shot)?;
        at_least_one("n_query", n_query)?;
        let mut allowed = vec![false; corpus.types.len()];
        for &kind in types {
            let Some(seen @ false) = allowed.get_mut(kind) else {
                let wanted = format!("indices below {}, each once", allowed.len());
                return Err(Error::setting("types", wanted, &kind));
            };
            *seen = true;
        }
        if types.len() < n_way {
            let purpose = format!("a {n_way}-way episode");
            return Err(Error::TooFewClasses {
                purpose,
                wanted: n_way,
                found: types.len(),
            });
        }

        let most = k_shot.max(n_query).saturating_mul(2);
        let fits = |counts: &[(usize, usize)]| {
            (1..=n_way).contains(&counts.len())
                && counts
                    .iter()
                    .all(|&(kind, count)| allowed[kind] && count <= most)
        };
        let candidates: Vec<Candidate> = corpus
            .sentences
            .iter()
            .enumerate()
            .map(|(sentence, words)| Candidate {
                sentence,
                counts: count_types(&words.spans),
            })
            .filter(|candidate| fits(&candidate.counts))
            .collect();

        let mut entities = vec![0; corpus.types.len()];
        let mut sentences = vec![0; corpus.types.len()];
        for &(kind, count) in candidates.iter().flat_map(|candidate| &candidate.counts) {
            entities[kind] += count;
            sentences[kind] += 1;
        }
        for &kind in types {
            if entities[kind] < k_shot.saturating_add(n_query) || sentences[kind] < 2 {
                return Err(Error::TooFewEntities {
                    kind: corpus.types[kind].clone(),
                    k_shot,
                    n_query,
                    entities: entities[kind],
                    sentences: sentences[kind],
                    in_all: corpus.entity_counts()[kind],
                });
            }
        }
        Ok(Self {
            names: corpus.types.clone(),
            types: types.to_vec(),
            shape,
            candidates,
        })
    }

    /// Episode `index` of `seed`: always the same one.
    ///
    /// Types that do not meet in enough sentences are drawn again, so over many episodes a type that is hard to
    /// complete is seen less often.
    ///
    /// # Errors
    /// When no draw of types could be completed: the type that lacked entities in the last one.
    pub fn episode(&self, seed: u64, index: u64) -> Result<NerEpisode> {
        let mut rng = episode_rng(seed, index);
        let mut draws = 1;
        loop {
            match self.attempt(&mut rng) {
                Err(_) if draws < MAX_DRAWS => draws += 1,
                outcome => return outcome,
            }
        }
    }

    /// Draws types and fills both sets with their sentences.
    fn attempt(&self, rng: &mut ChaCha8Rng) -> Result<NerEpisode> {
        let NerShape {
            n_way,
            k_shot,
            n_query,
        } = self.shape;
        let types = draw(rng, self.types.iter().copied(), n_way);
        let mut class_of = vec![None; self.names.len()];
        for (class, &kind) in types.iter().enumerate() {
            class_of[kind] = Some(class);
        }
        let of_these = |candidate: &&Candidate| {
            candidate
                .counts
                .iter()
                .all(|&(kind, _)| class_of[kind].is_some())
        };
        let mut left: Vec<&Candidate> = self.candidates.iter().filter(of_these).collect();

        let mut fill = |set, wanted| {
            let candidates = left.len();
            take(rng, &mut left, &class_of, n_way, wanted).map_err(|Shortfall { class, found }| {
                Error::NoEpisode {
                    n_way,
                    draws: MAX_DRAWS,
                    kind: self.names[types[class]].clone(),
                    set,
                    found,
                    wanted,
                    candidates,
                }
            })
        };
        let support = fill("support", k_shot)?;
        let query = fill("query", n_query)?;
        Ok(NerEpisode {
            types,
            support,
            query,
        })
    }
}

/// Takes sentences out of `left` until each class has `k` to `2 k` entities; returns their indices in the corpus.
fn take(
    rng: &mut ChaCha8Rng,
    left: &mut Vec<&Candidate>,
    class_of: &[Option<usize>],
    n_way: usize,
    k: usize,
) -> std::result::Result<Vec<usize>, Shortfall> {
    let mut reached = vec![0; n_way];
    let mut taken = Vec::new();
    // Shuffled for each set: the sentences that the support set passed over must not come first for the query set.
    left.shuffle(rng);
    left.retain(|candidate| {
        let classes = || {
            candidate
                .counts
                .iter()
                .filter_map(|&(kind, count)| Some((class_of[kind]?, count)))
        };
        let too_many = classes().any(|(class, count)| reached[class] + count > 2 * k);
        let adds = classes().any(|(class, _)| reached[class] < k);
        if too_many || !adds {
            return true;
        }
        for (class, count) in classes() {
            reached[class] += count;
        }
        taken.push(candidate.sentence);
        false
    });
    match reached.iter().position(|&found| found < k) {
        None => Ok(taken),
        Some(class) => Err(Shortfall {
            class,
            found: reached[class],
        }),
    }
}

/// The types of the spans and how many there are of each.
fn count_types(spans: &[Span]) -> Vec<(usize, usize)> {
    let mut counts: Vec<(usize, usize)> = Vec::new();
    for span in spans {
        match counts.iter_mut().find(|(kind, _)| *kind == span.label) {
            Some((_, count)) => *count += 1,
            None => counts.push((span.label, 1)),
        }
    }
    counts
}
