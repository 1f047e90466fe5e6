//! What a decoder prepares, and when.

use super::*;

fn version(n: usize) -> String {
    format!(
        r#"{{"type": "record", "name": "R", "doc": "version {n}", "fields": [{{"name": "id", "type": "long"}}]}}"#
    )
}

fn compiled(decoder: &Decoder) -> usize {
    let writers = decoder.writers.values();
    writers.filter(|writer| writer.plan.get().is_some()).count()
}

/// Records of two of many versions compile those, and a version that adds no column leaves what was
/// compiled.
#[test]
fn only_the_schemas_that_records_name_are_compiled() {
    let texts: Vec<String> = (0..90).map(version).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let decoder = Decoder::new(&shape(&texts[..89]));
    assert_eq!(compiled(&decoder), 0);
    let decoded = decoder.decode(&records([7, 89, 7].map(|id| framed(id, &[2]))));
    assert_eq!(decoded.expect("rows").batch.num_rows(), 3);
    assert_eq!(compiled(&decoder), 2);

    let grown = Decoder::grown(&shape(&texts), Some(&decoder));
    assert_eq!((grown.writers.len(), compiled(&grown)), (90, 2));
    let decoded = grown.decode(&records([framed(90, &[2])])).expect("rows");
    assert_eq!((decoded.batch.num_rows(), compiled(&grown)), (1, 3));

    let other = Decoder::grown(&shape(&[r#""long""#]), Some(&grown));
    assert_eq!(compiled(&other), 0, "its columns are others");
}
