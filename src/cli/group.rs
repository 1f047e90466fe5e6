//! `tarn group`: list, describe and delete consumer groups.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tarn_client::{Admin, Isolation, OffsetSpec};
use tarn_model::{Kind, Offset};

use super::Target;
use super::failure::Failure;
use super::kafka::{Session, block_on};
use super::output::{Rows, tell};

#[derive(Debug, Subcommand)]
pub(crate) enum Group {
    /// List groups.
    List(List),
    /// Show the members, offsets and lag of a group.
    Describe(Named),
    /// Delete an empty group with its offsets.
    Delete(Named),
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

impl Group {
    pub(crate) fn run(self) -> Result<(), Failure> {
        block_on(async move {
            match self {
                Group::List(command) => command.run().await,
                Group::Describe(command) => command.describe().await,
                Group::Delete(command) => command.delete().await,
            }
        })
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let groups = Admin::new(&session.client).list_groups().await?;
        let rows = groups
            .into_iter()
            .map(|group| {
                vec![
                    json!(group.group),
                    json!(group.state),
                    json!(group.protocol_type),
                ]
            })
            .collect();
        Rows {
            columns: vec!["group", "state", "protocol_type"],
            narrow: 2,
            rows,
        }
        .print(self.target.output)
    }
}

impl Named {
    async fn describe(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        let admin = Admin::new(&session.client);
        let group = admin.describe_group(&self.name).await?;
        let committed = admin.group_offsets(&self.name).await?;
        // Kafka says of a group that is not there that it is dead.
        if group.members.is_empty() && committed.is_empty() && group.state == "Dead" {
            let next = "`tarn group list` says which groups there are.".to_owned();
            let message = format!("there is no group {}", self.name);
            return Err(Failure::new(Kind::NotFound, message).next(next));
        }
        let mut ends: BTreeMap<String, BTreeMap<i32, Option<Offset>>> = BTreeMap::new();
        for (topic, _) in committed.keys() {
            if !ends.contains_key(topic) {
                // A topic that was deleted meanwhile has no end.
                let latest = admin
                    .topic_offsets(topic, OffsetSpec::Latest, Isolation::ReadUncommitted)
                    .await;
                ends.insert(topic.clone(), latest.unwrap_or_default());
            }
        }
        let owner = |topic: &str, partition: i32| {
            let owns = |owned: (&str, i32)| owned == (topic, partition);
            let member = group
                .members
                .iter()
                .find(|member| member.assignment.partitions().any(owns))?;
            Some(json!(member.client_id))
        };
        let rows = committed
            .iter()
            .map(|((topic, partition), offset)| {
                let end = ends
                    .get(topic)
                    .and_then(|ends| ends.get(partition).copied().flatten());
                let lag = end.map_or(Value::Null, |end| json!(end.0.saturating_sub(offset.0)));
                vec![
                    json!(topic),
                    json!(partition),
                    json!(offset.0),
                    end.map_or(Value::Null, |end| json!(end.0)),
                    lag,
                    owner(topic, *partition).unwrap_or(Value::Null),
                ]
            })
            .collect();
        tell(format_args!(
            "group {}: {}, {} members",
            self.name,
            group.state,
            group.members.len()
        ));
        let columns = vec![
            "topic",
            "partition",
            "committed",
            "high_watermark",
            "lag",
            "client",
        ];
        Rows {
            columns,
            narrow: 6,
            rows,
        }
        .print(self.target.output)
    }

    async fn delete(self) -> Result<(), Failure> {
        let session = Session::new(&self.target.bootstrap);
        Admin::new(&session.client).delete_group(&self.name).await?;
        tell(format_args!("deleted group {}", self.name));
        Ok(())
    }
}
