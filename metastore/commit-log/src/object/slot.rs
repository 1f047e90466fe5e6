//! The bytes of a slot: an entry as an object.
//!
//! ```text
//!  0  magic "tarnlog" 0x01
//!  8  nonce       16 bytes, drawn for each attempt to append
//! 24  session     16 bytes
//! 40  sequence    u64, big-endian like all numbers here
//! 48  generation  u32
//! 52  n           u64
//! 60  length      u64, of the entry
//! 68  checksum    u32, CRC-32C over everything else
//! 72  entry
//! ```
//!
//! The header says whose the slot is and where it stands, so that a swapped, torn or foreign object is
//! refused and a proposer recognizes its own.

use bytes::{BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use tarn_model::{Generation, Lsn, SessionId};

const MAGIC: &[u8; 8] = b"tarnlog\x01";
const CHECKSUM_AT: usize = 68;
const HEADER: usize = 72;

/// An entry in its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) nonce: u128,
    pub(crate) session: SessionId,
    pub(crate) sequence: u64,
    pub(crate) lsn: Lsn,
    pub(crate) bytes: Bytes,
}

/// The object is not the slot it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SlotError {
    #[error("{0} bytes are too short for a slot")]
    TooShort(usize),
    #[error("it is not a slot of a commit log")]
    Foreign,
    #[error("it holds {found} bytes instead of {expected}")]
    Length { expected: u64, found: u64 },
    #[error("its checksum is wrong")]
    Checksum,
    #[error("it is slot {0}")]
    Misplaced(Lsn),
}

fn checksum(header: &[u8], entry: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(header);
    digest.update(entry);
    u32::try_from(digest.finalize()).expect("a CRC of 32 bits")
}

impl Slot {
    pub(crate) fn key(&self) -> (SessionId, u64) {
        (self.session, self.sequence)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER + self.bytes.len());
        out.put_slice(MAGIC);
        out.put_u128(self.nonce);
        out.put_slice(&self.session.0);
        out.put_u64(self.sequence);
        out.put_u32(self.lsn.generation.0);
        out.put_u64(self.lsn.n);
        out.put_u64(self.bytes.len() as u64);
        let checksum = checksum(&out, &self.bytes);
        out.put_u32(checksum);
        out.put_slice(&self.bytes);
        out.freeze()
    }

    /// Reads the slot that should stand at `lsn`. The entry shares the object's memory.
    pub(crate) fn decode(object: &Bytes, lsn: Lsn) -> Result<Slot, SlotError> {
        let header: &[u8; HEADER] = object
            .first_chunk()
            .ok_or(SlotError::TooShort(object.len()))?;
        if !header.starts_with(MAGIC) {
            return Err(SlotError::Foreign);
        }
        let length = u64::from_be_bytes(field(header, 60));
        let bytes = object.slice(HEADER..);
        if bytes.len() as u64 != length {
            return Err(SlotError::Length {
                expected: length,
                found: bytes.len() as u64,
            });
        }
        let (covered, stored) = header.split_at(CHECKSUM_AT);
        if stored != checksum(covered, &bytes).to_be_bytes() {
            return Err(SlotError::Checksum);
        }
        let found = Lsn::new(
            Generation(u32::from_be_bytes(field(header, 48))),
            u64::from_be_bytes(field(header, 52)),
        );
        if found != lsn {
            return Err(SlotError::Misplaced(found));
        }
        Ok(Slot {
            nonce: u128::from_be_bytes(field(header, 8)),
            session: SessionId(field(header, 24)),
            sequence: u64::from_be_bytes(field(header, 40)),
            lsn,
            bytes,
        })
    }
}

/// A field of the header.
fn field<const N: usize>(header: &[u8; HEADER], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot {
            nonce: 7,
            session: SessionId::from_u128(0xabcd),
            sequence: 3,
            lsn: Lsn::new(Generation(2), 41),
            bytes: Bytes::from_static(b"an entry"),
        }
    }

    #[test]
    fn a_slot_is_read_back() {
        let slot = slot();
        assert_eq!(Slot::decode(&slot.encode(), slot.lsn), Ok(slot));
    }

    #[test]
    fn every_flipped_bit_and_every_shorter_object_is_refused() {
        let (slot, object) = (slot(), slot().encode());
        for bit in 0..object.len() * 8 {
            let mut flipped = object.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Slot::decode(&flipped.into(), slot.lsn).is_err(),
                "bit {bit}"
            );
        }
        for length in 0..object.len() {
            assert!(
                Slot::decode(&object.slice(..length), slot.lsn).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_slot_under_another_name_is_refused() {
        let slot = slot();
        assert_eq!(
            Slot::decode(&slot.encode(), slot.lsn.next()),
            Err(SlotError::Misplaced(slot.lsn))
        );
    }

    #[test]
    fn the_layout_does_not_change() {
        let hex: String = slot()
            .encode()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let fields = [
            "7461726e6c6f6701",                 // magic
            "00000000000000000000000000000007", // nonce
            "0000000000000000000000000000abcd", // session
            "0000000000000003",                 // sequence
            "00000002",                         // generation
            "0000000000000029",                 // n
            "0000000000000008",                 // length
            "bc920689",                         // checksum
            "616e20656e747279",                 // entry
        ];
        assert_eq!(hex, fields.concat());
    }
}
