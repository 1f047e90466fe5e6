//! Fetch, key 1, v4–v18.
//!
//! - Answers with whole batches from the one that holds the offset; at least one batch, however
//!   small the limits are, so that no record is too large to be read.
//! - Waits until `min_bytes` are there, something is wrong, or `max_wait_ms` have passed. The wait is
//!   never reported as throttle time: clients would sleep for it again.
//! - An offset above the high watermark, or a topic that is not there, may only be news to this
//!   agent: a read barrier decides, and if there is none in time the answer is empty.
//! - v7: fetch sessions (KIP-227). v9: current leader epoch (KIP-320), which is the log's generation.
//!   v11: rack (KIP-392), which we take for the client's zone. v12: tagged fields. v13: topic ids
//!   (KIP-516).
//! - No transactions yet: the last stable offset is the high watermark, nothing is aborted.

mod reply;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_response::PartitionData;
use tarn_kafka::ErrorCode;
use tarn_model::{Offset, PartitionId, TopicPartition, defect};
use tarn_replica::View;
use tarn_state::{Partition, State};
use tarn_topics::ReadError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use crate::agent::{Agent, has_partition};
use crate::context::Context;
use crate::error_code;
use crate::fetch_session::{Told, Wanted};
use crate::frame::{Answer, Frame};

use super::TopicKey;

/// Partitions of one fetch that are read at the same time.
const READS_AT_ONCE: usize = 16;
/// A read of a partition is taken to cost at least this much, or all there is.
const READ_COST_MIN: u64 = 1 << 20;
/// One answer takes at most this part of the bytes that are free: consumers that read slowly make
/// the others' answers smaller, and do not keep them waiting.
const SHARE_OF_FREE: u64 = 4;
/// What a barrier may take of a fetch whose own wait is shorter.
const BARRIER_WITHIN: Duration = Duration::from_secs(5);
/// How long a fetch waits for slower readers to take their answers; clients wait for half a minute.
const ROOM_WITHIN: Duration = Duration::from_secs(10);

/// What a view says of a wanted partition.
#[derive(Debug, Clone, Copy)]
enum Look {
    Failed(ErrorCode),
    /// It may be there, in a newer view.
    Doubtful(ErrorCode),
    Here(Here),
}

#[derive(Debug, Clone, Copy)]
struct Here {
    at: TopicPartition,
    offset: Offset,
    end: Offset,
    log_start: Offset,
    high_watermark: Offset,
    /// Bytes that are there to be read, counted up to what is wanted at most.
    available: u64,
}

pub(crate) async fn handle(
    agent: &Arc<Agent>,
    context: &mut Context,
    request: FetchRequest,
) -> Answer {
    if !request.rack_id.is_empty() {
        context.peer.set_rack(&request.rack_id);
    }
    let version = context.version;
    let begun = match agent.fetch_sessions.begin(
        &request,
        version,
        agent.runtime.random(),
        context.received,
    ) {
        Ok(begun) => begun,
        Err(code) => return reply::encode(context, code, 0, Vec::new(), None),
    };
    let (view, looks) = wait(agent, context, &request, &begun.wanted).await;
    let read_committed = request.isolation_level == 1;
    let (records, permit) = read(agent, &view, &request, &begun.wanted, &looks).await;

    // A session serves partitions in turn; each topic is named once all the same.
    let mut topics: Vec<reply::Topic> = Vec::new();
    let mut places = BTreeMap::new();
    let mut telling = begun.telling();
    for (index, ((wanted, look), records)) in
        begun.wanted.iter().zip(&looks).zip(records).enumerate()
    {
        let data = partition_data(wanted, look, records, read_committed);
        let told = Told {
            high_watermark: data.high_watermark,
            last_stable: data.last_stable_offset,
            log_start: data.log_start_offset,
            failed: data.error_code != 0,
        };
        let has_records = data
            .records
            .as_ref()
            .is_some_and(|records| !records.is_empty());
        if !telling.tell(index, told, has_records) {
            continue;
        }
        let place = *places.entry(wanted.topic.clone()).or_insert_with(|| {
            topics.push(reply::Topic {
                key: wanted.topic.clone(),
                partitions: Vec::new(),
            });
            topics.len() - 1
        });
        if let Some(topic) = topics.get_mut(place) {
            topic.partitions.push(data);
        }
    }
    drop(telling);
    reply::encode(context, ErrorCode::None, begun.session_id, topics, permit)
}

