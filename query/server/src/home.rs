//! `GET /`: one page that says what this process is, where everything else is, and which topics there are.
//!
//! Holds: the page is whole in itself, so that it works where nothing else can be reached; it asks the
//! state for so many topics and no more; names come from outside and are written as text.
//! Leaves to others: everything that it links to.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tarn_model::PartitionId;
use tarn_replica::{Node, View};
use tarn_state::Topic;

const PAGE: &str = include_str!("home.html");
/// Topics on the page, …
const TOPICS_MAX: usize = 50;
/// … and partitions of all of them that are added up.
const PARTITIONS_MAX: usize = 5_000;
/// What stands in the page runs; it asks nobody but this process.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
     connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where clients find what a process offers: Kafka as `host:port`, the others as URLs without a path.
#[derive(Debug, Clone)]
pub struct Places {
    pub kafka: String,
    pub registry: String,
    pub http: String,
}

#[derive(Debug, Clone)]
struct Home {
    node: Node,
    places: Arc<Places>,
}

/// The route `/`, and what is said of paths that lead nowhere.
pub fn home(node: &Node, places: Places) -> Router {
    let home = Home {
        node: node.clone(),
        places: Arc::new(places),
    };
    Router::new()
        .route("/", get(page))
        .fallback(nowhere)
        .with_state(home)
}

async fn nowhere(uri: Uri) -> Response {
    let text = format!("There is no {} here. / shows what there is.\n", uri.path());
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn page(State(home): State<Home>) -> Response {
    let view = home.node.metastore.view();
    let Places {
        kafka,
        registry,
        http,
    } = &*home.places;
    let mut text = PAGE.to_owned();
    for (mark, value) in [
        ("{{version}}", env!("CARGO_PKG_VERSION")),
        ("{{cluster}}", &view.cluster.to_string()),
        ("{{kafka}}", kafka),
        ("{{registry}}", registry),
        ("{{http}}", http),
    ] {
        text = text.replace(mark, &escaped(value));
    }
    // Last, so that nothing in a name is taken for a mark.
    text = text.replace("{{topics}}", &topics(&view));
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, text).into_response()
}

fn topics(view: &View) -> String {
    let total = view.topic_names.len();
    if total == 0 {
        return "<p class=\"soft\">There is none yet. Any Kafka client makes one, or:</p>\
             <div class=\"scroll\"><pre>echo '{\"page\": \"/\"}' | tarn produce clicks</pre></div>"
            .to_owned();
    }
    let mut rows = String::new();
    let mut left = PARTITIONS_MAX;
    let shown = view.topic_names.values().filter_map(|id| view.topic(*id));
    for topic in shown.take(TOPICS_MAX) {
        rows += &row(view, topic, &mut left);
    }
    let more = match total.saturating_sub(TOPICS_MAX) {
        0 => String::new(),
        more => format!(
            "<p class=\"soft\">And {more} more: <code>SELECT * FROM system.topics</code>.</p>"
        ),
    };
    format!(
        "<div class=\"scroll\"><table><thead><tr><th>name</th><th class=\"number\">partitions</th>\
         <th class=\"number\">records</th><th>schema</th><th>Iceberg table</th></tr></thead><tbody>{rows}</tbody></table></div>{more}"
    )
}

fn row(view: &View, topic: &Topic, left: &mut usize) -> String {
    let name = escaped(&topic.name);
    let partitions = usize::try_from(topic.partitions).unwrap_or(0);
    let records = match left.checked_sub(partitions) {
        Some(rest) => {
            *left = rest;
            let partitions = (0..topic.partitions).map(PartitionId);
            let held = partitions.filter_map(|partition| view.partition(topic.id, partition));
            held.map(|partition| partition.offsets().len())
                .sum::<u64>()
                .to_string()
        }
        None => "…".to_owned(),
    };
    let table = view.table(topic.id);
    let schema = match table.is_some_and(|table| table.of_topic().is_some_and(|of| of.typed)) {
        true => format!("<a href=\"/v1/schemas/{name}\">Avro</a>"),
        false => "<span class=\"soft\">none</span>".to_owned(),
    };
    let table = match table {
        Some(table) => {
            let path = format!("/catalog/v1/namespaces/{}/tables/{name}", table.namespace);
            format!("<a href=\"{path}\">{}.{name}</a>", table.namespace)
        }
        None => "<span class=\"soft\">none</span>".to_owned(),
    };
    format!(
        "<tr><td><button class=\"name\" type=\"button\" data-topic=\"{name}\">{name}</button></td>\
         <td class=\"number\">{partitions}</td><td class=\"number\">{records}</td><td>{schema}</td><td>{table}</td></tr>"
    )
}

/// As text and as an attribute's value.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_name_holds_stays_text() {
        let name = r#"<script>alert("a' & b")</script>"#;
        assert_eq!(
            escaped(name),
            "&lt;script&gt;alert(&quot;a&#39; &amp; b&quot;)&lt;/script&gt;"
        );
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        for outside in ["src=", "@import", "url(", "https://", "http://"] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
