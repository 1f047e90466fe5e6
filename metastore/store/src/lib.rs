//! Object storage behind one door: every request of ours goes through [`Store`], every object name
//! comes from [`paths`], and [`Store::open`] is the only place that builds a client.
//!
//! `Store` wraps an `object_store::ObjectStore` (a local folder made durable, memory, S3) with few
//! methods and our own errors. Iceberg and DataFusion take the same, metered instance from
//! [`Store::object_store`]. [`ChunkCache`] keeps what was read or written lately; [`FaultyStore`] is
//! the simulator's; [`contract`] is the suite that every store passes.

mod cache;
pub mod contract;
mod error;
mod faulty;
mod local;
mod metered;
mod open;
mod options;
pub mod paths;
mod store;

pub use cache::ChunkCache;
pub use error::{OpenError, StoreError};
pub use faulty::{FaultyStore, StoreFaults};
pub use local::LocalStore;
pub use metered::Metered;
pub use object_store::path::Path;
pub use options::Options;
pub use store::{Created, Listed, Store};
