//! The members of a group: what they offer and weigh together, how many of them have joined, and whose
//! session may end next.
//!
//! Holds: the sums are those of the members that are there, so that a join or a heartbeat is judged by
//! what it brings itself, however many others there are.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::classic::message::JoinAnswer;

use super::ends::Ends;
use super::member::Member;

#[derive(Debug, Default)]
pub(super) struct Members {
    all: BTreeMap<String, Member>,
    /// Of all ids and of what the members brought.
    bytes: usize,
    /// How many of them offer each protocol.
    offers: BTreeMap<String, usize>,
    /// How many of them wait for the answer of a join.
    joining: usize,
    /// When each one's session is looked at. SUBTLE: a sign of life moves only the member's own end, so
    /// this one may come too early, never too late.
    ends: Ends,
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
        self.joining += usize::from(member.join.is_some());
        self.ends.set(&id, member.expires);
        self.all.insert(id, member);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.all.remove(id)?;
        self.bytes -= weight(id, &member);
        self.joining -= usize::from(member.join.is_some());
        self.ends.remove(id);
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

    /// For anything but what the member brought, its join, and an earlier end of its session: those
    /// have methods of their own.
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

    /// The member waits for the answer of its join. Gives who waited for it before.
    pub(super) fn await_join(
        &mut self,
        id: &str,
        answer: oneshot::Sender<JoinAnswer>,
    ) -> Option<oneshot::Sender<JoinAnswer>> {
        let before = self.all.get_mut(id)?.join.replace(answer);
        self.joining += usize::from(before.is_none());
        before
    }

    /// Whoever waits for the answer of the member's join, to be answered.
    pub(super) fn take_join(&mut self, id: &str) -> Option<oneshot::Sender<JoinAnswer>> {
        let waiting = self.all.get_mut(id)?.join.take()?;
        self.joining -= 1;
        Some(waiting)
    }

    /// Has everybody joined? Looks through all of them only if it may be so.
    pub(super) fn have_all_joined(&self) -> bool {
        self.joining == self.all.len() && self.all.values().all(Member::has_joined)
    }

    /// Has anybody?
    pub(super) fn has_any_joined(&self) -> bool {
        self.joining > 0 && self.all.values().any(Member::has_joined)
    }

    /// When the next session may end.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.ends.first()
    }

    /// Those whose sessions are over. Somebody who waits for our answer cannot send heartbeats, and is
    /// looked at again later.
    pub(super) fn silent(&mut self, now: Instant) -> Vec<String> {
        let mut silent = Vec::new();
        for id in self.ends.take_due(now) {
            let Some(member) = self.all.get(&id) else {
                continue;
            };
            if member.expires > now {
                self.ends.set(&id, member.expires);
            } else if member.waits() {
                self.ends.set(&id, now + member.session_timeout);
            } else {
                silent.push(id);
            }
        }
        silent
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
        assert!(members.offers.is_empty() && members.next_end().is_none());
    }

    #[test]
    fn whose_session_ends_next_is_known_without_looking_at_all() {
        let mut members = Members::default();
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        for (id, end) in [("a", 5), ("b", 3), ("c", 4)] {
            let expires = at(end);
            members.insert(
                id.to_owned(),
                Member {
                    expires,
                    ..member(&["range"])
                },
            );
        }
        assert_eq!(members.next_end(), Some(at(3)));
        // A sign of life: the look comes too early and finds nobody.
        members.get_mut("b").expect("it is there").expires = at(9);
        assert!(members.silent(at(3)).is_empty());
        assert_eq!(members.next_end(), Some(at(4)));
        // Who waits for an answer is not silent, and is looked at again.
        let (answer, waiting) = oneshot::channel();
        assert!(members.await_join("c", answer).is_none() && members.has_any_joined());
        assert!(members.silent(at(4)).is_empty());
        drop(waiting);
        assert!(!members.has_any_joined() && !members.have_all_joined());
        assert_eq!(members.silent(at(5)), ["a", "c"]);
        assert_eq!(members.next_end(), Some(at(9)));
    }

    #[test]
    fn all_have_joined_when_each_has_and_still_waits() {
        let mut members = Members::default();
        let mut waiting = Vec::new();
        for id in ["a", "b"] {
            members.insert(id.to_owned(), member(&["range"]));
            assert!(!members.have_all_joined());
            let (answer, answered) = oneshot::channel();
            members.await_join(id, answer);
            waiting.push(answered);
            assert!(members.have_all_joined());
        }
        // It asks again on another connection, and is one all the same.
        let (answer, again) = oneshot::channel();
        assert!(members.await_join("b", answer).is_some() && members.have_all_joined());
        drop(again);
        assert!(!members.have_all_joined() && members.has_any_joined());
        assert!(members.take_join("b").is_some() && members.take_join("b").is_none());
        members.remove("b");
        assert!(members.have_all_joined());
    }
}
