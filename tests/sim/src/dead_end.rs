//! The place in the log that nobody of this version may pass, because a newer one left it there
//! (`newer.rs`): who stopped at it and what they said, who refused to start again, and what is judged
//! when all have (I12).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tarn_model::Lsn;
use tarn_replica::{Node, View};
use tarn_state::State;
use tarn_store::Path;
use tarn_topics::Reader;
use tracing::info;

use crate::cluster::{Cluster, TOPICS};
use crate::history::Topics;
use crate::newer::{Newer, open, with_format};
use crate::{Violation, cut_check};

/// How long everybody may take to stop for good.
const PATIENCE: Duration = Duration::from_secs(60);
/// Starts that each machine must refuse.
const REFUSALS: usize = 2;

/// The place that nobody passes, once there is one. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeadEnd {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    what: Option<Newer>,
    /// It, once it stands in the log.
    stands: Option<Obstacle>,
    /// Why processes stopped, by machine.
    stopped: Vec<(usize, String)>,
    /// Starts that were refused for this cause.
    refused: BTreeMap<usize, Vec<String>>,
    /// What stopped processes could still read of the topics, at the newest n.
    read: Option<(u64, Result<Topics, String>)>,
}

#[derive(Debug, Clone)]
struct Obstacle {
    /// The entry, or the floor.
    at: Lsn,
    /// What those who stop call it.
    name: String,
    since: Duration,
}

impl DeadEnd {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().expect("nobody panics while holding it"))
    }

    /// From now on processes are expected to stop.
    pub(crate) fn expect(&self, what: Newer) {
        self.with(|inner| inner.what = Some(what));
    }

    pub(crate) fn is_expected(&self) -> bool {
        self.with(|inner| inner.what.is_some())
    }

    pub(crate) fn stands(&self, at: Lsn, name: String, since: Duration) {
        info!(%at, name, "a newer version left something in the way");
        self.with(|inner| inner.stands = Some(Obstacle { at, name, since }));
    }

    /// A replica published a view at this n. An error if it must not have got there.
    pub(crate) fn passed(&self, n: u64) -> Result<(), String> {
        self.with(|inner| match (inner.what, &inner.stands) {
            // Who has applied the entries below a floor needs no snapshot.
            (None | Some(Newer::Snapshot), _) | (_, None) => Ok(()),
            (Some(what), Some(obstacle)) if n >= obstacle.at.n => Err(format!(
                "applied up to {n}, but {} holds a newer version's {what:?}",
                obstacle.at
            )),
            _ => Ok(()),
        })
    }

    /// A process stopped. False if none is expected to.
    pub(crate) fn stopped(&self, node: usize, reason: &str) -> bool {
        self.with(|inner| {
            inner.stopped.push((node, reason.to_owned()));
            inner.what.is_some()
        })
    }

    /// A process did not start.
    pub(crate) fn refused(&self, node: usize, reason: &str) {
        self.with(|inner| {
            if inner
                .what
                .is_some_and(|what| reason.contains(&what.cause()))
            {
                inner
                    .refused
                    .entry(node)
                    .or_default()
                    .push(reason.to_owned());
            }
        });
    }

    /// Reads what the topics hold, as far as anybody has applied the log, through a process that
    /// has stopped.
    pub(crate) async fn read_through(&self, cluster: &Cluster, node: &Node) {
        let mut view = node.metastore.view();
        if let Some(newest) = cluster.history.newest().filter(|newest| newest.n > view.n) {
            view = newest;
        }
        let read = read_topics(&Reader::new(node), &view).await;
        self.with(|inner| {
            if inner.read.as_ref().is_none_or(|(n, _)| *n <= view.n) {
                inner.read = Some((view.n, read));
            }
        });
    }

    /// Has every machine refused to start, more than once?
    pub(crate) fn is_final(&self, nodes: usize) -> bool {
        self.with(|inner| {
            let refused = |node| {
                inner
                    .refused
                    .get(&node)
                    .is_some_and(|refused| refused.len() >= REFUSALS)
            };
            (0..nodes).all(refused)
        })
    }

    /// Who goes on, or hangs, although all should have stopped by now.
    pub(crate) fn overdue(&self, elapsed: Duration) -> Option<String> {
        self.with(|inner| {
            let obstacle = inner.stands.as_ref()?;
            (elapsed > obstacle.since + PATIENCE).then(|| {
                format!(
                    "{PATIENCE:?} after {obstacle:?} not everybody has stopped for good; stopped: {:?}, refused: {:?}",
                    inner.stopped, inner.refused
                )
            })
        })
    }

    /// What processes said when they stopped or refused to start.
    pub(crate) fn stops(&self) -> Vec<String> {
        self.with(|inner| {
            let stopped = inner.stopped.iter().map(|(_, reason)| reason);
            stopped
                .chain(inner.refused.values().flatten())
                .cloned()
                .collect()
        })
    }
}

