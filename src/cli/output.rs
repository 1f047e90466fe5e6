//! What commands print: data on standard output, talk on standard error, rows for people (`table`, `wide`) and
//! for programs (`json`).
//!
//! Holds: who reads standard output may stop reading at any time, as `head` does, and the command ends without a
//! word; when it cannot be written for another reason, the command fails. Nobody has to listen to talk.
//! `println!` panics in both cases.

use std::fmt::Display;
use std::io::{self, Write};

use serde_json::{Map, Value};

use super::failure::Failure;

/// A line of data.
pub(crate) fn print(line: impl Display) -> Result<(), Failure> {
    write(format!("{line}\n").as_bytes())
}

/// Data as it is.
pub(crate) fn write(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(data)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::output(&error))
}

/// A line of talk.
pub(crate) fn tell(line: impl Display) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    Table,
    /// All columns.
    Wide,
    /// A JSON array of objects.
    Json,
}

/// Rows of named columns. The first `narrow` columns are shown by `table`, all of them by `wide` and
/// `json`.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<&'static str>,
    pub(crate) narrow: usize,
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Rows {
    pub(crate) fn print(&self, format: Format) -> Result<(), Failure> {
        match format {
            Format::Json => {
                let objects: Vec<Value> = self
                    .rows
                    .iter()
                    .map(|row| {
                        let object: Map<String, Value> = self
                            .columns
                            .iter()
                            .map(|name| (*name).to_owned())
                            .zip(row.iter().cloned())
                            .collect();
                        Value::Object(object)
                    })
                    .collect();
                print(format_args!("{:#}", Value::Array(objects)))
            }
            Format::Table => print_table(&self.names(self.narrow), &self.cells(self.narrow)),
            Format::Wide => print_table(
                &self.names(self.columns.len()),
                &self.cells(self.columns.len()),
            ),
        }
    }

    fn names(&self, count: usize) -> Vec<String> {
        self.columns
            .iter()
            .take(count)
            .map(|name| name.to_uppercase().replace('_', "-"))
            .collect()
    }

    fn cells(&self, count: usize) -> Vec<Vec<String>> {
        self.rows
            .iter()
            .map(|row| row.iter().take(count).map(plain).collect())
            .collect()
    }
}

/// A value as people read it: text without quotes, null as nothing.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Left-aligned columns, two spaces apart.
pub(crate) fn print_table(names: &[String], rows: &[Vec<String>]) -> Result<(), Failure> {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = names.iter().map(|name| width(name)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let mut table = String::new();
    for row in std::iter::once(names).chain(rows.iter().map(Vec::as_slice)) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widths[column] - width(cell) + 2));
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    write(table.as_bytes())
}
