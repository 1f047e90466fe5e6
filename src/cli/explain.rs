//! `tarn explain TARN-1203`: the long form of an error code, and what a setting or a topic config is for;
//! without a name, all error codes.

use clap::Args;
use serde_json::Value;
use tarn_model::Kind;
use tarn_model::codes::{self, CODES, Code};
use tarn_state::topic_configs;

use super::failure::Failure;
use super::output::{Format, Rows, print};
use crate::settings;

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// An error code, as TARN-1203 or just 1203, a setting or a topic config. All error codes are listed
    /// without one.
    name: Option<String>,
    /// How to print the list.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Explain {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match &self.name {
            None => {
                let row = |code: &Code| {
                    [code.code, code.title, code.means].map(|text| Value::String(text.to_owned()))
                };
                Rows {
                    columns: vec!["code", "title", "means"],
                    narrow: 3,
                    rows: CODES.iter().map(|code| row(code).to_vec()).collect(),
                }
                .print(self.output)
            }
            Some(named) => {
                let text = of_code(named)
                    .or_else(|| of_setting(named))
                    .or_else(|| of_topic_config(named))
                    .ok_or_else(|| {
                        let why =
                            format!("there is no error code, setting or topic config {named:?}");
                        let next = "`tarn explain` lists the error codes, `tarn config show` the settings.";
                        Failure::new(Kind::NotFound, why).next(next.to_owned())
                    })?;
                print(text)
            }
        }
    }
}

fn of_code(named: &str) -> Option<String> {
    let Code {
        code,
        status,
        title,
        means,
        cause,
        remedy,
        hint: _,
    } = codes::find(named)?;
    Some(format!(
        "{code}: {title} (HTTP {status})\n\n{means}\n\nCause: {cause}\n\nWhat to do: {remedy}"
    ))
}

fn of_setting(named: &str) -> Option<String> {
    let (manual, default) = settings::explain(named)?;
    Some(format!(
        "Setting {named}, {default:?} by default\n\n{manual}"
    ))
}

fn of_topic_config(named: &str) -> Option<String> {
    let config = topic_configs::find(named)?;
    Some(format!(
        "Topic config {named}, {:?} by default\n\n{}",
        config.default, config.doc
    ))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use expect_test::expect_file;

    use super::*;

    /// `UPDATE_EXPECT=1 cargo test -p tarn` writes it anew.
    #[test]
    fn the_page_of_error_codes_is_made_of_the_list() {
        let mut page = "# Error codes\n\n\
            Made of `metastore/model/src/codes.rs`; `tarn explain TARN-1203` prints the same.\n\n\
            `POST /v1/sql` and `/v1/schemas` answer errors as `application/problem+json` (RFC 9457): `code` keeps its meaning, \
            `type` is `urn:tarn:error:` and the code, `detail` says what was wrong this time, `hint` what to do next.\n\n\
            | code | status | means |\n| --- | --- | --- |\n"
            .to_owned();
        for code in CODES {
            writeln!(
                page,
                "| [{0}](#{1}) | {2} | {3} |",
                code.code,
                code.code.to_lowercase(),
                code.status,
                code.means
            )
            .expect("writing to a String cannot fail");
        }
        for code in CODES {
            write!(
                page,
                "\n## {}\n{}: {}.\n\n**Cause.** {}\n\n**What to do.** {}\n",
                code.code, code.title, code.means, code.cause, code.remedy
            )
            .expect("writing to a String cannot fail");
        }
        expect_file!["../../docs/ERRORS.md"].assert_eq(&page);
    }
}
