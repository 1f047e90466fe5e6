//! What time it is: liveness time and cluster time, both by what entries say and never by a clock of this process.

use tarn_model::{ClusterTime, LivenessTime, Monotonic, Timestamp, caps, defect};

use crate::{ClockTrust, Entry, Session, State};

impl State {
    /// Moves liveness time by what the entry's process lived through since one before, which was at `seen`
    /// and had these clocks.
    pub(crate) fn live_on(
        &mut self,
        seen: LivenessTime,
        wall: Timestamp,
        monotonic: Monotonic,
        entry: &Entry,
    ) {
        // The smaller of the two clocks, so that one that races expires nobody; capped, so that a
        // stalled log ages nobody; from the common time at its previous entry, not from its own sum.
        let advance = entry
            .monotonic
            .since(monotonic)
            .min(entry.wall.since(wall))
            .min(caps::LIVENESS_STEP_MAX);
        self.liveness_time = self.liveness_time.max(seen.plus(advance));
    }

    /// The lower median of the newest wall clocks of those who vote; never back. If nobody votes, all
    /// do whose clock is not in doubt.
    pub(crate) fn advance_cluster_time(&mut self) {
        let heard = |session: &&Session| {
            session.clock != ClockTrust::Doubtful
                && (defect("dead-session-votes") || !session.is_silent(self.liveness_time))
        };
        let mut walls: Vec<Timestamp> = self
            .sessions
            .values()
            .filter(heard)
            .filter(|session| session.votes)
            .map(|session| session.wall)
            .collect();
        if walls.is_empty() {
            walls = self
                .sessions
                .values()
                .filter(heard)
                .map(|session| session.wall)
                .collect();
        }
        walls.sort_unstable();
        let Some(middle) = walls.len().checked_sub(1).map(|last| last / 2) else {
            return;
        };
        self.cluster_time = self.cluster_time.max(ClusterTime(walls[middle].0));
    }
}
