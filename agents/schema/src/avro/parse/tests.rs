use apache_avro::Schema as Reference;

use super::*;
use crate::avro::types::FixedLogical;

#[track_caller]
fn canonical(text: &str) -> String {
    let schema = parse(text, &[]).unwrap_or_else(|error| panic!("{text}: {error}"));
    // What we accept, the reference implementation accepts too, in both forms.
    for text in [text, schema.canonical()] {
        if let Err(error) = Reference::parse_str(text) {
            panic!("apache-avro refuses {text}: {error}");
        }
    }
    let again = parse(schema.canonical(), &[]).expect("canonical text is a schema");
    assert_eq!(again, schema, "canonical text is the same schema");
    schema.canonical
}

#[track_caller]
fn refused(text: &str) -> String {
    match parse(text, &[]) {
        Ok(_) => panic!("{text} is accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn canonical_text_has_no_whitespace_and_keeps_docs_defaults_and_properties() {
    let text = r#" { "fields": [
            { "type": { "type" : "int" }, "default": 7, "doc": "how \"many\"", "name": "n" },
            { "name": "at", "type": {"logicalType":"timestamp-millis","type":"long"}, "order":"ignore", "pii": true},
            { "name": "kind", "type": {"type":"enum","name":"Kind","symbols":["A","B"],"default":"A"}, "aliases":["k"]},
            { "name": "again", "type": ["null", "org.shop.Kind"], "default": null}
        ], "doc": "An order.", "namespace": "org.shop", "type": "record", "name": "Order", "aliases": ["Purchase"], "owner":{"b":1,"a":2} } "#;
    expect_test::expect![[
        r#"{"type":"record","name":"Order","namespace":"org.shop","doc":"An order.","fields":[{"name":"n","type":"int","doc":"how \"many\"","default":7},{"name":"at","type":{"type":"long","logicalType":"timestamp-millis"},"order":"ignore","pii":true},{"name":"kind","type":{"type":"enum","name":"Kind","symbols":["A","B"],"default":"A"},"aliases":["k"]},{"name":"again","type":["null","Kind"],"default":null}],"owner":{"a":2,"b":1},"aliases":["Purchase"]}"#
    ]]
    .assert_eq(&canonical(text));
    assert_eq!(canonical(r#"{"type":"string"}"#), r#""string""#);
    assert_eq!(
        canonical(r#"{"type":"array","items":{"type":"map","values":"bytes"}}"#),
        r#"{"type":"array","items":{"type":"map","values":"bytes"}}"#
    );
}

#[test]
fn a_namespace_is_inherited_and_may_be_left() {
    let text = r#"{"type":"record","name":"a.b.Outer","namespace":"ignored","fields":[
        {"name":"x","type":{"type":"fixed","name":"In","size":3}},
        {"name":"y","type":{"type":"fixed","name":"Out","namespace":"","size":4}},
        {"name":"z","type":"a.b.In"},
        {"name":"w","type":"In"},
        {"name":"v","type":"Out"}]}"#;
    let schema = parse(text, &[]).expect("a schema");
    assert_eq!(schema.full_name(), Some("a.b.Outer"));
    expect_test::expect![[
        r#"{"type":"record","name":"Outer","namespace":"a.b","fields":[{"name":"x","type":{"type":"fixed","name":"In","size":3}},{"name":"y","type":{"type":"fixed","name":"Out","namespace":"","size":4}},{"name":"z","type":"In"},{"name":"w","type":"In"},{"name":"v","type":"Out"}]}"#
    ]]
    .assert_eq(schema.canonical());
    assert_eq!(parse(schema.canonical(), &[]).expect("a schema"), schema);
}

#[test]
fn a_guid_depends_on_what_the_schema_says_and_on_its_references() {
    fn schema(text: &str, references: &[&str]) -> [u8; 16] {
        parse(text, references).expect("a schema").guid()
    }
    let item = r#"{"type":"record","name":"Item","fields":[{"name":"n","type":"int"}]}"#;
    let other = r#"{"type":"record","name":"Item","fields":[{"name":"n","type":"long"}]}"#;
    let order = r#"{"type":"record","name":"Order","fields":[{"name":"item","type":"Item"}]}"#;
    assert_eq!(schema(item, &[]), schema(&format!("  {item}\n"), &[]));
    assert_ne!(schema(item, &[]), schema(other, &[]));
    assert_ne!(schema(order, &[item]), schema(order, &[other]));
    assert!(parse(order, &[]).is_err(), "a reference that is not given");
    let guid = schema(item, &[]);
    assert_eq!((guid[6] >> 4, guid[8] >> 6), (8, 2));
    // What is once handed out must stay.
    expect_test::expect!["5f1166a5"].assert_eq(
        &guid[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>(),
    );
}

#[test]
fn a_logical_type_that_does_not_fit_is_its_base() {
    let root = |text: &str| parse(text, &[]).expect("a schema");
    for text in [
        r#"{"type":"bytes","logicalType":"decimal"}"#,
        r#"{"type":"bytes","logicalType":"decimal","precision":2,"scale":3}"#,
        r#"{"type":"bytes","logicalType":"decimal","precision":0}"#,
        r#"{"type":"bytes","logicalType":"unheard-of"}"#,
        r#"{"type":"bytes","logicalType":7}"#,
    ] {
        assert_eq!(root(text).root(), &Type::Bytes, "{text}");
    }
    assert_eq!(
        root(r#"{"type":"long","logicalType":"date"}"#).root(),
        &Type::Long
    );
    assert_eq!(
        root(r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#).root(),
        &Type::Decimal {
            precision: 9,
            scale: 2
        }
    );
    let fixed = |text: &str| match root(text).named.first() {
        Some(NamedType::Fixed(fixed)) => fixed.logical,
        other => panic!("{other:?}"),
    };
    let decimal = |precision| {
        format!(
            r#"{{"type":"fixed","name":"F","size":4,"logicalType":"decimal","precision":{precision}}}"#
        )
    };
    assert_eq!(
        fixed(&decimal(9)),
        FixedLogical::Decimal {
            precision: 9,
            scale: 0
        }
    );
    assert_eq!(fixed(&decimal(10)), FixedLogical::None);
    assert_eq!(
        fixed(r#"{"type":"fixed","name":"F","size":16,"logicalType":"uuid"}"#),
        FixedLogical::Uuid
    );
    assert_eq!(
        fixed(r#"{"type":"fixed","name":"F","size":15,"logicalType":"uuid"}"#),
        FixedLogical::None
    );
}

#[test]
fn defaults_must_fit_their_type() {
    let field = |kind: &str, default: &str| {
        parse(
            &format!(
                r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{kind},"default":{default}}}]}}"#
            ),
            &[],
        )
        .is_ok()
    };
    for (kind, default) in [
        (r#""int""#, "2147483647"),
        (r#""long""#, "-9223372036854775808"),
        (r#""double""#, "1"),
        (r#"["null","string"]"#, "null"),
        (r#"["null","string"]"#, r#""x""#),
        (r#"{"type":"array","items":"int"}"#, "[1,2]"),
        (r#"{"type":"map","values":"boolean"}"#, r#"{"a":true}"#),
        (
            r#"{"type":"record","name":"I","fields":[{"name":"n","type":"int"}]}"#,
            r#"{"n":1}"#,
        ),
        (r#"["null","R"]"#, "null"),
    ] {
        assert!(field(kind, default), "{kind} {default}");
    }
    for (kind, default) in [
        (r#""int""#, "2147483648"),
        (r#""long""#, "1.5"),
        (r#""string""#, "1"),
        (r#""boolean""#, "null"),
        (r#"["null","string"]"#, "1"),
        (r#"{"type":"array","items":"int"}"#, r#"["x"]"#),
        (
            r#"{"type":"record","name":"I","fields":[{"name":"n","type":"int"}]}"#,
            "{}",
        ),
    ] {
        assert!(!field(kind, default), "{kind} {default}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let cases = [
        "",
        "{",
        "7",
        "{}",
        r#"{"type":7}"#,
        r#""nonesuch""#,
        r#"{"type":"record","name":"9lives","fields":[]}"#,
        r#"{"type":"record","name":"R","namespace":"a..b","fields":[]}"#,
        r#"{"type":"record","name":"int","fields":[]}"#,
        r#"{"type":"record","name":"R"}"#,
        r#"{"type":"record","name":"R","aliases":["not a name"],"fields":[]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a-b","type":"int"}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a"}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array"}}]}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"fixed","name":"R","size":1}}]}"#,
        r#"{"type":"fixed","name":"F","size":-1}"#,
        r#"{"type":"enum","name":"E","symbols":["A","A"]}"#,
        r#"{"type":"enum","name":"E","symbols":["A"],"default":"B"}"#,
        "[]",
        r#"["int",["null","string"]]"#,
        r#"["int",{"type":"int","logicalType":"date"}]"#,
    ];
    let said: Vec<String> = cases.iter().map(|case| refused(case)).collect();
    expect_test::expect![[r#"
        at $: this is not JSON: EOF while parsing a value at line 1 column 0
        at $: this is not JSON: EOF while parsing an object at line 1 column 1
        at $: a type is a name, an object or an array of types
        at $: "type" is missing
        at $: "type" is not a string
        at $: no type is called "nonesuch"
        at $: "9lives" is not a name: a letter or an underscore, then letters, digits and underscores
        at $: "a..b" is not a namespace: names with dots between them
        at $: "int" is the name of a primitive type
        at $: "fields" is not an array of fields
        at $: "not a name" is not a name: a letter or an underscore, then letters, digits and underscores
        at $.fields[1]: two fields are called "a"
        at $.fields[0]: "a-b" is not a name: a letter or an underscore, then letters, digits and underscores
        at $.fields[0]: "type" is missing
        at $.fields[0].type: "items" is missing
        at $.fields[0].type: the type "R" is defined twice
        at $: "size" is not a number of bytes
        at $: the symbol "A" is there twice
        at $: the default "B" is none of the symbols
        at $: a union needs a branch
        at $[1]: a union may not stand directly in a union
        at $[1]: two branches of the union are "int""#]].assert_eq(&said.join("\n"));
}

#[test]
fn hostile_texts_end_in_an_error() {
    let deep = |n: usize| {
        format!(
            "{}\"int\"{}",
            r#"{"type":"array","items":"#.repeat(n),
            "}".repeat(n)
        )
    };
    assert!(parse(&deep(DEPTH_MAX - 1), &[]).is_ok());
    assert!(refused(&deep(DEPTH_MAX)).ends_with("types are nested deeper than 32"));
    assert!(refused(&"[".repeat(200_000)).contains("recursion limit"));
    let long = format!("\"{}\"", "x".repeat(caps::SCHEMA_BYTES_MAX));
    assert!(refused(&long).contains("more than 262144"));
}

#[test]
fn a_type_may_contain_itself() {
    let text =
        r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}"#;
    assert_eq!(canonical(text), text);
}
