//! `metashot predict`: text in, entities out, as a stream.
//!
//! Deliberately not here: how entities are found (`tagger`).

mod input;
mod output;

use std::{
    io::{IsTerminal, stdout},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use metashot_meta::Workers;

use self::{
    input::{Chunk, Layout, Unit, read},
    output::Writer,
};
use super::session::fetch;
use crate::{
    allocator,
    args::{Format, PredictArgs},
    device,
    progress::say,
    recipe::{Paths, is_embedded},
    run_dir::is_run,
    tagger::Tagger,
};

/// Tags what comes in and writes it as soon as it is there.
pub(super) fn run(args: &PredictArgs) -> Result<()> {
    ensure!(
        args.batch_tokens != Some(0),
        "`--batch-tokens` must be at least 1, found 0"
    );
    allocator::keep_pages_small();
    let kind = args.device.unwrap_or_default();
    let device = device::open(kind)?;
    let batch_tokens = args
        .batch_tokens
        .unwrap_or_else(|| device::tokens_at_once(kind));
    let workers = Workers::new(args.threads)?;
    for (is_start, what) in [
        (is_run(Path::new(&args.model)), "a run directory"),
        (is_embedded(&args.model), "an encoder that has no labels"),
    ] {
        ensure!(
            !is_start,
            "`{0}` is {what}; make a tagger of it first: `metashot adapt --model {0} --support FILE --out DIR`",
            args.model
        );
    }
    let paths = Paths::new(args.data.clone(), None);
    let directory = match paths.find_directory(&args.model) {
        Some(directory) => directory,
        None => fetch(&args.model, None)?,
    };
    let tagger = Tagger::open(&directory, args.orphan.into(), &device)?;
    let layout = match (args.words, args.conll) {
        (_, true) => Layout::Columns,
        (true, false) => Layout::Words,
        (false, false) => Layout::Text,
    };
    let on_terminal = stdout().is_terminal();
    let format = args.format.unwrap_or(if on_terminal {
        Format::Pretty
    } else {
        Format::Jsonl
    });
    let colour = on_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut writer = Writer::new(stdout().lock(), format, colour, tagger.types());
    for Chunk { units, fault } in read(&args.file, layout)? {
        // What was read before a fault is tagged and written before the fault is told.
        tag(&tagger, &units, batch_tokens, &workers, &mut writer)?;
        if let Some(fault) = fault {
            return Err(fault);
        }
    }
    Ok(())
}

fn tag(
    tagger: &Tagger,
    units: &[Unit],
    batch_tokens: usize,
    workers: &Workers,
    writer: &mut Writer<'_>,
) -> Result<()> {
    let words: Vec<&[String]> = units.iter().map(|unit| &unit.words[..]).collect();
    let lines = || match units {
        [] => "no lines".to_owned(),
        [unit] => format!("line {}", unit.line),
        [first, .., last] => format!("lines {} to {}", first.line, last.line),
    };
    let found = tagger
        .tag(&words, batch_tokens, workers)
        .with_context(|| format!("failed to tag {}", lines()))?;
    for &sentence in &found.cut {
        say(&format!(
            "warning: line {}: a word has more sub-words than the model reads; it is tagged by its first ones",
            units[sentence].line
        ));
    }
    for (unit, entities) in units.iter().zip(&found.entities) {
        writer.unit(unit, entities)?;
    }
    writer.flush()
}
