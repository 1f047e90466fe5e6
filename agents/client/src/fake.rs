//! A Kafka server of a few hundred lines for this crate's tests: topics in memory, idempotent
//! producers, one coordinator, and faults on demand.

mod data;
mod groups;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::{
    ApiKey, ErrorCode, HeaderError, RequestBody, RequestHeader, ResponseBody, ValidBatch,
    add_to_sequence, decode_request, encode_response, frame, stamp,
};
use tarn_runtime::{Runtime, Scope, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

use crate::{Client, ClientSettings};

use data::{fetch, list_offsets, metadata, produce};
use groups::{join, sync};

/// What goes wrong with the next request of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection breaks before the request is carried out.
    LostRequest,
    /// The connection breaks after the request was carried out.
    LostAnswer,
    /// Produce is answered with this code and not carried out.
    Refused(ErrorCode),
    /// Nobody answers, and the connection stays.
    Silence,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) topics: BTreeMap<String, Vec<Partition>>,
    pub(crate) offsets: BTreeMap<(String, String, i32), i64>,
    pub(crate) faults: BTreeMap<ApiKey, VecDeque<Fault>>,
    pub(crate) seen: Vec<(ApiKey, i16)>,
    /// Pretends not to know ApiVersions beyond version 0.
    pub(crate) old: bool,
    groups: BTreeMap<String, FakeGroup>,
    next_producer_id: i64,
    next_member: u32,
    port: i32,
}

#[derive(Debug, Default)]
pub(crate) struct Partition {
    pub(crate) batches: Vec<ValidBatch>,
    pub(crate) end: i64,
    pub(crate) aborted: Vec<(i64, i64)>,
    /// Per producer: the next sequence, and the batches seen as (first sequence, base offset).
    producers: BTreeMap<i64, (i32, Vec<(i32, i64)>)>,
}

#[derive(Debug, Default)]
struct FakeGroup {
    generation: i32,
    leader: String,
    /// Member, its metadata, and the generation it last joined.
    members: BTreeMap<String, (Bytes, i32)>,
    assignments: BTreeMap<String, Bytes>,
    assigned_generation: i32,
}

impl Partition {
    /// Appends a batch, and gives its base offset.
    pub(crate) fn append(&mut self, batch: &ValidBatch) -> Result<i64, ErrorCode> {
        let header = *batch.header();
        if header.has_producer() && !header.is_control() {
            let (next, seen) = self
                .producers
                .entry(header.producer_id)
                .or_insert((0, Vec::new()));
            if let Some((_, offset)) = seen
                .iter()
                .find(|(sequence, _)| *sequence == header.base_sequence)
            {
                return Ok(*offset);
            }
            if header.base_sequence != *next {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            *next = add_to_sequence(header.last_sequence(), 1);
            seen.push((header.base_sequence, self.end));
        }
        let mut bytes = batch.bytes().to_vec();
        stamp(&mut bytes, self.end, 0).expect("a whole batch");
        let stored = ValidBatch::from_stored(Bytes::from(bytes)).expect("stamping keeps it valid");
        let base = self.end;
        self.end += stored.header().offset_count();
        self.batches.push(stored);
        Ok(base)
    }
}

/// The server, and a client of it.
pub(crate) struct Fake {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) client: Client,
    pub(crate) scope: Scope,
    pub(crate) address: String,
    pub(crate) runtime: Runtime,
}

impl Fake {
    pub(crate) async fn start(topics: &[(&str, usize)]) -> Fake {
        let runtime = Runtime::real();
        let scope = runtime.root_scope("test");
        let listener = runtime
            .net()
            .listen("127.0.0.1:0")
            .await
            .expect("a free port");
        let port = listener.local_address().expect("bound").port();
        let mut state = State {
            port: i32::from(port),
            next_producer_id: 1000,
            ..State::default()
        };
        for (topic, partitions) in topics {
            state.topics.insert(
                (*topic).to_owned(),
                (0..*partitions).map(|_| Partition::default()).collect(),
            );
        }
        let state = Arc::new(Mutex::new(state));
        let server = scope.child("server");
        let (shared, connections) = (Arc::clone(&state), server.clone());
        drop(server.spawn("fake.accept", async move {
            let stopped = connections.stopped();
            tokio::pin!(stopped);
            loop {
                tokio::select! {
                    () = &mut stopped => return,
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { return };
                        let (state, stopped) = (Arc::clone(&shared), connections.stopped());
                        drop(connections.spawn("fake.serve", async move {
                            tokio::select! {
                                () = stopped => {}
                                () = serve(state, stream) => {}
                            }
                        }));
                    }
                }
            }
        }));
        let address = format!("127.0.0.1:{port}");
        let settings = ClientSettings {
            request_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(10),
            retry_backoff: Duration::from_millis(5),
            retry_backoff_max: Duration::from_millis(20),
            ..ClientSettings::new([address.clone()])
        };
        let client = Client::new(&runtime, &scope, settings);
        Fake {
            state,
            client,
            scope,
            address,
            runtime,
        }
    }

    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().expect("nobody panics while holding it"))
    }

    pub(crate) fn plan(&self, api: ApiKey, faults: impl IntoIterator<Item = Fault>) {
        self.with(|state| state.faults.entry(api).or_default().extend(faults));
    }

    /// The values in a partition, as they lie there.
    pub(crate) fn values(&self, topic: &str, partition: usize) -> Vec<String> {
        self.with(|state| {
            let mut values = Vec::new();
            for batch in &state.topics[topic][partition].batches {
                let records =
                    tarn_kafka::Records::open(batch, &Default::default()).expect("well formed");
                for record in records {
                    let value = record.expect("well formed").value.expect("a value");
                    values.push(String::from_utf8(value.to_vec()).expect("text"));
                }
            }
            values
        })
    }
}

