//! Records of the topic with a schema: some decode to one string, the others to nothing.

use tarn_model::SchemaId;
use tarn_schema::frame_by_id;

/// An order's bytes: the schema's id, then one Avro string.
pub(crate) fn good(schema: SchemaId, text: &str) -> Vec<u8> {
    frame_by_id(schema, &avro_string(text, text.len()))
}

/// One that cannot be decoded, in one of several ways.
pub(crate) fn bad(schema: SchemaId, text: &str, way: u64) -> Vec<u8> {
    match way % 4 {
        // It names no schema.
        0 => text.as_bytes().to_vec(),
        // It names one that nobody registered.
        1 => frame_by_id(SchemaId(99), &avro_string(text, text.len())),
        // The string is longer than the record.
        2 => frame_by_id(schema, &avro_string(text, text.len() + 7)),
        // Something follows the string.
        _ => frame_by_id(schema, &avro_string(text, text.len() - 1)),
    }
}

/// What an order says, if it is one.
pub(crate) fn decoded(schema: SchemaId, value: &str) -> Option<String> {
    let payload = value
        .as_bytes()
        .strip_prefix(frame_by_id(schema, &[]).as_slice())?;
    let (length, text) = payload.split_first()?;
    (usize::from(*length) == text.len() * 2).then(|| String::from_utf8_lossy(text).into_owned())
}

/// All lengths here fit into one byte of a zigzag number, and so into ASCII.
fn avro_string(text: &str, length: usize) -> Vec<u8> {
    let length = u8::try_from(length * 2).expect("a short text");
    assert!(length < 128, "{text} is too long");
    let mut bytes = vec![length];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_orders_decode_and_bad_ones_do_not() {
        let value = |bytes: Vec<u8>| String::from_utf8(bytes).expect("ASCII");
        let id = SchemaId(1);
        assert_eq!(
            decoded(id, &value(good(id, "o0-1"))),
            Some("o0-1".to_owned())
        );
        for way in 0..4 {
            assert_eq!(decoded(id, &value(bad(id, "o0-1", way))), None, "{way}");
        }
    }
}
