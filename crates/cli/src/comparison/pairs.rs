//! Differences between learners of one run or several, on the episodes that they have in common.
//!
//! Deliberately not here: which learners are compared.

use std::collections::BTreeSet;

use metashot_meta::bootstrap;

use super::Run;
use crate::{
    report::Figure,
    score::{RESAMPLES, Totals},
};

/// The runs of a setting, and a learner of theirs.
type Side<'a> = (&'a [&'a Run], &'a str);

/// The mean over the runs of the first side less that of the second, on the episodes that both were measured on, with its
/// interval by the bootstrap over episodes; `None` if they have none in common.
///
/// Runs on the same episodes are drawn together, whatever their seed: only episodes are drawn, and what runs have in
/// common on an episode is no evidence twice.
pub(super) fn difference(first: Side<'_>, second: Side<'_>) -> Option<Figure> {
    let contents = |(runs, learner): Side<'_>| -> BTreeSet<String> {
        let having = runs.iter().filter(|run| run.scores(learner).is_some());
        having.map(|run| run.episodes.clone()).collect()
    };
    let common: Vec<String> = contents(first)
        .intersection(&contents(second))
        .cloned()
        .collect();
    let side = |(runs, learner): Side<'_>| -> Vec<(usize, Totals)> {
        let totals = |run: &&Run| {
            let content = common.iter().position(|content| *content == run.episodes)?;
            Some((content, Totals::new(&run.scores(learner)?.scores)))
        };
        runs.iter().filter_map(totals).collect()
    };
    let (ours, theirs) = (side(first), side(second));
    let seed = first.0.first()?.seed;
    let n_episodes = |content: usize| {
        let same = ours.iter().find(|(of, _)| *of == content);
        same.map_or(0, |(_, totals)| totals.len())
    };
    let episodes: Vec<(usize, usize)> = (0..common.len())
        .flat_map(|content| (0..n_episodes(content)).map(move |episode| (content, episode)))
        .collect();
    if episodes.is_empty() {
        return None;
    }
    let mean = |side: &[(usize, Totals)], drawn: &[Vec<usize>]| {
        let values = side
            .iter()
            .map(|(content, totals)| totals.overall(&drawn[*content]));
        values.sum::<f64>() / side.len() as f64
    };
    let interval = bootstrap(&episodes, RESAMPLES, seed, |sample| {
        let mut drawn = vec![Vec::new(); common.len()];
        for &(content, episode) in sample {
            drawn[content].push(episode);
        }
        mean(&ours, &drawn) - mean(&theirs, &drawn)
    });
    Some(interval.into())
}
