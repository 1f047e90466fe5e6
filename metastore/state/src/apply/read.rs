//! Reads an entry: only what this version understands whole, and what belongs to this state's history, goes on.

use tarn_model::{DecodeError, Lsn, decode_bounded};

use super::ApplyError;
use crate::{Entry, FeatureLevel, State};

impl State {
    /// The entry after the last one, if it belongs to this history.
    pub(super) fn read_next(
        &self,
        level_max: FeatureLevel,
        lsn: Lsn,
        bytes: &[u8],
    ) -> Result<Entry, ApplyError> {
        if lsn.generation != self.generation {
            return Err(ApplyError::Foreign { lsn });
        }
        if self.n.checked_add(1) != Some(lsn.n) {
            return Err(ApplyError::Hole {
                have: self.lsn(),
                lsn,
            });
        }
        let entry = read(level_max, lsn, bytes)?;
        if entry.cluster != self.cluster || entry.generation != self.generation {
            return Err(ApplyError::Foreign { lsn });
        }
        self.check_history(lsn, &entry)?;
        Ok(entry)
    }

    /// Was the entry written by somebody who had applied the same log?
    fn check_history(&self, lsn: Lsn, entry: &Entry) -> Result<(), ApplyError> {
        if entry.applied > self.n {
            return Err(ApplyError::FromTheFuture {
                lsn,
                applied: entry.applied,
            });
        }
        match self.hashes_at(entry.applied) {
            Some((ours, _)) if ours != entry.applied_hash => Err(ApplyError::OtherHistory {
                lsn,
                at: entry.applied,
                theirs: entry.applied_hash,
                ours,
            }),
            _ => Ok(()),
        }
    }
}

fn read(level_max: FeatureLevel, lsn: Lsn, bytes: &[u8]) -> Result<Entry, ApplyError> {
    let too_new = |needs: u16| ApplyError::Level {
        lsn,
        needs,
        newest: level_max.0,
    };
    match decode_bounded::<Entry>(bytes) {
        Ok(entry) if entry.level > level_max => Err(too_new(entry.level.0)),
        Ok(entry) => match unknown_to(level_max, &entry) {
            Some(source) => Err(ApplyError::Unreadable { lsn, source }),
            None => Ok(entry),
        },
        Err(source) => match peek_level(bytes) {
            Some(level) if level > level_max.0 => Err(too_new(level)),
            _ => Err(ApplyError::Unreadable { lsn, source }),
        },
    }
}

/// What a binary of this level says to a command that came later: nothing else of it knows the number.
fn unknown_to(level_max: FeatureLevel, entry: &Entry) -> Option<DecodeError> {
    let mut commands = entry
        .proposals
        .iter()
        .flat_map(|proposal| &proposal.commands);
    let unknown = commands.find(|command| command.kind().since > level_max)?;
    let number = unknown.kind().number;
    Some(DecodeError::Malformed(format!(
        "unknown enum variant {number}"
    )))
}

/// The level of an entry whose other fields this version cannot read, for a message that helps.
fn peek_level(bytes: &[u8]) -> Option<u16> {
    const FIELDS_BEFORE: usize = 10;
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.array().ok()?;
    for _ in 0..FIELDS_BEFORE {
        decoder.skip().ok()?;
    }
    decoder.u16().ok()
}
