//! The end of a segment: what is in it, and whether it is whole.

use bytes::Bytes;
use minicbor::{Decode, Encode};
use tarn_model::{ClusterId, Generation, PageBuffer, decode, encode};
use tarn_state::commands::CommitSegment;

use super::{CHECKSUM_FROM_END, END_MAGIC, MAGIC, SegmentError, TRAILER_BYTES};

/// What a segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Footer {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub generation: Generation,
    /// The command that commits it.
    #[n(2)]
    pub commit: CommitSegment,
}

impl Footer {
    /// Reads and checks a whole object: magic, checksums, and that its extents and batches fill the
    /// body without a gap.
    pub fn parse(object: &Bytes) -> Result<Footer, SegmentError> {
        if !object.starts_with(MAGIC) {
            // A prefix of the magic may be the rest of a truncated segment.
            return Err(if MAGIC.starts_with(object) {
                SegmentError::Truncated {
                    bytes: object.len(),
                }
            } else {
                SegmentError::Foreign {
                    bytes: object.len(),
                }
            });
        }
        let footer = Footer::parse_tail(object, object.len() as u64)?;
        let covered_bytes = object.len().saturating_sub(CHECKSUM_FROM_END);
        let (covered, rest) = object.split_at(covered_bytes);
        if rest.first_chunk::<8>() != Some(&checksum(covered).to_be_bytes()) {
            return Err(SegmentError::Checksum { part: "object" });
        }
        Ok(footer)
    }

    /// Reads the footer from the last bytes of an object of `object_bytes`. Checks what can be
    /// checked without the body.
    pub fn parse_tail(tail: &[u8], object_bytes: u64) -> Result<Footer, SegmentError> {
        let Trailer {
            before,
            length,
            checksum,
        } = Trailer::split(tail)?;
        let start = before
            .len()
            .checked_sub(length)
            .ok_or(SegmentError::Truncated { bytes: tail.len() })?;
        let bytes = before.get(start..).unwrap_or_default();
        if crc_fast::crc32_iscsi(bytes) != checksum {
            return Err(SegmentError::Checksum { part: "footer" });
        }
        let footer: Footer = decode(bytes)?;
        let body_end = object_bytes.saturating_sub((length + TRAILER_BYTES) as u64);
        footer.check(object_bytes, body_end)?;
        Ok(footer)
    }

    /// How many of the last bytes [`Footer::parse_tail`] needs, given at least the trailer.
    pub fn tail_bytes(tail: &[u8]) -> Result<usize, SegmentError> {
        Ok(Trailer::split(tail)?.length.saturating_add(TRAILER_BYTES))
    }

    /// Refuses a segment of another cluster.
    pub fn expect_cluster(&self, cluster: ClusterId) -> Result<(), SegmentError> {
        if self.cluster == cluster {
            Ok(())
        } else {
            Err(SegmentError::OtherCluster {
                found: self.cluster,
            })
        }
    }

    fn check(&self, object_bytes: u64, body_end: u64) -> Result<(), SegmentError> {
        if self.commit.bytes != object_bytes {
            return Err(SegmentError::Contradiction("the object has another size"));
        }
        let mut next = MAGIC.len() as u64;
        let mut last = None;
        for extent in &self.commit.extents {
            if last >= Some((extent.topic, extent.partition)) {
                return Err(SegmentError::Contradiction("extents are not sorted"));
            }
            last = Some((extent.topic, extent.partition));
            if extent.position.start != next {
                return Err(SegmentError::Contradiction("extents are not adjacent"));
            }
            let bytes: u64 = extent
                .batches
                .iter()
                .map(|batch| u64::from(batch.bytes))
                .sum();
            if extent.position.length != bytes || bytes == 0 {
                return Err(SegmentError::Contradiction(
                    "batches do not fill their extent",
                ));
            }
            next = next.saturating_add(bytes);
        }
        if next != body_end {
            return Err(SegmentError::Contradiction("extents do not fill the body"));
        }
        Ok(())
    }

    /// Footer, trailer and end magic for an object that begins with `head`, appended to it.
    pub(super) fn seal(&self, mut head: PageBuffer) -> Bytes {
        let footer = encode(self);
        head.extend_from_slice(&footer);
        let length =
            u32::try_from(footer.len()).expect("a commit fits into an entry, far below 4 GiB");
        head.extend_from_slice(&length.to_be_bytes());
        head.extend_from_slice(&crc_fast::crc32_iscsi(&footer).to_be_bytes());
        let object = checksum(head.as_slice());
        head.extend_from_slice(&object.to_be_bytes());
        head.extend_from_slice(END_MAGIC);
        debug_assert_eq!(
            head.as_slice().len() as u64,
            self.commit.bytes,
            "the commit names the object's size"
        );
        head.freeze()
    }
}

/// The last bytes of a segment, without the object's own checksum.
struct Trailer<'t> {
    /// What is there of the object before the trailer.
    before: &'t [u8],
    /// Of the footer.
    length: usize,
    checksum: u32,
}

impl Trailer<'_> {
    fn split(tail: &[u8]) -> Result<Trailer<'_>, SegmentError> {
        let truncated = || SegmentError::Truncated { bytes: tail.len() };
        let (rest, end) = tail.split_last_chunk::<8>().ok_or_else(truncated)?;
        if end != END_MAGIC {
            return Err(truncated());
        }
        let (rest, _) = rest.split_last_chunk::<8>().ok_or_else(truncated)?;
        let (rest, checksum) = rest.split_last_chunk::<4>().ok_or_else(truncated)?;
        let (before, length) = rest.split_last_chunk::<4>().ok_or_else(truncated)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        Ok(Trailer {
            before,
            length,
            checksum: u32::from_be_bytes(*checksum),
        })
    }
}

/// CRC-64/NVME.
fn checksum(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}
