//! Changes configs of a topic (KIP-339). The agent has checked names and values; `apply` merges, so
//! that two who append to one list both count.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::TopicId;

use super::refusal::TopicRefusal;
use crate::tables::check_event_time;
use crate::{Context, Outcome, Refusal, State};
use tarn_model::topic_configs as configs;
use tarn_model::{ByteSize, caps};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AlterTopicConfigs {
    #[n(0)]
    pub id: TopicId,
    #[n(1)]
    pub changes: BTreeMap<String, ConfigChange>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ConfigChange {
    #[n(0)]
    Set(#[n(0)] String),
    /// Back to the default.
    #[n(1)]
    Delete,
    /// To a comma-separated list. The second text is the list it starts from when nothing is set.
    #[n(2)]
    Append(#[n(0)] String, #[n(1)] String),
    #[n(3)]
    Subtract(#[n(0)] String, #[n(1)] String),
}

impl AlterTopicConfigs {
    pub(crate) fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
        let topic = Arc::make_mut(
            state
                .topics
                .get_mut(&self.id)
                .ok_or(TopicRefusal::NoSuchTopic(self.id))?,
        );
        let had_table = topic.wants_table();
        for (name, change) in &self.changes {
            let present = topic.configs.get(name).map(String::as_str);
            match change.apply(present) {
                Some(value) => topic.configs.insert(name.clone(), value),
                None => topic.configs.remove(name),
            };
        }
        check_configs(&topic.configs)?;
        if topic.wants_table() != had_table {
            return Err(TopicRefusal::InvalidConfig {
                name: configs::TABLE.name.into(),
                why: "it is decided when the topic is created".into(),
            }
            .into());
        }
        let configs = topic.configs.clone();
        if let Some(table) = state.table(self.id) {
            let mut named = table.as_ref().clone();
            let of = named.of_topic_mut().expect("it is the topic's");
            of.name_event_time(&configs, ctx);
            if named.event_time() != table.event_time() {
                check_event_time(&named)?;
                state.tables.insert(named.uuid, Arc::new(named));
            }
        }
        Ok(Outcome::Done)
    }
}

impl ConfigChange {
    /// The value that follows `present`; `None` is the default.
    fn apply(&self, present: Option<&str>) -> Option<String> {
        match self {
            ConfigChange::Set(value) => Some(value.clone()),
            ConfigChange::Delete => None,
            ConfigChange::Append(items, start) => {
                let mut list = split(present.unwrap_or(start));
                for item in split(items) {
                    if !list.contains(&item) {
                        list.push(item);
                    }
                }
                Some(list.join(","))
            }
            ConfigChange::Subtract(items, start) => {
                let gone = split(items);
                let mut list = split(present.unwrap_or(start));
                list.retain(|item| !gone.contains(item));
                Some(list.join(","))
            }
        }
    }
}

fn split(list: &str) -> Vec<&str> {
    list.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect()
}

/// Configs of one topic; more are refused.
const CONFIGS_PER_TOPIC_MAX: usize = 256;

pub(super) fn check_configs(configs: &BTreeMap<String, String>) -> Result<(), Refusal> {
    if configs.len() > CONFIGS_PER_TOPIC_MAX {
        return Err(Refusal::Full {
            what: "configs of a topic".into(),
            max: CONFIGS_PER_TOPIC_MAX as u64,
        });
    }
    if configs
        .iter()
        .any(|(name, value)| name.len().max(value.len()) > caps::NAME_BYTES_MAX)
    {
        return Err(Refusal::TooLong {
            max: ByteSize::bytes(caps::NAME_BYTES_MAX as u64),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::harness::{Cluster, topic};

    fn alter(
        cluster: &mut Cluster,
        name: &str,
        change: ConfigChange,
    ) -> Result<Option<String>, Refusal> {
        let changes = BTreeMap::from([(name.to_owned(), change)]);
        cluster.run(Command::AlterTopicConfigs(AlterTopicConfigs {
            id: topic(7),
            changes,
        }))?;
        Ok(cluster.state.topics[&topic(7)].configs.get(name).cloned())
    }

    #[test]
    fn two_who_append_to_one_list_both_count() {
        let mut cluster = Cluster::with_topic("orders", 1);
        let append = |item: &str| ConfigChange::Append(item.into(), "delete".into());
        alter(&mut cluster, "cleanup.policy", append("compact")).unwrap();
        let list = alter(&mut cluster, "cleanup.policy", append("other,compact")).unwrap();
        assert_eq!(list.as_deref(), Some("delete,compact,other"));
        let less = ConfigChange::Subtract("delete,other".into(), String::new());
        assert_eq!(
            alter(&mut cluster, "cleanup.policy", less)
                .unwrap()
                .as_deref(),
            Some("compact")
        );
        assert_eq!(
            alter(&mut cluster, "cleanup.policy", ConfigChange::Delete),
            Ok(None)
        );
    }

    #[test]
    fn what_does_not_exist_or_is_too_long_is_refused() {
        let mut cluster = Cluster::with_topic("orders", 1);
        let long = ConfigChange::Set("x".repeat(5_000));
        assert!(matches!(
            alter(&mut cluster, "x", long),
            Err(Refusal::TooLong { .. })
        ));
        let off = ConfigChange::Set("off".into());
        assert!(matches!(
            alter(&mut cluster, "tarn.table", off),
            Err(Refusal::Topic(TopicRefusal::InvalidConfig { .. }))
        ));
        let on = ConfigChange::Set("on".into());
        assert_eq!(
            alter(&mut cluster, "tarn.table", on).unwrap().as_deref(),
            Some("on")
        );
        let absent = AlterTopicConfigs {
            id: topic(8),
            changes: BTreeMap::new(),
        };
        let refused = cluster.run(Command::AlterTopicConfigs(absent));
        assert_eq!(
            refused,
            Err(Refusal::Topic(TopicRefusal::NoSuchTopic(topic(8))))
        );
    }
}