/// Waits until the fetch is worth answering.
async fn wait(
    agent: &Agent,
    context: &Context,
    request: &FetchRequest,
    wanted: &[Arc<Wanted>],
) -> (View, Vec<Look>) {
    let wait_max = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let deadline = context.received + wait_max.min(agent.settings.fetch_wait_max);
    let min_bytes = u64::try_from(request.min_bytes).unwrap_or(0);
    let mut views = agent.metastore.watch();
    let mut stopped = std::pin::pin!(agent.connections.stopped());
    let mut fresh = None;
    let mut barrier_failed = false;
    let mut woken = false;
    loop {
        let mut view = views.borrow_and_update().clone();
        let mut looks: Vec<Look> = wanted
            .iter()
            .map(|wanted| look(&view, wanted, min_bytes))
            .collect();
        if looks.iter().any(|look| matches!(look, Look::Doubtful(_))) {
            if fresh.is_none_or(|fresh| view.lsn() < fresh) && !barrier_failed {
                match agent
                    .metastore
                    .barrier(deadline.max(Instant::now() + BARRIER_WITHIN))
                    .await
                {
                    Ok(newer) => {
                        fresh = Some(newer.lsn());
                        view = newer;
                        looks = wanted
                            .iter()
                            .map(|wanted| look(&view, wanted, min_bytes))
                            .collect();
                    }
                    Err(error) => {
                        debug!(%error, "no barrier for a fetch, answering empty");
                        barrier_failed = true;
                    }
                }
            }
            if fresh.is_some_and(|fresh| view.lsn() >= fresh) {
                for look in &mut looks {
                    if let Look::Doubtful(code) = *look {
                        *look = Look::Failed(code);
                    }
                }
            }
        }
        let failed = looks.iter().any(|look| matches!(look, Look::Failed(_)));
        let available = looks
            .iter()
            .map(|look| {
                if let Look::Here(here) = look {
                    here.available
                } else {
                    0
                }
            })
            .fold(0u64, u64::saturating_add);
        if failed
            || available >= min_bytes
            || Instant::now() >= deadline
            || agent.connections.is_stopping()
        {
            return (view, looks);
        }
        if !woken {
            // The follower may be between two polls of the log.
            agent.metastore.wake();
            woken = true;
        }
        tokio::select! {
            more = more_to_see(agent, &mut views, &view, &looks) => if !more {
                return (view, looks);
            },
            () = sleep_until(deadline) => {}
            () = &mut stopped => {}
        }
    }
}

/// Waits for a view that says something new of these partitions. False if there will be none.
async fn more_to_see(
    agent: &Agent,
    views: &mut watch::Receiver<View>,
    seen: &State,
    looks: &[Look],
) -> bool {
    let mut partitions = Vec::with_capacity(looks.len());
    for look in looks {
        match look {
            Look::Here(here) => partitions.push(here.at),
            // Any view may be the one that has it.
            Look::Failed(_) | Look::Doubtful(_) => return views.changed().await.is_ok(),
        }
    }
    let waiter = agent.moves.wait_for(partitions);
    while !says_more(&agent.metastore.view(), seen, looks) {
        waiter.moved().await;
    }
    true
}

/// Has any of these partitions moved?
fn says_more(newer: &State, seen: &State, looks: &[Look]) -> bool {
    if newer.partitions.ptr_eq(&seen.partitions) {
        return false;
    }
    looks.iter().any(|look| match look {
        Look::Here(here) => newer.partitions.get(&here.at).is_none_or(|partition| {
            partition.high_watermark != here.high_watermark
                || partition.last_stable() != here.end
                || partition.log_start != here.log_start
        }),
        Look::Failed(_) | Look::Doubtful(_) => true,
    })
}

