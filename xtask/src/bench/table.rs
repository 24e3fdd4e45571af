//! The table of the runs: medians over the rounds, the ratio with its range, rates and memory.
//!
//! Deliberately not here: runs of the trial round, which only chose the variant.

use std::collections::BTreeSet;

use super::{
    run::{Run, Side},
    works::WORKS,
};

const HEAD: &str = "\
| work | ours /s | peer /s | peer | ratio | range | GFLOP/s | share of matmul | memory MB | peer's MB | memory ratio | others' cores |
| --- | --: | --: | --- | --: | --- | --: | --: | --: | --: | --: | --: |
";

/// Cores that other programs may use beside a round that counts.
const QUIET: f64 = 0.3;

/// Markdown, one row for each work that was run, and a line about rounds that do not count.
///
/// Rounds that other programs disturbed are left out where there are others.
///
/// # Errors
/// When a line has no rate.
pub(crate) fn render(runs: &[Run]) -> anyhow::Result<String> {
    let mut text = HEAD.to_owned();
    let mut left_out = 0;
    for work in WORKS {
        let runs: Vec<&Run> = runs
            .iter()
            .filter(|run| run.work == work.name && run.side != Side::Trial)
            .collect();
        let rounds: Vec<&[&Run]> = runs
            .chunk_by(|a, b| a.round == b.round && a.side < b.side)
            .filter(|round| round.iter().any(|run| run.side == Side::Ours))
            .collect();
        let quiet = rounds
            .iter()
            .copied()
            .filter(|round| others(round) <= QUIET);
        let mut counted: Vec<&[&Run]> = quiet.collect();
        if counted.is_empty() {
            counted.clone_from(&rounds);
        }
        left_out += rounds.len() - counted.len();
        if !counted.is_empty() {
            text += &row(work.title, &counted)?;
        }
    }
    let note = format!(
        "Others' cores are what other programs used, at most, beside a round that counts; {left_out} rounds beside \
         which they used more than {QUIET} do not count."
    );
    Ok([&text, note.as_str()].join("\n"))
}

/// The cores that other programs used beside the worst of these runs.
fn others(round: &[&Run]) -> f64 {
    let cores = round.iter().filter_map(|run| run.other_cores);
    cores.fold(0.0, f64::max)
}

fn row(title: &str, rounds: &[&[&Run]]) -> anyhow::Result<String> {
    let of = |side: Side| {
        let all = rounds.iter().copied().flatten().copied();
        all.filter(move |run| run.side == side)
    };
    let rates = |side: Side| of(side).map(Run::rate).collect::<anyhow::Result<Vec<_>>>();
    // Only what was measured in one round is divided: figures drift.
    let ratios = |a: Side, b: Side, number: fn(&Run) -> Option<f64>| {
        let one = |round: &&[&Run]| {
            let of = |side| round.iter().find(|run| run.side == side).copied();
            Some(number(of(a)?)? / number(of(b)?)?)
        };
        summary(rounds.iter().filter_map(one).collect())
    };
    let ratio = ratios(Side::Ours, Side::Peer, |run| run.rate().ok());
    let share = ratios(Side::Ours, Side::Yardstick, Run::gflops);
    let memory = |side| summary(of(side).filter_map(Run::memory).collect());
    let (own, theirs) = (memory(Side::Ours), memory(Side::Peer));
    let less = own
        .zip(theirs)
        .map(|(own, theirs)| own.median / theirs.median);
    let gflops = summary(of(Side::Ours).filter_map(Run::gflops).collect());
    let peers: BTreeSet<&str> = of(Side::Peer).map(|run| run.variant.as_str()).collect();
    let peers: Vec<&str> = peers.into_iter().collect();

    let number = |value: Option<Summary>, digits: usize| {
        value.map_or_else(String::new, |value| format!("{:.digits$}", value.median))
    };
    let cells = [
        title.to_owned(),
        rate(summary(rates(Side::Ours)?)),
        rate(summary(rates(Side::Peer)?)),
        peers.join(", "),
        number(ratio, 2),
        ratio.map_or_else(String::new, |r| format!("{:.2} to {:.2}", r.least, r.most)),
        number(gflops, 0),
        share.map_or_else(String::new, |share| {
            format!("{:.0} %", 100.0 * share.median)
        }),
        number(own, 0),
        number(theirs, 0),
        less.map_or_else(String::new, |less| format!("{less:.2}")),
        format!(
            "{:.1}",
            rounds.iter().map(|round| others(round)).fold(0.0, f64::max)
        ),
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
            "| Conv-4, 5-way 1-shot, 1 query, exact, 1 step, meta-batch 32 | 30.0 | 10.0 | jax | 2.00 | 1.10 to 3.00 \
             | 300 | 50 % | 100 | 400 | 0.25 | 0.0 |"
        );
    }

    #[test]
    fn ours_alone_leaves_the_peers_cells_empty() {
        let result = json!({"sents_per_s": 311.7, "gflops": 160.0, "peak_rss_mb": 99});
        let table = render(&[example("tag", Side::Ours, "metashot", 1, result)]).unwrap();
        let row = table.lines().nth(2).unwrap();
        assert_eq!(
            row,
            "| tagging 512 sentences | 312 |  |  |  |  | 160 |  | 99 |  |  | 0.0 |"
        );
    }

    #[test]
    fn disturbed_rounds_are_left_out_where_there_are_others() {
        let run = |round, rate: f64, others| Run {
            other_cores: Some(others),
            ..example(
                "tag",
                Side::Ours,
                "metashot",
                round,
                json!({"sents_per_s": rate}),
            )
        };
        let quiet = render(&[run(1, 100.0, 2.0), run(2, 300.0, 0.1), run(3, 320.0, 0.2)]).unwrap();
        assert!(
            quiet.contains("| 310 |") && quiet.contains("| 0.2 |") && quiet.contains("1 rounds"),
            "{quiet}"
        );
        let loud = render(&[run(1, 100.0, 2.0)]).unwrap();
        assert!(
            loud.contains("| 100 |") && loud.contains("| 2.0 |"),
            "{loud}"
        );
    }

    #[test]
    fn runs_of_two_calls_are_rounds_of_their_own() {
        let run = |side, rate: f64| example("tag", side, "v", 1, json!({"sents_per_s": rate}));
        let runs = [
            run(Side::Ours, 20.0),
            run(Side::Peer, 10.0),
            run(Side::Ours, 60.0),
            run(Side::Peer, 20.0),
        ];
        let table = render(&runs).unwrap();
        assert!(table.contains("| 2.50 | 2.00 to 3.00 |"), "{table}");
    }
}
