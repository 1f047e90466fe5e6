//! Schemas that refer to others. The door takes none yet; what the state has is protected by it already.

use tarn_model::{SchemaFormat, SchemaReference};
use tarn_state::commands::RegisterSchema;

use super::*;

/// Confluent's `Errors.referenceExistsException` over `SchemaKey.toString`.
#[tokio::test]
async fn a_version_that_others_refer_to_is_not_deleted() {
    let (node, registry, _) = routers().await;
    let path = "/subjects/line/versions";
    send(&registry, Method::POST, path, json!({"schema": ORDER})).await;
    let refers = Command::RegisterSchema(RegisterSchema {
        subject: "order".to_owned(),
        guid: [7; 16],
        format: SchemaFormat::Avro,
        text: "\"Order\"".to_owned(),
        columns: Vec::new(),
        references: vec![SchemaReference {
            name: "Order".to_owned(),
            subject: "line".to_owned(),
            version: 1,
        }],
    });
    let proposed = node
        .metastore
        .propose(vec![refers], Instant::now() + PATIENCE);
    proposed.await.expect("it is registered");
    let why = "One or more references exist to the schema \
               {magic=1,keytype=SCHEMA,subject=line,version=1}.";
    let refused = (422, json!({"error_code": 42206, "message": why}));
    let delete = async |path: &str| send(&registry, Method::DELETE, path, json!(null)).await;
    for path in [
        "/subjects/line/versions/1",
        "/subjects/line/versions/latest",
        "/subjects/line/versions/1?permanent=true",
        "/subjects/line",
        "/subjects/line?permanent=true",
    ] {
        assert_eq!(delete(path).await, refused, "{path}");
    }
    assert_eq!(delete("/subjects/order").await, (200, json!([1])));
    assert_eq!(delete("/subjects/line").await, (200, json!([1])));
}
