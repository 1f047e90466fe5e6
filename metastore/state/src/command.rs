//! The closed list of commands.
//!
//! A command is one file of its area and one line here: its number, which never changes its meaning,
//! and the feature level since which it may be written. Everything else follows from the line.
//! Unknown numbers are refused when an entry is decoded.

use minicbor::{Decode, Encode};
use tarn_model::{COLUMN_LEVELS_MAX, Field, is_deeper_than};

use crate::level::FeatureLevel;
use crate::outcome::Outcome;
use crate::refusal::Refusal;
use crate::{Context, State};

/// A line of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandKind {
    pub number: u16,
    pub name: &'static str,
    /// The first level at which it may stand in an entry.
    pub since: FeatureLevel,
}

macro_rules! commands {
    ($($(#[$attribute:meta])* $number:literal $name:ident($area:ident) since $since:ident;)*) => {
        /// One thing a proposal does.
        #[derive(Debug, Clone, PartialEq, Encode, Decode)]
        pub enum Command {
            $($(#[$attribute])* #[n($number)] $name(#[n(0)] crate::$area::commands::$name),)*
        }

        impl Command {
            /// Every command there is, by number.
            pub const ALL: &[CommandKind] = &[
                $($(#[$attribute])* CommandKind {
                    number: $number,
                    name: stringify!($name),
                    since: FeatureLevel::$since,
                },)*
            ];

            pub fn kind(&self) -> CommandKind {
                match self {
                    $($(#[$attribute])* Command::$name(_) => CommandKind {
                        number: $number,
                        name: stringify!($name),
                        since: FeatureLevel::$since,
                    },)*
                }
            }

            /// Applies the command. `state` is a clone that the caller throws away when this
            /// refuses, so a command may stop in the middle.
            pub fn apply(&self, state: &mut State, ctx: &Context) -> Result<Outcome, Refusal> {
                match self {
                    $($(#[$attribute])* Command::$name(command) => command.apply(state, ctx),)*
                }
            }
        }
    };
}

commands! {
    1 OpenSession(sessions) since ONE;
    2 ExpireSession(sessions) since ONE;
    3 CloseSession(sessions) since ONE;
    4 RaiseLevel(sessions) since ONE;
    5 Advertise(sessions) since ONE;
    6 Withdraw(sessions) since ONE;
    10 CreateTopic(topics) since ONE;
    11 DeleteTopic(topics) since ONE;
    12 CreatePartitions(topics) since ONE;
    13 AlterTopicConfigs(topics) since ONE;
    20 CommitSegment(topics) since ONE;
    21 AllocateProducerId(topics) since ONE;
    22 DeleteRecords(topics) since ONE;
    30 CompleteGroup(groups) since ONE;
    31 RemoveGroupMembers(groups) since ONE;
    32 CommitGroupOffsets(groups) since ONE;
    33 DeleteGroup(groups) since ONE;
    34 DeleteGroupOffsets(groups) since ONE;
    40 RegisterSchema(schemas) since ONE;
    41 SetCompatibility(schemas) since ONE;
    42 DeleteSchemaVersions(schemas) since ONE;
    50 CommitTables(tables) since ONE;
    51 ReportTable(tables) since ONE;
    52 CreateTable(tables) since ONE;
    53 DropTable(tables) since ONE;
    60 ClaimTask(tasks) since ONE;
    61 RenewClaim(tasks) since ONE;
    62 ReleaseClaim(tasks) since ONE;
    #[cfg(debug_assertions)]
    60000 Rehearse(rehearsal) since REHEARSAL;
}

impl Command {
    /// Would replicas refuse to read it? See `tarn_model::decode_bounded`; only columns can contain themselves.
    pub(crate) fn is_unreadable(&self) -> bool {
        let is_too_deep = |columns: &[Field]| {
            let mut columns = columns.iter();
            columns.any(|column| is_deeper_than(column, COLUMN_LEVELS_MAX))
        };
        match self {
            Command::RegisterSchema(command) => is_too_deep(&command.columns),
            Command::CreateTable(command) => is_too_deep(&command.columns),
            Command::CommitTables(command) => {
                let changes = command.tables.iter().filter_map(|one| one.schema.as_ref());
                let mut columns = changes.filter_map(|change| change.columns.as_deref());
                columns.any(is_too_deep)
            }
            _ => false,
        }
    }
}
