//! What the members of a group brought, protocols and assignments, on its way into the log and back.
//!
//! Members of one group mostly say the same: each lists the same topics, and each instance of a Kafka
//! Streams application is told where all the others are. Compressed together, hundreds of them fit into
//! an entry of the log, as they do into Kafka's.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use tarn_kafka::Compression;
use tarn_model::{caps, decode, encode};
use tarn_state::BroughtByMember;
use tracing::error;

/// A member's protocols, and its assignment.
type Brought = (Vec<(String, Bytes)>, Bytes);

/// Bytes of names and encoding that stand beside what members brought.
const BESIDE: usize = 64 << 20;

/// Bytes that a member brought, before compression.
pub(in crate::classic) fn size(member: &BroughtByMember) -> usize {
    let protocols = member.protocols.iter();
    let offered: usize = protocols
        .map(|(name, metadata)| name.len() + metadata.len())
        .sum();
    offered + member.assignment.len()
}

pub(in crate::classic) fn write(members: &[BroughtByMember]) -> io::Result<Vec<u8>> {
    Compression::Zstd.compress(&encode(&members))
}

/// By member. What cannot be read is as if nothing had been brought: its members are there all the same
/// and join again.
pub(super) fn read(bytes: &[u8]) -> BTreeMap<String, Brought> {
    if bytes.is_empty() {
        return BTreeMap::new();
    }
    let opened = Compression::Zstd
        .decompress(bytes, caps::GROUP_BYTES_MAX + BESIDE)
        .map_err(|error| error.to_string());
    let members = opened.and_then(|bytes| {
        decode::<Vec<BroughtByMember>>(&bytes).map_err(|error| error.to_string())
    });
    let members = match members {
        Ok(members) => members,
        Err(error) => {
            error!(%error, "what the members of a group brought cannot be read");
            return BTreeMap::new();
        }
    };
    let brought = members.into_iter().map(|member| {
        let protocols = member.protocols.into_iter();
        let protocols = protocols.map(|(name, metadata)| (name, Vec::from(metadata).into()));
        let assignment = Vec::from(member.assignment).into();
        (member.id, (protocols.collect(), assignment))
    });
    brought.collect()
}
