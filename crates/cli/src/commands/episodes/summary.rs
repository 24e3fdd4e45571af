//! What is in a number of episodes, counted.
//!
//! Deliberately not here: whether they are what their file says.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use metashot_data::text::{EpisodesOrigin, Sentence, TaggingEpisode};

/// Counts over episodes.
#[derive(Default)]
pub(super) struct Summary {
    episodes: usize,
    n_ways: BTreeSet<usize>,
    types: BTreeMap<String, TypeCounts>,
    /// Of the support and of the query sets.
    halves: [HalfCounts; 2],
    different: HashSet<Vec<String>>,
}

/// What stands of a type in all episodes.
#[derive(Default, Clone, Copy)]
struct TypeCounts {
    episodes: usize,
    support: usize,
    query: usize,
}

#[derive(Default, Clone, Copy)]
struct HalfCounts {
    sentences: usize,
    words: usize,
    entities: usize,
}

impl Summary {
    /// Counts an episode.
    pub(super) fn add(&mut self, episode: &TaggingEpisode) {
        self.episodes += 1;
        self.n_ways.insert(episode.types.len());
        let mut counts = vec![TypeCounts::default(); episode.types.len()];
        let halves = [&episode.support, &episode.query];
        for (half, counted) in halves.into_iter().zip(&mut self.halves) {
            counted.sentences += half.len();
            for Sentence { words, spans, .. } in half {
                counted.words += words.len();
                counted.entities += spans.len();
                if !self.different.contains(words) {
                    self.different.insert(words.clone());
                }
            }
        }
        for span in episode.support.iter().flat_map(|sentence| &sentence.spans) {
            counts[span.label].support += 1;
        }
        for span in episode.query.iter().flat_map(|sentence| &sentence.spans) {
            counts[span.label].query += 1;
        }
        for (kind, counts) in episode.types.iter().zip(counts) {
            let all = self.types.entry(kind.clone()).or_default();
            all.episodes += 1;
            all.support += counts.support;
            all.query += counts.query;
        }
    }

    /// The counts as a table of text.
    pub(super) fn table(&self) -> String {
        let n_ways: Vec<String> = self.n_ways.iter().map(usize::to_string).collect();
        let [support, query] = &self.halves;
        let mean = |n: usize| n as f64 / self.episodes.max(1) as f64;
        let mut lines = vec![
            format!("episodes   {}", self.episodes),
            format!(
                "types      {}, {} in an episode",
                self.types.len(),
                n_ways.join(" or ")
            ),
            format!(
                "sentences  {} in support sets, {} in query sets ({:.1} and {:.1} in an episode); {} different ones",
                support.sentences,
                query.sentences,
                mean(support.sentences),
                mean(query.sentences),
                self.different.len()
            ),
            format!(
                "entities   {} in support sets, {} in query sets ({:.1} and {:.1} in an episode)",
                support.entities,
                query.entities,
                mean(support.entities),
                mean(query.entities)
            ),
            format!(
                "words      {} in support sets, {} in query sets",
                support.words, query.words
            ),
            String::new(),
        ];
        let width = self
            .types
            .keys()
            .map(|kind| kind.chars().count())
            .chain([4])
            .max()
            .unwrap_or(0);
        let row = |kind: &str, [episodes, support, query]: [String; 3]| {
            format!("{kind:width$}  {episodes:>8}  {support:>16}  {query:>14}")
        };
        let heading = ["episodes", "support entities", "query entities"];
        lines.push(row("type", heading.map(str::to_owned)));
        for (kind, counts) in &self.types {
            let numbers = [counts.episodes, counts.support, counts.query];
            lines.push(row(kind, numbers.map(|n| n.to_string())));
        }
        lines.join("\n") + "\n"
    }
}

/// Where episodes come from, as lines of text.
pub(super) fn origin(origin: &EpisodesOrigin) -> String {
    let shots = match origin.n_query {
        Some(n_query) => format!(
            "{}-way {}~{}-shot, {n_query}~{} queries of each type",
            origin.n_way,
            origin.k_shot,
            2 * origin.k_shot,
            2 * n_query
        ),
        None => format!(
            "all {} types, {} or more of each to learn from, a whole file of queries",
            origin.n_way, origin.k_shot
        ),
    };
    let split = origin
        .split
        .as_ref()
        .map_or_else(String::new, |split| format!(", split {split}"));
    let mut lines = vec![
        format!("protocol   {}: {shots}", origin.protocol),
        format!("seed       {}{split}", origin.seed),
    ];
    for file in &origin.data {
        lines.push(format!(
            "data       {} ({}), sha256 {}",
            file.name,
            file.role,
            file.sha256.short()
        ));
    }
    lines.join("\n") + "\n"
}
