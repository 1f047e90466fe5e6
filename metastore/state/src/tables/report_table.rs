//! Says why nothing can be written to a table until somebody mends it: a fault that trying again does
//! not pass. The next commit to the table takes the reason away.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_model::TableUuid;

use super::refusal::TableRefusal;
use super::types::short_reason;
use crate::{Context, Outcome, Refusal, State};

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ReportTable {
    #[n(0)]
    pub table: TableUuid,
    /// The pointer that the reporter saw: a reason that comes after a newer commit is none any more.
    #[n(1)]
    pub pointer: Option<String>,
    #[n(2)]
    pub problem: String,
}

impl ReportTable {
    pub(crate) fn apply(&self, state: &mut State, _ctx: &Context) -> Result<Outcome, Refusal> {
        let table = state
            .tables
            .get_mut(&self.table)
            .ok_or(TableRefusal::NoSuchTable(self.table))?;
        if table.pointer != self.pointer {
            return Err(TableRefusal::PointerMoved {
                table: self.table,
                have: table.pointer.clone(),
            }
            .into());
        }
        Arc::make_mut(table).problem = Some(short_reason(&self.problem));
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;
    use crate::harness::{Cluster, commit, table, topic};

    #[test]
    fn a_reason_stays_until_the_next_commit_and_comes_not_after_it() {
        let mut cluster = Cluster::with_topic("orders", 1);
        let report = |pointer: Option<&str>| {
            Command::ReportTable(ReportTable {
                table: table(7),
                pointer: pointer.map(str::to_owned),
                problem: "é".repeat(10_000),
            })
        };
        cluster.run(report(None)).unwrap();
        let problem = cluster.state.table(topic(7)).unwrap().problem.clone();
        assert_eq!(problem, Some("é".repeat(512)));
        cluster.run(commit(7, None, "p", Vec::new())).unwrap();
        assert_eq!(cluster.state.table(topic(7)).unwrap().problem, None);
        let late = cluster.run(report(None));
        assert!(matches!(
            late,
            Err(Refusal::Table(TableRefusal::PointerMoved { .. }))
        ));
        assert_eq!(cluster.state.table(topic(7)).unwrap().problem, None);
    }
}
