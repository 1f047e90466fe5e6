//! Node sessions: who may propose, and at which level the cluster works.

mod advertise;
mod close_session;
mod expire_session;
mod invariants;
mod nodes;
mod open_session;
mod raise_level;
mod refusal;
mod section;
mod types;
mod withdraw;

pub use nodes::KnownNode;
pub use refusal::SessionRefusal;
pub(crate) use section::SECTIONS;
pub use types::{Advertised, Agent, ClockTrust, Rival, Session, Tombstone};

/// What proposals about them are made of.
pub(crate) mod commands {
    pub use super::advertise::Advertise;
    pub use super::close_session::CloseSession;
    pub use super::expire_session::ExpireSession;
    pub use super::open_session::{Closes, OpenSession};
    pub use super::raise_level::RaiseLevel;
    pub use super::withdraw::Withdraw;
}
