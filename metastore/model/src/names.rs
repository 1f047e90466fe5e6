//! What names mean: which ones topics, tables and namespaces may have, whose they are, and where the tables
//! of topics are.

use crate::caps::{NAMESPACE_NAME_MAX, TOPIC_NAME_MAX};

/// Where the tables of topics are.
pub const EVENTS_NAMESPACE: &str = "events";

/// Topics of Tarn's own begin with it.
const OURS: &str = "_tarn.";

/// A name that no topic may have: Kafka's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameProblem {
    #[error("a topic's name may not be empty")]
    Empty,
    #[error("a topic may not be called \".\" or \"..\"")]
    Path,
    #[error("a topic's name has at most {TOPIC_NAME_MAX} characters")]
    TooLong,
    #[error("a topic's name consists of ASCII letters, digits, '.', '_' and '-', not {0:?}")]
    Character(char),
}

/// May a topic be called so?
pub fn check(name: &str) -> Result<(), TopicNameProblem> {
    if name.is_empty() {
        return Err(TopicNameProblem::Empty);
    }
    if name == "." || name == ".." {
        return Err(TopicNameProblem::Path);
    }
    if name.len() > TOPIC_NAME_MAX {
        return Err(TopicNameProblem::TooLong);
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name.chars().find(|c| !allowed(c)) {
        Some(wrong) => Err(TopicNameProblem::Character(wrong)),
        None => Ok(()),
    }
}

/// Namespaces that are not made of tables: SQL has others under these names.
const OF_SQL: [&str; 3] = ["system", "information_schema", "pg_catalog"];

/// Namespaces that topics fill. A table that somebody else makes there could take the name of a topic to
/// come.
const OF_TOPICS: [&str; 2] = [EVENTS_NAMESPACE, "history"];

/// A name that no table, or no namespace, may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableNameProblem {
    #[error("it is what a topic may not be called, either: {0}")]
    Name(#[from] TopicNameProblem),
    #[error("a namespace has at most {NAMESPACE_NAME_MAX} characters")]
    TooLong,
    #[error("a namespace has one level, and no dots")]
    Levels,
    #[error("SQL has something else under this name")]
    Reserved,
    #[error("the tables there are made by topics")]
    OfTopics,
}

/// May a table be called so? As a topic, so that all tables are named alike in SQL, URLs and paths.
pub fn check_table(name: &str) -> Result<(), TableNameProblem> {
    Ok(check(name)?)
}

/// May a namespace be called so?
pub fn check_namespace(name: &str) -> Result<(), TableNameProblem> {
    if name.contains('.') {
        return Err(TableNameProblem::Levels);
    }
    check(name)?;
    if name.len() > NAMESPACE_NAME_MAX {
        return Err(TableNameProblem::TooLong);
    }
    match OF_SQL.iter().any(|taken| name.eq_ignore_ascii_case(taken)) {
        true => Err(TableNameProblem::Reserved),
        false => Ok(()),
    }
}

/// May somebody else than a topic make a table in it?
pub fn check_new_namespace(name: &str) -> Result<(), TableNameProblem> {
    check_namespace(name)?;
    match OF_TOPICS
        .iter()
        .any(|taken| name.eq_ignore_ascii_case(taken))
    {
        true => Err(TableNameProblem::OfTopics),
        false => Ok(()),
    }
}

/// Kafka's own topics. Other names are users', whatever they begin with: `__debezium-heartbeat.x` is one.
pub fn is_internal(name: &str) -> bool {
    matches!(
        name,
        "__consumer_offsets" | "__transaction_state" | "__share_group_state"
    )
}

/// Topics of Tarn's own.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(OURS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        for name in ["a", "orders", "orders.v1_2-x", &"x".repeat(249)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
            assert!(check(name).is_err(), "{name}");
        }
    }

    #[test]
    fn tables_are_named_as_topics_are_and_namespaces_have_one_level() {
        for name in ["sales", "raw", "a-b_c", &"x".repeat(NAMESPACE_NAME_MAX)] {
            assert_eq!(check_new_namespace(name), Ok(()), "{name}");
        }
        for (name, problem) in [
            ("", TopicNameProblem::Empty.into()),
            ("a b", TopicNameProblem::Character(' ').into()),
            ("a.b", TableNameProblem::Levels),
            ("a\u{1f}b", TopicNameProblem::Character('\u{1f}').into()),
            (
                &"x".repeat(NAMESPACE_NAME_MAX + 1),
                TableNameProblem::TooLong,
            ),
            ("system", TableNameProblem::Reserved),
            ("Information_Schema", TableNameProblem::Reserved),
            ("pg_catalog", TableNameProblem::Reserved),
            ("EVENTS", TableNameProblem::OfTopics),
            ("history", TableNameProblem::OfTopics),
        ] {
            assert_eq!(check_new_namespace(name), Err(problem), "{name}");
        }
        assert_eq!(check_namespace("events"), Ok(()));
        assert_eq!(check_table("orders.2024"), Ok(()));
        for name in ["orders$hot", "..", "a/b", "a\0"] {
            assert!(check_table(name).is_err(), "{name}");
        }
    }

    #[test]
    fn three_names_are_kafkas_and_a_prefix_is_ours() {
        assert!(is_internal("__consumer_offsets") && !is_ours("__consumer_offsets"));
        assert!(is_ours("_tarn.runs") && !is_internal("_tarn.runs"));
        assert!(!is_internal("__debezium-heartbeat.x") && !is_ours("_tarnish"));
    }
}
