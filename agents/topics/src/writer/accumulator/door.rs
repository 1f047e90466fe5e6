//! The door: batches that came before their predecessor, bounded in bytes, in number and in time.
//!
//! A producer's requests may reach two agents, or one agent before its view has caught up. Who is
//! judged at once hears OUT_OF_ORDER, and clients answer that with a new epoch or give up for good.

use std::collections::{BTreeMap, BTreeSet};

use tarn_model::ProducerEpoch;
use tokio::time::Instant;

use super::Pending;
use super::producers::{Key, Stamp};

/// Batches that may wait at all: every new view looks at each producer here once.
const WAITING_MAX: usize = 4096;
/// Batches of one producer and partition that may wait. Clients have five on their way.
const WAITING_OF_ONE_MAX: usize = 64;

/// A batch at the door.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) pending: Pending,
    pub(super) stamp: Stamp,
    /// When it gets its verdict in any case.
    pub(super) until: Instant,
    /// The round of the barrier that says whether the log knows its producer.
    pub(super) asks: Option<u64>,
}

/// Waiting batches per producer and partition, in the order of their sequences.
#[derive(Debug, Default)]
pub(super) struct Door {
    waiting: BTreeMap<Key, BTreeMap<Place, Waiting>>,
    /// When each gets its verdict, by arrival.
    timeouts: BTreeSet<(Instant, u64)>,
    bytes: u64,
    arrivals: u64,
    barriers: Barriers,
}

/// Epoch, first sequence, and which came first of two equal ones.
type Place = (ProducerEpoch, i32, u64);

/// Rounds of barriers: one runs at a time, and a question joins only one that was not sent yet.
#[derive(Debug, Default)]
struct Barriers {
    sent: u64,
    answered: u64,
    /// Somebody asked while one was running.
    wanted: bool,
}

impl Door {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.waiting.keys().copied().collect()
    }

    /// Is there room for one more batch of this producer?
    pub(super) fn has_room(&self, key: Key, bytes: u64, bytes_max: u64) -> bool {
        let of_one = self.waiting.get(&key).map_or(0, BTreeMap::len);
        self.bytes.saturating_add(bytes) <= bytes_max
            && self.timeouts.len() < WAITING_MAX
            && of_one < WAITING_OF_ONE_MAX
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.pending.bytes();
        self.arrivals += 1;
        self.timeouts.insert((waiting.until, self.arrivals));
        let place = (
            waiting.stamp.epoch,
            waiting.stamp.first_sequence,
            self.arrivals,
        );
        self.waiting
            .entry(waiting.stamp.key)
            .or_default()
            .insert(place, waiting);
    }

    /// The producer's first waiting batch.
    pub(super) fn first(&self, key: Key) -> Option<&Waiting> {
        self.waiting.get(&key)?.values().next()
    }

    /// Has one of the producer's batches waited for too long? Then the first one has to go in, since
    /// the others come behind it.
    pub(super) fn is_late(&self, key: Key) -> bool {
        let now = Instant::now();
        self.waiting
            .get(&key)
            .is_some_and(|waiting| waiting.values().any(|waiting| waiting.until <= now))
    }

    /// The producer's first waiting batch was asked about.
    pub(super) fn set_asks(&mut self, key: Key, round: u64) {
        if let Some(first) = self
            .waiting
            .get_mut(&key)
            .and_then(|waiting| waiting.values_mut().next())
        {
            first.asks = Some(round);
        }
    }

    pub(super) fn pop(&mut self, key: Key) -> Option<Waiting> {
        let waiting = self.waiting.get_mut(&key)?;
        let ((_, _, arrival), first) = waiting.pop_first()?;
        if waiting.is_empty() {
            self.waiting.remove(&key);
        }
        self.timeouts.remove(&(first.until, arrival));
        self.bytes -= first.pending.bytes();
        Some(first)
    }

    pub(super) fn take_all(&mut self) -> Vec<Waiting> {
        self.bytes = 0;
        self.timeouts.clear();
        std::mem::take(&mut self.waiting)
            .into_values()
            .flat_map(BTreeMap::into_values)
            .collect()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.timeouts.first().map(|(until, _)| *until)
    }

    /// Asks the log. Gives the round that answers, and whether its barrier is to be started.
    pub(super) fn ask(&mut self) -> (u64, bool) {
        let barriers = &mut self.barriers;
        if barriers.sent > barriers.answered {
            barriers.wanted = true;
            return (barriers.sent + 1, false);
        }
        barriers.sent += 1;
        (barriers.sent, true)
    }

    /// The running barrier was answered. True if the next one is to be started.
    pub(super) fn answered(&mut self) -> bool {
        let barriers = &mut self.barriers;
        barriers.answered = barriers.sent;
        if std::mem::take(&mut barriers.wanted) {
            barriers.sent += 1;
            return true;
        }
        false
    }

    pub(super) fn is_answered(&self, round: u64) -> bool {
        round <= self.barriers.answered
    }
}
