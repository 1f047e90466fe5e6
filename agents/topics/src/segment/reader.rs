//! A whole segment read back, batch by batch: for tools, tests and segment merge.

use bytes::Bytes;
use tarn_kafka::ValidBatch;
use tarn_model::{ClusterId, TopicPartition};

use super::{Footer, SegmentError};

/// A segment whose checksums were compared.
#[derive(Debug, Clone)]
pub struct Reader {
    object: Bytes,
    footer: Footer,
}

impl Reader {
    /// Takes a whole object of this cluster.
    pub fn open(object: Bytes, cluster: ClusterId) -> Result<Reader, SegmentError> {
        let footer = Footer::parse(&object)?;
        footer.expect_cluster(cluster)?;
        Ok(Reader { object, footer })
    }

    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// Every batch with its partition, as the producers sent them.
    pub fn batches(
        &self,
    ) -> impl Iterator<Item = Result<(TopicPartition, ValidBatch), SegmentError>> + '_ {
        self.footer.commit.extents.iter().flat_map(move |extent| {
            let at = TopicPartition {
                topic: extent.topic,
                partition: extent.partition,
            };
            let mut next = extent.position.start;
            extent
                .batches
                .iter()
                .enumerate()
                .map(move |(batch, described)| {
                    let start = next;
                    next = next.saturating_add(u64::from(described.bytes));
                    let bytes = self.slice(start, next)?;
                    let valid = ValidBatch::from_stored(bytes)
                        .map_err(|source| SegmentError::Batch { at, batch, source })?;
                    Ok((at, valid))
                })
        })
    }

    fn slice(&self, start: u64, end: u64) -> Result<Bytes, SegmentError> {
        let beyond = SegmentError::Contradiction("extents reach beyond the object");
        let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else {
            return Err(beyond);
        };
        if start > end || end > self.object.len() {
            return Err(beyond);
        }
        Ok(self.object.slice(start..end))
    }
}
