//! `tarn topic`: create, list, describe, change and delete topics.
//!
//! Each asks the agents as any Kafka client does.
//! Leaves to others: which configs there are, and what they mean (the agent).

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tarn_client::{Admin, ConfigChange, ConfigResource, Isolation, NewTopic, OffsetSpec};

use super::Target;
use super::failure::Failure;
use super::kafka::{Session, block_on};
use super::output::{Rows, tell};

#[derive(Debug, Subcommand)]
pub(crate) enum Topic {
    /// Create a topic.
    Create(Create),
    /// List topics.
    List(List),
    /// Show the partitions and settings of a topic.
    Describe(Named),
    /// Change settings of a topic, or give it more partitions.
    Alter(Alter),
    /// Delete topics. Their tables stay, under another name.
    Delete(Delete),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    name: String,
    #[arg(short, long, default_value_t = 1)]
    partitions: i32,
    /// A setting, as in `-c tarn.table.interval.ms=1000`. May be repeated.
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = pair)]
    configs: Vec<(String, String)>,
    /// Check only.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Named {
    name: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Alter {
    name: String,
    /// A setting to change. May be repeated.
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = pair)]
    configs: Vec<(String, String)>,
    /// A setting to put back to its default. May be repeated.
    #[arg(long = "reset", value_name = "NAME")]
    resets: Vec<String>,
    /// New number of partitions, larger than before.
    #[arg(short, long)]
    partitions: Option<i32>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Delete {
    #[arg(required = true)]
    names: Vec<String>,
    #[command(flatten)]
    target: Target,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Topic {
    pub(crate) fn run(self) -> Result<(), Failure> {
        block_on(async move {
            match self {
                Topic::Create(command) => command.run().await,
                Topic::List(command) => command.run().await,
                Topic::Describe(command) => command.run().await,
                Topic::Alter(command) => command.run().await,
                Topic::Delete(command) => command.run().await,
            }
        })
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let mut topic = NewTopic::new(&self.name, self.partitions);
        for (name, value) in self.configs {
            topic = topic.config(name, value);
        }
        Admin::new(&session.client)
            .create_topic(&topic, self.dry_run)
            .await?;
        tell(format_args!(
            "{} topic {}",
            if self.dry_run {
                "would create"
            } else {
                "created"
            },
            self.name
        ));
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let topics = Admin::new(&session.client).list_topics().await?;
        let rows = topics
            .into_iter()
            .map(|topic| {
                vec![
                    json!(topic.name),
                    json!(topic.partitions.len()),
                    json!(topic.internal),
                    json!(format!("{:032x}", topic.id)),
                ]
            })
            .collect();
        Rows {
            columns: vec!["name", "partitions", "internal", "id"],
            narrow: 2,
            rows,
        }
        .print(self.target.output)
    }
}

impl Named {
    async fn run(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let admin = Admin::new(&session.client);
        let topic = admin.describe_topic(&self.name).await?;
        let earliest = admin
            .topic_offsets(&self.name, OffsetSpec::Earliest, Isolation::ReadUncommitted)
            .await?;
        let latest = admin
            .topic_offsets(&self.name, OffsetSpec::Latest, Isolation::ReadUncommitted)
            .await?;
        let offset = |offsets: &std::collections::BTreeMap<i32, Option<tarn_model::Offset>>,
                      partition: i32| {
            offsets
                .get(&partition)
                .copied()
                .flatten()
                .map_or(Value::Null, |offset| json!(offset.0))
        };
        let rows = topic
            .partitions
            .iter()
            .map(|partition| {
                vec![
                    json!(partition.partition),
                    json!(partition.leader),
                    offset(&earliest, partition.partition),
                    offset(&latest, partition.partition),
                ]
            })
            .collect();
        let columns = vec!["partition", "leader", "log_start", "high_watermark"];
        Rows {
            columns,
            narrow: 4,
            rows,
        }
        .print(self.target.output)?;
        let configs = admin
            .describe_configs(&ConfigResource::Topic(self.name))
            .await?;
        for config in configs.iter().filter(|config| config.is_set) {
            tell(format_args!(
                "{} = {}",
                config.name,
                config.value.as_deref().unwrap_or("(hidden)")
            ));
        }
        Ok(())
    }
}

impl Alter {
    async fn run(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let admin = Admin::new(&session.client);
        let mut changes: Vec<ConfigChange> = self
            .configs
            .into_iter()
            .map(|(name, value)| ConfigChange::Set { name, value })
            .collect();
        changes.extend(
            self.resets
                .into_iter()
                .map(|name| ConfigChange::Delete { name }),
        );
        if changes.is_empty() && self.partitions.is_none() {
            return Err(Failure::invalid(
                "nothing to change: give --config, --reset or --partitions",
            ));
        }
        if !changes.is_empty() {
            admin
                .alter_configs(&ConfigResource::Topic(self.name.clone()), &changes, false)
                .await?;
        }
        if let Some(total) = self.partitions {
            admin.create_partitions(&self.name, total).await?;
        }
        tell(format_args!("changed topic {}", self.name));
        Ok(())
    }
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let admin = Admin::new(&session.client);
        for name in &self.names {
            admin.delete_topic(name).await?;
            tell(format_args!("deleted topic {name}"));
        }
        Ok(())
    }
}