async fn serve(state: Arc<Mutex<State>>, mut stream: Stream) {
    loop {
        let mut prefix = [0; 4];
        if stream.read_exact(&mut prefix).await.is_err() {
            return;
        }
        let length = frame::body_length(prefix, 64 << 20).expect("a sane client");
        let mut body = BytesMut::zeroed(length);
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let mut body = body.freeze();
        let old = state.lock().expect("test").old;
        let header = match RequestHeader::parse(&mut body) {
            Ok(header) => header,
            Err(HeaderError::UnsupportedVersion { correlation_id, .. }) => {
                let answer =
                    tarn_kafka::request::unsupported_api_versions(correlation_id).expect("encodes");
                stream.write_all(&answer).await.expect("connected");
                continue;
            }
            Err(error) => panic!("a header that this crate wrote: {error}"),
        };
        if old && header.api == ApiKey::ApiVersions && header.version > 0 {
            let answer = tarn_kafka::request::unsupported_api_versions(header.correlation_id)
                .expect("encodes");
            stream.write_all(&answer).await.expect("connected");
            continue;
        }
        let request =
            decode_request(header.api, header.version, body).expect("a body that this crate wrote");
        let fault = {
            let mut state = state.lock().expect("test");
            state.seen.push((header.api, header.version));
            state
                .faults
                .get_mut(&header.api)
                .and_then(VecDeque::pop_front)
        };
        if fault == Some(Fault::LostRequest) {
            return;
        }
        let refused = match fault {
            Some(Fault::Refused(code)) => Some(code),
            _ => None,
        };
        let answer = handle(&state, request, refused).await;
        match (fault, answer) {
            (Some(Fault::LostAnswer), _) => return,
            (Some(Fault::Silence), _) | (_, None) => {}
            (_, Some(answer)) => {
                let frame = encode_response(header.correlation_id, header.version, &answer)
                    .expect("encodes");
                if stream.write_all(&frame).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn handle(
    state: &Mutex<State>,
    request: RequestBody,
    refused: Option<ErrorCode>,
) -> Option<ResponseBody> {
    match request {
        RequestBody::JoinGroup(request) => Some(join(state, request).await.into()),
        RequestBody::SyncGroup(request) => Some(sync(state, request).await.into()),
        RequestBody::Fetch(request) => {
            let until = Instant::now()
                + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
            loop {
                let response = fetch(&state.lock().expect("test"), &request);
                let bytes: usize = response
                    .responses
                    .iter()
                    .flat_map(|topic| &topic.partitions)
                    .map(|partition| {
                        let bytes = partition.records.as_ref().map_or(0, Bytes::len);
                        bytes + usize::from(partition.error_code != 0)
                    })
                    .sum();
                if bytes > 0 || Instant::now() >= until {
                    return Some(response.into());
                }
                sleep(Duration::from_millis(2)).await;
            }
        }
        request => handle_now(&mut state.lock().expect("test"), request, refused),
    }
}

fn handle_now(
    state: &mut State,
    request: RequestBody,
    refused: Option<ErrorCode>,
) -> Option<ResponseBody> {
    Some(match request {
        RequestBody::ApiVersions(_) => {
            let keys = ApiKey::ALL.iter().map(|api| {
                let versions = api.advertised_versions();
                ApiVersion::default()
                    .with_api_key(api.key())
                    .with_min_version(*versions.start())
                    .with_max_version(*versions.end())
            });
            ApiVersionsResponse::default()
                .with_api_keys(keys.collect())
                .into()
        }
        RequestBody::Metadata(request) => metadata(state, request).into(),
        RequestBody::Produce(request) => {
            let acks = request.acks;
            let response = produce(state, request, refused);
            return (acks != 0).then(|| response.into());
        }
        RequestBody::InitProducerId(_) => {
            state.next_producer_id += 1;
            InitProducerIdResponse::default()
                .with_producer_id(state.next_producer_id.into())
                .with_producer_epoch(0)
                .into()
        }
        RequestBody::ListOffsets(request) => list_offsets(state, request).into(),
        RequestBody::FindCoordinator(_) => FindCoordinatorResponse::default()
            .with_node_id(1.into())
            .with_host(StrBytes::from_static_str("127.0.0.1"))
            .with_port(state.port)
            .into(),
        RequestBody::Heartbeat(request) => {
            let group = state.groups.get(request.group_id.as_str());
            let code = match group
                .and_then(|group| Some((group, group.members.get(request.member_id.as_str())?)))
            {
                None => ErrorCode::UnknownMemberId,
                Some((group, _)) if group.generation != request.generation_id => {
                    ErrorCode::RebalanceInProgress
                }
                Some(_) => ErrorCode::None,
            };
            HeartbeatResponse::default()
                .with_error_code(code.code())
                .into()
        }
        RequestBody::LeaveGroup(request) => {
            if let Some(group) = state.groups.get_mut(request.group_id.as_str()) {
                for member in &request.members {
                    group.members.remove(member.member_id.as_str());
                }
                group.generation += 1;
            }
            LeaveGroupResponse::default().into()
        }
        RequestBody::OffsetCommit(request) => {
            let mut topics = Vec::new();
            for topic in request.topics {
                let mut partitions = Vec::new();
                for partition in &topic.partitions {
                    let key = (
                        request.group_id.to_string(),
                        topic.name.to_string(),
                        partition.partition_index,
                    );
                    state.offsets.insert(key, partition.committed_offset);
                    partitions.push(
                        OffsetCommitResponsePartition::default()
                            .with_partition_index(partition.partition_index),
                    );
                }
                topics.push(
                    OffsetCommitResponseTopic::default()
                        .with_name(topic.name)
                        .with_partitions(partitions),
                );
            }
            OffsetCommitResponse::default().with_topics(topics).into()
        }
        RequestBody::OffsetFetch(request) => {
            let mut topics: BTreeMap<String, Vec<OffsetFetchResponsePartition>> = BTreeMap::new();
            for ((group, topic, partition), offset) in &state.offsets {
                let wanted = request.topics.as_ref().is_none_or(|topics| {
                    topics.iter().any(|asked| {
                        asked.name.as_str() == topic && asked.partition_indexes.contains(partition)
                    })
                });
                if group == request.group_id.as_str() && wanted {
                    let found = OffsetFetchResponsePartition::default()
                        .with_partition_index(*partition)
                        .with_committed_offset(*offset);
                    topics.entry(topic.clone()).or_default().push(found);
                }
            }
            let topics = topics
                .into_iter()
                .map(|(topic, partitions)| {
                    OffsetFetchResponseTopic::default()
                        .with_name(name(&topic))
                        .with_partitions(partitions)
                })
                .collect();
            OffsetFetchResponse::default().with_topics(topics).into()
        }
        RequestBody::CreateTopics(request) => {
            let mut topics = Vec::new();
            for topic in request.topics {
                let code = if state.topics.contains_key(topic.name.as_str()) {
                    ErrorCode::TopicAlreadyExists
                } else {
                    let count = usize::try_from(topic.num_partitions).unwrap_or(1);
                    state.topics.insert(
                        topic.name.to_string(),
                        (0..count).map(|_| Partition::default()).collect(),
                    );
                    ErrorCode::None
                };
                topics.push(
                    CreatableTopicResult::default()
                        .with_name(topic.name)
                        .with_error_code(code.code()),
                );
            }
            CreateTopicsResponse::default().with_topics(topics).into()
        }
        RequestBody::DeleteTopics(request) => {
            let mut responses = Vec::new();
            for topic in request.topic_names {
                let known = state.topics.remove(topic.as_str()).is_some();
                let code = if known {
                    ErrorCode::None
                } else {
                    ErrorCode::UnknownTopicOrPartition
                };
                responses.push(
                    DeletableTopicResult::default()
                        .with_name(Some(topic))
                        .with_error_code(code.code()),
                );
            }
            DeleteTopicsResponse::default()
                .with_responses(responses)
                .into()
        }
        RequestBody::ListGroups(_) => {
            let groups = state.groups.keys().map(|group| {
                ListedGroup::default()
                    .with_group_id(GroupId(StrBytes::from_string(group.clone())))
                    .with_protocol_type(StrBytes::from_static_str("consumer"))
                    .with_group_state(StrBytes::from_static_str("Stable"))
            });
            ListGroupsResponse::default()
                .with_groups(groups.collect())
                .into()
        }
        RequestBody::DescribeGroups(request) => {
            let mut groups = Vec::new();
            for asked in request.groups {
                let described = DescribedGroup::default()
                    .with_protocol_type(StrBytes::from_static_str("consumer"));
                let described = match state.groups.get(asked.as_str()) {
                    None => described.with_error_code(ErrorCode::GroupIdNotFound.code()),
                    Some(group) => {
                        let members = group.assignments.iter().map(|(member, assignment)| {
                            DescribedGroupMember::default()
                                .with_member_id(StrBytes::from_string(member.clone()))
                                .with_member_assignment(assignment.clone())
                        });
                        described.with_members(members.collect())
                    }
                };
                groups.push(described.with_group_id(asked));
            }
            DescribeGroupsResponse::default().with_groups(groups).into()
        }
        other => panic!("the fake does not serve {}", other.api()),
    })
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}