/// What this view says of a partition. `enough` bytes are counted at most.
fn look(view: &State, wanted: &Wanted, enough: u64) -> Look {
    let Some(topic) = wanted.topic.find(view) else {
        return Look::Doubtful(match wanted.topic {
            TopicKey::Name(_) => ErrorCode::UnknownTopicOrPartition,
            TopicKey::Id(_) => ErrorCode::UnknownTopicId,
        });
    };
    if !has_partition(topic, wanted.partition) {
        return Look::Doubtful(ErrorCode::UnknownTopicOrPartition);
    }
    if let Some(code) = super::leader_epoch_problem(view, wanted.current_leader_epoch) {
        return Look::Failed(code);
    }
    let at = TopicPartition::new(topic.id, PartitionId(wanted.partition));
    let Some(partition) = view.partitions.get(&at) else {
        return Look::Doubtful(ErrorCode::UnknownTopicOrPartition);
    };
    let (log_start, high_watermark) = (partition.log_start, partition.high_watermark);
    let Some(offset) = Offset::from_wire(wanted.fetch_offset) else {
        return Look::Failed(ErrorCode::OffsetOutOfRange);
    };
    if offset > high_watermark && defect("negative-from-lagging-view") {
        return Look::Failed(ErrorCode::OffsetOutOfRange);
    }
    if offset < log_start || offset > high_watermark {
        return Look::Doubtful(ErrorCode::OffsetOutOfRange);
    }
    let end = partition.last_stable();
    let most = u64::try_from(wanted.max_bytes)
        .unwrap_or(0)
        .max(enough)
        .max(1);
    Look::Here(Here {
        at,
        offset,
        end,
        log_start,
        high_watermark,
        available: available(partition, offset, end, most),
    })
}

/// Bytes of the extents from `offset` to `end`, counted until they are `most`. The bytes of the first
/// extent that lie before the offset count too: the state does not know its batches.
fn available(partition: &Partition, offset: Offset, end: Offset, most: u64) -> u64 {
    if offset >= end {
        return 0;
    }
    let mut bytes = 0u64;
    for extent in partition.extents_from(offset) {
        if extent.offsets.start >= end || bytes >= most {
            break;
        }
        bytes = bytes.saturating_add(extent.position.length);
    }
    bytes
}

/// Records per wanted partition, within the limits of the request and of the budget.
async fn read(
    agent: &Agent,
    view: &View,
    request: &FetchRequest,
    wanted: &[Arc<Wanted>],
    looks: &[Look],
) -> (
    Vec<Result<bytes::Bytes, ErrorCode>>,
    Option<tarn_runtime::Permit>,
) {
    let mut records: Vec<Result<bytes::Bytes, ErrorCode>> =
        vec![Ok(bytes::Bytes::new()); wanted.len()];
    let budget = agent.responses.total().0;
    let most = u64::try_from(request.max_bytes)
        .unwrap_or(0)
        .min(agent.settings.fetch_bytes_max.0)
        .min(share(agent.responses.available().0))
        .min(budget);
    let mut reads = Vec::new();
    let mut cost = 0u64;
    for (index, (wanted, look)) in wanted.iter().zip(looks).enumerate() {
        let Look::Here(here) = *look else { continue };
        if here.available == 0 {
            continue;
        }
        // The first one is read whatever the limits say.
        if !reads.is_empty() && cost >= most {
            break;
        }
        let limit = u64::try_from(wanted.max_bytes)
            .unwrap_or(0)
            .min(most.saturating_sub(cost));
        cost += read_cost(view, &here, limit);
        reads.push((index, here, limit));
    }
    if reads.is_empty() {
        return (records, None);
    }
    // Without room in time the answer is empty, and the client asks again.
    let acquired = timeout(ROOM_WITHIN, agent.responses.acquire(cost.min(budget))).await;
    let Ok(Ok(mut permit)) = acquired else {
        return (records, None);
    };
    let results: Vec<_> =
        futures::stream::iter(reads.into_iter().map(|(index, here, limit)| async move {
            let result = match agent
                .reader
                .plan_until(view, here.at, here.offset, here.end, limit)
            {
                Ok(plan) => agent.reader.fetch(plan).await,
                Err(error) => Err(error),
            };
            (index, here, result)
        }))
        .buffered(READS_AT_ONCE)
        .collect()
        .await;

    let mut total = 0u64;
    for (index, here, result) in results {
        let Some(slot) = records.get_mut(index) else {
            continue;
        };
        match result {
            Ok(fetched) => {
                let bytes = fetched.bytes.len() as u64;
                if total == 0 || total + bytes <= most {
                    total += bytes;
                    *slot = Ok(fetched.bytes);
                }
            }
            // The log start moved past it meanwhile: the next fetch hears of that after a barrier.
            Err(ReadError::NoSuchPartition { .. } | ReadError::OutOfRange { .. }) => {}
            Err(error) => {
                warn!(at = %here.at, offset = %here.offset, %error, "a fetch could not be read");
                *slot = Err(error_code::of_read(&error));
            }
        }
    }
    drop(permit.split(permit.bytes().saturating_sub(total)));
    (records, Some(permit))
}

