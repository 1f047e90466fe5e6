//! Fetch sessions (KIP-227): a consumer names its partitions once, and then only what changes.
//!
//! Holds: sessions and the partitions in them are bounded, and nothing of a request's bytes outlives
//! it; a session that is full or forgotten costs its consumer a full fetch and nothing else. Sessions
//! are memory of one agent: after a move the client is told FETCH_SESSION_ID_NOT_FOUND and begins anew.
//! The lock that all sessions share is held to find one; what its partitions cost is paid under its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::protocol::StrBytes;
use prometheus_client::metrics::gauge::Gauge;
use tarn_kafka::ErrorCode;
use tarn_model::caps;
use tarn_runtime::{Random, gauge};
use tokio::time::Instant;

use crate::api::TopicKey;

/// A session that was not used for this long makes room for a new one, as in Kafka.
const EVICTABLE_AFTER: Duration = Duration::from_secs(120);
/// Partitions in all sessions together: about 100 MB, five times as much if every one has a topic of
/// its own with the longest name there is.
const PARTITIONS_MAX: usize = 1_000_000;

/// A request without a session.
const NO_SESSION: i32 = 0;
/// Epoch of a fetch that begins a session.
const FIRST_EPOCH: i32 = 0;
/// Epoch of a fetch that wants no session, and ends the one it names.
const FINAL_EPOCH: i32 = -1;

/// What is asked of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) current_leader_epoch: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) max_bytes: i32,
}

/// What a client was last told of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: i64,
    pub(crate) last_stable: i64,
    pub(crate) log_start: i64,
    pub(crate) failed: bool,
}

/// A fetch with its partitions, however they were named.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) session_id: i32,
    pub(crate) wanted: Vec<Arc<Wanted>>,
    /// Where each of them stands in the session.
    places: Vec<u64>,
    session: Option<Arc<Mutex<Session>>>,
    incremental: bool,
}

/// The session of a fetch while its answer is put together.
#[derive(Debug)]
pub(crate) struct Telling<'b> {
    begun: &'b Begun,
    session: Option<MutexGuard<'b, Session>>,
}

type Key = (TopicKey, i32);

#[derive(Debug)]
struct Session {
    /// Since version 13 topics are named by their ids, and a session does not mix.
    by_id: bool,
    next_epoch: i32,
    /// In the order in which partitions are served; what was served goes to the end.
    partitions: BTreeMap<u64, (Arc<Wanted>, Option<Told>)>,
    places: BTreeMap<Key, u64>,
    next_place: u64,
}

impl Session {
    fn put(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        match self
            .places
            .get(&key)
            .and_then(|place| self.partitions.get_mut(place))
        {
            Some((known, _)) => *known = Arc::new(wanted),
            None => {
                self.places.insert(key, self.next_place);
                let wanted = Arc::new(wanted);
                self.partitions.insert(self.next_place, (wanted, None));
                self.next_place += 1;
            }
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            self.partitions.remove(&place);
        }
    }

    /// Remembers what the client is told now of the partition at a place; says whether that is news.
    fn tell(&mut self, place: u64, wanted: &Wanted, told: Told, has_records: bool) -> bool {
        // Another request of the session may have moved or removed it meanwhile.
        let is_meant =
            |known: &Wanted| known.partition == wanted.partition && known.topic == wanted.topic;
        let Some((known, before)) = self
            .partitions
            .get_mut(&place)
            .filter(|(known, _)| is_meant(known))
        else {
            return true;
        };
        let news = has_records || told.failed || *before != Some(told);
        *before = Some(told);
        if has_records {
            // Who was served queues up again, so that no partition starves behind a busy one.
            let entry = (Arc::clone(known), Some(told));
            self.partitions.remove(&place);
            self.partitions.insert(self.next_place, entry);
            let key = (wanted.topic.clone(), wanted.partition);
            self.places.insert(key, self.next_place);
            self.next_place += 1;
        }
        news
    }

    /// The partitions in the order in which they are served, and their places.
    fn wanted(&self) -> (Vec<Arc<Wanted>>, Vec<u64>) {
        self.partitions
            .iter()
            .map(|(place, (wanted, _))| (Arc::clone(wanted), *place))
            .unzip()
    }
}

