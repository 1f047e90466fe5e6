//! The columns that say where a row came from and when: the last ones of every batch.

use std::sync::Arc;

use super::{DecodeRecord, Origin};
use crate::column::{Column, Values, last, length, mispaired, offset};
use crate::event_time::micros;
use crate::reason::Reason;
use arrow::array::{
    ArrayRef, Int32Array, Int32Builder, Int64Array, LargeBinaryBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;

/// `_topic_partition` to `_value`, as `tarn_schema::meta_columns` lists them.
pub(super) struct MetaColumns {
    partition: Vec<i32>,
    offset: Vec<i64>,
    timestamp: Vec<i64>,
    key: LargeBinaryBuilder,
    headers: Column,
    schema_id: Int32Builder,
    event_time: Vec<i64>,
    lsn: Vec<i64>,
    committed: Vec<i64>,
    value: Option<LargeBinaryBuilder>,
}

impl MetaColumns {
    pub(super) fn new(with_value: bool) -> MetaColumns {
        let columns = tarn_schema::meta_columns(false);
        let headers = columns
            .iter()
            .find(|field| field.name == tarn_schema::HEADERS);
        MetaColumns {
            partition: Vec::new(),
            offset: Vec::new(),
            timestamp: Vec::new(),
            key: LargeBinaryBuilder::new(),
            headers: Column::new(
                &headers
                    .expect("the list of metadata columns has the headers")
                    .kind,
            ),
            schema_id: Int32Builder::new(),
            event_time: Vec::new(),
            lsn: Vec::new(),
            committed: Vec::new(),
            value: with_value.then(LargeBinaryBuilder::new),
        }
    }

    /// Fails, leaving everything as it was, only on headers beyond 32-bit offsets.
    pub(super) fn append(
        &mut self,
        record: &DecodeRecord,
        origin: &Origin<'_>,
        event_time: Option<i64>,
    ) -> Result<(), Reason> {
        if let Err(reason) = append_headers(&mut self.headers, &record.headers) {
            self.headers.truncate(self.partition.len());
            return Err(reason);
        }
        self.partition.push(record.partition.0);
        self.offset.push(record.offset.to_wire());
        let (timestamp, committed) = (micros(record.timestamp_ms), micros(record.committed.0));
        self.timestamp.push(timestamp);
        self.event_time.push(event_time.unwrap_or(committed));
        self.lsn.push(record.lsn.packed());
        self.committed.push(committed);
        self.key.append_option(record.key.as_deref());
        // Ids are positive 32-bit numbers for Kafka's clients; larger ones keep their bits.
        self.schema_id
            .append_option(origin.schema_id.map(|id| id.0.cast_signed()));
        if let Some(column) = &mut self.value {
            column.append_option(origin.value.map(Bytes::as_ref));
        }
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        schema: &SchemaRef,
        arrays: &mut Vec<ArrayRef>,
    ) -> Result<(), ArrowError> {
        let type_of = |name: &str| {
            Ok::<DataType, ArrowError>(schema.field_with_name(name)?.data_type().clone())
        };
        arrays.push(Arc::new(Int32Array::from(self.partition)));
        arrays.push(Arc::new(Int64Array::from(self.offset)));
        let times = |micros: Vec<i64>, name: &str| {
            let times = TimestampMicrosecondArray::from(micros);
            Ok::<ArrayRef, ArrowError>(Arc::new(times.with_data_type(type_of(name)?)))
        };
        arrays.push(times(self.timestamp, tarn_schema::TIMESTAMP)?);
        arrays.push(Arc::new(self.key.finish()));
        arrays.push(self.headers.finish(&type_of(tarn_schema::HEADERS)?)?);
        arrays.push(Arc::new(self.schema_id.finish()));
        arrays.push(times(self.event_time, tarn_schema::EVENT_TIME)?);
        arrays.push(Arc::new(Int64Array::from(self.lsn)));
        arrays.push(times(self.committed, tarn_schema::COMMITTED)?);
        if let Some(mut value) = self.value {
            arrays.push(Arc::new(value.finish()));
        }
        Ok(())
    }
}

fn append_headers(column: &mut Column, headers: &[(Bytes, Option<Bytes>)]) -> Result<(), Reason> {
    let Values::List { offsets, element } = &mut column.values else {
        mispaired("headers")
    };
    for (name, value) in headers {
        let Values::Struct(fields) = &mut element.values else {
            mispaired("a header")
        };
        let [key_column, value_column] = fields.as_mut_slice() else {
            mispaired("a header")
        };
        key_column.push_string(&String::from_utf8_lossy(name))?;
        match value {
            Some(value) => value_column.push_binary(value)?,
            None => value_column.append_null(),
        }
        element.mark_valid();
    }
    offsets.push(offset(length(last(offsets)) + headers.len())?);
    column.mark_valid();
    Ok(())
}
