//! Looks at how deep bytes nest before anything recursive looks at them.
//!
//! A value that contains values of its own kind is decoded by recursion, and a stack that runs out is no
//! panic that could be caught: a few hundred kilobytes of open brackets in the log would end every
//! replica.

use minicbor::{Decode, Encode};

use crate::codec::{DecodeError, decode};

/// Deepest column that is read at all; takes 100 KiB of stack, in a debug build 1.3 MiB. Deeper
/// than what a table may have, so that such a schema is refused by `apply`, with a reason, and stops
/// nobody; a proposer never sends what is beyond.
pub const COLUMN_LEVELS_MAX: usize = 40;

/// Deepest nesting of arrays and maps: three for each level of a column, and what is around it.
const LEVELS_MAX: usize = 3 * COLUMN_LEVELS_MAX + 12;

/// [`decode`], for values that may contain themselves.
pub fn decode_bounded<T>(bytes: &[u8]) -> Result<T, DecodeError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    decode_shallow(bytes, LEVELS_MAX)
}

/// [`decode`], for values that may contain themselves: arrays and maps nest at most so deep.
fn decode_shallow<T>(bytes: &[u8], levels_max: usize) -> Result<T, DecodeError>
where
    T: for<'b> Decode<'b, ()> + Encode<()>,
{
    if !is_shallow(bytes, levels_max) {
        return Err(DecodeError::Malformed(
            "it nests too deep, or is not of the form that Tarn writes".into(),
        ));
    }
    decode(bytes)
}

/// Is this a CBOR item of definite lengths, without tags, that does not nest too deep? What follows
/// the item is left to [`decode`].
fn is_shallow(bytes: &[u8], levels_max: usize) -> bool {
    let mut rest = bytes;
    // How many items are still to come at each open level.
    let mut open: Vec<u64> = vec![1];
    while let Some(left) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        let Some((major, argument, after)) = head(rest) else {
            return false;
        };
        rest = after;
        let within = match major {
            // Numbers and simple values.
            0 | 1 | 7 => continue,
            // Byte and text strings.
            2 | 3 => {
                let text = usize::try_from(argument)
                    .ok()
                    .and_then(|length| rest.get(length..));
                match text {
                    Some(after) => rest = after,
                    None => return false,
                }
                continue;
            }
            4 => argument,
            5 => match argument.checked_mul(2) {
                Some(items) => items,
                None => return false,
            },
            _ => return false,
        };
        if open.len() > levels_max {
            return false;
        }
        open.push(within);
    }
    true
}

/// Major type and argument of the item that begins here, and what follows its head.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first & 0x1f {
        small @ 0..=23 => return Some((first >> 5, u64::from(small), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let (argument, rest) = rest.split_at_checked(width)?;
    let argument = argument
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte));
    Some((first >> 5, argument, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_items_that_nest_little_are_looked_at_further() {
        for (bytes, levels) in [
            (&[0x01][..], 0),
            (&[0x81, 0x01], 1),
            (&[0x81, 0x81, 0x01], 2),
        ] {
            assert!(is_shallow(bytes, levels), "{bytes:x?}");
            assert_eq!(is_shallow(bytes, levels.saturating_sub(1)), levels == 0);
        }
        for bytes in [&[0x82, 0x01][..], &[0x43, 0x01], &[0x19, 0x01], &[]] {
            assert!(!is_shallow(bytes, 8), "{bytes:x?}");
        }
        for bracket in [0x81, 0x9f, 0xa1, 0xc1] {
            assert!(!is_shallow(&vec![bracket; 1 << 20], 1_000), "{bracket:x}");
        }
    }
}
