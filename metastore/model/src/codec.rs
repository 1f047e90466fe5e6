//! The one encoding of everything we persist: CBOR through `minicbor`, see ADR 1.
//!
//! Holds: bytes are canonical. A value has exactly one encoding, and [`decode`] refuses every
//! other one: it encodes what it decoded and compares. So an unknown field, a number written too
//! wide, a repeated key and trailing bytes are all refused by the same line, and the hash of a
//! value is the hash of its bytes.

use minicbor::{Decode, Encode};

/// Why bytes were refused.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("malformed bytes: {0}")]
    Malformed(String),
    #[error(
        "bytes are not canonical: they hold a field this version does not know, or were not written by Tarn"
    )]
    NotCanonical,
}

/// The canonical bytes of a value.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a Vec cannot fail")
}

/// Reads a value back; refuses anything that [`encode`] would not have written.
pub fn decode<T>(bytes: &[u8]) -> Result<T, DecodeError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    let value: T =
        minicbor::decode(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if encode(&value) != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct Old {
        #[n(0)]
        count: u64,
    }

    #[derive(Debug, PartialEq, Encode, Decode)]
    struct New {
        #[n(0)]
        count: u64,
        #[n(1)]
        note: Option<String>,
    }

    #[test]
    fn an_older_binary_refuses_a_field_it_does_not_know() {
        let bytes = encode(&New {
            count: 7,
            note: Some("x".into()),
        });
        assert_eq!(decode::<Old>(&bytes), Err(DecodeError::NotCanonical));
    }

    #[test]
    fn a_newer_binary_reads_what_an_older_one_wrote() {
        let bytes = encode(&Old { count: 7 });
        assert_eq!(
            decode::<New>(&bytes),
            Ok(New {
                count: 7,
                note: None
            })
        );
    }

    #[test]
    fn a_number_written_too_wide_is_refused() {
        // array(1), then 7 as a two-byte integer.
        assert_eq!(
            decode::<Old>(&[0x81, 0x18, 0x07]),
            Err(DecodeError::NotCanonical)
        );
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encode(&Old { count: 7 });
        bytes.push(0);
        assert_eq!(decode::<Old>(&bytes), Err(DecodeError::NotCanonical));
    }
}
