//! A reader over borrowed bytes that knows Kafka's primitive encodings and never panics.

/// Why a primitive could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the bytes end too early")]
    Truncated,
    #[error("a variable-length number is too long")]
    Varint,
}

/// Reads from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Bytes not yet read.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ReadError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(crate) fn i8(&mut self) -> Result<i8, ReadError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, ReadError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, ReadError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ReadError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, ReadError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Seven bits a byte, the least significant first, at most five bytes.
    pub(crate) fn unsigned_varint(&mut self) -> Result<u32, ReadError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = u32::from(self.u8()?);
            if shift == 28 && byte > 0x0f {
                return Err(ReadError::Varint);
            }
            value |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ReadError::Varint)
    }

    /// A zigzag number of at most five bytes.
    pub(crate) fn varint(&mut self) -> Result<i32, ReadError> {
        let raw = self.unsigned_varint()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    /// A zigzag number of at most ten bytes.
    pub(crate) fn varlong(&mut self) -> Result<i64, ReadError> {
        let mut raw = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = u64::from(self.u8()?);
            if shift == 63 && byte > 0x01 {
                return Err(ReadError::Varint);
            }
            raw |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed());
            }
        }
        Err(ReadError::Varint)
    }
}

/// Appends a zigzag number of at most ten bytes.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while raw >= 0x80 {
        out.push(low_seven_bits(raw) | 0x80);
        raw >>= 7;
    }
    out.push(low_seven_bits(raw));
}

/// Appends a zigzag number; the bytes of an `i32` and of the same `i64` are equal.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

fn low_seven_bits(raw: u64) -> u8 {
    u8::try_from(raw & 0x7f).expect("seven bits fit in a byte")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn signed_varints_read_back(value in any::<i64>(), small in any::<i32>()) {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, value);
            put_varint(&mut bytes, small);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varlong(), Ok(value));
            prop_assert_eq!(reader.varint(), Ok(small));
            prop_assert_eq!(reader.left(), 0);
        }
    }

    #[test]
    fn extremes_have_kafkas_bytes() {
        let mut bytes = Vec::new();
        put_varint(&mut bytes, i32::MIN);
        assert_eq!(bytes, [255, 255, 255, 255, 15]);
        assert_eq!(Reader::new(&bytes).varint(), Ok(i32::MIN));
    }

    #[test]
    fn overlong_numbers_are_refused() {
        assert_eq!(
            Reader::new(&[0xff; 5]).unsigned_varint(),
            Err(ReadError::Varint)
        );
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).unsigned_varint(),
            Err(ReadError::Varint)
        );
        assert_eq!(Reader::new(&[0xff; 10]).varlong(), Err(ReadError::Varint));
        assert_eq!(
            Reader::new(&[0x80]).unsigned_varint(),
            Err(ReadError::Truncated)
        );
    }
}
