//! The wall clock and a monotonic clock that runs on in suspend.
//!
//! Waiting is tokio's business (`tokio::time`), which the simulator pauses; this clock is for time
//! that is compared or written down.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door that the lint points to"
)]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tarn_model::{Monotonic, Timestamp};

use crate::SimulatedHost;

/// This process's clocks.
#[derive(Debug)]
pub struct Clock(Source);

#[derive(Debug)]
enum Source {
    Real,
    Simulated(SimulatedHost),
}

impl Clock {
    pub(crate) fn real() -> Clock {
        Clock(Source::Real)
    }

    pub(crate) fn simulated(host: SimulatedHost) -> Clock {
        Clock(Source::Simulated(host))
    }

    /// The wall clock. It may jump, both ways.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::Real => {
                let now = SystemTime::now();
                let millis = match now.duration_since(UNIX_EPOCH) {
                    Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
                    Err(before) => {
                        -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX)
                    }
                };
                Timestamp(millis)
            }
            Source::Simulated(host) => host.wall(),
        }
    }

    /// The monotonic clock. It never goes back and counts suspend.
    pub fn monotonic(&self) -> Monotonic {
        match &self.0 {
            Source::Real => {
                let time = rustix::time::clock_gettime(BOOT_CLOCK);
                let since_boot = Duration::new(
                    u64::try_from(time.tv_sec).unwrap_or(0),
                    u32::try_from(time.tv_nsec).unwrap_or(0),
                );
                Monotonic(u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX))
            }
            Source::Simulated(host) => host.monotonic(),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Boottime;
/// On macOS `CLOCK_MONOTONIC` counts suspend already.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT_CLOCK: rustix::time::ClockId = rustix::time::ClockId::Monotonic;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_clocks_advance() {
        let clock = Clock::real();
        assert!(clock.wall() > Timestamp(1_700_000_000_000));
        assert!(clock.monotonic() > Monotonic(0));
    }
}
