//! Everything that the roles of one process share, and how a process starts.
//!
//! ```text
//! cluster id ─▶ floor, end ─▶ clock ─▶ did the log go back? ─▶ snapshot ─▶ follow to the end ─▶ session
//! ```
//!
//! Holds: no session is opened on a log that is older than what object storage knows of it, nor, among
//! others, by a process whose clock is wrong (one that is alone opens a session marked as doubtful
//! when its clock is more than a day off what the log knows); a node is handed out when its session
//! is open, which is not before the last one of its name is closed or silent.

mod health;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::pending;
use minicbor::{Decode, Encode};
use tarn_commit_log::{CommitLog, Floor, LogError};
use tarn_model::{ClusterId, Generation, Lsn, caps, decode, encode, format_duration};
use tarn_runtime::{Budget, Runtime, Scope, step};
use tarn_state::commands::RaiseLevel;
use tarn_state::topic_configs::Defaults;
use tarn_state::{ClockTrust, Command, FeatureLevel, State};
use tarn_store::{ChunkCache, Path, Store, StoreError, paths};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use crate::archive::{self, Archiver, Recent};
use crate::barrier::BarrierTask;
use crate::clock_guard::{self, ClockGuard};
use crate::fold::Fold;
use crate::follower::{self, Follower, JumpError, LoadError, Progress};
use crate::keeper::Keeper;
use crate::outcome::View;
use crate::proposer::{self, Proposer};
use crate::shared::{Receivers, Shared, Waiter};
use crate::snapshotter::Snapshotter;
use crate::{Metastore, NodeSettings, queue};

pub use health::health;

/// Published views that the proposer has not looked at: the follower waits beyond it.
const PROGRESS_MAX: usize = 64;
/// How often a process that cannot open its session says what it waits for, and how long one that is
/// alone waits for the feature level to rise.
const PATIENCE: Duration = Duration::from_secs(10);

/// The outside worlds of a node, opened by whoever starts the process.
#[derive(Debug, Clone)]
pub struct Parts {
    pub runtime: Runtime,
    pub store: Store,
    pub log: Arc<dyn CommitLog>,
    /// What this process is called. It has the same node id in each of its lives; no other process that lives
    /// is called the same.
    pub name: String,
}

/// One process: its store, metastore, cache, budget, metrics (in `runtime`) and tasks.
///
/// Roles start their tasks in children of `scope`, made after the node was opened: they drain first,
/// the node session closes last.
#[derive(Debug, Clone)]
pub struct Node {
    pub runtime: Runtime,
    pub scope: Scope,
    pub store: Store,
    pub cache: ChunkCache,
    pub budget: Budget,
    /// Of topics that do not say: what describes them and what works on them have it from here.
    pub defaults: Defaults,
    pub metastore: Metastore,
}

/// Why a process could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the object store: {0}")]
    Store(#[from] StoreError),
    #[error("the commit log: {0}")]
    Log(#[from] LogError),
    #[error("{0}")]
    Refused(String),
}

/// The object that holds the cluster id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct ClusterObject {
    #[n(0)]
    id: ClusterId,
    /// Set once the log holds a first entry. A log without one is new before, and lost after.
    #[n(1)]
    begun: bool,
    /// At which level it began: who replays its log from the first entry on begins there too.
    #[n(2)]
    level: FeatureLevel,
}

impl Node {
    /// Checks the clock and the log, replays from floor and snapshot, opens a node session.
    ///
    /// It fails if store or log do not answer within their deadlines. Once it replays it waits for the
    /// log, and says so; whoever starts the process decides how long.
    pub async fn open(
        settings: NodeSettings,
        parts: Parts,
        scope: Scope,
    ) -> Result<Node, OpenError> {
        Node::open_up_to(FeatureLevel::NEWEST, settings, parts, scope).await
    }

    /// The same as a binary that applies up to this level: tests have older and newer ones than this.
    pub async fn open_up_to(
        level_max: FeatureLevel,
        settings: NodeSettings,
        parts: Parts,
        scope: Scope,
    ) -> Result<Node, OpenError> {
        let replica = scope.child("replica");
        match Box::pin(open_replica(level_max, &settings, &parts, &replica)).await {
            Ok(metastore) => Ok(Node {
                cache: ChunkCache::new(
                    parts.store.clone(),
                    settings.cache_bytes,
                    parts.runtime.metrics(),
                ),
                budget: Budget::new(settings.memory_budget),
                defaults: settings.defaults,
                runtime: parts.runtime,
                scope,
                store: parts.store,
                metastore,
            }),
            Err(error) => {
                replica.drain().await;
                Err(error)
            }
        }
    }

