//! Columns that nest: what is read, and what is never sent.

use crate::commands::RegisterSchema;
use crate::harness::{Cluster, session};
use crate::{
    ApplyError, Command, Entry, Outcome, Proposal, ProposalOutcome, Refusal, SchemaRefusal,
    SessionContext, State,
};
use tarn_model::{COLUMN_DEPTH_MAX, ColumnType, Field, NodeId, SchemaFormat};
use tarn_model::{COLUMN_LEVELS_MAX, decode_bounded};

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
    let registered = cluster.run(register(COLUMN_DEPTH_MAX));
    assert!(
        matches!(registered, Ok(Outcome::SchemaRegistered { .. })),
        "{registered:?}"
    );
    let refused = cluster.run(register(COLUMN_DEPTH_MAX + 1));
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
    assert!(is_sent(COLUMN_DEPTH_MAX) && is_sent(COLUMN_LEVELS_MAX));
    assert!(!is_sent(COLUMN_LEVELS_MAX + 1));
}

#[test]
fn what_we_write_is_shallow() {
    let entry = Cluster::one().entry(1, vec![vec![register(3)]]);
    let read = decode_bounded::<Entry>(&tarn_model::encode(&entry));
    assert_eq!(read.unwrap(), entry);
    for bytes in [&[0x82, 0x01][..], &[0x43, 0x01], &[0x19, 0x01], &[]] {
        assert!(decode_bounded::<Vec<u64>>(bytes).is_err());
    }
}
