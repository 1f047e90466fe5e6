//! What every error of ours can be asked: what kind it is, and whether the write happened.

/// What kind of failure this is. Wire protocols choose their codes from more precise errors; the
/// kind decides what a caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is wrong and stays wrong.
    Invalid,
    /// What it names does not exist.
    NotFound,
    /// It lost against something concurrent; look again and retry.
    Conflict,
    /// The caller's epoch or session is over.
    Fenced,
    /// The principal may not do it.
    Denied,
    /// Too much at once; retry later.
    Overloaded,
    /// A part we need does not answer; retry later.
    Unavailable,
    /// Bytes are not what we wrote.
    Corrupt,
    /// A defect of ours.
    Internal,
}

impl Kind {
    /// Would the same request succeed later?
    pub fn is_retriable(self) -> bool {
        match self {
            Kind::Conflict | Kind::Overloaded | Kind::Unavailable => true,
            Kind::Invalid
            | Kind::NotFound
            | Kind::Fenced
            | Kind::Denied
            | Kind::Corrupt
            | Kind::Internal => false,
        }
    }
}

/// What became of a write that failed. There is no third value to guess with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It did not happen and never will.
    NotDone,
    /// It may have happened, or may still: look before acting on either.
    Unknown,
}
