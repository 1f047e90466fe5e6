//! Whom a client should talk to: its zone, the agents, and the leaders and coordinators that
//! `tarn_state::advice` names.

use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::StrBytes;
use tarn_model::NodeId;
use tarn_state::{Session, State, advice};

/// The keys under which a client id may name the client's zone: ours, WarpStream's, and Diskless
/// Kafka's.
const ZONE_KEYS: [&str; 3] = ["zone", "warpstream_az", "diskless_az"];

/// An agent as Kafka's answers name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broker {
    pub(crate) id: BrokerId,
    pub(crate) host: StrBytes,
    pub(crate) port: i32,
    pub(crate) rack: Option<StrBytes>,
}

/// The zone in a client id such as `billing,zone=eu-1a`. Clients that must keep their client ids
/// within words use spaces or semicolons.
pub(crate) fn zone_of_client_id(client_id: &str) -> Option<String> {
    client_id.split([',', ';', ' ']).find_map(|part| {
        let (key, zone) = part.split_once('=')?;
        (ZONE_KEYS.contains(&key.trim()) && !zone.trim().is_empty()).then(|| zone.trim().to_owned())
    })
}

/// All agents that clients are sent to, by their ids. `except` is left out as long as there is another one.
pub(crate) fn brokers(state: &State, except: Option<NodeId>) -> Vec<Broker> {
    let agents = advice::agents(state);
    let others = agents.iter().any(|session| Some(session.node) != except);
    agents
        .into_iter()
        .filter(|session| !others || Some(session.node) != except)
        .filter_map(broker)
        .collect()
}

/// Any agent does what clients want of a controller: this one, if clients are sent here.
pub(crate) fn controller(brokers: &[Broker], this: NodeId) -> BrokerId {
    let ids = || brokers.iter().map(|broker| broker.id);
    let mine = ids().find(|id| id.0 == this.0);
    mine.or_else(|| ids().next()).unwrap_or(BrokerId(-1))
}

/// The agent that coordinates a group.
pub(crate) fn coordinator(state: &State, group: &str) -> Option<Broker> {
    advice::coordinator(state, group).and_then(broker)
}

fn broker(session: &Session) -> Option<Broker> {
    let agent = &session.agent.as_ref()?.at;
    Some(Broker {
        id: BrokerId(session.node.0),
        host: StrBytes::from_string(agent.host.clone()),
        port: i32::from(agent.port),
        rack: agent.zone.clone().map(StrBytes::from_string),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_names_its_zone() {
        for (client_id, zone) in [
            ("zone=a", Some("a")),
            ("billing,zone=eu-1a", Some("eu-1a")),
            ("warpstream_az=us-east-1b;x=y", Some("us-east-1b")),
            ("svc diskless_az=z", Some("z")),
            ("zone=", None),
            ("timezone=utc", None),
            ("rdkafka", None),
            ("", None),
        ] {
            assert_eq!(zone_of_client_id(client_id).as_deref(), zone, "{client_id}");
        }
    }
}
