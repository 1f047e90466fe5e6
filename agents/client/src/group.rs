//! Membership in a classic consumer group: join, agree on who reads what, stay alive, leave.
//!
//! Holds: one task sends heartbeats while the membership is stable, and tells through
//! [`Group::state`] when it no longer is; joining again is the owner's decision, so that it can
//! commit first.
//! Leaves to others: reading ([`crate::Consumer`]), and the newer protocol of KIP-848.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::join_group_response::JoinGroupResponse;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::ErrorCode;
use tarn_model::Offset;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::assignor::{assign_ranges, decode_subscription, encode_subscription};
use crate::offsets::{Committer, group_id};
use crate::{Assignment, Client, GroupError, Refused};

const PROTOCOL_TYPE: &str = "consumer";
const RANGE: &str = "range";

/// Settings of a membership.
#[derive(Debug, Clone)]
pub struct GroupSettings {
    pub group: String,
    pub topics: Vec<String>,
    /// A name that survives restarts, for static membership.
    pub instance_id: Option<String>,
    /// A member that is silent for so long is expelled.
    pub session_timeout: Duration,
    /// How long the others wait for a member to join again.
    pub rebalance_timeout: Duration,
    pub heartbeat_interval: Duration,
}

impl GroupSettings {
    pub fn new(
        group: impl Into<String>,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> GroupSettings {
        GroupSettings {
            group: group.into(),
            topics: topics.into_iter().map(Into::into).collect(),
            instance_id: None,
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(3),
        }
    }
}

/// How a membership stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// The assignment holds.
    Stable,
    /// The others are joining again: join too, or lose the assignment.
    Rebalancing,
    /// Expelled or fenced: the assignment is somebody else's.
    Lost,
}

/// A member of a group.
#[derive(Debug)]
pub struct Group {
    client: Client,
    settings: GroupSettings,
    member_id: StrBytes,
    generation: i32,
    assignment: Assignment,
    state: Arc<watch::Sender<MemberState>>,
    heartbeats: Option<HeartbeatStop>,
}

/// Ends the heartbeat task when dropped.
#[derive(Debug)]
struct HeartbeatStop {
    _alive: watch::Sender<()>,
}

/// One round of joining.
enum Round {
    Joined(Assignment),
    /// Try again, at once or after a pause.
    AtOnce,
    Later(GroupError),
}

impl Group {
    /// Joins a group and waits for an assignment.
    pub async fn join(
        client: &Client,
        settings: GroupSettings,
        deadline: Instant,
    ) -> Result<Group, GroupError> {
        let mut group = Group {
            // A join is answered when all members have joined; nobody else should wait behind it.
            client: client.fork("group"),
            settings,
            member_id: StrBytes::new(),
            generation: -1,
            assignment: Assignment::default(),
            state: Arc::new(watch::Sender::new(MemberState::Rebalancing)),
            heartbeats: None,
        };
        group.rejoin(deadline).await?;
        Ok(group)
    }

    pub fn state(&self) -> MemberState {
        *self.state.borrow()
    }

    /// Resolves when the membership is no longer stable.
    pub async fn unstable(&self) -> MemberState {
        let mut state = self.state.subscribe();
        let changed = state.wait_for(|state| *state != MemberState::Stable).await;
        *changed.expect("this group holds the sender")
    }

    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    pub fn settings(&self) -> &GroupSettings {
        &self.settings
    }

