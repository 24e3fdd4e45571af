//! Labelled texts and pairs of texts: CSV with a header, tab-separated columns, or JSON lines.
//!
//! Deliberately not here: words, tokens, and spans within a text (`spans`).

use std::{
    collections::{BTreeSet, HashSet},
    path::Path,
};

use serde_json::{Map, Value};

use crate::{
    ClassSplit, Error, Result,
    file::{Place, excerpt, read_text},
};

/// Which columns, or which keys of JSON objects, hold what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    /// The text.
    pub text: String,
    /// The second text of a pair, where there are pairs.
    pub pair: Option<String>,
    /// The class.
    pub label: String,
}

/// A text, or a pair of texts, and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledText {
    /// The text.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// Index into [`LabelledSet::classes`].
    pub label: usize,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
}

/// Texts by class.
///
/// ```
/// use std::path::Path;
/// use metashot_data::text::{Columns, parse_labelled};
///
/// let columns = Columns { text: "text".into(), pair: None, label: "label".into() };
/// let csv = "label,text\nweather,\"Rain, again\"\nsport,A late goal\nweather,Fog\n";
/// let set = parse_labelled(csv, Path::new("example.csv"), &columns)?;
/// assert_eq!(set.classes, ["sport", "weather"]);
/// assert_eq!(set.texts[0].text, "Rain, again");
/// assert_eq!(set.by_class(), [vec![1], vec![0, 2]]);
/// # Ok::<(), metashot_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledSet {
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// The texts, in the order of the file.
    pub texts: Vec<LabelledText>,
}

/// Reads labelled texts. A file whose first line is a JSON object holds JSON lines; else its first line is a header, with
/// columns parted by tabs if it has one and by commas if not. Cells may be quoted as in RFC 4180.
///
/// # Errors
/// A file that cannot be read, is not UTF-8, lacks a column, has a row without text or label, or holds no row.
pub fn read_labelled(path: &Path, columns: &Columns) -> Result<LabelledSet> {
    parse_labelled(&read_text(path)?, path, columns)
}

/// Parses labelled texts; `name` stands for the file in errors.
///
/// # Errors
/// As [`read_labelled`].
pub fn parse_labelled(text: &str, name: &Path, columns: &Columns) -> Result<LabelledSet> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().find(|line| !line.trim().is_empty());
    let rows = if first.is_some_and(|line| line.trim_start().starts_with('{')) {
        json_rows(text, name, columns)?
    } else {
        table_rows(text, name, columns)?
    };
    if rows.is_empty() {
        return Err(Error::Nothing {
            path: name.to_path_buf(),
            wanted: "labelled texts".into(),
        });
    }
    let names: BTreeSet<&String> = rows.iter().map(|row| &row.label).collect();
    let classes: Vec<String> = names.into_iter().cloned().collect();
    let texts = rows
        .iter()
        .map(|row| LabelledText {
            text: row.text.clone(),
            pair: row.pair.clone(),
            label: classes.partition_point(|class| *class < row.label),
            line: row.line,
        })
        .collect();
    Ok(LabelledSet { classes, texts })
}

/// A row as the file has it.
struct Row {
    text: String,
    pair: Option<String>,
    label: String,
    line: usize,
}

impl Row {
    fn new(text: &str, pair: Option<&str>, label: &str, at: Place<'_>) -> Result<Self> {
        let filled = |what: &'static str, cell: &str| {
            let cell = cell.trim();
            if cell.is_empty() {
                Err(at.wanted(what, "nothing"))
            } else {
                Ok(cell.to_owned())
            }
        };
        Ok(Self {
            text: filled("a text", text)?,
            pair: pair.map(|pair| filled("a second text", pair)).transpose()?,
            label: filled("a label", label)?,
            line: at.line,
        })
    }
}

fn json_rows(text: &str, path: &Path, columns: &Columns) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (row, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let at = Place {
            path,
            line: row + 1,
        };
        let object: Map<String, Value> = serde_json::from_str(line)
            .map_err(|_| at.wanted("a JSON object on a line", excerpt(line)))?;
        // A label may be a number or a truth value; a text is a text.
        let string = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
        let missing = |key: &str| Error::NoColumn {
            path: path.to_path_buf(),
            line: at.line,
            column: key.to_owned(),
            found: object.keys().cloned().collect::<Vec<_>>().join("`, `"),
        };
        let text = string(&columns.text).ok_or_else(|| missing(&columns.text))?;
        let pair = columns
            .pair
            .as_ref()
            .map(|key| string(key).ok_or_else(|| missing(key)))
            .transpose()?;
        let label = match object.get(&columns.label) {
            Some(Value::String(label)) => label.clone(),
            Some(label @ (Value::Number(_) | Value::Bool(_))) => label.to_string(),
            _ => return Err(missing(&columns.label)),
        };
        rows.push(Row::new(&text, pair.as_deref(), &label, at)?);
    }
    Ok(rows)
}

