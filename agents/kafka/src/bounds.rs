//! Walks a request before anyone decodes it, so that no count from the wire is believed.
//!
//! `kafka-protocol` reserves room for as many elements as a request announces, and a failed
//! allocation ends the process. This walk follows the same layout (`apis.rs`) without
//! allocating: every count must fit the bytes that are left, every length its bytes, every text
//! UTF-8, and the structs it decodes to must fit [`MEMORY_FACTOR`] times the request.
//!
//! Holds: what the walk accepts, the decoder decodes, to the byte where the walk ended. What it
//! refuses never reaches the decoder. Bytes behind the request are ignored, as Apache Kafka does:
//! every librdkafka from 2.3 to 2.16 writes a null array of Metadata in four bytes instead of one.

use crate::ApiKey;
use crate::apis::{self, for_each_api};
use crate::layout::{Element, Kind, Layout};
use crate::read::{ReadError, Reader};

/// A decoded request may take this many times its bytes on the wire. The leanest honest requests,
/// thousands of topics with names of a few letters, need ten.
pub const MEMORY_FACTOR: usize = 16;
/// What every request may take besides, so that small ones never meet the factor.
pub const MEMORY_FREE_BYTES: usize = 64 << 10;
/// What one tagged field unknown to the decoder takes: the decoder keeps them in a tree.
const TAGGED_FIELD_BYTES: usize = 512;
/// What a decoded string takes besides its bytes, which stay in the frame.
const STRING_BYTES: usize = size_of::<kafka_protocol::protocol::StrBytes>();

/// Why a request is refused before it is decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    #[error("{api} version {version} is not served")]
    UnsupportedVersion { api: ApiKey, version: i16 },
    #[error("the request ends too early")]
    Truncated,
    #[error("a variable-length number is too long")]
    Varint,
    #[error("a length is negative: {0}")]
    NegativeLength(i32),
    #[error("a field that must not be null is null")]
    Null,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("{count} elements of at least {least} bytes cannot fit in {left} bytes")]
    Count {
        count: usize,
        least: usize,
        left: usize,
    },
    #[error("a tagged field says {stated} bytes but has {used}")]
    TaggedFieldSize { stated: usize, used: usize },
    #[error("the tagged field {tag} does not exist in this version")]
    TaggedFieldVersion { tag: u32 },
    #[error("the request would take more than {MEMORY_FACTOR} times its {bytes} bytes in memory")]
    Memory { bytes: usize },
}

impl From<ReadError> for BoundsError {
    fn from(error: ReadError) -> BoundsError {
        match error {
            ReadError::Truncated => BoundsError::Truncated,
            ReadError::Varint => BoundsError::Varint,
        }
    }
}

macro_rules! define_layout_of {
    ($($name:ident = $key:literal, $first:literal..=$last:literal, $flexible:literal, $request:ident => $response:ident, $layout:ident;)*) => {
        fn layout_of(api: ApiKey) -> &'static Layout {
            match api {
                $(ApiKey::$name => &apis::$layout,)*
            }
        }
    };
}
for_each_api!(define_layout_of);

/// Checks that a request body begins with the layout of this API and version, all of it, and says
/// how many bytes that takes. What follows is nobody's.
pub fn check(api: ApiKey, version: i16, body: &[u8]) -> Result<usize, BoundsError> {
    if !api.accepts(version) {
        return Err(BoundsError::UnsupportedVersion { api, version });
    }
    let mut walk = Walk {
        reader: Reader::new(body),
        shape: Shape {
            version,
            flexible: api.is_flexible(version),
        },
        body_bytes: body.len(),
        memory_left: body
            .len()
            .saturating_mul(MEMORY_FACTOR)
            .saturating_add(MEMORY_FREE_BYTES),
    };
    walk.structure(layout_of(api))?;
    Ok(body.len().saturating_sub(walk.reader.left()))
}

/// What decides how a layout looks on the wire.
#[derive(Debug, Clone, Copy)]
struct Shape {
    version: i16,
    flexible: bool,
}

impl Shape {
    /// The fewest bytes this layout can take.
    fn least_of_layout(self, layout: &Layout) -> usize {
        let tag_count = usize::from(self.flexible);
        let mut least = tag_count;
        for field in layout.fields {
            if field.versions.contain(self.version) {
                least = least.saturating_add(self.least_of_kind(&field.kind));
            }
        }
        least
    }

    fn least_of_kind(self, kind: &Kind) -> usize {
        match kind {
            Kind::Bool | Kind::NullableStruct(_) => 1,
            Kind::Fixed(bytes) => *bytes,
            Kind::String { .. } => self.short_length(),
            Kind::Bytes { .. } | Kind::Array { .. } => self.long_length(),
            Kind::Struct(layout) => self.least_of_layout(layout),
        }
    }

    fn least_of_element(self, element: &Element) -> usize {
        match element {
            Element::Fixed(bytes) => *bytes,
            Element::String => self.short_length(),
            Element::Struct(layout) => self.least_of_layout(layout),
        }
    }

    fn short_length(self) -> usize {
        if self.flexible { 1 } else { 2 }
    }

