//! The table of the runs: medians over the rounds, the ratio with its range, rates and memory.
//!
//! Deliberately not here: runs of the trial round, which only chose the variant.

use std::collections::BTreeMap;

use super::{
    run::{Run, Side},
    works::WORKS,
};

const HEAD: &str = "\
| work | ours /s | peer /s | peer | ratio | range | GFLOP/s | share of matmul | memory MB | peer's MB | memory ratio |
| --- | --: | --: | --- | --: | --- | --: | --: | --: | --: | --: |
";

/// Markdown, one row for each work that was run.
///
/// # Errors
/// When a line has no rate.
pub(crate) fn render(runs: &[Run]) -> anyhow::Result<String> {
    let mut text = HEAD.to_owned();
    for work in WORKS {
        let of: Vec<&Run> = runs
            .iter()
            .filter(|run| run.work == work.name && run.side != Side::Trial)
            .collect();
        if of.iter().any(|run| run.side == Side::Ours) {
            text += &row(work.title, &of)?;
        }
    }
    let others = runs.iter().filter(|run| run.side != Side::Trial);
    let most = others.filter_map(|run| run.other_cores).fold(0.0, f64::max);
    text += &format!("\nOther programs used {most:.1} cores at most beside a run.\n");
    Ok(text)
}

fn row(title: &str, runs: &[&Run]) -> anyhow::Result<String> {
    let of = |side: Side| runs.iter().copied().filter(move |run| run.side == side);
    let rates = |side: Side| of(side).map(Run::rate).collect::<anyhow::Result<Vec<_>>>();
    let (ours, peer) = (rates(Side::Ours)?, rates(Side::Peer)?);
    // Only what was measured side by side is divided: figures drift.
    let ratio = summary(pairs(&ours, &peer));
    let gflops: Vec<f64> = of(Side::Ours).filter_map(Run::gflops).collect();
    let yardstick: Vec<f64> = of(Side::Yardstick).filter_map(Run::gflops).collect();
    let share = summary(pairs(&gflops, &yardstick));
    let memory = |side| summary(of(side).filter_map(Run::memory).collect());
    let (own, others) = (memory(Side::Ours), memory(Side::Peer));
    let less = own
        .zip(others)
        .map(|(own, others)| own.median / others.median);

    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for run in of(Side::Peer) {
        *names.entry(&run.variant).or_default() += 1;
    }
    let names: Vec<&str> = names.into_keys().collect();
    let number = |value: Option<Summary>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{:.digits$}", value.median))
    };
    let cells = [
        title.to_owned(),
        rate(summary(ours)),
        rate(summary(peer)),
        names.join(", "),
        number(ratio, 2),
        ratio.map_or_else(String::new, |r| format!("{:.2} to {:.2}", r.least, r.most)),
        number(summary(gflops), 0),
        share.map_or_else(String::new, |share| {
            format!("{:.0} %", 100.0 * share.median)
        }),
        number(own, 0),
        number(others, 0),
        less.map_or_else(String::new, |less| format!("{less:.2}")),
    ];
    Ok(format!("| {} |\n", cells.join(" | ")))
}

/// Three figures.
fn rate(rate: Option<Summary>) -> String {
    let Some(Summary { median, .. }) = rate else {
        return String::new();
    };
    let digits = if median < 10.0 {
        2
    } else {
        usize::from(median < 100.0)
    };
    format!("{median:.digits$}")
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary {
    median: f64,
    least: f64,
    most: f64,
}

fn summary(mut numbers: Vec<f64>) -> Option<Summary> {
    numbers.sort_by(f64::total_cmp);
    let (&least, &most) = (numbers.first()?, numbers.last()?);
    let (low, high) = ((numbers.len() - 1) / 2, numbers.len() / 2);
    Some(Summary {
        median: f64::midpoint(numbers[low], numbers[high]),
        least,
        most,
    })
}

/// The ratio in each round.
fn pairs(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a / b).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::run::example, *};

    #[test]
    fn a_row_has_medians_and_the_ratio_of_each_round() {
        let ours =
            |rate: f64| json!({"tasks_per_s": rate, "gflops": 10.0 * rate, "peak_rss_mb": 100.4});
        let peer = |rate: f64| json!({"tasks_per_s": rate, "peak_rss_mb": 400});
        let run = |side, round, result: Value| example("conv4-1-step", side, "jax", round, result);
        let runs = [
            run(Side::Trial, 0, peer(1000.0)),
            run(Side::Yardstick, 1, json!({"gflops": 400.0})),
            run(Side::Ours, 1, ours(20.0)),
            run(Side::Peer, 1, peer(10.0)),
            run(Side::Yardstick, 2, json!({"gflops": 600.0})),
            run(Side::Ours, 2, ours(30.0)),
            run(Side::Peer, 2, peer(10.0)),
            run(Side::Yardstick, 3, json!({"gflops": 600.0})),
            run(Side::Ours, 3, ours(33.0)),
            run(Side::Peer, 3, peer(30.0)),
        ];
        let table = render(&runs).unwrap();
        let row = table.lines().nth(2).unwrap();
        assert_eq!(
            row,
            "| Conv-4, 5-way 1-shot, 1 query, 1 step, exact, meta-batch 32 | 30.0 | 10.0 | jax | 2.00 | 1.10 to 3.00 \
             | 300 | 50 % | 100 | 400 | 0.25 |"
        );
    }

    #[test]
    fn ours_alone_leaves_the_peers_cells_empty() {
        let result = json!({"sents_per_s": 311.7, "gflops": 160.0, "peak_rss_mb": 99});
        let table = render(&[example("tag", Side::Ours, "metashot", 1, result)]).unwrap();
        let row = table.lines().nth(2).unwrap();
        assert_eq!(
            row,
            "| tagging 512 sentences | 312 |  |  |  |  | 160 |  | 99 |  |  |"
        );
    }
}
