//! Bytes in flight, bounded: a permit is taken before bytes are read and travels with them until
//! the reply is written.

use std::sync::Arc;

use tarn_model::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits are counted in units of this many bytes, so that 32 bits reach 4 TiB.
const UNIT: u64 = 1024;

/// More was asked for than the whole budget holds, or than is free right now.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BudgetError {
    #[error("{asked} do not fit into a budget of {total}")]
    TooLarge { asked: ByteSize, total: ByteSize },
    #[error("{asked} are not free at the moment")]
    Exhausted { asked: ByteSize },
}

/// A bound on bytes. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    semaphore: Arc<Semaphore>,
    units: u32,
}

/// Some bytes of a budget, given back on drop.
#[derive(Debug)]
pub struct Permit {
    permit: OwnedSemaphorePermit,
}

impl Budget {
    pub fn new(total: ByteSize) -> Budget {
        let units = u32::try_from(total.0 / UNIT).unwrap_or(u32::MAX).max(1);
        Budget {
            semaphore: Arc::new(Semaphore::new(units as usize)),
            units,
        }
    }

    pub fn total(&self) -> ByteSize {
        ByteSize(u64::from(self.units) * UNIT)
    }

    pub fn available(&self) -> ByteSize {
        ByteSize(self.semaphore.available_permits() as u64 * UNIT)
    }

    fn units(&self, bytes: u64) -> Result<u32, BudgetError> {
        u32::try_from(bytes.div_ceil(UNIT))
            .ok()
            .filter(|units| *units <= self.units)
            .ok_or(BudgetError::TooLarge {
                asked: ByteSize(bytes),
                total: self.total(),
            })
    }

    /// Waits until the bytes are free. Waiters are served in order.
    pub async fn acquire(&self, bytes: u64) -> Result<Permit, BudgetError> {
        let units = self.units(bytes)?;
        let permit = Arc::clone(&self.semaphore)
            .acquire_many_owned(units)
            .await
            .expect("the semaphore is never closed");
        Ok(Permit { permit })
    }

    /// Takes what is free, from `most` bytes down to `least`. Only the least is waited for: waiters are
    /// served in order, and a large request in front would hold up everybody.
    pub async fn acquire_some(&self, least: u64, most: u64) -> Permit {
        let least = least.min(self.total().0);
        let mut bytes = most.min(self.total().0);
        while bytes > least {
            if let Ok(permit) = self.try_acquire(bytes) {
                return permit;
            }
            bytes /= 2;
        }
        let permit = self.acquire(least).await;
        permit.expect("it is no more than the whole budget")
    }

    /// Takes the bytes if they are free now.
    pub fn try_acquire(&self, bytes: u64) -> Result<Permit, BudgetError> {
        let units = self.units(bytes)?;
        match Arc::clone(&self.semaphore).try_acquire_many_owned(units) {
            Ok(permit) => Ok(Permit { permit }),
            Err(_) => Err(BudgetError::Exhausted {
                asked: ByteSize(bytes),
            }),
        }
    }
}

impl Permit {
    pub fn bytes(&self) -> u64 {
        self.permit.num_permits() as u64 * UNIT
    }

    /// Joins two permits of the same budget.
    pub fn merge(&mut self, other: Permit) {
        self.permit.merge(other.permit);
    }

    /// Splits off at least `bytes`, or everything if there is less.
    pub fn split(&mut self, bytes: u64) -> Permit {
        let units = usize::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(usize::MAX)
            .min(self.permit.num_permits());
        Permit {
            permit: self
                .permit
                .split(units)
                .expect("no more is split off than there is"),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn bytes_come_back_when_the_permit_is_dropped() {
        let budget = Budget::new(ByteSize::kib(4));
        let mut permit = budget.acquire(4096).await.expect("fits");
        assert_eq!(
            budget.try_acquire(1).expect_err("full"),
            BudgetError::Exhausted { asked: ByteSize(1) }
        );
        drop(permit.split(1024));
        assert!(budget.try_acquire(1).is_ok());
        drop(permit);
        assert_eq!(budget.available(), ByteSize::kib(4));
    }

    #[tokio::test]
    async fn what_is_free_is_taken_and_the_least_is_waited_for() {
        let budget = Budget::new(ByteSize::kib(16));
        let all = budget.acquire_some(2048, 1 << 30).await;
        assert_eq!(all.bytes(), 16384);
        assert!(budget.acquire_some(2048, 8192).now_or_never().is_none());
        drop(all);
        let held = budget.acquire(9000).await.expect("fits");
        assert_eq!(budget.acquire_some(2048, 16384).await.bytes(), 4096);
        drop(held);
        assert_eq!(budget.acquire_some(1 << 30, 1).await.bytes(), 16384);
    }

    #[tokio::test]
    async fn what_can_never_fit_is_refused_at_once() {
        let budget = Budget::new(ByteSize::kib(4));
        assert!(matches!(
            budget.acquire(1 << 20).await,
            Err(BudgetError::TooLarge { .. })
        ));
    }
}
