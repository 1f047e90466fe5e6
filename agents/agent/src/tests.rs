//! The agent from outside: requests over a loopback socket, against a log and a store in memory.

mod consoles;
mod costs;
mod groups;
mod harness;
mod lag;
mod produce;
mod records;
mod topics;
mod wire;
