//! Rows for people (`table`, `wide`) and for programs (`json`).

#![expect(clippy::print_stdout, reason = "this is where data is printed")]

use serde_json::{Map, Value};

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
    pub(crate) fn print(&self, format: Format) {
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
                println!("{:#}", Value::Array(objects));
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
pub(crate) fn print_table(names: &[String], rows: &[Vec<String>]) {
    let width = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = names.iter().map(|name| width(name)).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    for row in std::iter::once(names).chain(rows.iter().map(Vec::as_slice)) {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', widths[column] - width(cell) + 2));
        }
        println!("{}", line.trim_end());
    }
}
