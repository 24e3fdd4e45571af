//! Charts as SVG: lines over updates, and figures with their intervals.
//!
//! Deliberately not here: what is drawn.

use std::ops;

use anyhow::{Context, Result};
use plotters::{coord::Shift, prelude::*};

use crate::report::Figure;

/// A point of a line.
pub(super) type Point = (f64, f64);

/// A line of a chart.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// The number of its colour; lines of one run have the same.
    pub(super) colour: usize,
    pub(super) points: Vec<Point>,
    /// It stands behind the others and has no entry in the legend.
    pub(super) is_faint: bool,
}

/// A figure in a row of its own.
pub(super) struct Range {
    pub(super) name: String,
    pub(super) colour: usize,
    pub(super) figure: Figure,
}

/// Units of the drawing; a browser scales it to the page.
const WIDTH: u32 = 900;
/// Height of a chart of lines.
const HEIGHT: u32 = 340;
/// Height of a row of a chart of intervals.
const ROW: u32 = 24;
/// Room for the names of its rows.
const NAMES: u32 = 380;

const FONT: (&str, u32) = ("sans-serif", 13);

/// Lines over a common axis.
///
/// # Errors
/// When there is no finite point, or drawing fails.
pub(super) fn lines(x_name: &str, lines: &[Line<'_>]) -> Result<String> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x_range = span(points().map(|point| point.0))?;
    let y_range = span(points().map(|point| point.1))?;
    draw(HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(x_range.clone(), y_range.clone())?;
        chart
            .configure_mesh()
            .x_desc(x_name)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .label_style(FONT)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for line in lines {
            let colour = colour(line.colour);
            let style = if line.is_faint {
                colour.mix(0.25).stroke_width(1)
            } else {
                colour.stroke_width(2)
            };
            let points = line.points.iter().filter(|(_, y)| y.is_finite()).copied();
            let drawn = chart.draw_series(LineSeries::new(points, style))?;
            if !line.is_faint {
                drawn.label(line.name).legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2))
                });
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .label_font(FONT)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        Ok(())
    })
}

/// Figures below one another, each a point on its interval, in hundredths.
///
/// # Errors
/// When there is no row, or drawing fails.
pub(super) fn intervals(rows: &[Range]) -> Result<String> {
    let ends = rows
        .iter()
        .flat_map(|row| [100.0 * row.figure.low, 100.0 * row.figure.high]);
    let x_range = span(ends.chain([0.0]))?;
    // The axis goes up, a table down.
    let names: Vec<&str> = rows.iter().rev().map(|row| row.name.as_str()).collect();
    let name = |row: &SegmentValue<usize>| match row {
        SegmentValue::CenterOf(at) => names.get(*at).map_or(String::new(), ToString::to_string),
        _ => String::new(),
    };
    draw(ROW * rows.len() as u32 + 60, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(x_range.clone(), (0..rows.len()).into_segmented())?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(rows.len())
            .y_label_formatter(&name)
            .label_style(FONT)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (at, row) in rows.iter().rev().enumerate() {
            let colour = colour(row.colour);
            let at = |x: f64| (100.0 * x, SegmentValue::CenterOf(at));
            let Figure { value, low, high } = row.figure;
            let ends = [at(low), at(high)];
            chart.draw_series([PathElement::new(ends, colour.stroke_width(2))])?;
            chart.draw_series([Circle::new(at(value), 4, colour.filled())])?;
        }
        Ok(())
    })
}

/// An SVG of this height.
fn draw(
    height: u32,
    fill: impl FnOnce(&DrawingArea<SVGBackend<'_>, Shift>) -> Result<()>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        fill(&area)?;
        area.present()?;
    }
    Ok(svg)
}

/// The range of some numbers, the finite ones, with a little room; of one number, a range around it.
fn span(numbers: impl Iterator<Item = f64>) -> Result<ops::Range<f64>> {
    let ends = numbers
        .filter(|number| number.is_finite())
        .fold(None, |ends, number| {
            let (low, high) = ends.unwrap_or((number, number));
            Some((number.min(low), number.max(high)))
        });
    let (low, high) = ends.context("there is no finite number to draw")?;
    let room = if low < high {
        0.02 * (high - low)
    } else {
        0.5 + 0.1 * low.abs()
    };
    Ok(low - room..high + room)
}

/// Colours that also who sees two of the three primary ones tells apart.
///
/// Source: Okabe and Ito 2008, "Color universal design".
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

fn colour(number: usize) -> RGBColor {
    COLOURS[number % COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_room_and_leaves_out_what_is_not_finite() {
        let range = |numbers: &[f64]| span(numbers.iter().copied()).unwrap();
        assert_eq!(range(&[0.0, f64::NAN, 50.0]), -1.0..51.0);
        assert_eq!(range(&[5.0]), 4.0..6.0);
        assert!(span([f64::INFINITY].into_iter()).is_err());
    }
}
