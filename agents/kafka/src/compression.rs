//! The five codecs of Kafka batches, in both directions.
//!
//! Holds: decompression stops at the caller's limit, whatever the compressed bytes announce, and
//! what it allocates beyond that is at most one block (4 MiB) or one zstd window.
//! Leaves to others: checksums inside the compressed stream; the batch's CRC covers those bytes.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use crate::read::{ReadError, Reader};

/// How the records of a batch are compressed: the low three bits of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(i16)]
pub enum Compression {
    #[default]
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

/// Why compressed records could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    #[error("the records decompress to more than the {limit} bytes allowed")]
    TooLarge { limit: usize },
    #[error("the {codec} bytes are malformed: {detail}")]
    Malformed { codec: Compression, detail: String },
}

/// The text names no codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a compression: choose none, gzip, snappy, lz4 or zstd")]
pub struct ParseCompressionError(pub String);

const CODEC_BITS: i16 = 0b111;

/// What snappy-java puts before its blocks: these 8 bytes, then two versions of 4 bytes each.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_VERSIONS: &[u8; 8] = &[0, 0, 0, 1, 0, 0, 0, 1];
const XERIAL_BLOCK_BYTES: usize = 32 << 10;

const LZ4_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// No LZ4 block grows by more than this factor.
const LZ4_GROWTH_MAX: usize = 255;
/// How far back a dependent LZ4 block may refer.
const LZ4_WINDOW_BYTES: usize = 64 << 10;

const ZSTD_LEVEL: i32 = 3;
/// 8 MiB, which the zstd specification asks every decoder to support.
const ZSTD_WINDOW_LOG_MIN: u32 = 23;
/// 128 MiB, the most that zstd's own decoders accept unasked.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

