//! A worker in every process at one task that only one may work at. Each step of progress brings two
//! marks with it, which stand in the order in which the log took them: steps of an epoch are whole, come
//! once and in order, and none comes after one of a later epoch (I29). The work goes on as long as some
//! process can do it, whatever becomes of who holds the task (I30): a run ends only after a step that
//! came when all else was done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, ready};
use tarn_model::{NodeId, SchemaFormat, SchemaId};
use tarn_replica::{ClaimStep, Found, JointError, LOG_TASK, Node, Part, View};
use tarn_state::commands::{ClaimTask, RegisterSchema, ReleaseClaim};
use tarn_state::{ClaimEpoch, Command, Outcome, Refusal, TaskRefusal};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::cluster::Cluster;

/// The task, and the subject whose versions are the marks.
const TASK: &str = "work";
/// A holder that makes no step for so long loses the task while its session still lives.
const PATIENCE: Duration = Duration::from_secs(6);
/// The marks of one step.
const MARKS: [u8; 2] = *b"ab";

/// What all processes brought about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Marks that were checked already: every replica shows the same ones.
    checked: usize,
    last: Option<(ClaimEpoch, u64)>,
    /// Where the newest of them was first seen.
    stepped_at: u64,
    counts: ClaimCounts,
    /// Who archives and trims the log.
    keepers: BTreeMap<ClaimEpoch, NodeId>,
}

/// What became of claims in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClaimCounts {
    /// Steps that were told to have landed.
    pub steps: u64,
    /// Claims on a task that another node held.
    pub taken_over: u64,
    /// Steps that were refused because the claim was over.
    pub fenced: u64,
    pub released: u64,
}

impl std::ops::AddAssign for ClaimCounts {
    fn add_assign(&mut self, more: ClaimCounts) {
        self.steps += more.steps;
        self.taken_over += more.taken_over;
        self.fenced += more.fenced;
        self.released += more.released;
    }
}

impl Claims {
    fn with<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.lock().expect("nobody panics while holding it"))
    }

    fn count(&self, f: impl FnOnce(&mut ClaimCounts)) {
        self.with(|inner| f(&mut inner.counts));
    }

    pub(crate) fn counts(&self) -> ClaimCounts {
        self.with(|inner| inner.counts)
    }

    pub(crate) fn keepers(&self) -> Vec<NodeId> {
        self.with(|inner| inner.keepers.values().copied().collect())
    }

    /// Was there a step after this n?
    pub(crate) fn has_gone_on_since(&self, n: u64) -> bool {
        self.with(|inner| inner.stepped_at > n)
    }

    /// I29, of what a view shows that no view before it did.
    pub(crate) fn check(&self, view: &View) -> Result<(), (&'static str, String)> {
        if let Some(claim) = view.claim(LOG_TASK) {
            let known = self.with(|inner| {
                let keeper = inner.keepers.entry(claim.epoch);
                *keeper.or_insert(claim.node)
            });
            if known != claim.node {
                let detail = format!(
                    "{LOG_TASK} is claimed by {known} and {} in epoch {}",
                    claim.node, claim.epoch
                );
                return Err(("I29", detail));
            }
        }
        let Some(subject) = view.subject(TASK) else {
            return Ok(());
        };
        self.with(|inner| {
            if subject.versions.len() <= inner.checked {
                return Ok(());
            }
            if subject.versions.len() % MARKS.len() != 0 {
                let detail = format!("at {} half a step of {TASK} is there", view.lsn());
                return Err(("I29", detail));
            }
            let new = subject.versions.values().skip(inner.checked);
            let new: Vec<SchemaId> = new.map(|(id, _)| *id).collect();
            for marks in new.chunks(MARKS.len()) {
                let texts = marks
                    .iter()
                    .map(|id| view.schema(*id).map(|mark| &*mark.text));
                let step = texts.clone().next().flatten().and_then(step_of);
                let Some(step) = step else {
                    return Err(("I29", format!("a mark without a step: {marks:?}")));
                };
                let is_whole = texts.eq(MARKS
                    .iter()
                    .map(|mark| text(step, *mark))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(|text| Some(text.as_str())));
                let follows = match inner.last {
                    Some((epoch, progress)) if epoch == step.0 => progress + 1 == step.1,
                    Some((epoch, _)) => epoch < step.0 && step.1 == 1,
                    None => step.1 == 1,
                };
                if !is_whole || !follows {
                    let last = inner.last;
                    let detail = format!(
                        "at {} step {step:?} came after {last:?}, whole: {is_whole}",
                        view.lsn()
                    );
                    return Err(("I29", detail));
                }
                inner.last = Some(step);
            }
            inner.checked = subject.versions.len();
            inner.stepped_at = view.n;
            Ok(())
        })
    }
}

fn text((epoch, progress): (ClaimEpoch, u64), mark: u8) -> String {
    format!("{epoch} {progress} {}", char::from(mark))
}

fn step_of(text: &str) -> Option<(ClaimEpoch, u64)> {
    let mut parts = text.split(' ').map(str::parse);
    match (parts.next()?, parts.next()?) {
        (Ok(epoch), Ok(progress)) => Some((ClaimEpoch(epoch), progress)),
        _ => None,
    }
}

