//! What a binary can apply, and what the cluster has agreed to use.

use std::fmt;

use minicbor::{Decode, Encode};

/// Rises by the operator's command only. Every change of what `apply` does stands behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct FeatureLevel(#[n(0)] pub u16);

impl FeatureLevel {
    /// The first format.
    pub const ONE: FeatureLevel = FeatureLevel(1);
    /// The newest that this binary can apply. A new cluster starts here.
    pub const NEWEST: FeatureLevel = FeatureLevel::ONE;
    /// The one after it, which tests upgrade to: see `rehearsal.rs`.
    #[cfg(debug_assertions)]
    pub const REHEARSAL: FeatureLevel = FeatureLevel(FeatureLevel::NEWEST.0 + 1);
}

impl fmt::Display for FeatureLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
