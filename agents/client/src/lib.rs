//! A small Kafka client for the command line, the benchmarks and the simulator.
//!
//! It runs on [`tarn_runtime::Net`], so the same code talks to real servers and to simulated ones.
//!
//! Holds: every operation has a deadline, every queue has a capacity, a request that failed says
//! whether it may have happened ([`tarn_model::Fate`]), and nothing iterates over a hash map, so
//! that a simulation repeats.
//! Leaves to others: TLS, authentication, transactions.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tarn_client::{Client, ClientSettings, Producer, ProducerRecord, ProducerSettings};
//! use tarn_runtime::Runtime;
//!
//! let runtime = Runtime::real();
//! let scope = runtime.root_scope("example");
//! let client = Client::new(&runtime, &scope, ClientSettings::new(["127.0.0.1:9092"]));
//! let producer = Producer::new(&client, ProducerSettings::default());
//! let delivered = producer.produce(ProducerRecord::new("orders", "{}")).await?;
//! println!("partition {} offset {:?}", delivered.partition, delivered.offset);
//! producer.close().await;
//! scope.drain().await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod assignor;
mod client;
mod connection;
mod consumer;
mod error;
mod group;
mod offsets;
mod partitioner;
mod producer;
mod settings;
mod versions;

#[cfg(test)]
mod fake;

pub use admin::{
    Admin, ConfigChange, ConfigEntry, ConfigResource, GroupDescription, GroupMember, GroupSummary,
    NewTopic, PartitionDescription, TopicDescription,
};
pub use assignor::Assignment;
pub use client::{Broker, Client};
pub use connection::{Answer, Connection};
pub use consumer::{Consumer, ConsumerRecord, ConsumerSettings, StartAt};
pub use error::{AdminError, ConsumeError, GroupError, ProduceError, Refused, RequestError};
pub use group::{Group, GroupSettings, MemberState};
pub use offsets::{Isolation, OffsetSpec};
pub use partitioner::partition_of_key;
pub use producer::{Acks, Delivered, Delivery, Producer, ProducerRecord, ProducerSettings};
pub use settings::ClientSettings;
