//! A table's cut as bytes, for a process that has no view of it.
//!
//! ```text
//! 0 Lsn · 1 table · 2 schemas that it names · 3 partitions: 0 partition · 1 log start · 2 M · 3 H · 4 extents of [M, H)
//! ```
//!
//! Holds: what is decoded reads the same rows as what was encoded. The bytes grow with the table's columns,
//! schemas and partitions, and with the extents that no table file has yet; neither with its history nor with
//! other tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tarn_decode::TableShape;
use tarn_model::{DecodeError, Kind, Lsn, Offset, PartitionId, decode, defect, encode};
use tarn_state::{Extent, Schema, Table};

use super::{PartitionCut, TableCut};

/// Bytes that are no cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    #[error("these bytes are no cut: {0}")]
    Bytes(#[from] DecodeError),
    #[error("the cut's extents of partition {partition} do not hold its hot rows, each once")]
    Extents { partition: PartitionId },
}

impl CutError {
    pub fn kind(&self) -> Kind {
        match self {
            CutError::Bytes(_) | CutError::Extents { .. } => Kind::Corrupt,
        }
    }
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct Whole {
    #[n(0)]
    lsn: Lsn,
    #[n(1)]
    table: Table,
    /// In the order of their ids.
    #[n(2)]
    schemas: Vec<Schema>,
    /// In their order.
    #[n(3)]
    partitions: Vec<Part>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct Part {
    #[n(0)]
    partition: PartitionId,
    #[n(1)]
    log_start: Offset,
    #[n(2)]
    m: Offset,
    #[n(3)]
    h: Offset,
    /// Those that hold an offset of `[m, h)`, in order.
    #[n(4)]
    extents: Vec<Extent>,
}

impl Part {
    /// Do the extents hold `[m, h)`, without a gap?
    fn is_whole(&self) -> bool {
        let mut next = None;
        for Extent { offsets, .. } in &self.extents {
            let follows = match next {
                None => offsets.start <= self.m,
                Some(next) => offsets.start == next,
            };
            if !follows || offsets.end <= offsets.start {
                return false;
            }
            next = Some(offsets.end);
        }
        self.m >= self.h || next.is_some_and(|end| end >= self.h)
    }
}

impl TableCut {
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.whole())
    }

    /// The cut that was encoded, with nothing behind it.
    pub fn decode(bytes: &[u8]) -> Result<TableCut, CutError> {
        let whole: Whole = decode(bytes)?;
        let mut partitions = BTreeMap::new();
        for part in whole.partitions {
            let partition = part.partition;
            if !part.is_whole() {
                return Err(CutError::Extents { partition });
            }
            let extents = part.extents.into_iter();
            let cut = PartitionCut {
                log_start: part.log_start,
                m: part.m,
                h: part.h,
                extents: extents
                    .map(|extent| (extent.offsets.start, extent))
                    .collect(),
            };
            partitions.insert(partition, cut);
        }
        let schemas = whole.schemas.into_iter();
        Ok(TableCut {
            lsn: whole.lsn,
            table: Arc::new(whole.table),
            schemas: schemas
                .map(|schema| (schema.id, Arc::new(schema)))
                .collect(),
            partitions,
        })
    }

    fn whole(&self) -> Whole {
        let of = self.table.of_topic();
        let shape = of.map(|of| TableShape::of(&self.schemas, &self.table, of));
        let writers = shape.into_iter().flat_map(|shape| shape.schemas);
        let named: BTreeMap<_, _> = writers
            .flat_map(|writer| writer.needed.into_iter().chain([writer.schema]))
            .map(|schema| (schema.id, schema))
            .collect();
        let partitions = self.partitions.iter().map(|(partition, at)| Part {
            partition: *partition,
            log_start: at.log_start,
            m: at.m,
            h: at.h,
            extents: match at.hot().is_empty() {
                true => Vec::new(),
                false => {
                    let lost = usize::from(defect("cut-without-an-extent"));
                    at.hot_extents().skip(lost).copied().collect()
                }
            },
        });
        Whole {
            lsn: self.lsn,
            table: self.table.as_ref().clone(),
            schemas: named
                .into_values()
                .map(|schema| schema.as_ref().clone())
                .collect(),
            partitions: partitions.collect(),
        }
    }
}

/// Equal cuts read the same rows.
impl PartialEq for TableCut {
    fn eq(&self, other: &TableCut) -> bool {
        self.whole() == other.whole()
    }
}
