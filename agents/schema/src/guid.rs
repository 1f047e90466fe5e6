//! Ids made of what a schema says: the same in every process and every cluster.

use sha2::{Digest, Sha256};

/// The length goes first, so that no two lists of texts hash alike.
pub(crate) fn hash_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

/// The hash's first half with the version and variant bits of a UUIDv8, RFC 9562 §5.8.
pub(crate) fn guid(hash: &[u8; 32]) -> [u8; 16] {
    let mut guid = [0; 16];
    guid.copy_from_slice(hash.split_at(16).0);
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut guid;
    *version = (*version & 0x0f) | 0x80;
    *variant = (*variant & 0x3f) | 0x80;
    guid
}
