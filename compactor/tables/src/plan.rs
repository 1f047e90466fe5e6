//! Which files of a table snapshot may hold a row that passes a filter.
//!
//! The same question is asked of a manifest, by the values of its table partitions, and of its files, by
//! their bounds and counts: first of many together (`entries`), then of one. What cannot be decided is answered with yes, so that a file that is
//! left out holds no such row. Everything comes from the process's cache of manifests: a plan costs
//! what the table's files cost to look at, and reads only what was never read.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use iceberg::Result;
use iceberg::expr::{Bind, BoundPredicate, Predicate, PredicateOperator};
use iceberg::spec::{
    DataFile, Datum, FieldSummary, ManifestContentType, ManifestEntryRef, ManifestFile,
    NestedField, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, SchemaRef, Type,
};
use iceberg::{Error, ErrorKind};

use crate::catalog::Loaded;
use crate::entries::Entries;
use crate::facts::{Facts, compare};

/// Manifests that are read at the same time.
const READS_AT_ONCE: usize = 8;

/// A file that a scan of the table snapshot reads.
#[derive(Debug, Clone)]
pub struct PlannedFile {
    entry: ManifestEntryRef,
}

/// The files, and whether they are all there is to it.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub files: Vec<PlannedFile>,
    /// Rows of some files are deleted by other files, which nothing here reads.
    pub has_deletes: bool,
}

impl PlannedFile {
    /// Path, size, counts and bounds.
    pub fn data_file(&self) -> &DataFile {
        &self.entry.data_file
    }
}

impl Loaded {
    /// The files of `snapshot` that may hold a row that passes `filter`, which names columns as the
    /// snapshot's schema does.
    pub async fn plan(&self, snapshot: i64, filter: Option<&Predicate>) -> Result<Plan> {
        let metadata = self.metadata();
        let snapshot = metadata.snapshot_by_id(snapshot).ok_or_else(|| {
            Error::new(
                ErrorKind::DataInvalid,
                format!("there is no table snapshot {snapshot}"),
            )
        })?;
        let schema = snapshot.schema(metadata)?;
        let filter = match filter {
            Some(filter) => Some(
                filter
                    .clone()
                    .bind(Arc::clone(&schema), true)?
                    .rewrite_not(),
            ),
            None => None,
        };
        let version = metadata.format_version();
        let list = self
            .manifests()
            .list(self.file_io(), snapshot.manifest_list(), version)
            .await?;
        let passes = |facts: &dyn Facts| {
            filter
                .as_ref()
                .is_none_or(|filter| may_match(filter, facts))
        };
        let mut chosen = Vec::new();
        let mut plan = Plan::default();
        let mut filters = SpecFilters::new(filter.as_ref(), &schema);
        for manifest in list.iter() {
            if !(manifest.has_added_files() || manifest.has_existing_files()) {
                continue;
            }
            if manifest.content == ManifestContentType::Deletes {
                plan.has_deletes = true;
                continue;
            }
            let spec = metadata.partition_spec_by_id(manifest.partition_spec_id);
            if !filters.lets_through(manifest, spec.map(AsRef::as_ref))? {
                continue;
            }
            let whole = self.manifests().whole(manifest);
            if whole.is_none_or(|whole| whole.may(&passes)) {
                chosen.push(manifest);
            }
        }
        let mut reads = Vec::with_capacity(chosen.len());
        for manifest in chosen {
            reads.push(self.manifests().manifest(self.file_io(), manifest));
        }
        let reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
        let manifests: Vec<Arc<Entries>> = reads.try_collect().await?;
        for manifest in &manifests {
            plan.files.extend(manifest.alive(&passes).map(|entry| {
                let entry = Arc::clone(entry);
                PlannedFile { entry }
            }));
        }
        Ok(plan)
    }
}

/// The filter in terms of each partition spec, made when it is first asked for.
struct SpecFilters<'a> {
    filter: Option<&'a BoundPredicate>,
    schema: &'a SchemaRef,
    by_spec: BTreeMap<i32, Option<BoundPredicate>>,
}

