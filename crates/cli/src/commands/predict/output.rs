//! Entities as JSON lines, as two columns, or as text for a person.
//!
//! Deliberately not here: the order, which is that of the calls.

use std::{
    io::{self, BufWriter, StdoutLock, Write},
    ops::Range,
};

use anstyle::{AnsiColor, Reset, Style};
use anyhow::Result;
use serde::Serialize;

use super::input::Unit;
use crate::{args::Format, tagger::Entity};

/// Writes results to stdout.
pub(super) struct Writer<'a> {
    out: BufWriter<StdoutLock<'a>>,
    format: Format,
    colour: bool,
    types: &'a [String],
}

#[derive(Serialize)]
struct Line<'a> {
    text: &'a str,
    entities: Vec<Found<'a>>,
}

#[derive(Serialize)]
struct Found<'a> {
    r#type: &'a str,
    start: usize,
    end: usize,
    text: &'a str,
    score: f32,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        out: StdoutLock<'a>,
        format: Format,
        colour: bool,
        types: &'a [String],
    ) -> Self {
        Self {
            out: BufWriter::with_capacity(1 << 16, out),
            format,
            colour,
            types,
        }
    }

    /// Writes what was found in a unit.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(super) fn unit(&mut self, unit: &Unit, entities: &[Entity]) -> Result<()> {
        let (out, types) = (&mut self.out, self.types);
        match self.format {
            Format::Jsonl => json_line(out, unit, entities, types)?,
            Format::Conll => columns(out, unit, entities, types)?,
            Format::Pretty => pretty(out, unit, entities, types, self.colour)?,
        }
        Ok(())
    }

    /// Hands over what was written.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub(super) fn flush(&mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

fn json_line(
    out: &mut dyn Write,
    unit: &Unit,
    entities: &[Entity],
    types: &[String],
) -> io::Result<()> {
    let found = |entity: &Entity| {
        let (first, last) = (entity.span.start, entity.span.end - 1);
        Found {
            r#type: &types[entity.span.label],
            start: unit.places[first].start,
            end: unit.places[last].end,
            text: &unit.text[bytes(unit, entity)],
            score: entity.score,
        }
    };
    let line = Line {
        text: &unit.text,
        entities: entities.iter().map(found).collect(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

fn columns(
    out: &mut dyn Write,
    unit: &Unit,
    entities: &[Entity],
    types: &[String],
) -> io::Result<()> {
    // A blank line where there are no words would say nothing.
    if unit.words.is_empty() {
        return Ok(());
    }
    let mut entities = entities.iter().map(|entity| entity.span).peekable();
    for (at, word) in unit.words.iter().enumerate() {
        entities.next_if(|span| span.end <= at);
        match entities.peek() {
            Some(span) if span.start == at => writeln!(out, "{word} B-{}", types[span.label])?,
            Some(span) if span.start < at => writeln!(out, "{word} I-{}", types[span.label])?,
            _ => writeln!(out, "{word} O")?,
        }
    }
    out.write_all(b"\n")
}

fn pretty(
    out: &mut dyn Write,
    unit: &Unit,
    entities: &[Entity],
    types: &[String],
    colour: bool,
) -> io::Result<()> {
    let mut done = 0;
    for entity in entities {
        let Range { start, end } = bytes(unit, entity);
        let (before, text) = (&unit.text[done..start], &unit.text[start..end]);
        let kind = &types[entity.span.label];
        if colour {
            let style = Style::new()
                .bold()
                .fg_color(Some(COLOURS[entity.span.label % COLOURS.len()].into()));
            let dimmed = Style::new().dimmed();
            write!(out, "{before}{style}[{text}]{Reset}{dimmed}({kind}){Reset}")?;
        } else {
            write!(out, "{before}[{text}]({kind})")?;
        }
        done = end;
    }
    writeln!(out, "{}", &unit.text[done..])
}

const COLOURS: [AnsiColor; 6] = [
    AnsiColor::Green,
    AnsiColor::Cyan,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Blue,
    AnsiColor::Red,
];

/// The bytes of an entity in the text.
fn bytes(unit: &Unit, entity: &Entity) -> Range<usize> {
    let (first, last) = (entity.span.start, entity.span.end - 1);
    unit.places[first].byte..unit.places[last].byte + unit.words[last].len()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use metashot_data::text::Span;

    use super::*;
    use crate::commands::predict::input::Place;

    type Write = fn(&mut dyn io::Write, &Unit, &[Entity], &[String]) -> io::Result<()>;

    /// Two entities of one type side by side, and one of another at the end.
    fn check(write: Write, expected: &Expect) {
        let mut unit = Unit {
            line: 1,
            text: "Zoë  Ada: Kyiv".into(),
            words: ["Zoë", "Ada", ":", "Kyiv"].map(str::to_owned).to_vec(),
            places: Vec::new(),
        };
        for (start, end, byte) in [(0, 3, 0), (5, 8, 6), (8, 9, 9), (10, 14, 11)] {
            unit.places.push(Place { start, end, byte });
        }
        let entity = |label, start, end| Entity {
            span: Span { label, start, end },
            score: 0.5,
        };
        let entities = [entity(0, 0, 1), entity(0, 1, 3), entity(1, 3, 4)];
        let types = ["PER", "LOC"].map(str::to_owned);
        let mut out = Vec::new();
        write(&mut out, &unit, &entities, &types).unwrap();
        // Escapes are shown as letters.
        let shown = String::from_utf8(out).unwrap().replace('\u{1b}', "ESC");
        expected.assert_eq(&shown);
    }

    #[test]
    fn json_lines_count_characters() {
        check(
            json_line,
            &expect![[r#"
                {"text":"Zoë  Ada: Kyiv","entities":[{"type":"PER","start":0,"end":3,"text":"Zoë","score":0.5},{"type":"PER","start":5,"end":9,"text":"Ada:","score":0.5},{"type":"LOC","start":10,"end":14,"text":"Kyiv","score":0.5}]}
            "#]],
        );
    }

    #[test]
    fn columns_tell_neighbours_apart() {
        check(
            columns,
            &expect![[r"
                Zoë B-PER
                Ada B-PER
                : I-PER
                Kyiv B-LOC

            "]],
        );
    }

    #[test]
    fn what_a_person_reads_says_the_type_with_and_without_colour() {
        check(
            |out, unit, entities, types| pretty(out, unit, entities, types, false),
            &expect![[r"
                [Zoë](PER)  [Ada:](PER) [Kyiv](LOC)
            "]],
        );
        check(
            |out, unit, entities, types| pretty(out, unit, entities, types, true),
            &expect![[r"
                ESC[1mESC[32m[Zoë]ESC[0mESC[2m(PER)ESC[0m  ESC[1mESC[32m[Ada:]ESC[0mESC[2m(PER)ESC[0m ESC[1mESC[36m[Kyiv]ESC[0mESC[2m(LOC)ESC[0m
            "]],
        );
    }
}
