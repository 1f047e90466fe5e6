//! What the members of a group of consumers read, by their own word.

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};

/// What consumers call their protocol.
pub const CONSUMER: &str = "consumer";

/// The topics that members read, by what they bring; `None` if one of them does not say, as while it
/// joins.
pub fn subscribed<'m>(members: impl Iterator<Item = &'m Bytes>) -> Option<BTreeSet<String>> {
    let mut topics = BTreeSet::new();
    for metadata in members {
        topics.extend(topics_of(metadata)?);
    }
    Some(topics)
}

/// The topics in a consumer's subscription: `version i16 │ topics [string] │ …`. It is another member's
/// word, so its count is held against the bytes that are there.
fn topics_of(mut bytes: &[u8]) -> Option<Vec<String>> {
    let _version = bytes.try_get_i16().ok()?;
    let count = usize::try_from(bytes.try_get_i32().ok()?).ok()?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(bytes.try_get_i16().ok()?).ok()?;
        let (name, rest) = bytes.split_at_checked(length)?;
        topics.push(std::str::from_utf8(name).ok()?.to_owned());
        bytes = rest;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_of_members_are_read_within_their_bytes() {
        let bytes = [0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 9, 9];
        assert_eq!(topics_of(&bytes), Some(vec!["a".into(), "bc".into()]));
        assert_eq!(topics_of(&bytes[..12]), None);
        assert_eq!(topics_of(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None);
        assert_eq!(topics_of(&[]), None);
    }
}
