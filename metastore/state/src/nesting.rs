//! Looks at how deep bytes nest before anything recursive looks at them.
//!
//! Columns contain columns, so decoding recurses, and a stack that runs out is no panic that could
//! be caught: a few hundred kilobytes of open brackets in the log would end every replica.

use tarn_model::{DecodeError, decode};

use minicbor::{Decode, Encode};

/// Deepest column that is read at all; takes 100 KiB of stack, in a debug build 1.3 MiB. Deeper
/// than what a table may have, so that such a schema is refused by `apply`, with a reason, and stops
/// nobody; a proposer never sends what is beyond.
pub(crate) const COLUMN_LEVELS_MAX: usize = 40;

/// Deepest nesting of arrays and maps: three for each level of a column, and what is around it.
const LEVELS_MAX: usize = 3 * COLUMN_LEVELS_MAX + 12;

/// [`decode`], for values that may contain themselves.
pub(crate) fn decode_bounded<T>(bytes: &[u8]) -> Result<T, DecodeError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    if !is_shallow(bytes) {
        return Err(DecodeError::Malformed(
            "it nests too deep, or is not of the form that Tarn writes".into(),
        ));
    }
    decode(bytes)
}

/// Is this a CBOR item of definite lengths, without tags, that does not nest too deep? What follows
/// the item is left to [`decode`].
fn is_shallow(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // How many items are still to come at each open level.
    let mut open: Vec<u64> = vec![1];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        let Some((major, argument, after)) = head(rest) else {
            return false;
        };
        rest = after;
        let within = match major {
            // Numbers and simple values.
            0 | 1 | 7 => continue,
            // Byte and text strings.
            2 | 3 => {
                let text = usize::try_from(argument)
                    .ok()
                    .and_then(|length| rest.get(length..));
                match text {
                    Some(after) => rest = after,
                    None => return false,
                }
                continue;
            }
            4 => argument,
            5 => match argument.checked_mul(2) {
                Some(items) => items,
                None => return false,
            },
            _ => return false,
        };
        if open.len() > LEVELS_MAX {
            return false;
        }
        open.push(within);
    }
    true
}

/// Major type and argument of the item that begins here, and what follows its head.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first & 0x1f {
        small @ 0..=23 => return Some((first >> 5, u64::from(small), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let (argument, rest) = rest.split_at_checked(width)?;
    let argument = argument
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte));
    Some((first >> 5, argument, rest))
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
    use tarn_model::{ColumnType, Field, NodeId};

    fn register(levels: usize) -> Command {
        let kind = (1..levels).fold(ColumnType::Int, |kind, _| ColumnType::list(kind));
        let columns = vec![Field::new("x", kind)];
        let (subject, format, text) = ("orders-value".into(), "AVRO".into(), String::new());
        Command::RegisterSchema(RegisterSchema {
            subject,
            guid: [1; 16],
            format,
            text,
            columns,
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
        assert!(is_shallow(&tarn_model::encode(
            &Cluster::one().entry(1, vec![vec![register(3)]])
        )));
        for bytes in [&[0x82, 0x01][..], &[0x43, 0x01], &[0x19, 0x01], &[]] {
            assert!(!is_shallow(bytes));
        }
    }
}