    /// Stops what was started on this node, youngest first, and closes the node session last.
    pub async fn drain(&self) {
        self.scope.drain().await;
    }
}

/// What no request waits for, but barriers.
fn start_background(
    settings: &NodeSettings,
    replica: &Scope,
    shared: &Arc<Shared>,
    archiver: Archiver,
    barriers: mpsc::Receiver<Waiter>,
    clocks: clock_guard::Clocks,
) {
    let scope = replica.child("background");
    drop(
        scope.spawn(
            "barrier",
            BarrierTask {
                shared: Arc::clone(shared),
                waiters: barriers,
            }
            .run(scope.clone()),
        ),
    );
    let keeper = Keeper {
        shared: Arc::clone(shared),
    };
    drop(scope.spawn("keeper", keeper.run(scope.clone())));
    drop(scope.spawn("archive", archiver.run(scope.clone())));
    let snapshotter = Snapshotter {
        shared: Arc::clone(shared),
        snapshot_bytes: settings.snapshot_bytes,
        snapshot_entries: settings.snapshot_entries,
    };
    drop(scope.spawn("snapshots", snapshotter.run(scope.clone())));
    if !settings.alone {
        drop(
            scope.spawn(
                "clock-guard",
                ClockGuard {
                    shared: Arc::clone(shared),
                    checked: clocks,
                }
                .run(scope.clone()),
            ),
        );
    }
}

async fn open_replica(
    level_max: FeatureLevel,
    settings: &NodeSettings,
    parts: &Parts,
    replica: &Scope,
) -> Result<Metastore, OpenError> {
    let Parts {
        runtime,
        store,
        log,
        name,
    } = parts;
    let found = find_cluster(store).await?;
    let (floor, end) = bounds(log.as_ref()).await?;
    let cluster = match found {
        Some(cluster) => cluster,
        None => make_cluster(store, runtime, end, level_max).await?,
    };
    if cluster.level > level_max {
        return Err(OpenError::Refused(format!(
            "the cluster began at level {}, this version applies up to {level_max}",
            cluster.level
        )));
    }
    step!(runtime, "open.cluster-id");
    let clocks = clock_guard::clocks(runtime);
    if !settings.alone {
        check_clock(store, runtime).await?;
    }
    let (floor, end) = check_log(store, log.as_ref(), cluster, floor, end).await?;
    let state = first_state(store, replica, cluster, &floor, level_max).await?;
    info!(cluster = %cluster.id, from = %state.lsn(), to = %end, "replaying the commit log");

    let queued_bytes = Budget::new(queue::QUEUED_BYTES);
    let (shared, receivers) = Shared::new(
        runtime.clone(),
        store.clone(),
        Arc::clone(log),
        state.clone(),
        queued_bytes,
        level_max,
    );
    let Receivers { queue, barriers } = receivers;
    let (progress, mut progress_end) = mpsc::channel(PROGRESS_MAX);
    let recent = Arc::new(Recent::default());

    // The first child drains last: the proposer needs the follower to see its session closed.
    let scope = replica.child("follower");
    let follower = Follower {
        shared: Arc::clone(&shared),
        fold: Fold::new(state, level_max),
        progress,
        recent: Arc::clone(&recent),
    };
    drop(scope.spawn("follower", follower.run(scope.clone())));
    let view = unless_stopped(&shared, replay(&mut progress_end, shared.view(), end)).await?;
    let mut clock = ClockTrust::Trusted;
    if settings.alone
        && !settings.accept_clock
        && let Some(doubt) = clock_guard::doubt(runtime.clock().wall(), view.cluster_time)
    {
        warn!("{}", doubt.warning);
        clock = doubt.clock;
        let votes = clock != ClockTrust::Doubtful;
        shared.votes.store(votes, Ordering::Relaxed);
        shared.metrics.votes.set(i64::from(votes));
    }

    let scope = replica.child("proposer");
    let proposer_settings = proposer::Settings {
        tick: settings.tick,
        name: name.clone(),
        alone: settings.alone,
        clock,
        view,
    };
    let proposer = Proposer::new(Arc::clone(&shared), progress_end, queue, proposer_settings);
    drop(scope.spawn("proposer", proposer.run(scope.clone())));
    unless_stopped(&shared, opened(&shared)).await?;
    step!(runtime, "open.session");
    if !cluster.begun {
        begin(store, cluster).await?;
    }

    let archiver = Archiver {
        shared: Arc::clone(&shared),
        recent,
    };
    start_background(settings, replica, &shared, archiver, barriers, clocks);
    let metastore = Metastore::new(shared);
    if settings.alone {
        raise_level(&metastore, level_max).await;
    }
    Ok(metastore)
}

