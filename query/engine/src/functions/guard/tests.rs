use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use datafusion::arrow::array::{
    BinaryArray, BooleanArray, FixedSizeBinaryArray, Int64Array, ListArray, MapArray, StringArray,
    StringViewArray, StructArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{cast, nullif};
use datafusion::arrow::datatypes::{Field, Int64Type};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::scalar::ScalarValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::growth::{STATES_MAX, states};
use super::*;
use crate::limits::QueryMemory;
use crate::{EngineSettings, session};

/// Parts of arrays of each layout, all of whose values are null by `nullif` but the first.
fn parts() -> Vec<ArrayRef> {
    let texts: Vec<String> = (0..400)
        .map(|n| format!("a text longer than a view {n}"))
        .collect();
    let bytes: Vec<&[u8]> = texts.iter().map(|text| &text.as_bytes()[..16]).collect();
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..400));
    let lists = (0..400).map(|n| Some(vec![Some(n), None]));
    let field = Arc::new(Field::new("n", DataType::Int64, true));
    let all: Vec<ArrayRef> = vec![
        Arc::clone(&numbers),
        Arc::new(StringArray::from_iter_values(&texts)),
        Arc::new(StringViewArray::from_iter_values(&texts)),
        Arc::new(BinaryArray::from_iter_values(&bytes)),
        Arc::new(FixedSizeBinaryArray::try_from_iter(bytes.iter()).expect("all are of one length")),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        Arc::new(StructArray::from(vec![(field, numbers)])),
    ];
    let are_null = BooleanArray::from((0..200).map(|n| n > 0).collect::<Vec<bool>>());
    all.iter()
        .map(|array| nullif(&array.slice(200, 200), &are_null).expect("as many as values"))
        .collect()
}

#[test]
fn a_part_of_an_array_whose_nulls_are_new_is_held_as_it_is() {
    let memory = QueryMemory::new(EngineSettings::default().memory_limit);
    let limits = QueryLimits::new(
        &memory,
        Duration::from_secs(60),
        Instant::now(),
        CancellationToken::new(),
    );
    for array in parts() {
        let bytes = size_of(&array);
        let reservation = limits.reserve("nullif", bytes).expect("there is much");
        let kept = held(&array, reservation).expect("it is an array");
        assert_eq!(&kept, &array);
        assert_eq!(kept.null_count(), 199, "{}", array.data_type());
        assert!(memory.reserved() as u64 >= bytes, "{}", array.data_type());
        drop(kept);
        assert_eq!(memory.reserved(), 0);
    }
}

#[track_caller]
fn check_cost(name: &str, values: &[ScalarValue], expected: u128) {
    let values: Vec<ColumnarValue> = values.iter().cloned().map(ColumnarValue::Scalar).collect();
    let arguments = Argument::of(&values).expect("they are arrays");
    let growth = growth::of(name).expect("it stands in the table");
    let beside = growth::cost(None, &arguments, &(7..8)).bytes;
    let cost = growth::cost(Some(growth), &arguments, &(7..8)).bytes;
    assert!(
        (expected..=expected + beside + 64).contains(&cost),
        "{name}: {cost}"
    );
}

#[test]
fn huge_arguments_cost_all_there_is_and_do_not_wrap() {
    let text = |text: &str| ScalarValue::from(text);
    let number = |number: i64| ScalarValue::from(number);
    let all = u128::from(i64::MAX.unsigned_abs());
    check_cost("repeat", &[text("xy"), number(3)], 6);
    check_cost("repeat", &[text("x"), number(-3)], 0);
    check_cost("repeat", &[text("x"), number(i64::MAX)], all);
    check_cost("repeat", &[text("xyz"), number(i64::MAX)], 3 * all);
    check_cost("rpad", &[text("x"), number(i64::MAX)], 4 * all);
    check_cost("array_repeat", &[text("x"), number(i64::MAX)], 66 * all);
    check_cost("array_resize", &[text("x"), number(i64::MAX)], 16 * all);
    check_cost("range", &[number(10)], 176);
    check_cost("range", &[number(10), number(0)], 16);
    check_cost("range", &[number(10), number(0), number(-5)], 48);
    check_cost("range", &[number(10), number(0), number(0)], 16);
    check_cost("range", &[number(i64::MIN), number(i64::MAX)], 16 << 64);
}

#[test]
fn repetitions_in_a_regular_expression_are_states() {
    assert_eq!(states("^a.c$"), 5);
    assert_eq!(states("[a-z]{2,8}"), 80);
    assert_eq!(states("(((a{100}){100}){100})"), STATES_MAX);
    assert_eq!(states("{{}}{x}"), 7);
}

/// A function is called so often with values of the same kinds, about.
const CALLS: usize = 100;

