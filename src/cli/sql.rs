//! `tarn sql`: one statement over HTTP.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tarn_model::Kind;
use tokio::time::Instant;

use super::failure::{Failure, cause};
use super::output::{Format, plain, print, print_table, tell};

#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// The statement, for instance "SELECT count(*) FROM events.flights".
    query: String,
    /// A value for $1, the next one for $2, and so on, read as the type that its place has.
    #[arg(
        short,
        long = "parameter",
        value_name = "VALUE",
        allow_hyphen_values = true
    )]
    parameters: Vec<String>,
    /// HTTP address of a query process.
    #[arg(long, env = "TARN_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// `json` prints the whole answer, with the cut that it was read at.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Give up after this many seconds.
    #[arg(long, default_value_t = 600)]
    timeout: u64,
}

impl Sql {
    pub(crate) fn run(self) -> Result<(), Failure> {
        super::kafka::block_on(self.ask())
    }

    async fn ask(self) -> Result<(), Failure> {
        let started = Instant::now();
        let answer = reqwest::Client::new()
            .post(format!("{}/v1/sql", self.url))
            .timeout(Duration::from_secs(self.timeout))
            .header("content-type", "application/json")
            .body(json!({ "query": self.query, "parameters": self.parameters }).to_string())
            .send()
            .await
            .map_err(|error| self.unanswered(&error))?;
        let status = answer.status();
        let text = answer
            .text()
            .await
            .map_err(|error| Failure::new(Kind::Unavailable, error))?;
        if !status.is_success() {
            return Err(problem(status.as_u16(), &text));
        }
        if self.output == Format::Json {
            return print(text);
        }
        let answer: Value = serde_json::from_str(&text).map_err(|error| {
            Failure::new(Kind::Internal, format!("the answer is not JSON: {error}"))
        })?;
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let names: Vec<String> = list(&answer["columns"])
            .iter()
            .map(|column| plain(&column["name"]))
            .collect();
        let rows: Vec<Vec<String>> = list(&answer["rows"])
            .iter()
            .map(|row| list(row).iter().map(plain).collect())
            .collect();
        print_table(&names, &rows)?;
        let count = rows.len();
        tell(format_args!(
            "{count} {} in {:.2?}",
            if count == 1 { "row" } else { "rows" },
            started.elapsed()
        ));
        Ok(())
    }
}

impl Sql {
    fn unanswered(&self, error: &reqwest::Error) -> Failure {
        if error.is_builder() {
            let next = "Say where the HTTP port is with --url http://HOST:PORT.";
            return Failure::invalid(format!("{} is no URL: {}", self.url, cause(error)))
                .next(next.to_owned());
        }
        if error.is_timeout() {
            let next = "Raise --timeout, or ask for less.";
            let message = format!("{} did not answer within {} s", self.url, self.timeout);
            return Failure::new(Kind::Unavailable, message).next(next.to_owned());
        }
        let next =
            "Is `tarn dev` running there? Say where its HTTP port is with --url http://HOST:PORT.";
        let message = format!("{} does not answer: {}", self.url, cause(error));
        Failure::new(Kind::Unavailable, message).next(next.to_owned())
    }
}

/// An `application/problem+json` body as one message.
fn problem(status: u16, body: &str) -> Failure {
    let kind = match status {
        400 | 413 => Kind::Invalid,
        404 => Kind::NotFound,
        401 | 403 => Kind::Denied,
        408 | 429 | 503 => Kind::Unavailable,
        _ => Kind::Internal,
    };
    let problem: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let field = |name: &str| problem[name].as_str().filter(|text| !text.is_empty());
    let mut message = field("detail")
        .or(field("title"))
        .unwrap_or(body)
        .to_owned();
    if let (Some(line), Some(column)) = (
        problem["position"]["line"].as_u64(),
        problem["position"]["column"].as_u64(),
    ) {
        message = format!("line {line}, column {column}: {message}");
    }
    if let Some(code) = field("code") {
        message = format!("{code}: {message}");
    }
    Failure::new(kind, message).next(field("hint").map(sentence))
}

/// A hint as a sentence.
fn sentence(hint: &str) -> String {
    let mut letters = hint.chars();
    let first = letters
        .next()
        .map(|letter| letter.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}