#[derive(Debug)]
struct Entry {
    session: Arc<Mutex<Session>>,
    used: Instant,
    /// Its place in `by_use`.
    listed: Instant,
    partitions: usize,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: BTreeMap<i32, Entry>,
    /// Each session, by a time at which it was used. SUBTLE: not always the last: one that comes first
    /// here and was used since goes back to where it belongs, which each use pays for once.
    by_use: BTreeSet<(Instant, i32)>,
    partitions: usize,
}

impl Inner {
    /// A session has so many partitions now; false if that is too many.
    fn grow(&mut self, id: i32, partitions: usize) -> bool {
        let Some(entry) = self.sessions.get_mut(&id) else {
            // It ended meanwhile; what was begun is answered.
            return true;
        };
        let before = std::mem::replace(&mut entry.partitions, partitions);
        self.partitions = self.partitions - before + partitions;
        self.partitions <= PARTITIONS_MAX
    }

    /// The session that was used longest ago, and when.
    fn oldest(&mut self) -> Option<(i32, Instant)> {
        while let Some((listed, id)) = self.by_use.first().copied() {
            let entry = self.sessions.get_mut(&id)?;
            if entry.used == listed {
                return Some((id, listed));
            }
            entry.listed = entry.used;
            self.by_use.remove(&(listed, id));
            self.by_use.insert((entry.used, id));
        }
        None
    }

    fn remove(&mut self, id: i32) -> bool {
        let removed = self.sessions.remove(&id);
        if let Some(entry) = &removed {
            self.partitions -= entry.partitions;
            self.by_use.remove(&(entry.listed, id));
        }
        removed.is_some()
    }
}

/// The sessions of one agent.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    inner: Mutex<Inner>,
    sessions_max: usize,
    gauge: Gauge,
}

impl FetchSessions {
    pub(crate) fn new(sessions_max: usize, gauge: Gauge) -> FetchSessions {
        FetchSessions {
            inner: Mutex::default(),
            sessions_max,
            gauge,
        }
    }

