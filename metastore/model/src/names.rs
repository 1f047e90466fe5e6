//! What names mean: which ones a topic may have, whose they are, and where their tables are.

use crate::caps::TOPIC_NAME_MAX;

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
    fn three_names_are_kafkas_and_a_prefix_is_ours() {
        assert!(is_internal("__consumer_offsets") && !is_ours("__consumer_offsets"));
        assert!(is_ours("_tarn.runs") && !is_internal("_tarn.runs"));
        assert!(!is_internal("__debezium-heartbeat.x") && !is_ours("_tarnish"));
    }
}