/// Values of each kind that functions take, with many places, letters that grow, and nothing.
fn kinds() -> Vec<ArrayRef> {
    let (same, growing) = ("a".repeat(200), "ŉİß".repeat(50));
    let texts = [
        "",
        "a",
        "hex",
        "md5",
        "{\"a\": [1, {\"a\": 2}]}",
        &same,
        &growing,
    ];
    let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![-1, 0, 2, 300]));
    let lists = [
        vec![],
        vec![Some(1), None],
        (0..200).map(|n| Some(n % 7)).collect(),
    ];
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists.map(Some));
    let lists: ArrayRef = Arc::new(lists);
    let field = Arc::new(Field::new_list_field(DataType::Utf8, true));
    let keys = StringArray::from_iter_values((0..3).map(|n| format!("key {n}")));
    let map = MapArray::new_from_strings(keys.iter().flatten(), &keys, &[0, 1, 3]);
    let columns = vec![(Arc::clone(&field), Arc::clone(&texts))];
    vec![
        cast(&texts, &DataType::Binary).expect("bytes of a text"),
        cast(&lists, &DataType::List(field)).expect("numbers have a text"),
        texts,
        numbers,
        lists,
        Arc::new(TimestampMicrosecondArray::from(vec![0, -1])),
        Arc::new(map.expect("as many keys as values")),
        Arc::new(StructArray::from(columns)),
    ]
}

/// All ways to choose so many, one of these for each place.
fn choices(of: &[usize]) -> Vec<Vec<usize>> {
    of.iter().fold(vec![Vec::new()], |chosen, count| {
        let more = |it: Vec<usize>| (0..*count).map(move |next| [&it[..], &[next]].concat());
        chosen.into_iter().flat_map(more).collect()
    })
}

/// Calls a function with one row: what it gave, and what it was thought to need; `None` if it refuses the values.
fn measured(function: &ScalarUDF, fields: &[FieldRef], values: &[ArrayRef]) -> Option<(u64, u128)> {
    let scalar = |it: &ArrayRef| ScalarValue::try_from_array(it, 0).ok();
    let scalars: Vec<Option<ScalarValue>> = values.iter().map(scalar).collect();
    let scalars: Vec<Option<&ScalarValue>> = scalars.iter().map(Option::as_ref).collect();
    let return_field = function.return_field_from_args(ReturnFieldArgs {
        arg_fields: fields,
        scalar_arguments: &scalars,
    });
    let return_field = return_field.ok()?;
    let growth = growth::of(function.name());
    if growth.is_none() && has_width(return_field.data_type()) {
        return None;
    }
    // Some take constants only, but for the first.
    let later = scalars.iter().skip(1).flatten();
    let later = later.map(|it| ColumnarValue::Scalar(ScalarValue::clone(it)));
    let first = values.first().cloned().map(ColumnarValue::Array);
    let args: Vec<ColumnarValue> = first.into_iter().chain(later).collect();
    let thought = growth::cost(growth, &Argument::of(&args).ok()?, &(0..1)).bytes;
    let call = ScalarFunctionArgs {
        args,
        arg_fields: fields.to_vec(),
        number_rows: 1,
        return_field,
        config_options: Arc::default(),
    };
    // Some of DataFusion's panic where they should refuse.
    let answer = catch_unwind(AssertUnwindSafe(|| function.invoke_with_args(call)));
    let answer = answer.ok()?.ok()?.into_array(1).ok()?;
    Some((size_of(&answer), thought))
}

/// Calls a function with values of these kinds: is it one that is guarded, and takes them?
#[track_caller]
fn check_growth(function: &ScalarUDF, kinds: &[&ArrayRef]) -> bool {
    let field = |it: &&ArrayRef| Arc::new(Field::new("it", it.data_type().clone(), true));
    let fields: Vec<FieldRef> = kinds.iter().map(field).collect();
    let Ok(fields) = fields_with_udf(&fields, function) else {
        return false;
    };
    let columns = kinds.iter().zip(&fields);
    let columns = columns.map(|(it, field)| cast(it, field.data_type()));
    let Ok(columns) = columns.collect::<Result<Vec<ArrayRef>, _>>() else {
        return false;
    };
    let counts: Vec<usize> = columns.iter().map(|it| it.len()).collect();
    let choices = choices(&counts);
    let mut takes = false;
    for rows in choices.iter().step_by(1 + choices.len() / CALLS) {
        let values = columns.iter().zip(rows).map(|(it, row)| it.slice(*row, 1));
        let values: Vec<ArrayRef> = values.collect();
        if let Some((bytes, thought)) = measured(function, &fields, &values) {
            takes = true;
            let name = function.name();
            assert!(
                u128::from(bytes) <= thought,
                "{name} of {values:?} gives {bytes} bytes and not {thought}"
            );
        }
    }
    takes
}

#[test]
fn no_function_gives_more_than_it_is_thought_to() {
    let session = session::base(1).expect("our functions have names of their own");
    let kinds = kinds();
    // What replaces all that it finds is told so by its fourth argument.
    let flagged: ArrayRef = Arc::new(StringArray::from(vec!["", "g", &"a".repeat(200)]));
    let mut measured = BTreeSet::new();
    for name in session.udfs() {
        let function = session.udf(&name).expect("it is registered");
        for chosen in (0..4).flat_map(|count| choices(&vec![kinds.len(); count])) {
            let chosen: Vec<&ArrayRef> = chosen.into_iter().map(|it| &kinds[it]).collect();
            if check_growth(&function, &chosen) {
                measured.insert(function.name().to_owned());
            }
        }
        check_growth(&function, &[&flagged; 4]);
    }
    // Most of those whose values have no fixed width; others are replaced before they are called.
    assert!(measured.len() > 80, "{measured:?}");
}