impl<'a> SpecFilters<'a> {
    fn new(filter: Option<&'a BoundPredicate>, schema: &'a SchemaRef) -> SpecFilters<'a> {
        SpecFilters {
            filter,
            schema,
            by_spec: BTreeMap::new(),
        }
    }

    /// May a file of this manifest hold a row that passes?
    fn lets_through(
        &mut self,
        manifest: &ManifestFile,
        spec: Option<&PartitionSpec>,
    ) -> Result<bool> {
        let (Some(filter), Some(spec), Some(summaries)) =
            (self.filter, spec, manifest.partitions.as_deref())
        else {
            return Ok(true);
        };
        if !self.by_spec.contains_key(&spec.spec_id()) {
            let projected = projected(filter, spec, self.schema)?;
            self.by_spec.insert(spec.spec_id(), projected);
        }
        let projected = self.by_spec.get(&spec.spec_id()).and_then(Option::as_ref);
        Ok(projected.is_none_or(|filter| may_match(filter, &Partitions { spec, summaries })))
    }
}

/// What the filter says of partition values; `None` if that is nothing.
fn projected(
    filter: &BoundPredicate,
    spec: &PartitionSpec,
    schema: &SchemaRef,
) -> Result<Option<BoundPredicate>> {
    let Some(predicate) = project(filter, spec)? else {
        return Ok(None);
    };
    // A source column that the snapshot's schema lacks says nothing.
    let Ok(partitions) = spec.partition_type(schema) else {
        return Ok(None);
    };
    let fields = partitions.fields().to_vec();
    let partitions = Schema::builder().with_fields(fields).build()?;
    Ok(Some(
        predicate.bind(Arc::new(partitions), true)?.rewrite_not(),
    ))
}

fn project(filter: &BoundPredicate, spec: &PartitionSpec) -> Result<Option<Predicate>> {
    let field = match filter {
        BoundPredicate::And(both) => {
            let [left, right] = both.inputs();
            return Ok(match (project(left, spec)?, project(right, spec)?) {
                (Some(left), Some(right)) => Some(left.and(right)),
                (one, other) => one.or(other),
            });
        }
        BoundPredicate::Or(either) => {
            let [left, right] = either.inputs();
            let (left, right) = (project(left, spec)?, project(right, spec)?);
            return Ok(left.zip(right).map(|(left, right)| left.or(right)));
        }
        BoundPredicate::Unary(expression) => expression.term().field().id,
        BoundPredicate::Binary(expression) => expression.term().field().id,
        BoundPredicate::Set(expression) => expression.term().field().id,
        BoundPredicate::AlwaysTrue | BoundPredicate::AlwaysFalse | BoundPredicate::Not(_) => {
            return Ok(None);
        }
    };
    let mut all: Option<Predicate> = None;
    for partition in spec
        .fields()
        .iter()
        .filter(|partition| partition.source_id == field)
    {
        if let Some(one) = partition.transform.project(&partition.name, filter)? {
            all = Some(match all {
                Some(all) => all.and(one),
                None => one,
            });
        }
    }
    Ok(all)
}

/// The partition values of a manifest's files.
struct Partitions<'a> {
    spec: &'a PartitionSpec,
    summaries: &'a [FieldSummary],
}

impl Partitions<'_> {
    fn summary(&self, field: i32) -> Option<&FieldSummary> {
        let at = self
            .spec
            .fields()
            .iter()
            .position(|known| known.field_id == field)?;
        self.summaries.get(at)
    }
}

impl Facts for Partitions<'_> {
    fn lower(&self, field: i32, kind: &PrimitiveType) -> Option<Cow<'_, Datum>> {
        let bytes = self.summary(field)?.lower_bound.as_ref()?;
        Datum::try_from_bytes(bytes, kind.clone())
            .ok()
            .map(Cow::Owned)
    }

    fn upper(&self, field: i32, kind: &PrimitiveType) -> Option<Cow<'_, Datum>> {
        let bytes = self.summary(field)?.upper_bound.as_ref()?;
        Datum::try_from_bytes(bytes, kind.clone())
            .ok()
            .map(Cow::Owned)
    }

    fn has_no_null(&self, field: i32) -> bool {
        self.summary(field)
            .is_some_and(|summary| !summary.contains_null)
    }

    fn has_only_nulls(&self, field: i32) -> bool {
        self.summary(field).is_some_and(|summary| {
            summary.contains_null
                && summary.contains_nan != Some(true)
                && summary.lower_bound.is_none()
        })
    }

    fn has_no_nan(&self, field: i32) -> bool {
        self.summary(field)
            .is_some_and(|summary| summary.contains_nan == Some(false))
    }
}