/// Bytes that a read takes at most: a partition's first batch is read whole, however little is wanted.
fn read_cost(view: &View, here: &Here, limit: u64) -> u64 {
    let batch_max = view
        .topic(here.at.topic)
        .map_or(u64::MAX, |topic| topic.max_message_bytes() as u64);
    let first_extent = view
        .partitions
        .get(&here.at)
        .and_then(|partition| partition.extents_from(here.offset).next())
        .map_or(0, |extent| extent.position.length);
    let least = READ_COST_MIN.max(first_extent.min(batch_max));
    here.available.min(limit.max(least))
}

/// Most bytes of one answer, where so many are free.
fn share(free: u64) -> u64 {
    (free / SHARE_OF_FREE).max(READ_COST_MIN)
}

fn partition_data(
    wanted: &Wanted,
    look: &Look,
    records: Result<bytes::Bytes, ErrorCode>,
    read_committed: bool,
) -> PartitionData {
    let data = PartitionData::default()
        .with_partition_index(wanted.partition)
        .with_aborted_transactions(read_committed.then(Vec::new));
    match (look, records) {
        (Look::Failed(code), _) => failed(data, *code),
        (Look::Here(_), Err(code)) => failed(data, code),
        (Look::Here(here), Ok(records)) => data
            .with_high_watermark(here.high_watermark.to_wire())
            .with_last_stable_offset(here.end.to_wire())
            .with_log_start_offset(here.log_start.to_wire())
            .with_records(Some(records)),
        // No barrier in time: nothing is known, so nothing is said.
        (Look::Doubtful(_), _) => data
            .with_high_watermark(-1)
            .with_records(Some(bytes::Bytes::new())),
    }
}

fn failed(data: PartitionData, code: ErrorCode) -> PartitionData {
    data.with_error_code(code.code())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_records(Some(bytes::Bytes::new()))
}

#[cfg(test)]
mod tests {
    use tarn_model::{ClusterId, TopicId};

    use super::*;

    #[test]
    fn only_what_moves_these_partitions_wakes_a_fetch() {
        let at = |index| TopicPartition::new(TopicId::from_u128(1), PartitionId(index));
        let mut seen = State::new(ClusterId::from_u128(1));
        for index in [0, 1] {
            seen.partitions
                .insert(at(index), Arc::new(Partition::empty()));
        }
        let looks = [Look::Here(Here {
            at: at(0),
            offset: Offset::ZERO,
            end: Offset::ZERO,
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            available: 0,
        })];
        let moved = |index| {
            let mut newer = seen.clone();
            let mut partition = Partition::empty();
            partition.high_watermark = Offset(1);
            newer.partitions.insert(at(index), Arc::new(partition));
            newer
        };
        assert!(!says_more(&seen.clone(), &seen, &looks));
        assert!(!says_more(&moved(1), &seen, &looks));
        assert!(says_more(&moved(0), &seen, &looks));
        let mut deleted = seen.clone();
        deleted.partitions.remove(&at(0));
        assert!(says_more(&deleted, &seen, &looks));
    }

    #[test]
    fn slow_readers_leave_something_to_everybody() {
        let mut free = 256 << 20;
        for _ in 0..15 {
            let taken = share(free);
            assert!(taken <= free, "{free}");
            free -= taken;
        }
        assert!(free >= 3 << 20, "{free}");
        assert_eq!(share(0), READ_COST_MIN);
    }
}
