//! One proposal for several writers: all of it happens, or nothing.
//!
//! ```text
//! parts ─▶ propose ─┬─ applied ──────────────────────────────────▶ landed, with outcomes
//!            ▲      ├─ refused ─── nothing of it happened ───────▶ refused
//!            │      └─ unknown ─▶ look ─┬─ a part is there ──────▶ landed
//!            │                          ├─ none can come ────────▶ not done
//!            │                          └─ nobody can tell ──────▶ unknown
//!            └── not there, and taken at most once
//! ```
//!
//! Holds: what answers with [`Landed`] is in the log, whole, and the view contains it; what is
//! refused or `NotDone` is not, in no part, and no copy of it can come any more; after `Unknown` it
//! may be or may come, so nothing that it names may be deleted. It is proposed again only while a
//! part says that `apply` takes it at most once, which then holds for all of it.
//! Leaves to others: what they make durable before, and what they plan anew after a refusal.

use std::time::Duration;

use futures::future::BoxFuture;
use tarn_model::{Fate, Kind, defect};
use tarn_state::{Command, Outcome, Refusal};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::{BarrierError, Metastore, ProposeError, View};

/// The pause after a proposal that did not go out; it doubles.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a look at the log may take when the time to propose is over.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// What one writer brings into a joint proposal.
pub trait Part: Send + Sync {
    /// The same ones each time: a proposal of unknown fate goes out again as it was.
    fn commands(&self) -> Vec<Command>;

    /// Is it there? Asked after an unknown outcome, with a view that contains everything that was
    /// in the log then.
    fn find<'a>(&'a self, view: &'a View) -> BoxFuture<'a, Found>;
}

/// What a part sees of itself in a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It happened.
    There,
    /// It did not happen yet. `apply` takes it at most once: a second copy is refused.
    NotYet,
    /// It did not happen and never will.
    Never,
    /// The state does not tell.
    Untold,
}

/// A joint proposal that is in the log.
#[derive(Debug, Clone)]
pub struct Landed {
    /// A view that contains it.
    pub view: View,
    /// Per part, per command; `None` if it was found in the state later, which does not keep them.
    pub outcomes: Option<Vec<Vec<Outcome>>>,
}

/// A joint proposal that did not become real, or of which that is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JointError {
    /// `apply` refused a command of this part, and so all of it.
    #[error("part {part} of a proposal was refused: {refusal}")]
    Refused { part: usize, refusal: Refusal },
    /// Another took the place of one of its parts.
    #[error("another writer was first")]
    Overtaken,
    #[error("the proposal was not made: {why}")]
    NotDone { why: &'static str },
    #[error("it is not known whether the proposal was made: {why}")]
    Unknown { why: String },
}

impl JointError {
    pub fn kind(&self) -> Kind {
        match self {
            JointError::Refused { .. } | JointError::Overtaken => Kind::Conflict,
            JointError::NotDone { .. } | JointError::Unknown { .. } => Kind::Unavailable,
        }
    }

    pub fn fate(&self) -> Fate {
        match self {
            JointError::Unknown { .. } => Fate::Unknown,
            JointError::Refused { .. } | JointError::Overtaken | JointError::NotDone { .. } => {
                Fate::NotDone
            }
        }
    }
}

impl Metastore {
    /// Commits what the parts bring, in their order, all or none. It is proposed until the deadline;
    /// a look at the log may take some seconds longer.
    pub async fn commit(
        &self,
        parts: &[&dyn Part],
        deadline: Instant,
    ) -> Result<Landed, JointError> {
        if defect("joint-proposes-apart") {
            return self.commit_apart(parts, deadline).await;
        }
        self.commit_all(parts, deadline).await
    }