impl Compression {
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// The codec in a batch's attributes; `None` for the three values Kafka has not assigned.
    pub const fn from_attributes(attributes: i16) -> Option<Compression> {
        match attributes & CODEC_BITS {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// Its bits in a batch's attributes.
    pub const fn bits(self) -> i16 {
        self as i16
    }

    /// Kafka's name for it, as in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    /// Compresses the records of a batch the way Kafka's own clients do.
    pub fn compress(self, records: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(records.to_vec()),
            Compression::Gzip => {
                let mut encoder =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(records)?;
                encoder.finish()
            }
            Compression::Snappy => compress_snappy(records),
            Compression::Lz4 => {
                // Independent blocks, because the Java client cannot read any others.
                let info = FrameInfo::new()
                    .block_mode(BlockMode::Independent)
                    .block_size(BlockSize::Max64KB);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(records)?;
                encoder.finish().map_err(io::Error::other)
            }
            Compression::Zstd => zstd::bulk::compress(records, ZSTD_LEVEL),
        }
    }

    /// Decompresses the records of a batch, to at most `limit` bytes.
    pub fn decompress(self, compressed: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
        match self {
            Compression::None => {
                if compressed.len() > limit {
                    return Err(DecompressError::TooLarge { limit });
                }
                Ok(compressed.to_vec())
            }
            Compression::Gzip => read_capped(
                self,
                flate2::bufread::MultiGzDecoder::new(compressed),
                limit,
            ),
            Compression::Snappy => decompress_snappy(compressed, limit),
            Compression::Lz4 => decompress_lz4(compressed, limit),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)
                    .map_err(|error| malformed(self, error))?;
                let window_log = limit.max(1).ilog2().saturating_add(1);
                decoder
                    .window_log_max(window_log.clamp(ZSTD_WINDOW_LOG_MIN, ZSTD_WINDOW_LOG_MAX))
                    .map_err(|error| malformed(self, error))?;
                read_capped(self, decoder, limit)
            }
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Compression, ParseCompressionError> {
        Compression::ALL
            .into_iter()
            .find(|codec| codec.name() == text)
            .ok_or_else(|| ParseCompressionError(text.to_owned()))
    }
}

fn malformed(codec: Compression, detail: impl fmt::Display) -> DecompressError {
    DecompressError::Malformed {
        codec,
        detail: detail.to_string(),
    }
}

/// Reads to the end, or to the first byte beyond the limit.
fn read_capped(
    codec: Compression,
    reader: impl Read,
    limit: usize,
) -> Result<Vec<u8>, DecompressError> {
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut records = Vec::new();
    reader
        .take(one_more)
        .read_to_end(&mut records)
        .map_err(|error| malformed(codec, error))?;
    if records.len() > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    Ok(records)
}

fn compress_snappy(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    out.extend_from_slice(XERIAL_MAGIC);
    out.extend_from_slice(XERIAL_VERSIONS);
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(XERIAL_BLOCK_BYTES) {
        let compressed = encoder.compress_vec(block)?;
        let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

/// snappy-java's blocks where its magic is in front, else one raw block (librdkafka, franz-go).
fn decompress_snappy(compressed: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let codec = Compression::Snappy;
    let mut records = Vec::new();
    let Some(framed) = compressed.strip_prefix(XERIAL_MAGIC) else {
        append_snappy_block(&mut records, compressed, limit)?;
        return Ok(records);
    };
    let truncated = |error: ReadError| malformed(codec, error);
    let mut reader = Reader::new(framed);
    reader.take(XERIAL_VERSIONS.len()).map_err(truncated)?;
    while reader.left() > 0 {
        let length = reader.u32().map_err(truncated)?;
        let length = usize::try_from(length).map_err(|error| malformed(codec, error))?;
        append_snappy_block(&mut records, reader.take(length).map_err(truncated)?, limit)?;
    }
    Ok(records)
}

fn append_snappy_block(
    records: &mut Vec<u8>,
    block: &[u8],
    limit: usize,
) -> Result<(), DecompressError> {
    let codec = Compression::Snappy;
    let length = snap::raw::decompress_len(block).map_err(|error| malformed(codec, error))?;
    let start = records.len();
    let end = start.saturating_add(length);
    if end > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    records.resize(end, 0);
    let (_, fresh) = records.split_at_mut(start);
    snap::raw::Decoder::new()
        .decompress(block, fresh)
        .map_err(|error| malformed(codec, error))?;
    Ok(())
}

/// One LZ4 frame, with independent or dependent blocks.
///
/// ```text
/// magic │ flags │ block size │ [content size u64] │ header checksum u8 │ blocks │ 0u32 │ [checksum]
/// block: length u32, top bit = stored as is │ bytes │ [checksum u32]
/// ```
fn decompress_lz4(compressed: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let codec = Compression::Lz4;
    let truncated = |error: ReadError| malformed(codec, error);
    let mut reader = Reader::new(compressed);
    if reader.take(LZ4_MAGIC.len()).map_err(truncated)? != LZ4_MAGIC {
        return Err(malformed(codec, "not an LZ4 frame"));
    }
    let flags = reader.u8().map_err(truncated)?;
    let block_descriptor = reader.u8().map_err(truncated)?;
    if flags >> 6 != 1 {
        return Err(malformed(codec, "unknown frame version"));
    }
    if flags & 0b1 != 0 {
        return Err(malformed(codec, "it needs a dictionary"));
    }
    let independent_blocks = flags & 0b10_0000 != 0;
    let block_checksums = flags & 0b1_0000 != 0;
    if flags & 0b1000 != 0 {
        reader.take(8).map_err(truncated)?;
    }
    let block_bytes_max: usize = match (block_descriptor >> 4) & 0b111 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err(malformed(codec, "unknown block size")),
    };
    reader.take(1).map_err(truncated)?;

    let mut records = Vec::new();
    loop {
        let word = reader.u32().map_err(truncated)?.swap_bytes();
        if word == 0 {
            return Ok(records);
        }
        let stored = word & 0x8000_0000 != 0;
        let length =
            usize::try_from(word & 0x7fff_ffff).map_err(|error| malformed(codec, error))?;
        if length > block_bytes_max {
            return Err(malformed(codec, "a block is larger than announced"));
        }
        let block = reader.take(length).map_err(truncated)?;
        if block_checksums {
            reader.take(4).map_err(truncated)?;
        }
        let start = records.len();
        if stored {
            records.extend_from_slice(block);
        } else {
            let room = length.saturating_mul(LZ4_GROWTH_MAX).min(block_bytes_max);
            records.resize(start.saturating_add(room), 0);
            let (before, fresh) = records.split_at_mut(start);
            let window_start = before.len().saturating_sub(LZ4_WINDOW_BYTES);
            let window = before.get(window_start..).unwrap_or_default();
            let written = if independent_blocks || window.is_empty() {
                lz4_flex::block::decompress_into(block, fresh)
            } else {
                lz4_flex::block::decompress_into_with_dict(block, fresh, window)
            };
            let written = written.map_err(|error| malformed(codec, error))?;
            records.truncate(start.saturating_add(written));
        }
        if records.len() > limit {
            return Err(DecompressError::TooLarge { limit });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(bytes: usize) -> Vec<u8> {
        let mut state = 7u32;
        (0..bytes)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at % 7 == 0 {
                    (state >> 24) as u8
                } else {
                    (at % 13) as u8
                }
            })
            .collect()
    }

    #[test]
    fn every_codec_reads_back_what_it_wrote() {
        for codec in Compression::ALL {
            for bytes in [0, 1, 100, 40_000, 300_000] {
                let records = sample(bytes);
                let compressed = codec.compress(&records).expect("compresses");
                assert_eq!(
                    codec.decompress(&compressed, bytes),
                    Ok(records),
                    "{codec} {bytes}"
                );
            }
        }
    }

    #[test]
    fn decompression_stops_at_the_limit() {
        let bomb = vec![0u8; 64 << 20];
        for codec in Compression::ALL {
            let compressed = codec.compress(&bomb).expect("compresses");
            assert_eq!(
                codec.decompress(&compressed, 1 << 20),
                Err(DecompressError::TooLarge { limit: 1 << 20 }),
                "{codec}"
            );
        }
    }

    #[test]
    fn raw_snappy_is_read_too() {
        let records = sample(5_000);
        let raw = snap::raw::Encoder::new()
            .compress_vec(&records)
            .expect("compresses");
        assert_eq!(Compression::Snappy.decompress(&raw, 1 << 20), Ok(records));
        // A raw block that announces four gigabytes.
        assert_eq!(
            Compression::Snappy.decompress(&[0xff, 0xff, 0xff, 0xff, 0x0f], 1 << 20),
            Err(DecompressError::TooLarge { limit: 1 << 20 })
        );
    }

    #[test]
    fn lz4_frames_of_dependent_blocks_are_read_too() {
        let records = sample(300_000);
        for block_mode in [BlockMode::Independent, BlockMode::Linked] {
            for checksums in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(block_mode)
                    .block_size(BlockSize::Max64KB)
                    .block_checksums(checksums)
                    .content_checksum(checksums);
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&records).expect("compresses");
                let compressed = encoder.finish().expect("compresses");
                assert_eq!(
                    Compression::Lz4.decompress(&compressed, 1 << 20),
                    Ok(records.clone())
                );
            }
        }
    }

