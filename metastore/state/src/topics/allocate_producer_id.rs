//! A fresh producer id.

use minicbor::{Decode, Encode};
use tarn_model::ProducerId;

use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AllocateProducerId {}

impl AllocateProducerId {
    pub(crate) fn apply(&self, state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        let id = state.next_producer;
        let next = id.0.checked_add(1).ok_or_else(|| Refusal::Full {
            what: "producer ids".into(),
            max: i64::MAX as u64,
        })?;
        state.next_producer = ProducerId(next);
        Ok(Outcome::ProducerId(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::harness::Cluster;

    #[test]
    fn every_producer_id_is_given_once() {
        let mut cluster = Cluster::one();
        for id in 1..=3 {
            let outcome = cluster.run(Command::AllocateProducerId(AllocateProducerId {}));
            assert_eq!(outcome, Ok(Outcome::ProducerId(ProducerId(id))));
        }
    }
}