    async fn commit_all(
        &self,
        parts: &[&dyn Part],
        deadline: Instant,
    ) -> Result<Landed, JointError> {
        let mut pauses = Pauses::new(self);
        // An earlier copy may be in the log, or may still come.
        let mut uncertain = false;
        loop {
            let commands: Vec<Vec<Command>> = parts.iter().map(|part| part.commands()).collect();
            let counts: Vec<usize> = commands.iter().map(Vec::len).collect();
            let proposed = self.propose(commands.concat(), deadline).await;
            let why = match proposed {
                Ok(committed) => {
                    return Ok(Landed {
                        view: committed.view,
                        outcomes: Some(divide(committed.outcomes, &counts)),
                    });
                }
                Err(ProposeError::Refused { command, refusal }) => {
                    // What refused it may be its own earlier copy.
                    match self.find(parts, deadline).await {
                        Ok(Sight::There(landed)) => return Ok(landed),
                        Err(error) if uncertain => return Err(error),
                        // SUBTLE: a refusal is seen in an entry of this process behind all that it
                        // sent before, so no earlier copy can come any more.
                        Ok(Sight::NotYet | Sight::Never) | Err(_) => {}
                    }
                    let part = part_of(command, &counts);
                    return Err(JointError::Refused { part, refusal });
                }
                Err(ProposeError::Stopped { why }) => return Err(JointError::Unknown { why }),
                Err(ProposeError::NotDone { why }) => why,
                Err(ProposeError::Unknown { why }) => {
                    warn!(why, "the fate of a proposal is unknown, looking for it");
                    match self.find(parts, deadline).await? {
                        Sight::There(landed) => return Ok(landed),
                        Sight::Never => return Err(JointError::Overtaken),
                        Sight::NotYet => {}
                    }
                    uncertain = true;
                    why
                }
            };
            debug!(why, uncertain, "a proposal is to go out again");
            if !pauses.pause(deadline).await {
                return Err(if uncertain {
                    JointError::Unknown {
                        why: why.to_owned(),
                    }
                } else {
                    JointError::NotDone { why }
                });
            }
        }
    }

    /// The planted defect: each part by itself.
    async fn commit_apart(
        &self,
        parts: &[&dyn Part],
        deadline: Instant,
    ) -> Result<Landed, JointError> {
        let mut outcomes = Vec::new();
        for part in parts {
            let landed = self.commit_all(&[*part], deadline).await?;
            outcomes.extend(landed.outcomes.into_iter().flatten());
        }
        Ok(Landed {
            view: self.view(),
            outcomes: (outcomes.len() == parts.len()).then_some(outcomes),
        })
    }

    /// Looks for a proposal of unknown fate. It is whole wherever it is, so one part speaks for all.
    async fn find(&self, parts: &[&dyn Part], deadline: Instant) -> Result<Sight, JointError> {
        let view = self
            .look(deadline.max(Instant::now() + LOOK_WITHIN))
            .await
            .map_err(|error| JointError::Unknown {
                why: error.to_string(),
            })?;
        let mut found = Vec::with_capacity(parts.len());
        for part in parts {
            found.push(part.find(&view).await);
        }
        if found.contains(&Found::There) {
            Ok(Sight::There(Landed {
                view,
                outcomes: None,
            }))
        } else if found.contains(&Found::Never) {
            Ok(Sight::Never)
        } else if found.contains(&Found::NotYet) {
            Ok(Sight::NotYet)
        } else {
            Err(JointError::Unknown {
                why: "the state does not tell".to_owned(),
            })
        }
    }

    /// A view that contains everything the log held when this was called. It waits out a process's
    /// own fence: what made an outcome unknown often kept the log from hearing of this process, too.
    async fn look(&self, deadline: Instant) -> Result<View, BarrierError> {
        let mut pauses = Pauses::new(self);
        loop {
            let error = match self.barrier(deadline).await {
                Ok(view) => return Ok(view),
                Err(error @ BarrierError::Stopped { .. }) => return Err(error),
                Err(error) => error,
            };
            debug!(%error, "looking for a proposal failed");
            if !pauses.pause(deadline).await {
                return Err(error);
            }
        }
    }
}

/// What a view says of a joint proposal.
enum Sight {
    There(Landed),
    NotYet,
    Never,
}

/// Pauses that double.
struct Pauses<'a> {
    metastore: &'a Metastore,
    next: Duration,
}

impl Pauses<'_> {
    fn new(metastore: &Metastore) -> Pauses<'_> {
        Pauses {
            metastore,
            next: PAUSE,
        }
    }

    /// Waits; false, at once, if the deadline would pass meanwhile.
    async fn pause(&mut self, deadline: Instant) -> bool {
        if Instant::now() + self.next >= deadline {
            return false;
        }
        sleep(self.metastore.jitter(self.next)).await;
        self.next = (self.next * 2).min(PAUSE_MAX);
        true
    }
}

/// Outcomes stand in the order of the commands.
fn divide(outcomes: Vec<Outcome>, counts: &[usize]) -> Vec<Vec<Outcome>> {
    let mut outcomes = outcomes.into_iter();
    counts
        .iter()
        .map(|count| outcomes.by_ref().take(*count).collect())
        .collect()
}

/// The part that a command came from.
fn part_of(command: u32, counts: &[usize]) -> usize {
    let mut before = 0;
    counts
        .iter()
        .position(|count| {
            before += count;
            u64::from(command) < before as u64
        })
        .unwrap_or(counts.len())
}
