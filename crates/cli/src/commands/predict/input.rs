//! Sentences from a file or a pipe, as many at a time as are there.
//!
//! Deliberately not here: sentence splitting; a line is a unit, however many sentences it holds.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    mem,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use anyhow::{Context, Result, bail};
use metashot_data::text::split_words;

/// What is tagged as a whole.
pub(super) struct Unit {
    /// The line it stands on, from 1; the first one, if it has several.
    pub(super) line: usize,
    /// Its text.
    pub(super) text: String,
    /// Its words.
    pub(super) words: Vec<String>,
    /// Where each word lies in the text.
    pub(super) places: Vec<Place>,
}

/// Where a word lies in its text.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Its first character.
    pub(super) start: usize,
    /// One past its last.
    pub(super) end: usize,
    /// Its first byte.
    pub(super) byte: usize,
}

/// How words lie in the input.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Text; the words are those of [`split_words`].
    Text,
    /// Words between spaces or tabs.
    Words,
    /// A word in the first column of each line, blank lines between sentences.
    Columns,
}

/// Units that came together, and what is wrong with what follows them.
pub(super) struct Chunk {
    /// In their order.
    pub(super) units: Vec<Unit>,
    /// Why there are no more.
    pub(super) fault: Option<anyhow::Error>,
}

/// Bytes read ahead: about how much is tagged at a time.
const BUFFER: usize = 1 << 20;
/// Units that are tagged at a time.
const MOST_UNITS: usize = 4096;
/// Bytes of one unit, so that memory is bounded.
const LONGEST: usize = 16 << 20;