/// May a row of which this is known pass the filter?
pub(crate) fn may_match(filter: &BoundPredicate, facts: &dyn Facts) -> bool {
    match filter {
        BoundPredicate::AlwaysTrue | BoundPredicate::Not(_) => true,
        BoundPredicate::AlwaysFalse => false,
        BoundPredicate::And(both) => both.inputs().iter().all(|one| may_match(one, facts)),
        BoundPredicate::Or(either) => either.inputs().iter().any(|one| may_match(one, facts)),
        BoundPredicate::Unary(expression) => {
            let field = expression.term().field().id;
            match expression.op() {
                PredicateOperator::IsNull => !facts.has_no_null(field),
                PredicateOperator::NotNull => !facts.has_only_nulls(field),
                PredicateOperator::IsNan => {
                    !facts.has_no_nan(field) && !facts.has_only_nulls(field)
                }
                _ => true,
            }
        }
        BoundPredicate::Binary(expression) => {
            let literals = std::slice::from_ref(expression.literal());
            may_compare(expression.term().field(), expression.op(), literals, facts)
        }
        BoundPredicate::Set(expression) => {
            let literals: Vec<Datum> = expression.literals().iter().cloned().collect();
            may_compare(expression.term().field(), expression.op(), &literals, facts)
        }
    }
}

fn may_compare(
    field: &NestedField,
    operator: PredicateOperator,
    literals: &[Datum],
    facts: &dyn Facts,
) -> bool {
    let Type::Primitive(kind) = field.field_type.as_ref() else {
        return true;
    };
    let is_decidable = matches!(
        operator,
        PredicateOperator::LessThan
            | PredicateOperator::LessThanOrEq
            | PredicateOperator::GreaterThan
            | PredicateOperator::GreaterThanOrEq
            | PredicateOperator::Eq
            | PredicateOperator::In
            | PredicateOperator::StartsWith
    );
    if !is_decidable {
        return true;
    }
    // None of these holds for a null.
    if facts.has_only_nulls(field.id) {
        return false;
    }
    let lower = facts.lower(field.id, kind);
    let mut upper = facts.upper(field.id, kind);
    // NaN is the greatest number and never a bound.
    if matches!(kind, PrimitiveType::Float | PrimitiveType::Double) && !facts.has_no_nan(field.id) {
        upper = None;
    }
    let (lower, upper) = (lower.as_deref(), upper.as_deref());
    literals.iter().any(|literal| {
        let from_lower = lower.and_then(|lower| compare(lower, literal));
        let from_upper = upper.and_then(|upper| compare(upper, literal));
        match operator {
            PredicateOperator::LessThan => from_lower.is_none_or(Ordering::is_lt),
            PredicateOperator::LessThanOrEq => from_lower.is_none_or(Ordering::is_le),
            PredicateOperator::GreaterThan => from_upper.is_none_or(Ordering::is_gt),
            PredicateOperator::GreaterThanOrEq => from_upper.is_none_or(Ordering::is_ge),
            PredicateOperator::StartsWith => may_start(lower, upper, literal),
            _ => from_lower.is_none_or(Ordering::is_le) && from_upper.is_none_or(Ordering::is_ge),
        }
    })
}

/// May a text between the bounds start with this one?
fn may_start(lower: Option<&Datum>, upper: Option<&Datum>, prefix: &Datum) -> bool {
    let text = |datum: &Datum| match datum.literal() {
        PrimitiveLiteral::String(text) => Some(text.clone()),
        _ => None,
    };
    let Some(prefix) = text(prefix) else {
        return true;
    };
    let begins = |bound: &str| {
        bound
            .chars()
            .take(prefix.chars().count())
            .collect::<String>()
    };
    let above = lower
        .and_then(text)
        .is_some_and(|lower| begins(&lower) > prefix);
    let below = upper
        .and_then(text)
        .is_some_and(|upper| begins(&upper) < prefix);
    !above && !below
}