    pub fn member_id(&self) -> &str {
        &self.member_id
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    fn instance_id(&self) -> Option<StrBytes> {
        self.settings.instance_id.clone().map(StrBytes::from_string)
    }

    /// Joins again after the membership became unstable.
    pub async fn rejoin(&mut self, deadline: Instant) -> Result<(), GroupError> {
        self.heartbeats = None;
        self.assignment = Assignment::default();
        let client = self.client.clone();
        let mut retry = client.retry(deadline);
        loop {
            match self.round(deadline).await? {
                Round::Joined(assignment) => {
                    self.assignment = assignment;
                    self.state.send_replace(MemberState::Stable);
                    self.start_heartbeats();
                    return Ok(());
                }
                Round::AtOnce => {
                    if Instant::now() >= deadline {
                        let code = ErrorCode::RebalanceInProgress.code();
                        return Err(Refused {
                            what: self.what(),
                            code,
                            message: None,
                        }
                        .into());
                    }
                }
                Round::Later(error) => {
                    self.client.forget_coordinator(&self.settings.group);
                    if !retry.pause().await {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn what(&self) -> String {
        format!("group {}", self.settings.group)
    }

    async fn round(&mut self, deadline: Instant) -> Result<Round, GroupError> {
        let connection = self
            .client
            .coordinator_of(&self.settings.group, deadline)
            .await?;
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str(RANGE))
            .with_metadata(encode_subscription(&self.settings.topics));
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&self.settings.group))
            .with_session_timeout_ms(millis(self.settings.session_timeout))
            .with_rebalance_timeout_ms(millis(self.settings.rebalance_timeout))
            .with_member_id(self.member_id.clone())
            .with_group_instance_id(self.instance_id())
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        // The server answers when the others have joined, at the latest after their time is up.
        let patience = self.settings.rebalance_timeout + self.client.settings().request_timeout;
        let joined = match connection
            .ask(&request, deadline.min(Instant::now() + patience))
            .await
        {
            Ok(joined) => joined,
            Err(error) if error.kind().is_retriable() => return Ok(Round::Later(error.into())),
            Err(error) => return Err(error.into()),
        };
        if let Some(round) = self.refused(joined.error_code, Some(&joined.member_id))? {
            return Ok(round);
        }
        self.member_id = joined.member_id.clone();
        self.generation = joined.generation_id;

        let assignments = if joined.leader == joined.member_id {
            self.assign(&joined, deadline).await?
        } else {
            Vec::new()
        };
        let mut request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.settings.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_group_instance_id(self.instance_id())
            .with_assignments(assignments);
        if connection.version_of::<SyncGroupRequest>()? >= 5 {
            request = request
                .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
                .with_protocol_name(Some(StrBytes::from_static_str(RANGE)));
        }
        let synced = match connection
            .ask(&request, deadline.min(Instant::now() + patience))
            .await
        {
            Ok(synced) => synced,
            Err(error) if error.kind().is_retriable() => return Ok(Round::Later(error.into())),
            Err(error) => return Err(error.into()),
        };
        if let Some(round) = self.refused(synced.error_code, None)? {
            return Ok(round);
        }
        Ok(Round::Joined(Assignment::decode(synced.assignment)?))
    }

    /// What an error code in a join means for the next round; `None` if there is no error.
    fn refused(
        &mut self,
        code: i16,
        member_id: Option<&StrBytes>,
    ) -> Result<Option<Round>, GroupError> {
        let Err(refused) = Refused::check(|| self.what(), code, None) else {
            return Ok(None);
        };
        match refused.error_code() {
            ErrorCode::MemberIdRequired => {
                if let Some(member_id) = member_id {
                    self.member_id = member_id.clone();
                }
                Ok(Some(Round::AtOnce))
            }
            ErrorCode::UnknownMemberId => {
                self.member_id = StrBytes::new();
                Ok(Some(Round::Later(refused.into())))
            }
            ErrorCode::IllegalGeneration | ErrorCode::RebalanceInProgress => {
                Ok(Some(Round::Later(refused.into())))
            }
            code if code.is_retriable() => Ok(Some(Round::Later(refused.into()))),
            _ => Err(refused.into()),
        }
    }

    /// The leader decides who reads what.
    async fn assign(
        &self,
        joined: &JoinGroupResponse,
        deadline: Instant,
    ) -> Result<Vec<SyncGroupRequestAssignment>, GroupError> {
        let mut members = BTreeMap::new();
        let mut topics: Vec<String> = Vec::new();
        for member in &joined.members {
            let subscribed = decode_subscription(member.metadata.clone())?;
            topics.extend(subscribed.iter().cloned());
            members.insert(member.member_id.to_string(), subscribed);
        }
        topics.sort();
        topics.dedup();
        let mut counts = BTreeMap::new();
        if !topics.is_empty() {
            let metadata = self.client.metadata(Some(&topics), deadline).await?;
            for topic in metadata.topics {
                let (Some(name), Ok(count)) = (topic.name, i32::try_from(topic.partitions.len()))
                else {
                    continue;
                };
                counts.insert(name.to_string(), count);
            }
        }
        let assigned = assign_ranges(&members, &counts);
        Ok(assigned
            .into_iter()
            .map(|(member, assignment)| {
                SyncGroupRequestAssignment::default()
                    .with_member_id(StrBytes::from_string(member))
                    .with_assignment(assignment.encode())
            })
            .collect())
    }

    fn start_heartbeats(&mut self) {
        let (alive, stop) = watch::channel(());
        self.heartbeats = Some(HeartbeatStop { _alive: alive });
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.settings.group))
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_group_instance_id(self.instance_id());
        let task = beat(
            self.client.clone(),
            self.settings.clone(),
            request,
            Arc::clone(&self.state),
            stop,
        );
        drop(self.client.scope().spawn("client.heartbeat", task));
    }

    fn committer(&self) -> Committer {
        Committer {
            member_id: self.member_id.clone(),
            instance_id: self.instance_id(),
            generation: self.generation,
        }
    }

    /// Commits offsets: of each partition the next one to read.
    pub async fn commit(
        &self,
        offsets: &BTreeMap<(String, i32), Offset>,
        deadline: Instant,
    ) -> Result<(), GroupError> {
        self.client
            .commit_offsets(&self.settings.group, &self.committer(), offsets, deadline)
            .await
    }

    /// The committed offsets of the assigned partitions; those without one are missing.
    pub async fn committed(
        &self,
        deadline: Instant,
    ) -> Result<BTreeMap<(String, i32), Offset>, GroupError> {
        if self.assignment.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.client
            .committed_offsets(&self.settings.group, Some(&self.assignment.0), deadline)
            .await
    }

    /// Leaves, so that the others do not wait for the session to expire. A static member stays
    /// registered, as in Kafka.
    pub async fn leave(mut self, deadline: Instant) -> Result<(), GroupError> {
        self.heartbeats = None;
        let outcome = if self.settings.instance_id.is_some() || self.member_id.is_empty() {
            Ok(())
        } else {
            self.send_leave(deadline).await
        };
        self.client.scope().drain().await;
        outcome
    }

    async fn send_leave(&self, deadline: Instant) -> Result<(), GroupError> {
        let connection = self
            .client
            .coordinator_of(&self.settings.group, deadline)
            .await?;
        let request = LeaveGroupRequest::default().with_group_id(group_id(&self.settings.group));
        let request = if connection.version_of::<LeaveGroupRequest>()? >= 3 {
            request.with_members(vec![
                MemberIdentity::default().with_member_id(self.member_id.clone()),
            ])
        } else {
            request.with_member_id(self.member_id.clone())
        };
        let response = connection
            .ask(&request, self.client.request_deadline(deadline))
            .await?;
        Ok(Refused::check(|| self.what(), response.error_code, None)?)
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// Sends heartbeats until the membership is over or its owner joins again.
async fn beat(
    client: Client,
    settings: GroupSettings,
    request: HeartbeatRequest,
    state: Arc<watch::Sender<MemberState>>,
    mut stop: watch::Receiver<()>,
) {
    let stopped = client.scope().stopped();
    let beating = async {
        let mut alive_until = Instant::now() + settings.session_timeout;
        loop {
            sleep(settings.heartbeat_interval).await;
            let deadline = Instant::now() + settings.session_timeout;
            let code = match beat_once(&client, &settings.group, &request, deadline).await {
                Ok(code) => code,
                Err(error) => {
                    debug!(group = settings.group, %error, "no heartbeat");
                    client.forget_coordinator(&settings.group);
                    if Instant::now() >= alive_until {
                        return MemberState::Lost;
                    }
                    continue;
                }
            };
            match ErrorCode::from_code(code) {
                Some(ErrorCode::None) => alive_until = Instant::now() + settings.session_timeout,
                Some(ErrorCode::RebalanceInProgress) => return MemberState::Rebalancing,
                Some(code) if code.is_retriable() => {
                    client.forget_coordinator(&settings.group);
                    if Instant::now() >= alive_until {
                        return MemberState::Lost;
                    }
                }
                Some(_) | None => return MemberState::Lost,
            }
        }
    };
    tokio::select! {
        biased;
        // The owner's half is dropped; nothing is ever sent.
        _ = stop.changed() => {}
        () = stopped => {}
        over = beating => {
            state.send_replace(over);
        }
    }
}

async fn beat_once(
    client: &Client,
    group: &str,
    request: &HeartbeatRequest,
    deadline: Instant,
) -> Result<i16, GroupError> {
    let connection = client.coordinator_of(group, deadline).await?;
    Ok(connection
        .ask(request, client.request_deadline(deadline))
        .await?
        .error_code)
}
