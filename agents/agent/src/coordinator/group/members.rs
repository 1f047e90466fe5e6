//! The members of a group, and what they offer and weigh together.
//!
//! Holds: the sums are those of the members that are there, so that a join is judged by what it brings
//! itself, however many others there are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use bytes::Bytes;

use super::member::Member;

#[derive(Debug, Default)]
pub(super) struct Members {
    all: BTreeMap<String, Member>,
    /// Of all ids and of what the members brought.
    bytes: usize,
    /// How many of them offer each protocol.
    offers: BTreeMap<String, usize>,
}

/// Reading is as in a map.
impl Deref for Members {
    type Target = BTreeMap<String, Member>;

    fn deref(&self) -> &BTreeMap<String, Member> {
        &self.all
    }
}

impl FromIterator<(String, Member)> for Members {
    fn from_iter<I: IntoIterator<Item = (String, Member)>>(members: I) -> Members {
        let mut all = Members::default();
        for (id, member) in members {
            all.insert(id, member);
        }
        all
    }
}

impl Members {
    pub(super) fn insert(&mut self, id: String, member: Member) {
        self.remove(&id);
        self.bytes += weight(&id, &member);
        for name in names(&member) {
            *self.offers.entry(name.to_owned()).or_default() += 1;
        }
        self.all.insert(id, member);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.all.remove(id)?;
        self.bytes -= weight(id, &member);
        for name in names(&member) {
            if let Some(count) = self.offers.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.offers.remove(name);
                }
            }
        }
        Some(member)
    }

    /// For anything but what the member brought: see [`Members::set_protocols`].
    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.all.get_mut(id)
    }

    /// Likewise.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut Member)> {
        self.all.iter_mut()
    }

    /// Likewise.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.all.values_mut()
    }

    pub(super) fn set_protocols(&mut self, id: &str, protocols: Vec<(String, Bytes)>) {
        if let Some(mut member) = self.remove(id) {
            member.protocols = protocols;
            self.insert(id.to_owned(), member);
        }
    }

    /// Bytes of all ids and of what the members brought.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of one of them.
    pub(super) fn bytes_of(&self, id: &str) -> usize {
        self.all.get(id).map_or(0, |member| weight(id, member))
    }

    /// Does everybody but `except` offer this protocol?
    pub(super) fn all_offer(&self, protocol: &str, except: Option<&str>) -> bool {
        let except = except.and_then(|id| self.all.get(id));
        let offers = self.offers.get(protocol).copied().unwrap_or(0);
        let own = except.is_some_and(|member| offers_it(member, protocol));
        offers - usize::from(own) == self.all.len() - usize::from(except.is_some())
    }
}

fn offers_it(member: &Member, protocol: &str) -> bool {
    member.protocols.iter().any(|(name, _)| name == protocol)
}

fn weight(id: &str, member: &Member) -> usize {
    id.len() + member.offered()
}

/// The protocols that a member offers, each once.
fn names(member: &Member) -> BTreeSet<&str> {
    let protocols = member.protocols.iter();
    protocols.map(|(name, _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    fn member(protocols: &[&str]) -> Member {
        Member {
            instance: None,
            client_id: "c".to_owned(),
            client_host: String::new(),
            session_timeout: Duration::from_secs(1),
            rebalance_timeout: Duration::from_secs(1),
            protocols: protocols
                .iter()
                .map(|name| ((*name).to_owned(), Bytes::from_static(b"12345")))
                .collect(),
            assignment: Bytes::new(),
            expires: Instant::now(),
            join: None,
            sync: None,
            logged: None,
        }
    }

    #[test]
    fn the_sums_follow_the_members() {
        let mut members = Members::default();
        assert!(members.all_offer("range", None));
        members.insert("m1".to_owned(), member(&["range", "sticky"]));
        // Who names a protocol twice offers it once.
        members.insert("m2".to_owned(), member(&["range", "range"]));
        assert_eq!(members.bytes(), 2 * (2 + 1) + 2 * 10 + 11 + 10);
        assert!(members.all_offer("range", None) && !members.all_offer("sticky", None));
        assert!(members.all_offer("sticky", Some("m2")));
        assert!(!members.all_offer("sticky", Some("m1")));
        assert!(members.all_offer("other", Some("m1")) == members.all_offer("other", Some("m2")));
        members.set_protocols("m2", vec![("sticky".to_owned(), Bytes::new())]);
        assert!(members.all_offer("sticky", None) && !members.all_offer("range", None));
        assert_eq!(members.bytes_of("m2"), 2 + 1 + 6);
        members.insert("m2".to_owned(), member(&["range"]));
        assert!(members.all_offer("range", None));
        members.remove("m1");
        members.remove("m2");
        assert_eq!((members.bytes(), members.bytes_of("m1")), (0, 0));
        assert!(members.offers.is_empty());
    }
}
