//! How the extremes of a column become bounds in a manifest: cut as Iceberg's `truncate(16)` does.
//!
//! A cut bound is still one: the lower is a prefix of the least value, the upper a prefix of the
//! greatest whose last part was counted up by one; if no part can be, there is no upper bound. Text
//! stays text, in the order of its bytes, which is that of its code points.

use iceberg::spec::{Datum, PrimitiveLiteral, PrimitiveType};

/// Code points of a text, or bytes.
const LENGTH: usize = 16;

pub(super) fn lower(least: Datum) -> Datum {
    match least.literal() {
        PrimitiveLiteral::String(text) => Datum::string(prefix(text)),
        PrimitiveLiteral::Binary(bytes) => binary(
            least.data_type(),
            bytes.iter().take(LENGTH).copied().collect(),
        ),
        _ => least,
    }
}

/// `None` if nothing of this length is at least as great.
pub(super) fn upper(greatest: Datum) -> Option<Datum> {
    match greatest.literal() {
        PrimitiveLiteral::String(text) => {
            let cut = prefix(text);
            if cut.len() == text.len() {
                return Some(greatest);
            }
            Some(Datum::string(next_text(cut)?))
        }
        PrimitiveLiteral::Binary(bytes) if bytes.len() > LENGTH => {
            let cut = next_bytes(bytes.iter().take(LENGTH).copied().collect())?;
            Some(binary(greatest.data_type(), cut))
        }
        _ => Some(greatest),
    }
}

fn binary(kind: &PrimitiveType, bytes: Vec<u8>) -> Datum {
    match kind {
        PrimitiveType::Fixed(_) => Datum::fixed(bytes),
        _ => Datum::binary(bytes),
    }
}

fn prefix(text: &str) -> &str {
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

/// The least text of at most this many code points that is greater than any that begins with it.
fn next_text(text: &str) -> Option<String> {
    let mut chars: Vec<char> = text.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            // What follows are surrogates, which are no characters.
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

fn next_bytes(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = bytes.pop() {
        if let Some(next) = last.checked_add(1) {
            bytes.push(next);
            return Some(bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_at_code_points_and_counted_up() {
        let check = |value: &str, low: &str, high: Option<&str>| {
            assert_eq!(lower(Datum::string(value)), Datum::string(low), "{value:?}");
            assert_eq!(
                upper(Datum::string(value)),
                high.map(Datum::string),
                "{value:?}"
            );
        };
        let sixteen = "0123456789abcdef";
        check("", "", Some(""));
        check(sixteen, sixteen, Some(sixteen));
        check("0123456789abcdefg", sixteen, Some("0123456789abcdeg"));
        let fifteen = "é".repeat(15);
        let of = |last: &str| format!("{fifteen}{last}");
        check(&of("🦊x"), &of("🦊"), Some(&of("🦋")));
        check(&of("\u{d7ff}x"), &of("\u{d7ff}"), Some(&of("\u{e000}")));
        check(&of("\u{7f}x"), &of("\u{7f}"), Some(&of("\u{80}")));
        let next = format!("{}ê", "é".repeat(14));
        check(&of("\u{10ffff}x"), &of("\u{10ffff}"), Some(&next));
        check(&"\u{10ffff}".repeat(17), &"\u{10ffff}".repeat(16), None);
        check(
            &"\u{10ffff}".repeat(16),
            &"\u{10ffff}".repeat(16),
            Some(&"\u{10ffff}".repeat(16)),
        );
    }

    #[test]
    fn bytes_are_cut_anywhere_and_counted_up() {
        let check = |value: &[u8], low: &[u8], high: Option<&[u8]>| {
            let of = |bytes: &[u8]| Datum::binary(bytes.to_vec());
            assert_eq!(lower(of(value)), of(low));
            assert_eq!(upper(of(value)), high.map(of));
            let fixed = |bytes: &[u8]| Datum::fixed(bytes.to_vec());
            assert_eq!(lower(fixed(value)).literal(), fixed(low).literal());
            let high = high.map(|high| fixed(high).literal().clone());
            assert_eq!(
                upper(fixed(value)).map(|upper| upper.literal().clone()),
                high
            );
        };
        check(&[], &[], Some(&[]));
        check(&[7; 16], &[7; 16], Some(&[7; 16]));
        let mut next = [7; 16];
        next[15] = 8;
        check(&[7; 17], &[7; 16], Some(&next));
        let mut full = [255; 17];
        full[0] = 7;
        check(
            &full,
            full.first_chunk::<16>().expect("17 bytes"),
            Some(&[8]),
        );
        check(&[255; 17], &[255; 16], None);
        check(&[255; 16], &[255; 16], Some(&[255; 16]));
    }
}
