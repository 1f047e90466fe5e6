//! Reads Avro's binary encoding from one record's payload, and never past its end.
//!
//! A cursor also carries the record's budget: how many bytes of columns the record may still cause
//! besides the bytes it brings itself. A list of null structs takes one byte of payload and a row
//! of columns per element; without a budget a megabyte could ask for gigabytes.

use crate::reason::Reason;

/// Columns' bytes per payload byte, and for every record beside that.
const BUDGET_PER_BYTE: usize = 64;
const BUDGET_PER_RECORD: usize = 64 << 10;
/// For any record: what one batch's 32-bit string offsets can surely address.
const BUDGET_MAX: usize = 1 << 30;

#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    budget: usize,
    spent: usize,
    nulled: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Cursor<'a> {
        let budget = payload
            .len()
            .saturating_mul(BUDGET_PER_BYTE)
            .saturating_add(BUDGET_PER_RECORD);
        Cursor {
            rest: payload,
            budget: budget.min(BUDGET_MAX),
            spent: 0,
            nulled: 0,
        }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), Reason> {
        self.budget = self.budget.checked_sub(bytes).ok_or(Reason::TooLarge)?;
        self.spent += bytes;
        Ok(())
    }

    /// What was spent so far.
    pub(crate) fn spent(&self) -> usize {
        self.spent
    }

    /// A value was read that its column's type does not have: it is null in the row.
    pub(crate) fn count_nulled(&mut self) {
        self.nulled += 1;
    }

    pub(crate) fn nulled(&self) -> u64 {
        self.nulled
    }

    /// The next `n` bytes.
    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8], Reason> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Reason::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Reason::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, Reason> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(Reason::InvalidValue),
        }
    }

    /// Seven bits per byte, lowest first, zigzag; at most ten bytes, of which the last holds one bit.
    pub(crate) fn long(&mut self) -> Result<i64, Reason> {
        let mut bits: u64 = 0;
        for i in 0..10 {
            let [byte] = self.array()?;
            if i == 9 && byte > 1 {
                return Err(Reason::InvalidValue);
            }
            bits |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                break;
            }
        }
        Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
    }

    pub(crate) fn int(&mut self) -> Result<i32, Reason> {
        i32::try_from(self.long()?).map_err(|_| Reason::InvalidValue)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Reason> {
        match usize::try_from(self.long()?) {
            Ok(length) => self.take(length),
            Err(_) => Err(Reason::InvalidValue),
        }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Reason> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Reason::InvalidUtf8)
    }

    /// An array's or a map's blocks: calls `item` once for each item, of which each takes at least a
    /// byte of payload and `width` bytes of columns. Gives the number of items.
    pub(crate) fn blocks(
        &mut self,
        width: usize,
        mut item: impl FnMut(&mut Cursor<'a>) -> Result<(), Reason>,
    ) -> Result<usize, Reason> {
        let mut total = 0;
        loop {
            let mut count = self.long()?;
            if count == 0 {
                return Ok(total);
            }
            if count < 0 {
                // Then the block's size in bytes follows, for readers that skip it.
                count = count.checked_neg().ok_or(Reason::InvalidValue)?;
                self.long()?;
            }
            let count = usize::try_from(count).map_err(|_| Reason::InvalidValue)?;
            if count > self.remaining() {
                return Err(Reason::Truncated);
            }
            self.spend(count.saturating_mul(width))?;
            for _ in 0..count {
                item(self)?;
            }
            total += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longs_are_read_as_written() {
        let cases: [(&[u8], i64); 7] = [
            (&[0], 0),
            (&[1], -1),
            (&[2], 1),
            (&[0x80, 0x01], 64),
            (
                &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                i64::MAX,
            ),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
                i64::MIN,
            ),
            (&[0x80, 0x00], 0),
        ];
        for (bytes, expected) in cases {
            let mut cursor = Cursor::new(bytes);
            assert_eq!(cursor.long(), Ok(expected), "{bytes:?}");
            assert_eq!(cursor.remaining(), 0);
        }
        assert_eq!(Cursor::new(&[0x80]).long(), Err(Reason::Truncated));
        assert_eq!(Cursor::new(&[0xff; 11]).long(), Err(Reason::InvalidValue));
        assert_eq!(
            Cursor::new(&[0x80, 0x80, 0x80, 0x80, 0x20]).int(),
            Err(Reason::InvalidValue)
        );
    }

    #[test]
    fn a_block_cannot_claim_more_items_than_there_are_bytes() {
        let read =
            |bytes: &[u8]| Cursor::new(bytes).blocks(1, |cursor| cursor.boolean().map(|_| ()));
        assert_eq!(read(&[4, 0, 1, 0]), Ok(2));
        assert_eq!(read(&[3, 4, 0, 1, 2, 1, 0]), Ok(3), "a block with its size");
        assert_eq!(read(&[4, 0]), Err(Reason::Truncated));
        assert_eq!(
            read(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]),
            Err(Reason::Truncated)
        );
        let least = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0];
        assert_eq!(read(&least), Err(Reason::InvalidValue));
    }
}
