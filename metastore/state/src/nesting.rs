//! How deep what is persisted may nest: columns contain columns.

use minicbor::{Decode, Encode};
use tarn_model::{DecodeError, decode_shallow};

/// Deepest column that is read at all; takes 100 KiB of stack, in a debug build 1.3 MiB. Deeper
/// than what a table may have, so that such a schema is refused by `apply`, with a reason, and stops
/// nobody; a proposer never sends what is beyond.
pub(crate) const COLUMN_LEVELS_MAX: usize = 40;

/// Deepest nesting of arrays and maps: three for each level of a column, and what is around it.
const LEVELS_MAX: usize = 3 * COLUMN_LEVELS_MAX + 12;

/// [`tarn_model::decode`], for values that may contain themselves.
pub(crate) fn decode_bounded<T>(bytes: &[u8]) -> Result<T, DecodeError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    decode_shallow(bytes, LEVELS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::RegisterSchema;
    use crate::harness::{Cluster, session};
    use crate::tables::DEPTH_MAX;
    use crate::{
        ApplyError, Command, Outcome, Proposal, ProposalOutcome, Refusal, SchemaRefusal,
        SessionContext, State,
    };
    use tarn_model::{ColumnType, Field, NodeId, SchemaFormat};

    fn register(levels: usize) -> Command {
        let kind = (1..levels).fold(ColumnType::Int, |kind, _| ColumnType::list(kind));
        let columns = vec![Field::new("x", kind)];
        let (subject, format, text) = ("orders-value".into(), SchemaFormat::Avro, String::new());
        Command::RegisterSchema(RegisterSchema {
            subject,
            guid: [1; 16],
            format,
            text,
            columns,
            references: Vec::new(),
        })
    }

    #[test]
    fn the_deepest_column_goes_through_the_log_and_a_snapshot() {
        let mut cluster = Cluster::with_topic("orders", 1);
        let registered = cluster.run(register(DEPTH_MAX));
        assert!(
            matches!(registered, Ok(Outcome::SchemaRegistered { .. })),
            "{registered:?}"
        );
        let refused = cluster.run(register(DEPTH_MAX + 1));
        assert!(
            matches!(
                refused,
                Err(Refusal::Schema(SchemaRefusal::ColumnsDoNotFit(_)))
            ),
            "{refused:?}"
        );
        let state = &cluster.state;
        assert_eq!(
            State::from_snapshot(&state.to_snapshot(), state.cluster).unwrap(),
            *state
        );
    }

    #[test]
    fn open_brackets_without_end_are_refused() {
        let mut cluster = Cluster::one();
        let lsn = cluster.state.lsn().next();
        for brackets in [
            vec![0x81; 1 << 20],
            vec![0x9f; 1 << 20],
            vec![0xa1; 1 << 20],
            vec![0xc1; 1 << 20],
        ] {
            let refused = cluster.state.apply(lsn, &brackets);
            assert!(matches!(refused, Err(ApplyError::Unreadable { .. })));
        }
        let deep = cluster.entry(1, vec![vec![register(COLUMN_LEVELS_MAX + 2)]]);
        assert!(matches!(
            cluster.append(&deep),
            Err(ApplyError::Unreadable { .. })
        ));
        let refused = cluster.run(register(COLUMN_LEVELS_MAX));
        assert!(
            matches!(
                refused,
                Err(Refusal::Schema(SchemaRefusal::ColumnsDoNotFit(_)))
            ),
            "{refused:?}"
        );
    }

    #[test]
    fn what_replicas_could_not_read_is_never_sent() {
        let state = Cluster::one().state;
        let by = SessionContext {
            session: session(1),
            node: NodeId(1),
        };
        let is_sent = |levels| match state.try_proposal(&Proposal::of(vec![register(levels)]), by) {
            ProposalOutcome::Refused { refusal, .. } => !refusal.is_defect(),
            ProposalOutcome::Applied(_) => true,
        };
        assert!(is_sent(DEPTH_MAX) && is_sent(COLUMN_LEVELS_MAX));
        assert!(!is_sent(COLUMN_LEVELS_MAX + 1));
    }

    #[test]
    fn what_we_write_is_shallow() {
        let bytes = tarn_model::encode(&Cluster::one().entry(1, vec![vec![register(3)]]));
        decode_bounded::<crate::Entry>(&bytes).unwrap();
    }
}
