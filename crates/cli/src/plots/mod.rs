//! Runs as pictures: how their losses went, and what their learners reached, on one page that a browser shows.
//!
//! Deliberately not here: how lines are drawn, which is the `plotters` crate's.

mod chart;
mod run;

use anyhow::Result;

pub(crate) use run::Run;

use self::chart::{Line, Point, Range, intervals, lines};

/// A page with the curves and the results of some runs, complete in itself.
///
/// # Errors
/// When a chart cannot be drawn.
pub(crate) fn page(runs: &[Run]) -> Result<String> {
    let mut body = String::new();
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let losses: Vec<Line<'_>> = curves(runs, |run| &run.losses);
    if !losses.is_empty() {
        body += &figure(
            "Loss of each update: as it was, and its running mean",
            &lines("update", &smoothed(&losses))?,
        );
    }
    let validation = curves(runs, |run| &run.validation);
    if !validation.is_empty() {
        body += &figure("Validation score", &lines("update", &validation)?);
    }
    for (title, rows) in results(runs) {
        body += &figure(&title, &intervals(&rows)?);
    }
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>metashot: {title}</title>\n\
         <style>body {{ font-family: sans-serif; margin: 2em auto; max-width: 900px }} \
         svg {{ width: 100%; height: auto }} figure {{ margin: 2em 0 }}</style>\n<h1>{title}</h1>\n{body}</html>\n",
        title = escaped(&names.join(", ")),
    ))
}

/// The curves that are there, each with its run's name and colour.
fn curves<'a>(runs: &'a [Run], of: impl Fn(&'a Run) -> &'a Vec<Point>) -> Vec<Line<'a>> {
    let lines = runs.iter().enumerate().map(|(colour, run)| Line {
        name: &run.name,
        colour,
        points: of(run).clone(),
        is_faint: false,
    });
    lines.filter(|line| !line.points.is_empty()).collect()
}

/// Each line faint, with its running mean over a thirtieth of its points above it.
fn smoothed<'a>(lines: &[Line<'a>]) -> Vec<Line<'a>> {
    let faint = lines.iter().map(|line| Line {
        is_faint: true,
        points: line.points.clone(),
        ..*line
    });
    let means = lines.iter().map(|line| {
        let width = (line.points.len() / 30).max(1);
        let mean = |at: usize| {
            let window = &line.points[(at + 1).saturating_sub(width)..=at];
            let sum: f64 = window.iter().map(|(_, y)| y).sum();
            (line.points[at].0, sum / window.len() as f64)
        };
        Line {
            points: (0..line.points.len()).map(mean).collect(),
            ..*line
        }
    });
    faint.chain(means).collect()
}

/// For each kind of episodes its title, and what the learners of all runs reached on them.
fn results(runs: &[Run]) -> Vec<(String, Vec<Range>)> {
    let mut charts: Vec<(String, Vec<Range>)> = Vec::new();
    for (colour, run) in runs.iter().enumerate() {
        let Some(results) = &run.results else {
            continue;
        };
        let title = results.title();
        let at = charts.iter().position(|(known, _)| *known == title);
        let at = at.unwrap_or_else(|| {
            charts.push((title, Vec::new()));
            charts.len() - 1
        });
        let rows = results.rows.iter().map(|row| Range {
            name: if runs.len() == 1 {
                row.name()
            } else {
                format!("{}: {}", run.name, row.name())
            },
            colour,
            figure: row.figure,
        });
        charts[at].1.extend(rows);
    }
    charts
}

fn figure(title: &str, svg: &str) -> String {
    format!(
        "<figure>\n<figcaption>{}</figcaption>\n{svg}\n</figure>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_mean_reaches_back_and_no_further() {
        let points: Vec<Point> = (0..60)
            .map(|at| (f64::from(at), f64::from(at % 2)))
            .collect();
        let line = Line {
            name: "run",
            colour: 0,
            points: points.clone(),
            is_faint: false,
        };
        let [faint, mean] = <[Line<'_>; 2]>::try_from(smoothed(&[line])).ok().unwrap();
        assert!(faint.is_faint && faint.points == points);
        assert_eq!(mean.points[..3], [(0.0, 0.0), (1.0, 0.5), (2.0, 0.5)]);
    }

    #[test]
    fn what_a_name_holds_is_no_markup() {
        assert_eq!(escaped("<a> & b"), "&lt;a&gt; &amp; b");
    }
}
