//! What the two ways to alter configs share.

use std::collections::BTreeSet;

use futures::future::join_all;
use kafka_protocol::protocol::StrBytes;
use tarn_kafka::ErrorCode;

use crate::context::Context;

use super::refused::Refused;
use super::text::text;

/// A resource as requests name it: its type, and its name.
pub(super) type Named<'r> = (i8, &'r str);

/// Alters each resource by itself; one that is named twice is not altered. The log hears of refusals
/// whose code says too little.
pub(super) async fn each<'r, R, F: Future<Output = Result<(), Refused>>>(
    context: &Context,
    resources: &'r [R],
    name: impl Fn(&'r R) -> Named<'r>,
    alter: impl Fn(&'r R) -> F,
) -> Vec<Result<(), Refused>> {
    let mut seen = BTreeSet::new();
    let twice: BTreeSet<Named<'r>> = resources
        .iter()
        .map(&name)
        .filter(|resource| !seen.insert(*resource))
        .collect();
    let altering = resources.iter().map(|resource| {
        let once = (!twice.contains(&name(resource))).then(|| alter(resource));
        async {
            let result = match once {
                Some(altering) => altering.await,
                None => {
                    let why = "the request names this resource twice";
                    Err((ErrorCode::InvalidRequest, why.to_owned()))
                }
            };
            if let Err((code, message)) = &result {
                context.log_refusal(*code, message);
            }
            result
        }
    });
    join_all(altering).await
}

/// The code and the message that an answer has for a result.
pub(super) fn told(result: Result<(), Refused>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (ErrorCode::None.code(), None),
        Err((code, message)) => (code.code(), Some(text(message))),
    }
}
