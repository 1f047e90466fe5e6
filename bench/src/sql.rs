//! Asks SQL over HTTP.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub(crate) struct Sql {
    http: reqwest::Client,
    url: String,
}

impl Sql {
    pub(crate) fn new(http: &str) -> Sql {
        Sql {
            http: reqwest::Client::new(),
            url: format!("{http}/v1/sql"),
        }
    }

    /// The rows of the answer.
    pub(crate) async fn rows(&self, query: &str) -> Result<Vec<Vec<Value>>> {
        let request = self
            .http
            .post(&self.url)
            .timeout(Duration::from_secs(120))
            .header("content-type", "application/json")
            .body(json!({ "query": query }).to_string());
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{query}: {status}: {text}");
        }
        let mut answer: Value = serde_json::from_str(&text)?;
        serde_json::from_value(answer["rows"].take()).context("an answer without rows")
    }
}