    #[test]
    fn cut_streams_are_errors_or_shorter() {
        let records = sample(3_000);
        for codec in [
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let compressed = codec.compress(&records).expect("compresses");
            for cut in 0..compressed.len() {
                if let Ok(opened) = codec.decompress(&compressed[..cut], 1 << 20) {
                    assert!(opened.len() < records.len(), "{codec} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn names_read_back() {
        for codec in Compression::ALL {
            assert_eq!(codec.name().parse(), Ok(codec));
            assert_eq!(Compression::from_attributes(codec.bits()), Some(codec));
        }
        assert!("brotli".parse::<Compression>().is_err());
        assert_eq!(Compression::from_attributes(5), None);
    }

    proptest! {
        #[test]
        fn damaged_streams_never_panic_nor_pass_the_limit(
            codec in 1usize..5,
            at in 0usize..2_000,
            value in any::<u8>(),
            cut in 0usize..2_000,
        ) {
            let codec = Compression::ALL[codec];
            let mut compressed = codec.compress(&sample(3_000)).expect("compresses");
            let length = compressed.len();
            compressed[at % length] = value;
            compressed.truncate(length - cut % length);
            if let Ok(records) = codec.decompress(&compressed, 10_000) {
                prop_assert!(records.len() <= 10_000);
            }
        }
    }
}