/// Whoever is alone need not wait for others to be able to apply the newest level.
async fn raise_level(metastore: &Metastore, level: FeatureLevel) {
    if metastore.view().level >= level {
        return;
    }
    let raise = vec![Command::RaiseLevel(RaiseLevel { level })];
    match metastore.propose(raise, Instant::now() + PATIENCE).await {
        Ok(_) => info!(%level, "raised the feature level"),
        Err(error) => {
            warn!(%level, %error, "the feature level stays as it is until the next start")
        }
    }
}

/// The cluster's object, if there is one.
async fn find_cluster(store: &Store) -> Result<Option<ClusterObject>, OpenError> {
    match store.get(&paths::cluster()).await {
        Ok(content) => Ok(Some(read_cluster(&content)?)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(OpenError::Store(error)),
    }
}

/// Draws the id of a new cluster, unless another process did so first. `end` was read after none was
/// found.
async fn make_cluster(
    store: &Store,
    runtime: &Runtime,
    end: Lsn,
    level: FeatureLevel,
) -> Result<ClusterObject, OpenError> {
    if end.n > 0 {
        // A cluster that another process has begun meanwhile, or the log of a cluster that is not here.
        return find_cluster(store).await?.ok_or_else(|| {
            OpenError::Refused(format!(
                "the commit log ends at {end}, but object storage holds no cluster: is it the right bucket and prefix?"
            ))
        });
    }
    let new = ClusterObject {
        id: runtime.random().cluster_id(),
        begun: false,
        level,
    };
    match store
        .create_or_read(&paths::cluster(), encode(&new).into())
        .await?
    {
        Ok(_) => {
            info!(cluster = %new.id, "a new cluster");
            Ok(new)
        }
        Err(content) => Ok(read_cluster(&content)?),
    }
}

fn read_cluster(content: &[u8]) -> Result<ClusterObject, StoreError> {
    decode(content).map_err(|error| StoreError::Corrupt {
        path: paths::cluster(),
        reason: error.to_string(),
    })
}

/// Notes that the log holds a first entry.
async fn begin(store: &Store, cluster: ClusterObject) -> Result<(), OpenError> {
    let begun = ClusterObject {
        begun: true,
        ..cluster
    };
    let mark = |content: Option<&Bytes>| {
        // Another's id never stands here: ids are read before anything is written.
        let is_marked = content.is_some_and(|content| **content == encode(&begun));
        (!is_marked).then(|| encode(&begun).into())
    };
    store.raise(&paths::cluster(), mark).await?;
    Ok(())
}

async fn check_clock(store: &Store, runtime: &Runtime) -> Result<(), OpenError> {
    let skew = clock_guard::skew(store, runtime).await?;
    if skew > caps::CLOCK_SKEW_MAX {
        return Err(OpenError::Refused(format!(
            "this machine's clock is {} off the object store's; at most {} are allowed: set the clock and start again",
            format_duration(Duration::from_secs(skew.as_secs())),
            format_duration(caps::CLOCK_SKEW_MAX),
        )));
    }
    Ok(())
}

/// Where the log begins and ends.
async fn bounds(log: &dyn CommitLog) -> Result<(Floor, Lsn), OpenError> {
    // In this order: the end is never below a floor that was read before.
    let floor = log.floor().await?;
    if floor.lsn.generation != log.generation() {
        let superseded = JumpError::Superseded {
            generation: floor.lsn.generation,
            at: Lsn::new(log.generation(), 0),
        };
        return Err(OpenError::Refused(superseded.to_string()));
    }
    Ok((floor, log.end().await?))
}

/// Is the log at least as new as what object storage knows of it? Answers where it begins and ends.
async fn check_log(
    store: &Store,
    log: &dyn CommitLog,
    cluster: ClusterObject,
    floor: Floor,
    end: Lsn,
) -> Result<(Floor, Lsn), OpenError> {
    let is_lost = |floor: &Floor, end: Lsn| cluster.begun && end.n == 0 && *floor == Floor::START;
    let archived = archive::newest_above(store, end).await?;
    let snapshot = newest_snapshot_above(store, end).await?;
    if archived.is_none() && snapshot.is_none() && !is_lost(&floor, end) {
        return Ok((floor, end));
    }
    // Others may have gone on since the end was read, or have begun the cluster. Only an end that is read
    // after what was found can show that something is missing.
    let (floor, end) = bounds(log).await?;
    let archived = archived.filter(|n| *n > end.n);
    let snapshot = snapshot.filter(|(n, _)| *n > end.n);
    let is_lost = is_lost(&floor, end);
    if archived.is_none() && snapshot.is_none() && !is_lost {
        return Ok((floor, end));
    }
    let generation = end.generation;
    let (archive, snapshots) = (paths::archive(generation), paths::snapshots(generation));
    let newest = match &snapshot {
        Some((_, path)) => path.to_string(),
        None => floor
            .snapshot
            .map_or_else(|| snapshots.to_string(), |snapshot| snapshot.path),
    };
    let known = |what: &str, n: Option<u64>, folder: &dyn std::fmt::Display| match n {
        Some(n) => format!("{what} in {folder} reach {}", Lsn::new(generation, n)),
        None => format!("{what} in {folder} reach no further"),
    };
    Err(OpenError::Refused(format!(
        "the commit log of cluster {} went back: it ends at {end}, {}; {}; {}. It was wiped or restored from an older \
         copy, and writing to it would give other entries the same places. Nothing was changed. There is no command yet \
         that recovers a log: keep the state snapshot {newest} and the archive {archive}, which hold all but up to a \
         second of its entries",
        cluster.id,
        if is_lost {
            "but the cluster has begun".to_owned()
        } else {
            format!("its floor is {}", floor.lsn)
        },
        known("archived entries", archived, &archive),
        known("state snapshots", snapshot.map(|(n, _)| n), &snapshots),
    )))
}

/// The n of the newest snapshot above, and its name.
async fn newest_snapshot_above(store: &Store, at: Lsn) -> Result<Option<(u64, Path)>, StoreError> {
    let above = store
        .list(
            &paths::snapshots(at.generation),
            Some(&paths::snapshot(at, u64::MAX)),
            1000,
        )
        .await?;
    let newest = above
        .iter()
        .filter_map(|listed| {
            let (lsn, _) = paths::parse_snapshot(&listed.path)?;
            Some((lsn.n, listed.path.clone()))
        })
        .max();
    Ok(newest.filter(|(n, _)| *n > at.n))
}

/// Where the fold begins.
async fn first_state(
    store: &Store,
    scope: &Scope,
    cluster: ClusterObject,
    floor: &Floor,
    level_max: FeatureLevel,
) -> Result<State, OpenError> {
    if floor.snapshot.is_none() && floor.lsn == Lsn::new(Generation::FIRST, 0) {
        return Ok(State::at_level(cluster.id, cluster.level));
    }
    follower::load(store, scope, cluster.id, floor, level_max)
        .await
        .map_err(|error| match error {
            LoadError::Store(error) => OpenError::Store(error),
            error => OpenError::Refused(format!(
                "the commit log's floor {} cannot be used: {error}",
                floor.lsn
            )),
        })
}

/// Waits until the view is at `end`; answers it. Takes what the follower tells the proposer, which
/// does not run yet.
async fn replay(progress: &mut mpsc::Receiver<Progress>, mut view: View, end: Lsn) -> View {
    while view.lsn() < end {
        match timeout(PATIENCE, progress.recv()).await {
            Ok(Some(progress)) => view = progress.view,
            // The follower stopped, and `unless_stopped` says why.
            Ok(None) => pending().await,
            Err(_) => {
                warn!(at = %view.lsn(), %end, "still waiting for the commit log to yield its entries")
            }
        }
    }
    view
}

/// Waits until a node session is open.
async fn opened(shared: &Shared) {
    let mut identity = shared.identity.subscribe();
    while identity.borrow_and_update().is_none() {
        if timeout(PATIENCE, identity.changed()).await.is_err() {
            warn!("still waiting for the commit log to open a node session");
        }
    }
}

async fn unless_stopped<T>(
    shared: &Arc<Shared>,
    future: impl Future<Output = T>,
) -> Result<T, OpenError> {
    tokio::select! {
        biased;
        why = Arc::clone(shared).when_stopped() => Err(OpenError::Refused(why)),
        value = future => Ok(value),
    }
}
