//! The broker configs that clients look up: what holds here, under Kafka's names. All are read-only;
//! an agent is configured by its settings.

use tarn_model::caps;

use tarn_state::topic_configs::{ConfigKind, Defaults, TOPIC_CONFIGS};

use crate::AgentSettings;

/// A config of an agent, as DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BrokerConfig {
    pub(crate) name: &'static str,
    pub(crate) kind: ConfigKind,
    pub(crate) value: String,
    pub(crate) doc: &'static str,
}

/// What never changes, under the names by which consoles find out what they talk to.
const TOLD_TO_CONSOLES: &[(&str, ConfigKind, &str, &str)] = &[
    (
        "authorizer.class.name",
        ConfigKind::String,
        "",
        "Shown for compatibility: there are no ACLs.",
    ),
    (
        "inter.broker.protocol.version",
        ConfigKind::String,
        "4.2-IV1",
        "Shown for compatibility: the Kafka whose protocol is served.",
    ),
    (
        "log.dirs",
        ConfigKind::String,
        "object-storage",
        "Shown for compatibility: records are in object storage.",
    ),
    (
        "log.retention.hours",
        ConfigKind::Int,
        "168",
        "Shown for compatibility: log.retention.ms in hours.",
    ),
    (
        "offset.metadata.max.bytes",
        ConfigKind::Int,
        "4096",
        "Longest text beside a committed offset, in characters.",
    ),
    (
        "offsets.topic.replication.factor",
        ConfigKind::Short,
        "1",
        "Shown for compatibility: offsets are in the commit log.",
    ),
    (
        "process.roles",
        ConfigKind::List,
        "broker,controller",
        "Shown for compatibility: any agent does both.",
    ),
];

fn config(name: &'static str, kind: ConfigKind, value: String, doc: &'static str) -> BrokerConfig {
    BrokerConfig {
        name,
        kind,
        value,
        doc,
    }
}

/// Those that follow from the settings.
fn of_settings(settings: &AgentSettings, node: i32) -> Vec<BrokerConfig> {
    vec![
        config(
            "auto.create.topics.enable",
            ConfigKind::Boolean,
            settings.topics.auto_create_topics.to_string(),
            "Does asking for a topic create it?",
        ),
        config(
            "broker.id",
            ConfigKind::Int,
            node.to_string(),
            "This agent's node id.",
        ),
        config(
            "connections.max.idle.ms",
            ConfigKind::Long,
            settings.connection_idle.as_millis().to_string(),
            "A connection that asks nothing for this long is closed.",
        ),
        config(
            "default.replication.factor",
            ConfigKind::Int,
            "1".to_owned(),
            "Shown for compatibility: object storage replicates.",
        ),
        config(
            "delete.topic.enable",
            ConfigKind::Boolean,
            "true".to_owned(),
            "Topics may be deleted.",
        ),
        config(
            "fetch.max.bytes",
            ConfigKind::Int,
            settings.fetch_bytes_max.0.to_string(),
            "Most bytes of records in one answer.",
        ),
        config(
            "group.initial.rebalance.delay.ms",
            ConfigKind::Int,
            settings.groups.initial_delay.as_millis().to_string(),
            "How long the first rebalance of an empty group waits for more members.",
        ),
        config(
            "group.max.session.timeout.ms",
            ConfigKind::Int,
            settings.groups.session_timeout_max.as_millis().to_string(),
            "Longest session timeout of a member.",
        ),
        config(
            "group.min.session.timeout.ms",
            ConfigKind::Int,
            settings.groups.session_timeout_min.as_millis().to_string(),
            "Shortest session timeout of a member.",
        ),
        config(
            "max.incremental.fetch.session.cache.slots",
            ConfigKind::Int,
            settings.fetch_sessions_max.to_string(),
            "Incremental fetch sessions kept.",
        ),
        config(
            "num.partitions",
            ConfigKind::Int,
            settings.topics.partitions.to_string(),
            "Partitions of a topic that does not say.",
        ),
        config(
            "offsets.retention.minutes",
            ConfigKind::Int,
            (caps::OFFSETS_RETENTION.as_secs() / 60).to_string(),
            "Committed offsets of a group that has no members any more stay for so long.",
        ),
        config(
            "socket.request.max.bytes",
            ConfigKind::Int,
            settings.request_bytes_max.0.to_string(),
            "Largest request.",
        ),
    ]
}

/// All of them, in the order of their names.
pub(crate) fn all(settings: &AgentSettings, defaults: &Defaults, node: i32) -> Vec<BrokerConfig> {
    let mut all = of_settings(settings, node);
    // What consoles look up before they show anything.
    for (name, kind, value, doc) in TOLD_TO_CONSOLES {
        all.push(config(name, *kind, (*value).to_owned(), doc));
    }
    all.push(config(
        "node.id",
        ConfigKind::Int,
        node.to_string(),
        "This agent's node id.",
    ));
    for topic_config in TOPIC_CONFIGS {
        if let Some(name) = topic_config.broker_name {
            let value = topic_config.default_in(defaults).into_owned();
            all.push(config(name, topic_config.kind, value, topic_config.doc));
        }
    }
    all.sort_by_key(|config| config.name);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broker_config_stands_there_once() {
        let all = all(&AgentSettings::default(), &Defaults::default(), 7);
        assert!(all.windows(2).all(|pair| pair[0].name < pair[1].name));
        let of_topics = TOPIC_CONFIGS
            .iter()
            .filter(|config| config.broker_name.is_some());
        assert_eq!(all.len(), 14 + TOLD_TO_CONSOLES.len() + of_topics.count());
        assert!(
            all.iter()
                .any(|config| config.name == "broker.id" && config.value == "7")
        );
    }
}
