//! Shortest histories of node sessions, written down entry by entry, for what a run of a cluster
//! meets too rarely. Each says what broke; each breaks only with its defect planted.

use tarn_model::{ClusterId, Generation, Hash, Lsn, Monotonic, SessionId, Timestamp, encode};
use tarn_state::commands::{CloseSession, Closes, OpenSession};
use tarn_state::{Command, Entry, FeatureLevel, Proposal, State};

const CLUSTER: u128 = 1;

fn session(number: u128) -> SessionId {
    SessionId::from_u128(number)
}

/// A fold, and what writes entries for it.
struct Log {
    state: State,
}

impl Log {
    fn new() -> Log {
        Log {
            state: State::new(ClusterId::from_u128(CLUSTER)),
        }
    }

    /// An entry as its session would write it now, `seconds` after the beginning.
    fn entry(&self, by: u128, seconds: i64, proposals: Vec<Proposal>) -> Vec<u8> {
        let open = self.state.sessions.get(&session(by));
        encode(&Entry {
            cluster: self.state.cluster,
            generation: Generation::FIRST,
            session: session(by),
            sequence: open.map_or(0, |open| open.sequence) + 1,
            previous: open.map_or(Hash::ZERO, |open| open.entry_hash),
            applied: self.state.n,
            applied_hash: self.state.log_hash,
            wall: Timestamp(seconds * 1000),
            monotonic: Monotonic(seconds.unsigned_abs() * 1000),
            votes: true,
            level: self.state.level,
            observed: None,
            proposals,
        })
    }

    /// Of the process `name`.
    fn opening(&self, name: &str, by: u128, seconds: i64, closes: &[u128]) -> Vec<u8> {
        let open = OpenSession {
            closes: Closes::Own(closes.iter().map(|id| session(*id)).collect()),
            name: name.to_owned(),
            level_max: FeatureLevel::NEWEST,
            clock: tarn_state::ClockTrust::Trusted,
        };
        self.entry(
            by,
            seconds,
            vec![Proposal::of(vec![Command::OpenSession(open)])],
        )
    }

    fn closing(&self, by: u128, seconds: i64) -> Vec<u8> {
        let close = Command::CloseSession(CloseSession {});
        self.entry(by, seconds, vec![Proposal::of(vec![close])])
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), String> {
        let lsn = Lsn::new(Generation::FIRST, self.state.n + 1);
        self.state
            .apply(lsn, bytes)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn is_open(&self, number: u128) -> bool {
        self.state.sessions.contains_key(&session(number))
    }
}

/// A process opened session 1, came back as session 2 which closed it, and ended; then a copy of its first
/// entry lands late.
pub fn a_closed_session_stays_closed() -> Result<(), String> {
    let mut log = Log::new();
    let first = log.opening("a", 1, 0, &[]);
    log.append(&first)?;
    let second = log.opening("a", 2, 1, &[1]);
    log.append(&second)?;
    let end = log.closing(2, 2);
    log.append(&end)?;
    log.append(&first)?;
    if log.is_open(1) {
        Err("a late copy opened a session that was closed".to_owned())
    } else {
        Ok(())
    }
}

/// A process tried sessions 1 and 2 without hearing of either, opens session 3, and ends; then the first
/// entry of session 1 lands.
pub fn a_session_that_was_given_up_never_opens() -> Result<(), String> {
    let mut log = Log::new();
    let late = log.opening("a", 1, 0, &[]);
    let third = log.opening("a", 3, 2, &[1, 2]);
    log.append(&third)?;
    let end = log.closing(3, 3);
    log.append(&end)?;
    log.append(&late)?;
    if log.is_open(1) {
        Err("a session that its process gave up was opened".to_owned())
    } else {
        Ok(())
    }
}

/// Session 1 dies; session 2 lives on for a minute.
pub fn the_dead_do_not_hold_time_back() -> Result<(), String> {
    let mut log = Log::new();
    for (name, number) in [("a", 1), ("b", 2)] {
        let opening = log.opening(name, number, 0, &[]);
        log.append(&opening)?;
    }
    for seconds in (3..=60).step_by(3) {
        let tick = log.entry(2, seconds, Vec::new());
        log.append(&tick)?;
    }
    let time = log.state.cluster_time.0;
    if time < 50_000 {
        Err(format!("after a minute cluster time is {time} ms"))
    } else {
        Ok(())
    }
}

/// Session 1's second entry stands in the log twice.
pub fn an_entry_counts_once() -> Result<(), String> {
    let mut log = Log::new();
    let opening = log.opening("a", 1, 0, &[]);
    log.append(&opening)?;
    let allocate = Command::AllocateProducerId(tarn_state::commands::AllocateProducerId {});
    let entry = log.entry(1, 1, vec![Proposal::of(vec![allocate])]);
    log.append(&entry)?;
    let next = log.state.next_producer;
    log.append(&entry)?;
    if log.state.next_producer == next {
        Ok(())
    } else {
        Err("one entry was applied twice".to_owned())
    }
}