/// What a step brings.
struct Work {
    step: (ClaimEpoch, u64),
}

impl Work {
    fn mark(&self, mark: u8) -> RegisterSchema {
        let (epoch, progress) = self.step;
        let mut guid = [mark; 16];
        guid[..8].copy_from_slice(&epoch.0.to_be_bytes());
        guid[8..12].copy_from_slice(&u32::try_from(progress).expect("few").to_be_bytes());
        RegisterSchema {
            subject: TASK.to_owned(),
            guid,
            format: SchemaFormat::Avro,
            text: text(self.step, mark),
            columns: Vec::new(),
            references: Vec::new(),
        }
    }
}

impl Part for Work {
    fn commands(&self) -> Vec<Command> {
        let marks = MARKS.iter().map(|mark| self.mark(*mark));
        marks.map(Command::RegisterSchema).collect()
    }

    fn find<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Found> {
        let is_there = view.schema_guids.contains_key(&self.mark(MARKS[0]).guid);
        Box::pin(ready(match is_there {
            true => Found::There,
            false => Found::NotYet,
        }))
    }
}

/// The claim that a worker believes to have.
#[derive(Debug, Clone, Copy)]
struct Held {
    epoch: ClaimEpoch,
    /// Of its next step.
    next: u64,
}

/// Works for as long as the process lives.
pub(crate) async fn run(cluster: Cluster, node: Node) {
    let random = node.runtime.random();
    let mut held: Option<Held> = None;
    loop {
        sleep(Duration::from_millis(300) + random.jitter(Duration::from_millis(1_500))).await;
        held = match held {
            None => claim(&cluster, &node).await,
            Some(held) if random.happens(70) => release(&cluster, &node, held).await,
            Some(held) => {
                if cluster.plan.nodes > 1 && random.happens(50) {
                    until_lost(&node, held).await;
                }
                step(&cluster, &node, held).await
            }
        };
    }
}

async fn claim(cluster: &Cluster, node: &Node) -> Option<Held> {
    let (view, me) = (node.metastore.view(), node.metastore.node());
    if !view.is_claimable(TASK, me) {
        return None;
    }
    let from = view.claim(TASK).map(|claim| claim.node);
    let command = Command::ClaimTask(ClaimTask {
        task: TASK.to_owned(),
        patience_ms: u32::try_from(PATIENCE.as_millis()).expect("seconds"),
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    let committed = node.metastore.propose(vec![command], deadline).await.ok()?;
    let Some(Outcome::TaskClaimed(epoch)) = committed.outcomes.first() else {
        return None;
    };
    if from.is_some_and(|from| from != me) {
        cluster.claims.count(|counts| counts.taken_over += 1);
    }
    debug!(%epoch, ?from, "claimed");
    Some(Held {
        epoch: *epoch,
        next: 1,
    })
}

async fn release(cluster: &Cluster, node: &Node, held: Held) -> Option<Held> {
    let command = Command::ReleaseClaim(ReleaseClaim {
        task: TASK.to_owned(),
        epoch: held.epoch,
    });
    let deadline = Instant::now() + Duration::from_secs(5);
    if node
        .metastore
        .propose(vec![command], deadline)
        .await
        .is_ok()
    {
        cluster.claims.count(|counts| counts.released += 1);
    }
    None
}

/// It lives and does nothing, until another has the task.
async fn until_lost(node: &Node, held: Held) {
    let mut views = node.metastore.watch();
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        let is_held = view
            .claim(TASK)
            .is_some_and(|claim| claim.epoch == held.epoch);
        if !is_held || views.changed().await.is_err() {
            return;
        }
    }
}

/// One step, of a worker that does not look whether the task is still its own.
async fn step(cluster: &Cluster, node: &Node, held: Held) -> Option<Held> {
    let work = Work {
        step: (held.epoch, held.next),
    };
    let step = ClaimStep {
        task: TASK.to_owned(),
        epoch: held.epoch,
        progress: held.next,
    };
    let parts: [&dyn Part; 2] = [&work, &step];
    let within = Duration::from_secs(1 + node.runtime.random().below(20));
    match node.metastore.commit(&parts, Instant::now() + within).await {
        Ok(landed) => {
            cluster.claims.count(|counts| counts.steps += 1);
            if let Err((invariant, detail)) = cluster.claims.check(&landed.view) {
                cluster.history.violated(invariant, detail);
            }
            Some(Held {
                next: held.next + 1,
                ..held
            })
        }
        Err(JointError::Refused {
            refusal: Refusal::Task(refusal),
            ..
        }) => match refusal {
            // A copy of it landed that nobody was told of.
            TaskRefusal::NoProgress { have } => Some(Held {
                next: have + 1,
                ..held
            }),
            TaskRefusal::ClaimOver { .. } => {
                cluster.claims.count(|counts| counts.fenced += 1);
                None
            }
            TaskRefusal::TaskHeld { .. } | TaskRefusal::ClaimInvalid(_) => None,
        },
        // The next try tells.
        Err(_) => Some(held),
    }
}