fn table_rows(text: &str, path: &Path, columns: &Columns) -> Result<Vec<Row>> {
    let tabs = text.lines().next().is_some_and(|line| line.contains('\t'));
    let mut table = csv::ReaderBuilder::new()
        .delimiter(if tabs { b'\t' } else { b',' })
        .from_reader(text.as_bytes());
    let unreadable = |error: &csv::Error| {
        let line = error
            .position()
            .map_or(1, |position| position.line() as usize);
        let found = match error.kind() {
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => format!("{len} columns under a header of {expected_len}"),
            _ => error.to_string(),
        };
        Place { path, line }.wanted("a row with as many columns as the header", found)
    };
    let header = table.headers().map_err(|error| unreadable(&error))?.clone();
    let find = |name: &str| {
        header
            .iter()
            .position(|column| column.trim() == name)
            .ok_or_else(|| Error::NoColumn {
                path: path.to_path_buf(),
                line: 1,
                column: name.to_owned(),
                found: header.iter().collect::<Vec<_>>().join("`, `"),
            })
    };
    if header.is_empty() {
        return Ok(Vec::new());
    }
    let text = find(&columns.text)?;
    let pair = columns.pair.as_ref().map(|name| find(name)).transpose()?;
    let label = find(&columns.label)?;
    let mut rows = Vec::new();
    for record in table.records() {
        let record = record.map_err(|error| unreadable(&error))?;
        let line = record
            .position()
            .map_or(0, |position| position.line() as usize);
        let at = Place { path, line };
        rows.push(Row::new(
            &record[text],
            pair.map(|pair| &record[pair]),
            &record[label],
            at,
        )?);
    }
    Ok(rows)
}

impl LabelledSet {
    /// The texts of each class, as indices into [`texts`](Self::texts).
    pub fn by_class(&self) -> Vec<Vec<usize>> {
        let mut classes = vec![Vec::new(); self.classes.len()];
        for (at, text) in self.texts.iter().enumerate() {
            classes[text.label].push(at);
        }
        classes
    }

    /// The named classes only, numbered in the order of the names.
    ///
    /// # Errors
    /// A name that is no class.
    pub fn select(&self, names: &[String]) -> Result<Self> {
        for name in names {
            if self.classes.binary_search(name).is_err() {
                return Err(Error::UnknownClass {
                    name: name.clone(),
                    known: self.classes.len(),
                });
            }
        }
        let texts = self.texts.iter().filter_map(|text| {
            let class = &self.classes[text.label];
            let label = names.iter().position(|name| name == class)?;
            Some(LabelledText {
                label,
                ..text.clone()
            })
        });
        Ok(Self {
            texts: texts.collect(),
            classes: names.to_vec(),
        })
    }

    /// Its parts for training, validation and test by class.
    ///
    /// # Errors
    /// As [`ClassSplit::random`].
    pub fn split(&self, n_validation: usize, n_test: usize, seed: u64) -> Result<[Self; 3]> {
        let split = ClassSplit::random(&self.classes, n_validation, n_test, seed)?;
        Ok([
            self.select(&split.train)?,
            self.select(&split.validation)?,
            self.select(&split.test)?,
        ])
    }

    /// Each text, or pair, once, where it stands first: a text in both halves of an episode makes it easier than it
    /// claims to be, and one with two classes cannot be learned.
    #[must_use]
    pub fn without_duplicates(&self) -> Self {
        let mut seen = HashSet::new();
        self.keep(|text| seen.insert(text.key()))
    }

    /// The texts that do not stand in `other`, whatever their class.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let there: HashSet<(&str, Option<&str>)> =
            other.texts.iter().map(LabelledText::key).collect();
        self.keep(|text| !there.contains(&text.key()))
    }

    /// The texts that are as wanted.
    #[must_use]
    pub fn keep<'a>(&'a self, mut wanted: impl FnMut(&'a LabelledText) -> bool) -> Self {
        Self {
            classes: self.classes.clone(),
            texts: self
                .texts
                .iter()
                .filter(|text| wanted(text))
                .cloned()
                .collect(),
        }
    }
}

impl LabelledText {
    fn key(&self) -> (&str, Option<&str>) {
        (&self.text, self.pair.as_deref())
    }
}
