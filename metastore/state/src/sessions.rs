//! Node sessions: who may propose, and at which level the cluster works.

mod close_session;
mod expire_session;
mod open_session;
mod raise_level;
mod refusal;
mod types;

pub use close_session::CloseSession;
pub use expire_session::ExpireSession;
pub use open_session::{Closes, OpenSession};
pub use raise_level::RaiseLevel;
pub use refusal::SessionRefusal;
pub use types::{Advertised, ClockTrust, Session, Tombstone};