    /// Finds out which partitions a request is about.
    pub(crate) fn begin(
        &self,
        request: &FetchRequest,
        version: i16,
        random: &Random,
        now: Instant,
    ) -> Result<Begun, ErrorCode> {
        let full = request.session_epoch == FINAL_EPOCH || request.session_epoch == FIRST_EPOCH;
        if full {
            Ok(self.begin_anew(request, version, random, now))
        } else {
            self.go_on(request, version, now)
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics while holding it")
    }

    /// A fetch that names all its partitions.
    fn begin_anew(
        &self,
        request: &FetchRequest,
        version: i16,
        random: &Random,
        now: Instant,
    ) -> Begun {
        let mut session = new_session(version);
        for wanted in named(request, version) {
            session.put(wanted);
        }
        let (wanted, places) = session.wanted();
        // A name that no topic has is answered, and not kept.
        let keep = request.session_epoch == FIRST_EPOCH
            && wanted.iter().all(|wanted| may_be_kept(&wanted.topic));
        let session = Arc::new(Mutex::new(session));
        let mut inner = self.lock();
        // Either ends the session that the request names.
        inner.remove(request.session_id);
        let session_id = keep
            .then(|| self.make_room(&mut inner, wanted.len(), random, now))
            .flatten();
        if let Some(id) = session_id {
            inner.partitions += wanted.len();
            let entry = Entry {
                session: Arc::clone(&session),
                used: now,
                listed: now,
                partitions: wanted.len(),
            };
            inner.by_use.insert((now, id));
            inner.sessions.insert(id, entry);
        }
        self.gauge.set(gauge(inner.sessions.len()));
        drop(inner);
        Begun {
            session_id: session_id.unwrap_or(NO_SESSION),
            wanted,
            places,
            session: session_id.map(|_| session),
            incremental: false,
        }
    }

    /// The next fetch of a session.
    fn go_on(
        &self,
        request: &FetchRequest,
        version: i16,
        now: Instant,
    ) -> Result<Begun, ErrorCode> {
        let id = request.session_id;
        let session = {
            let mut inner = self.lock();
            let entry = inner
                .sessions
                .get_mut(&id)
                .ok_or(ErrorCode::FetchSessionIdNotFound)?;
            entry.used = now;
            Arc::clone(&entry.session)
        };
        let mut open = session.lock().expect("nobody panics while holding it");
        if open.by_id != (version >= 13) {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if request.session_epoch != open.next_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        open.next_epoch = if open.next_epoch == i32::MAX {
            1
        } else {
            open.next_epoch + 1
        };
        let mut kept = true;
        for wanted in named(request, version) {
            kept &= may_be_kept(&wanted.topic);
            if kept {
                open.put(wanted);
            }
        }
        for topic in &request.forgotten_topics_data {
            let key = topic_key(&topic.topic, topic.topic_id, version);
            for partition in &topic.partitions {
                open.remove(&(key.clone(), *partition));
            }
        }
        let (wanted, places) = open.wanted();
        drop(open);
        let changed = !(request.topics.is_empty() && request.forgotten_topics_data.is_empty());
        if !kept || (changed && !self.lock().grow(id, wanted.len())) {
            let mut inner = self.lock();
            inner.remove(id);
            self.gauge.set(gauge(inner.sessions.len()));
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        Ok(Begun {
            session_id: id,
            wanted,
            places,
            session: Some(session),
            incremental: true,
        })
    }

    /// A free id, if there is room for one more session.
    fn make_room(
        &self,
        inner: &mut Inner,
        partitions: usize,
        random: &Random,
        now: Instant,
    ) -> Option<i32> {
        if inner.sessions.len() >= self.sessions_max {
            let (id, used) = inner.oldest()?;
            if now.duration_since(used) < EVICTABLE_AFTER {
                return None;
            }
            inner.remove(id);
        }
        if inner.partitions + partitions > PARTITIONS_MAX {
            return None;
        }
        loop {
            let id = i32::try_from(random.below(i32::MAX as u64)).unwrap_or(0) + 1;
            if !inner.sessions.contains_key(&id) {
                return Some(id);
            }
        }
    }
}

impl Begun {
    /// Opens the session, to say what the client is told.
    pub(crate) fn telling(&self) -> Telling<'_> {
        Telling {
            begun: self,
            session: self
                .session
                .as_ref()
                .map(|session| session.lock().expect("nobody panics while holding it")),
        }
    }
}

impl Telling<'_> {
    /// Remembers what the client is told of a partition, by its number among those wanted; says whether
    /// the answer must name it. Only an incremental answer leaves out what is no news.
    pub(crate) fn tell(&mut self, index: usize, told: Told, has_records: bool) -> bool {
        let (Some(session), Some(place), Some(wanted)) = (
            &mut self.session,
            self.begun.places.get(index),
            self.begun.wanted.get(index),
        ) else {
            return true;
        };
        let news = session.tell(*place, wanted, told, has_records);
        news || !self.begun.incremental
    }
}

fn new_session(version: i16) -> Session {
    Session {
        by_id: version >= 13,
        next_epoch: FIRST_EPOCH + 1,
        partitions: BTreeMap::new(),
        places: BTreeMap::new(),
        next_place: 0,
    }
}

fn topic_key(name: &kafka_protocol::messages::TopicName, id: uuid::Uuid, version: i16) -> TopicKey {
    if version >= 13 {
        TopicKey::id(id)
    } else {
        // SUBTLE: a copy, since a slice would hold the whole request for as long as the session lives.
        TopicKey::Name(StrBytes::from_string(name.0.to_string()))
    }
}

fn may_be_kept(topic: &TopicKey) -> bool {
    match topic {
        TopicKey::Name(name) => name.len() <= caps::TOPIC_NAME_MAX,
        TopicKey::Id(_) => true,
    }
}

fn named(request: &FetchRequest, version: i16) -> impl Iterator<Item = Wanted> + '_ {
    request.topics.iter().flat_map(move |topic| {
        let key = topic_key(&topic.topic, topic.topic_id, version);
        topic.partitions.iter().map(move |partition| Wanted {
            topic: key.clone(),
            partition: partition.partition,
            current_leader_epoch: partition.current_leader_epoch,
            fetch_offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
        })
    })
}

#[cfg(test)]
mod tests;
