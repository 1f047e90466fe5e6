//! When ids come to their ends: the next one is found without looking at all.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Ends {
    by_id: BTreeMap<String, Instant>,
    by_time: BTreeSet<(Instant, String)>,
}

impl Ends {
    pub(super) fn set(&mut self, id: &str, end: Instant) {
        self.remove(id);
        self.by_id.insert(id.to_owned(), end);
        self.by_time.insert((end, id.to_owned()));
    }

    /// Says whether it was there.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some((id, end)) = self.by_id.remove_entry(id) else {
            return false;
        };
        self.by_time.remove(&(end, id));
        true
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(end, _)| *end)
    }

    /// Takes out those that have come to their ends by now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        while let Some((end, _)) = self.by_time.first()
            && *end <= now
            && let Some((_, id)) = self.by_time.pop_first()
        {
            self.by_id.remove(&id);
            due.push(id);
        }
        due
    }

    /// Nothing ends before this.
    pub(super) fn not_before(&mut self, least: Instant) {
        while let Some((end, id)) = self.by_time.first()
            && *end < least
        {
            let id = id.clone();
            self.set(&id, least);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ends_come_in_the_order_of_time() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut ends = Ends::default();
        for (id, end) in [("a", 3), ("b", 1), ("c", 2), ("b", 4)] {
            ends.set(id, at(end));
        }
        assert_eq!((ends.first(), ends.len()), (Some(at(2)), 3));
        assert!(ends.remove("a") && !ends.remove("a"));
        assert_eq!(ends.take_due(at(3)), ["c"]);
        ends.set("d", at(1));
        ends.not_before(at(5));
        assert_eq!(ends.first(), Some(at(5)));
        assert_eq!(ends.take_due(at(5)), ["b", "d"]);
        assert!(ends.is_empty() && ends.first().is_none());
    }
}
