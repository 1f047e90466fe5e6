//! Chance: from the operating system, or from a seed.

use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use tarn_model::{ClusterId, SessionId, TableUuid, TopicId};
use uuid::Uuid;

/// Where a process takes random numbers from.
#[derive(Debug)]
pub struct Random(Mutex<SmallRng>);

impl Random {
    pub(crate) fn from_os() -> Random {
        Random(Mutex::new(SmallRng::from_os_rng()))
    }

    pub fn seeded(seed: u64) -> Random {
        Random(Mutex::new(SmallRng::seed_from_u64(seed)))
    }

    fn with<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.0.lock().expect("no one panics while drawing"))
    }

    pub fn u64(&self) -> u64 {
        self.with(RngCore::next_u64)
    }

    pub fn u128(&self) -> u128 {
        self.with(|rng| rng.random())
    }

    /// In `[0, bound)`; 0 if `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        self.with(|rng| rng.random_range(0..bound))
    }

    /// True in `permille` of 1000 draws.
    pub fn happens(&self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// Between half of `duration` and the whole of it: a pause that does not march in step.
    pub fn jitter(&self, duration: Duration) -> Duration {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros / 2 + self.below(micros / 2 + 1))
    }

    /// A version 4 UUID, for formats that want one.
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.u128().to_be_bytes()).into_uuid()
    }

    pub fn cluster_id(&self) -> ClusterId {
        ClusterId::from_uuid(self.uuid())
    }

    pub fn session_id(&self) -> SessionId {
        SessionId::from_u128(self.u128())
    }

    pub fn topic_id(&self) -> TopicId {
        TopicId::from_uuid(self.uuid())
    }

    pub fn table_uuid(&self) -> TableUuid {
        TableUuid::from_uuid(self.uuid())
    }
}
