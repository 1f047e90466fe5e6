//! A buffer whose bytes begin on a page bound, as the kernel wants them of who writes past its cache.

use bytes::Bytes;

/// Bytes of a page, and the alignment that disks and file systems ask for at most.
pub const PAGE: usize = 4096;

/// Collects the bytes of a large object, so that a local folder can write it from where it lies.
#[derive(Debug)]
pub struct PageBuffer {
    bytes: Vec<u8>,
    /// What stands before the first page bound.
    skipped: usize,
}

impl PageBuffer {
    /// With room for so many bytes; beyond that it moves, and its bytes lie anywhere.
    pub fn with_capacity(capacity: usize) -> PageBuffer {
        let mut bytes: Vec<u8> = Vec::with_capacity(capacity.saturating_add(PAGE));
        let skipped = bytes.as_ptr().addr().wrapping_neg() % PAGE;
        bytes.resize(skipped, 0);
        PageBuffer { bytes, skipped }
    }

    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn clear(&mut self) {
        self.bytes.truncate(self.skipped);
    }

    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.skipped..).unwrap_or_default()
    }

    /// The bytes, without a copy.
    pub fn freeze(self) -> Bytes {
        Bytes::from(self.bytes).slice(self.skipped..)
    }
}

/// Does it begin on a page bound?
pub fn begins_a_page(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_begin_on_a_page_bound_and_stay_as_they_are() {
        for length in [0, 1, PAGE - 1, PAGE, 3 * PAGE + 5] {
            let content: Vec<u8> = (0..length).map(|at| at.to_le_bytes()[0]).collect();
            let mut buffer = PageBuffer::with_capacity(length);
            for part in content.chunks(1000) {
                buffer.extend_from_slice(part);
            }
            assert_eq!(buffer.as_slice(), content);
            let frozen = buffer.freeze();
            assert_eq!(frozen, content);
            assert!(length == 0 || begins_a_page(&frozen), "{length}");
        }
    }
}