async fn read_topics(reader: &Reader, view: &View) -> Result<Topics, String> {
    let mut topics = Topics::new();
    for name in TOPICS {
        let Some(topic) = view.topic_named(name) else {
            continue;
        };
        for partition in 0..topic.partitions {
            topics.insert((name, partition), Vec::new());
        }
        for ((partition, offset), value) in cut_check::records(reader, view, topic.id).await? {
            let offset = u64::try_from(offset).expect("offsets are not negative");
            topics
                .entry((name, partition))
                .or_default()
                .push((offset, value));
        }
    }
    Ok(topics)
}

/// When everybody has stopped: did they say why, is nothing lost, is what they left whole?
pub(crate) async fn judge(cluster: &Cluster) -> Result<(), Violation> {
    let violation = |detail: String| Violation {
        invariant: "I12",
        detail,
    };
    let (what, stands, read) = cluster
        .dead_end
        .with(|inner| (inner.what, inner.stands.clone(), inner.read.take()));
    let (Some(what), Some(Obstacle { at, name, .. })) = (what, stands) else {
        return Err(violation("nothing stands in the way".to_owned()));
    };
    for said in cluster.dead_end.stops() {
        if !said.contains(&what.cause()) || !said.contains(&name) {
            return Err(violation(format!(
                "{name} is a newer version's {what:?}, but a process said {said:?}"
            )));
        }
    }
    let (n, topics) =
        read.ok_or_else(|| violation("nobody stopped, all were killed".to_owned()))?;
    let topics = topics.map_err(|error| {
        violation(format!(
            "a process that stopped could not read the topics at {n}: {error}"
        ))
    })?;
    cluster.history.check(&topics)?;
    let newest = cluster
        .history
        .newest()
        .ok_or_else(|| violation("there is no view".to_owned()))?;
    if what != Newer::Snapshot && newest.n + 1 != at.n {
        return Err(violation(format!(
            "what stands before {at} was applied up to {} only",
            newest.lsn()
        )));
    }
    let found = fold(cluster, what, &newest).await.map_err(violation)?;
    if found != *newest {
        return Err(violation(format!(
            "what the log holds up to {} is another state than was applied",
            newest.lsn()
        )));
    }
    Ok(())
}

/// The state as whoever could read everything would find it, as far as anybody here got.
async fn fold(cluster: &Cluster, what: Newer, newest: &View) -> Result<State, String> {
    let (log, store, _) = open(cluster, 0xf01d).await?;
    let floor = log.floor().await.map_err(text)?;
    let mut state = match floor.snapshot {
        None => State::new(newest.cluster),
        Some(snapshot) => {
            let mut bytes = store
                .get(&Path::from(snapshot.path))
                .await
                .map_err(text)?
                .to_vec();
            if what == Newer::Snapshot {
                bytes = with_format(&bytes, -1);
            }
            State::from_snapshot(&bytes, newest.cluster).map_err(text)?
        }
    };
    let mut follower = log.follow(state.lsn());
    while state.n < newest.n {
        for followed in follower.next_batch(1).await.map_err(text)? {
            state.apply(followed.lsn, &followed.bytes).map_err(text)?;
        }
    }
    Ok(state)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use tarn_model::Generation;

    use super::*;

    fn lsn(n: u64) -> Lsn {
        Lsn::new(Generation::FIRST, n)
    }

    #[test]
    fn who_passes_hangs_or_says_something_else_is_found() {
        let dead_end = DeadEnd::default();
        assert!(!dead_end.stopped(0, "nothing is in the way"));
        dead_end.expect(Newer::Command);
        assert_eq!(
            dead_end.passed(9),
            Ok(()),
            "it is not known where it stands"
        );
        dead_end.stands(lsn(9), "entry 1-9 ".to_owned(), Duration::ZERO);
        assert_eq!(dead_end.passed(8), Ok(()));
        assert!(dead_end.passed(9).is_err());

        let cause = format!("entry 1-9 {}", Newer::Command.cause());
        for _ in 0..REFUSALS {
            assert!(!dead_end.is_final(2));
            dead_end.refused(0, &cause);
            dead_end.refused(1, "the store does not answer");
        }
        assert!(dead_end.is_final(1) && !dead_end.is_final(2));
        assert!(dead_end.overdue(PATIENCE).is_none());
        assert!(dead_end.overdue(PATIENCE * 2).is_some());
    }
}
