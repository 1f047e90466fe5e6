//! What a client is told of a topic is what is done with its table.

use tarn_agent::AgentSettings;
use tarn_client::{Admin, Client, ClientSettings, ConfigResource};
use tarn_state::Advertised;
use tarn_state::commands::{AlterTopicConfigs, ConfigChange};
use tarn_state::topic_configs::TABLE_INTERVAL;

use super::*;
use crate::board;

#[tokio::test]
async fn describe_configs_tells_the_interval_that_the_board_waits_for() {
    let runtime = Runtime::real();
    let store = Store::memory(&runtime);
    let node = open(&runtime, &store, Arc::new(MemoryLog::new())).await;
    // Not what it is without settings.
    let node = every(Duration::from_secs(10), node);
    create_topic(&node, TOPIC, "clicks").await;
    let listener = runtime.net().listen("127.0.0.1:0").await;
    let listener = listener.expect("a free port");
    let at = Advertised {
        host: "127.0.0.1".to_owned(),
        port: listener.local_address().expect("bound").port(),
        zone: None,
    };
    let agent = tarn_agent::start(&node, AgentSettings::default(), listener, at);
    let address = agent.expect("an agent starts").kafka_address.to_string();
    let settings = ClientSettings::new([address]);
    let admin = Admin::new(&Client::new(&runtime, &node.scope, settings));

    for set in [None, Some("500")] {
        if let Some(value) = set {
            let change = ConfigChange::Set(value.to_owned());
            let alter = AlterTopicConfigs {
                id: TOPIC,
                changes: [(TABLE_INTERVAL.name.to_owned(), change)].into(),
            };
            node.metastore
                .propose(vec![Command::AlterTopicConfigs(alter)], soon())
                .await
                .expect("taken");
        }
        let configs = admin
            .describe_configs(&ConfigResource::Topic("clicks".to_owned()))
            .await
            .expect("answered");
        let told = configs
            .iter()
            .find(|config| config.name == TABLE_INTERVAL.name)
            .expect("told");
        let view = node.metastore.view();
        let topic = view.topic_named("clicks").expect("there");
        let waits = board::patience(
            &view,
            7,
            node.metastore.node(),
            topic.table_interval(&node.defaults),
        );
        assert_eq!(
            told.value.as_deref(),
            Some(&*waits.as_millis().to_string()),
            "{set:?}"
        );
        assert_eq!(told.value.as_deref(), Some(set.unwrap_or("10000")));
        assert_eq!(told.is_set, set.is_some());
    }
    node.drain().await;
}
