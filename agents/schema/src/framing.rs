//! Which schema does a record name? Confluent's two framings, per record:
//!
//! ```text
//! prefix   value  = 0 | schema id, 4 bytes big endian | payload
//! header   __value_schema_id = 1 | GUID, 16 bytes      value = payload
//! ```
//!
//! The header wins over the prefix, as in Confluent's deserializers. Of several headers with the
//! name the last one counts. A header that is not of this form names no schema.

use tarn_model::SchemaId;

/// The header that names the schema of a record's value.
pub const VALUE_SCHEMA_ID_HEADER: &str = "__value_schema_id";

const MAGIC_PREFIX: u8 = 0;
const MAGIC_GUID: u8 = 1;

/// The schema a record names, and the payload that it describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing<'a> {
    ById(SchemaId, &'a [u8]),
    ByGuid([u8; 16], &'a [u8]),
    /// It names none.
    None,
}

/// Looks at the headers first, then at the value's prefix.
pub fn schema_reference<'a, 'h>(
    value: &'a [u8],
    headers: impl IntoIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
) -> Framing<'a> {
    let mut header = None;
    for (name, content) in headers {
        if name == VALUE_SCHEMA_ID_HEADER.as_bytes() {
            header = Some(content);
        }
    }
    if let Some(content) = header {
        return match content.and_then(|bytes| bytes.split_first()) {
            Some((&MAGIC_GUID, guid)) => match guid.try_into() {
                Ok(guid) => Framing::ByGuid(guid, value),
                Err(_) => Framing::None,
            },
            _ => Framing::None,
        };
    }
    match value.split_first() {
        Some((&MAGIC_PREFIX, rest)) => match rest.split_first_chunk::<4>() {
            Some((id, payload)) => Framing::ById(SchemaId(u32::from_be_bytes(*id)), payload),
            None => Framing::None,
        },
        _ => Framing::None,
    }
}

/// A value in prefix form.
pub fn frame_by_id(id: SchemaId, payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(5 + payload.len());
    value.push(MAGIC_PREFIX);
    value.extend_from_slice(&id.0.to_be_bytes());
    value.extend_from_slice(payload);
    value
}

/// The content of the header form's header.
pub fn header_by_guid(guid: [u8; 16]) -> Vec<u8> {
    let mut header = vec![MAGIC_GUID];
    header.extend_from_slice(&guid);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [(&[u8], Option<&[u8]>); 0] = [];

    #[test]
    fn the_prefix_names_a_schema_by_id() {
        let value = frame_by_id(SchemaId(0x0102_0304), b"payload");
        assert_eq!(value.get(..5), Some([0, 1, 2, 3, 4].as_slice()));
        assert_eq!(
            schema_reference(&value, NONE),
            Framing::ById(SchemaId(0x0102_0304), b"payload")
        );
    }

    #[test]
    fn the_header_wins_over_the_prefix_and_the_last_header_counts() {
        let value = frame_by_id(SchemaId(7), b"payload");
        let (first, last) = (header_by_guid([1; 16]), header_by_guid([2; 16]));
        let headers = [
            (VALUE_SCHEMA_ID_HEADER.as_bytes(), Some(first.as_slice())),
            (b"other".as_slice(), None),
            (VALUE_SCHEMA_ID_HEADER.as_bytes(), Some(last.as_slice())),
        ];
        assert_eq!(
            schema_reference(&value, headers),
            Framing::ByGuid([2; 16], &value)
        );
    }

    #[test]
    fn what_is_not_framed_names_no_schema() {
        for value in [b"".as_slice(), b"\0", b"\0\0\0\0", b"\x01\0\0\0\x01", b"{}"] {
            assert_eq!(schema_reference(value, NONE), Framing::None, "{value:?}");
        }
        let framed = frame_by_id(SchemaId(7), b"payload");
        for header in [
            None,
            Some(b"".as_slice()),
            Some(b"\x01short"),
            Some(&[1; 18]),
            Some(&[0; 17]),
        ] {
            let headers = [(VALUE_SCHEMA_ID_HEADER.as_bytes(), header)];
            assert_eq!(
                schema_reference(&framed, headers),
                Framing::None,
                "{header:?}"
            );
        }
    }
}
