//! What is said of runs, as tables of text.
//!
//! Deliberately not here: which runs go together.

use std::collections::BTreeSet;

use super::{
    Run, pairs,
    settings::{Setting, listed},
};
use crate::{
    report::{Column, Figure, INTERVAL, table},
    score::Totals,
};

/// What is compared, and what the letters stand for.
pub(super) fn title(settings: &[Setting<'_>]) -> String {
    let first = settings[0].runs[0];
    let mut lines = vec![
        format!(
            "{}, {} test episodes of classes never seen in training",
            first.shape, first.n_episodes
        ),
        String::new(),
    ];
    for setting in settings {
        let paths = listed(setting.runs.iter().map(|run| format!("`{}`", run.path)));
        let seeds = seeds_shown(&setting.seeds());
        lines.push(format!("{}: {paths} ({seeds})", setting.name));
        let differing = setting.runs[0].differing(first).into_iter();
        lines.extend(
            differing.map(|(key, ours, theirs)| format!("   {key} = {ours}, not {theirs}")),
        );
    }
    lines.join("\n") + "\n"
}

fn seeds_shown(seeds: &BTreeSet<u64>) -> String {
    let what = if seeds.len() == 1 { "seed" } else { "seeds" };
    format!("{what} {}", listed(seeds))
}

/// The mean over the runs of each setting, and how far they are apart.
pub(super) fn over_seeds(settings: &[Setting<'_>]) -> String {
    let mut learners: Vec<&str> = Vec::new();
    for learner in settings.iter().flat_map(Setting::learners) {
        if !learners.contains(&learner) {
            learners.push(learner);
        }
    }
    let in_settings = |learner| {
        let having = move |setting: &&Setting<'_>| setting.learners().contains(&learner);
        let settings = settings.iter().filter(having);
        settings.map(move |setting| (learner, setting))
    };
    let rows: Vec<(&str, &Setting<'_>)> = learners.into_iter().flat_map(in_settings).collect();
    let column = |cell: &dyn Fn(&str, &Setting<'_>) -> String| -> Vec<String> {
        rows.iter()
            .map(|(learner, setting)| cell(learner, setting))
            .collect()
    };
    let mut columns = vec![Column::left(
        "learner",
        column(&|learner, _| learner.to_owned()),
    )];
    if settings.len() > 1 {
        columns.push(Column::left("", column(&|_, setting| setting.name.clone())));
    }
    let mut spread = |title: &str, figure: fn(&Run, &str) -> Option<f64>| {
        let cell = |part: fn(&Spread) -> Option<f64>| {
            column(&|learner, setting| {
                let value = part(&Spread::new(setting, learner, figure));
                value.map_or_else(|| "-".to_owned(), |value| format!("{:.2}", 100.0 * value))
            })
        };
        columns.push(Column::right(title, cell(|spread| spread.mean)));
        columns.push(Column::right("sd", cell(|spread| spread.deviation)));
    };
    spread(&settings[0].runs[0].metric, Run::overall);
    if settings[0].runs[0].has_entities() {
        spread("IO F1", |run, learner| {
            let scores = &run.scores(learner)?.scores;
            Some(Totals::reading(scores, |counts| counts.io).overall_of_all())
        });
    }
    let n_runs = column(&|learner, setting| {
        let spread = Spread::new(setting, learner, Run::overall);
        spread.n.to_string()
    });
    columns.push(Column::right("seeds", n_runs));
    table(&columns)
}

/// A figure over the runs that have a learner.
struct Spread {
    n: usize,
    mean: Option<f64>,
    /// The standard deviation, as a sample's.
    deviation: Option<f64>,
}

impl Spread {
    fn new(setting: &Setting<'_>, learner: &str, figure: fn(&Run, &str) -> Option<f64>) -> Self {
        let values = setting.runs.iter().filter_map(|run| figure(run, learner));
        let values: Vec<f64> = values.collect();
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
        Self {
            n,
            mean: (n > 0).then_some(mean),
            deviation: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()),
        }
    }
}

/// The differences of all learners of all settings to the best of them, on the same episodes.
pub(super) fn minus_best(settings: &[Setting<'_>]) -> Option<String> {
    let all: Vec<(&str, &Setting<'_>)> = settings
        .iter()
        .flat_map(|setting| {
            setting
                .learners()
                .into_iter()
                .map(move |name| (name, setting))
        })
        .collect();
    let mean = |(learner, setting)| Spread::new(setting, learner, Run::overall).mean;
    let better = |best, other| {
        if mean(other) > mean(best) {
            other
        } else {
            best
        }
    };
    let best = all.iter().copied().reduce(better)?;
    let of = |setting: &Setting<'_>| match settings.len() {
        1 => String::new(),
        _ => format!(" of {}", setting.name),
    };
    let is_best = |(learner, setting): &(&str, &Setting<'_>)| {
        *learner == best.0 && setting.name == best.1.name
    };
    let differences: Vec<(String, Figure)> = all
        .iter()
        .filter(|row| !is_best(row))
        .filter_map(|&(learner, setting)| {
            let difference = pairs::difference((&setting.runs, learner), (&best.1.runs, best.0))?;
            Some((format!("{learner}{}", of(setting)), difference))
        })
        .collect();
    let title = format!("minus `{}`{}", best.0, of(best.1));
    differences_table(&title, &settings[0].runs[0].metric, &differences)
}

/// The differences of learners in another setting to the same ones in the first.
pub(super) fn minus_first(first: &Setting<'_>, other: &Setting<'_>) -> Option<String> {
    let differences = first.learners().into_iter().filter_map(|learner| {
        let difference = pairs::difference((&other.runs, learner), (&first.runs, learner))?;
        Some((learner.to_owned(), difference))
    });
    let runs = || first.runs.iter().chain(&other.runs);
    let common: Vec<&&Run> = runs()
        .filter(|run| first.has_episodes(run) && other.has_episodes(run))
        .collect();
    let mut title = format!("{} minus {}", other.name, first.name);
    if common.len() < runs().count() {
        let seeds = common.iter().map(|run| run.seed).collect();
        title = format!("{title}, {}", seeds_shown(&seeds));
    }
    differences_table(
        &title,
        &first.runs[0].metric,
        &differences.collect::<Vec<_>>(),
    )
}

fn differences_table(title: &str, metric: &str, rows: &[(String, Figure)]) -> Option<String> {
    let cells = |cell: fn(&(String, Figure)) -> String| rows.iter().map(cell).collect();
    let columns = [
        Column::left(title, cells(|(learner, _)| learner.clone())),
        Column::right(metric, cells(|(_, figure)| figure.shown())),
        Column::left(INTERVAL, cells(|(_, figure)| figure.interval())),
    ];
    (!rows.is_empty()).then(|| table(&columns))
}

/// Every run with its own interval.
pub(super) fn each_run(runs: &[Run]) -> String {
    let rows: Vec<(&Run, &str, Figure)> = runs
        .iter()
        .flat_map(|run| {
            run.learners.iter().map(move |learner| {
                let figure = Totals::new(&learner.scores).interval(run.seed).into();
                (run, learner.learner.as_str(), figure)
            })
        })
        .collect();
    let cells = |cell: fn(&(&Run, &str, Figure)) -> String| rows.iter().map(cell).collect();
    table(&[
        Column::left("run", cells(|(run, ..)| run.path.clone())),
        Column::right("seed", cells(|(run, ..)| run.seed.to_string())),
        Column::left("episodes", cells(|(run, ..)| run.hash_shown())),
        Column::left("learner", cells(|(_, learner, _)| (*learner).to_owned())),
        Column::right(&runs[0].metric, cells(|(.., figure)| figure.shown())),
        Column::left(INTERVAL, cells(|(.., figure)| figure.interval())),
    ])
}