    fn long_length(self) -> usize {
        if self.flexible { 1 } else { 4 }
    }
}

struct Walk<'a> {
    reader: Reader<'a>,
    shape: Shape,
    body_bytes: usize,
    memory_left: usize,
}

impl Walk<'_> {
    fn structure(&mut self, layout: &Layout) -> Result<(), BoundsError> {
        for field in layout.fields {
            if field.versions.contain(self.shape.version) {
                self.kind(&field.kind)?;
            }
        }
        if self.shape.flexible {
            self.tagged_fields(layout)?;
        }
        Ok(())
    }

    fn kind(&mut self, kind: &Kind) -> Result<(), BoundsError> {
        match kind {
            Kind::Bool => {
                self.reader.take(1)?;
            }
            Kind::Fixed(bytes) => {
                self.reader.take(*bytes)?;
            }
            Kind::String { nullable } => self.string(*nullable)?,
            Kind::Bytes { nullable } => {
                if let Some(length) = self.long_length(*nullable)? {
                    self.reader.take(length)?;
                }
            }
            Kind::Array { nullable, of } => {
                if let Some(count) = self.long_length(*nullable)? {
                    self.elements(count, of)?;
                }
            }
            Kind::Struct(layout) => self.structure(layout)?,
            Kind::NullableStruct(layout) => {
                // As the decoder has it: what is not 1 is null.
                if self.reader.i8()? == 1 {
                    self.structure(layout)?;
                }
            }
        }
        Ok(())
    }

    fn string(&mut self, nullable: bool) -> Result<(), BoundsError> {
        let length = if self.shape.flexible {
            self.compact_length()?
        } else {
            plain_length(i32::from(self.reader.i16()?))?
        };
        let Some(length) = required(length, nullable)? else {
            return Ok(());
        };
        let text = self.reader.take(length)?;
        std::str::from_utf8(text).map_err(|_| BoundsError::NotUtf8)?;
        Ok(())
    }

    fn elements(&mut self, count: usize, of: &Element) -> Result<(), BoundsError> {
        let least = self.shape.least_of_element(of);
        let left = self.reader.left();
        if count.saturating_mul(least) > left {
            return Err(BoundsError::Count { count, least, left });
        }
        match of {
            Element::Fixed(bytes) => {
                self.charge(count.saturating_mul(*bytes))?;
                self.reader.take(count.saturating_mul(*bytes))?;
            }
            Element::String => {
                self.charge(count.saturating_mul(STRING_BYTES))?;
                for _ in 0..count {
                    self.string(false)?;
                }
            }
            Element::Struct(layout) => {
                self.charge(count.saturating_mul(layout.memory_bytes))?;
                for _ in 0..count {
                    self.structure(layout)?;
                }
            }
        }
        Ok(())
    }

    fn tagged_fields(&mut self, layout: &Layout) -> Result<(), BoundsError> {
        let count = widen(self.reader.unsigned_varint()?);
        let left = self.reader.left();
        // A tag and a size take a byte each.
        if count.saturating_mul(2) > left {
            return Err(BoundsError::Count {
                count,
                least: 2,
                left,
            });
        }
        for _ in 0..count {
            let tag = self.reader.unsigned_varint()?;
            let stated = widen(self.reader.unsigned_varint()?);
            let Some(known) = layout.tagged.iter().find(|known| known.tag == tag) else {
                self.charge(TAGGED_FIELD_BYTES)?;
                self.reader.take(stated)?;
                continue;
            };
            if !known.versions.contain(self.shape.version) {
                return Err(BoundsError::TaggedFieldVersion { tag });
            }
            let before = self.reader.left();
            self.kind(&known.kind)?;
            let used = before.saturating_sub(self.reader.left());
            if used != stated {
                return Err(BoundsError::TaggedFieldSize { stated, used });
            }
        }
        Ok(())
    }

    /// The length of bytes or the count of an array; `None` for null.
    fn long_length(&mut self, nullable: bool) -> Result<Option<usize>, BoundsError> {
        let length = if self.shape.flexible {
            self.compact_length()?
        } else {
            plain_length(self.reader.i32()?)?
        };
        required(length, nullable)
    }

    /// A compact length is one more than the length, and 0 is null.
    fn compact_length(&mut self) -> Result<Option<usize>, BoundsError> {
        Ok(widen(self.reader.unsigned_varint()?).checked_sub(1))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), BoundsError> {
        self.memory_left = self
            .memory_left
            .checked_sub(bytes)
            .ok_or(BoundsError::Memory {
                bytes: self.body_bytes,
            })?;
        Ok(())
    }
}

/// A plain length is itself, and -1 is null.
fn plain_length(length: i32) -> Result<Option<usize>, BoundsError> {
    if length == -1 {
        return Ok(None);
    }
    usize::try_from(length)
        .map(Some)
        .map_err(|_| BoundsError::NegativeLength(length))
}

fn required(length: Option<usize>, nullable: bool) -> Result<Option<usize>, BoundsError> {
    if length.is_none() && !nullable {
        return Err(BoundsError::Null);
    }
    Ok(length)
}

fn widen(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
