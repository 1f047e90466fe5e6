//! Which names a topic may have: Kafka's rule.

use tarn_model::caps::TOPIC_NAME_MAX;

/// Why a topic may not be called so; `None` if it may.
pub fn problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a topic's name may not be empty".to_owned());
    }
    if name == "." || name == ".." {
        return Some(format!("a topic may not be called {name:?}"));
    }
    if name.len() > TOPIC_NAME_MAX {
        return Some(format!(
            "a topic's name has at most {TOPIC_NAME_MAX} characters"
        ));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        return Some(format!(
            "a topic's name consists of ASCII letters, digits, '.', '_' and '-', not {wrong:?}"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rule() {
        for name in ["a", "orders", "orders.v1_2-x", &"x".repeat(249)] {
            assert_eq!(problem(name), None, "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
            assert!(problem(name).is_some(), "{name}");
        }
    }
}
