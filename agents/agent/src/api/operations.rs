//! The operations that everybody may do, as the bits of KIP-430.

/// Read, write, create, delete, alter, describe, describe configs, alter configs.
pub(crate) const TOPIC: i32 = bits(&[3, 4, 5, 6, 7, 8, 10, 11]);
/// Create, alter, describe, describe configs, alter configs, idempotent write.
pub(crate) const CLUSTER: i32 = bits(&[5, 7, 8, 10, 11, 12]);
/// Read, delete, describe.
pub(crate) const GROUP: i32 = bits(&[3, 6, 8]);

const fn bits(operations: &[u32]) -> i32 {
    let mut bits = 0;
    let mut i = 0;
    while i < operations.len() {
        bits |= 1 << operations[i];
        i += 1;
    }
    bits
}