/// Reads on a thread of its own; `-` is stdin. What is there is handed over before waiting for more.
///
/// # Errors
/// A file that cannot be opened.
pub(super) fn read(path: &Path, layout: Layout) -> Result<Receiver<Chunk>> {
    let (name, source): (PathBuf, Box<dyn Read + Send>) = if path == Path::new("-") {
        ("stdin".into(), Box::new(io::stdin()))
    } else {
        let file =
            File::open(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        (path.to_owned(), Box::new(file))
    };
    let (sender, receiver) = sync_channel(1);
    let mut lines = Lines {
        reader: BufReader::with_capacity(BUFFER, source),
        name,
        number: 0,
        line: Vec::new(),
    };
    thread::spawn(move || {
        let mut units = Vec::new();
        // Whoever does not receive any more needs no units and no fault.
        if let Err(fault) = lines.units(layout, &mut units, &sender) {
            let fault = Some(fault);
            let _ = sender.send(Chunk { units, fault });
        } else if !units.is_empty() {
            let _ = sender.send(Chunk { units, fault: None });
        }
    });
    Ok(receiver)
}

struct Lines<R> {
    reader: BufReader<R>,
    name: PathBuf,
    /// Of the line that was read last, from 1.
    number: usize,
    line: Vec<u8>,
}

impl<R: Read> Lines<R> {
    /// Reads to the end and sends what is there whenever there might be nothing more for a while; what is left at the
    /// end, or at a fault, stays in `units`.
    fn units(
        &mut self,
        layout: Layout,
        units: &mut Vec<Unit>,
        sender: &SyncSender<Chunk>,
    ) -> Result<()> {
        let mut columns: Option<Unit> = None;
        loop {
            let waits = !self.reader.buffer().contains(&b'\n');
            if !units.is_empty() && (waits || units.len() >= MOST_UNITS) {
                let chunk = Chunk {
                    units: mem::take(units),
                    fault: None,
                };
                if sender.send(chunk).is_err() {
                    return Ok(());
                }
            }
            let Some(line) = self.next_line()? else {
                units.extend(columns);
                return Ok(());
            };
            let line = line.to_owned();
            match layout {
                Layout::Text => units.push(Unit::from_text(self.number, line)),
                Layout::Words => {
                    let mut unit = Unit::empty(self.number);
                    for word in line.split([' ', '\t']).filter(|word| !word.is_empty()) {
                        unit.push(word);
                    }
                    units.push(unit);
                }
                Layout::Columns => match line.split([' ', '\t']).find(|word| !word.is_empty()) {
                    None | Some("-DOCSTART-") => units.extend(columns.take()),
                    Some(word) => {
                        let unit = columns.get_or_insert_with(|| Unit::empty(self.number));
                        unit.push(word);
                        if unit.text.len() > LONGEST {
                            bail!(self.too_long("sentence"));
                        }
                    }
                },
            }
        }
    }

    /// The next line without its end; `None` after the last.
    fn next_line(&mut self) -> Result<Option<&str>> {
        self.line.clear();
        let mut limited = self.reader.by_ref().take(LONGEST as u64 + 1);
        let n_bytes = limited
            .read_until(b'\n', &mut self.line)
            .with_context(|| format!("failed to read `{}`", self.name.display()))?;
        if n_bytes == 0 {
            return Ok(None);
        }
        self.number += 1;
        if n_bytes > LONGEST {
            bail!(self.too_long("line"));
        }
        let text = match str::from_utf8(&self.line) {
            Ok(text) => text,
            Err(error) => bail!(
                "{}:{}: expected UTF-8, found byte 0x{:02x}",
                self.name.display(),
                self.number,
                self.line[error.valid_up_to()]
            ),
        };
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let bom = if self.number == 1 { "\u{feff}" } else { "" };
        Ok(Some(text.strip_prefix(bom).unwrap_or(text)))
    }

    fn too_long(&self, what: &str) -> String {
        format!(
            "{}:{}: expected a {what} of at most {} MiB, found a longer one",
            self.name.display(),
            self.number,
            LONGEST >> 20
        )
    }
}

impl Unit {
    fn from_text(line: usize, text: String) -> Self {
        let words = split_words(&text);
        let places = words.iter().map(|word| Place {
            start: word.start,
            end: word.end,
            byte: word.byte,
        });
        Self {
            line,
            places: places.collect(),
            words: words.iter().map(|word| word.text.to_owned()).collect(),
            text,
        }
    }

    fn empty(line: usize) -> Self {
        Self {
            line,
            text: String::new(),
            words: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Adds a word, after a space.
    fn push(&mut self, word: &str) {
        let mut start = self.places.last().map_or(0, |last| last.end);
        if !self.words.is_empty() {
            self.text.push(' ');
            start += 1;
        }
        self.places.push(Place {
            start,
            end: start + word.chars().count(),
            byte: self.text.len(),
        });
        self.text.push_str(word);
        self.words.push(word.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that gives one piece at a time, and the texts of the chunks that become of it.
    fn chunks(pieces: &[&[u8]], layout: Layout) -> (Vec<Vec<String>>, Option<String>) {
        struct Pieces(Vec<Vec<u8>>);
        impl Read for Pieces {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if self.0.is_empty() {
                    return Ok(0);
                }
                let piece = self.0.remove(0);
                buffer[..piece.len()].copy_from_slice(&piece);
                Ok(piece.len())
            }
        }
        let mut lines = Lines {
            reader: BufReader::new(Pieces(pieces.iter().map(|piece| piece.to_vec()).collect())),
            name: "a.txt".into(),
            number: 0,
            line: Vec::new(),
        };
        let (sender, receiver) = sync_channel(100);
        let mut rest = Vec::new();
        let outcome = lines.units(layout, &mut rest, &sender);
        drop(sender);
        let texts = |units: &[Unit]| units.iter().map(|unit| unit.text.clone()).collect();
        let mut all: Vec<Vec<String>> = receiver.iter().map(|chunk| texts(&chunk.units)).collect();
        if !rest.is_empty() {
            all.push(texts(&rest));
        }
        (all, outcome.err().map(|error| error.to_string()))
    }

    #[test]
    fn whole_lines_are_handed_over_before_waiting_for_more() {
        let pieces: [&[u8]; 4] = [b"\xef\xbb\xbfa\r\nb", b"\n", b"c\n\nd", b"\n"];
        let (found, error) = chunks(&pieces, Layout::Text);
        assert_eq!(
            found,
            [vec!["a"], vec!["b"], vec!["c", ""], vec!["d"]]
                .map(|chunk| { chunk.into_iter().map(str::to_owned).collect::<Vec<_>>() })
        );
        assert_eq!(error, None);
    }

    #[test]
    fn what_stands_before_a_fault_is_not_lost() {
        let (found, error) = chunks(&[b"a\nb\n\xff\nc\n"], Layout::Text);
        assert_eq!(found.concat(), ["a", "b"]);
        assert_eq!(error.unwrap(), "a.txt:3: expected UTF-8, found byte 0xff");
    }

    #[test]
    fn columns_make_sentences() {
        let text = b"-DOCSTART- O\n\nAda B-PER\nin\tO\n\n\nKyiv";
        let (found, _) = chunks(&[text], Layout::Columns);
        assert_eq!(found.concat(), ["Ada in", "Kyiv"]);
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let piece = vec![b'x'; 4096];
        let pieces = vec![&piece[..]; LONGEST / 4096 + 1];
        let (found, error) = chunks(&pieces, Layout::Text);
        assert!(found.concat().is_empty());
        assert_eq!(
            error.unwrap(),
            "a.txt:1: expected a line of at most 16 MiB, found a longer one"
        );
    }

    #[test]
    fn words_lie_where_they_say() {
        let mut unit = Unit::empty(1);
        for word in ["Zoë", "in", "Kyiv"] {
            unit.push(word);
        }
        let same = Unit::from_text(1, unit.text.clone());
        let places = |unit: &Unit| -> Vec<[usize; 3]> {
            unit.places
                .iter()
                .map(|place| [place.start, place.end, place.byte])
                .collect()
        };
        assert_eq!(places(&unit), places(&same));
        assert_eq!(places(&unit), [[0, 3, 0], [4, 6, 5], [7, 11, 8]]);
    }
}
