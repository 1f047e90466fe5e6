//! `a<-1`: the tokenizer takes `<-` for the beginning of a geometric operator, and stops.

use std::borrow::Cow;

/// The text with a blank between `<` and a sign behind it, outside of strings, names and comments.
pub(super) fn apart(sql: &str) -> Cow<'_, str> {
    if !sql.contains("<-") {
        return Cow::Borrowed(sql);
    }
    let mut spaced = String::with_capacity(sql.len() + 8);
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => quoted(rest, first),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '$' => dollar_quoted(rest),
            '<' if rest.starts_with("<-") && !rest.starts_with("<->") => {
                spaced.push_str("< ");
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            other => other.len_utf8(),
        };
        let (before, after) = rest.split_at(length);
        spaced.push_str(before);
        rest = after;
    }
    Cow::Owned(spaced)
}

/// A doubled quote ends one string and begins another: the same for what follows.
fn quoted(text: &str, quote: char) -> usize {
    let inner = text.get(1..).unwrap_or_default();
    inner.find(quote).map_or(text.len(), |end| end + 2)
}

fn dollar_quoted(text: &str) -> usize {
    let inner = text.get(1..).unwrap_or_default();
    let Some(end) = inner.find('$') else {
        return 1;
    };
    let (Some(tag), Some(name)) = (text.get(..end + 2), inner.get(..end)) else {
        return 1;
    };
    if !name
        .chars()
        .all(|letter| letter.is_alphanumeric() || letter == '_')
    {
        return 1;
    }
    let body = text.get(tag.len()..).unwrap_or_default();
    body.find(tag)
        .map_or(text.len(), |end| tag.len() + end + tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_operators_are_divided() {
        for (sql, expected) in [
            ("a<-1", "a< -1"),
            ("a<->b", "a<->b"),
            ("'<-' || \"<-\" -- <-\n<-1", "'<-' || \"<-\" -- <-\n< -1"),
            ("$$<-$$<-1 /* <- */", "$$<-$$< -1 /* <- */"),
            ("'it''s <-'<-'", "'it''s <-'< -'"),
            ("é<-$1", "é< -$1"),
        ] {
            assert_eq!(apart(sql), expected);
        }
    }
}
