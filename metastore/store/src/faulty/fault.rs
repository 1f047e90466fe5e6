//! What can go wrong, and with which requests.

use object_store::path::Path;
use object_store::{
    CopyOptions, Error as ObjectError, PutMode, PutOptions, PutPayload, RenameOptions,
};

use super::StoreFaults;

#[derive(Clone)]
pub(super) enum Write {
    Put(Path, PutPayload, PutOptions),
    Delete(Path),
    Copy(Path, Path, CopyOptions),
    Rename(Path, Path, RenameOptions),
}

impl Write {
    pub(super) fn op(&self) -> Op {
        match self {
            Write::Put(_, _, options) => match options.mode {
                PutMode::Create => Op::Create,
                PutMode::Overwrite => Op::Put,
                PutMode::Update(_) => Op::Update,
            },
            Write::Delete(_) => Op::Delete,
            Write::Copy(..) => Op::Copy,
            Write::Rename(..) => Op::Rename,
        }
    }

    /// What a spurious conflict of this write is called, if it has a condition.
    pub(super) fn conflict(&self) -> Option<ObjectError> {
        let Write::Put(path, _, options) = self else {
            return None;
        };
        let (path, source) = (path.to_string(), "planted".into());
        match options.mode {
            PutMode::Create => Some(ObjectError::AlreadyExists { path, source }),
            PutMode::Update(_) => Some(ObjectError::Precondition { path, source }),
            PutMode::Overwrite => None,
        }
    }
}

/// What a request asks for, as far as faults tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Create,
    Put,
    Update,
    Delete,
    Copy,
    Rename,
    Get,
    Head,
    List,
    MultipartBegin,
    MultipartPart,
    MultipartComplete,
}

impl Op {
    pub(super) const ALL: [Op; 12] = [
        Op::Create,
        Op::Put,
        Op::Update,
        Op::Delete,
        Op::Copy,
        Op::Rename,
        Op::Get,
        Op::Head,
        Op::List,
        Op::MultipartBegin,
        Op::MultipartPart,
        Op::MultipartComplete,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Op::Create => "create",
            Op::Put => "put",
            Op::Update => "update",
            Op::Delete => "delete",
            Op::Copy => "copy",
            Op::Rename => "rename",
            Op::Get => "get",
            Op::Head => "head",
            Op::List => "list",
            Op::MultipartBegin => "multipart_begin",
            Op::MultipartPart => "multipart_part",
            Op::MultipartComplete => "multipart_complete",
        }
    }

    /// A whole write in one request: it can be held back and delivered again.
    pub(super) fn is_write(self) -> bool {
        match self {
            Op::Create | Op::Put | Op::Update | Op::Delete | Op::Copy | Op::Rename => true,
            Op::Get
            | Op::Head
            | Op::List
            | Op::MultipartBegin
            | Op::MultipartPart
            | Op::MultipartComplete => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    RequestLost,
    ReplyLost,
    UnavailableBefore,
    UnavailableAfter,
    Late,
    Twice,
    ConflictBefore,
    ConflictAfter,
    Truncated,
    CutShort,
}

impl Fault {
    /// In the order in which they are drawn.
    pub(super) const ALL: [Fault; 10] = [
        Fault::RequestLost,
        Fault::ReplyLost,
        Fault::UnavailableBefore,
        Fault::UnavailableAfter,
        Fault::Late,
        Fault::Twice,
        Fault::ConflictBefore,
        Fault::ConflictAfter,
        Fault::Truncated,
        Fault::CutShort,
    ];

    pub(super) fn can_strike(self, op: Op) -> bool {
        match self {
            Fault::RequestLost
            | Fault::ReplyLost
            | Fault::UnavailableBefore
            | Fault::UnavailableAfter => true,
            Fault::Late | Fault::Twice => op.is_write(),
            Fault::ConflictBefore | Fault::ConflictAfter => matches!(op, Op::Create | Op::Update),
            Fault::Truncated | Fault::CutShort => op == Op::Get,
        }
    }

    pub(super) fn rate(self, faults: &StoreFaults) -> u64 {
        match self {
            Fault::RequestLost => faults.request_lost,
            Fault::ReplyLost => faults.reply_lost,
            Fault::UnavailableBefore => faults.unavailable_before,
            Fault::UnavailableAfter => faults.unavailable_after,
            Fault::Late => faults.late,
            Fault::Twice => faults.twice,
            Fault::ConflictBefore => faults.conflict_before,
            Fault::ConflictAfter => faults.conflict_after,
            Fault::Truncated => faults.truncated,
            Fault::CutShort => faults.cut_short,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Fault::RequestLost => "request_lost",
            Fault::ReplyLost => "reply_lost",
            Fault::UnavailableBefore => "unavailable_before",
            Fault::UnavailableAfter => "unavailable_after",
            Fault::Late => "late",
            Fault::Twice => "twice",
            Fault::ConflictBefore => "conflict_before",
            Fault::ConflictAfter => "conflict_after",
            Fault::Truncated => "truncated",
            Fault::CutShort => "cut_short",
        }
    }
}
