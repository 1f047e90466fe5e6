//! What can go wrong, and with which requests.

use std::time::Duration;

use object_store::path::Path;
use object_store::{
    CopyOptions, Error as ObjectError, PutMode, PutOptions, PutPayload, RenameOptions,
};

use strum::{IntoStaticStr, VariantArray};
use tarn_runtime::faults::{FaultPair, Faults};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Op {
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
    /// A whole write in one request: it can be held back and delivered again.
    fn is_write(self) -> bool {
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

/// What a request can suffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Fault {
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

impl Faults for StoreFaults {
    type Op = Op;
    type Fault = Fault;

    fn can_strike(fault: Fault, op: Op) -> bool {
        match fault {
            Fault::RequestLost
            | Fault::ReplyLost
            | Fault::UnavailableBefore
            | Fault::UnavailableAfter => true,
            Fault::Late | Fault::Twice => op.is_write(),
            Fault::ConflictBefore | Fault::ConflictAfter => matches!(op, Op::Create | Op::Update),
            Fault::Truncated | Fault::CutShort => op == Op::Get,
        }
    }

    fn rate(&self, fault: Fault) -> u64 {
        match fault {
            Fault::RequestLost => self.request_lost,
            Fault::ReplyLost => self.reply_lost,
            Fault::UnavailableBefore => self.unavailable_before,
            Fault::UnavailableAfter => self.unavailable_after,
            Fault::Late => self.late,
            Fault::Twice => self.twice,
            Fault::ConflictBefore => self.conflict_before,
            Fault::ConflictAfter => self.conflict_after,
            Fault::Truncated => self.truncated,
            Fault::CutShort => self.cut_short,
        }
    }

    fn latency(&self) -> (Duration, Duration) {
        (self.latency_min, self.latency_max)
    }

    fn late_max(&self) -> Duration {
        self.late_max
    }

    fn often(&self) -> Option<(FaultPair, u64)> {
        self.often
    }
}
