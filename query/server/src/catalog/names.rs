//! Names in a path and parameters behind it, or an error in the specification's form.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::error::CatalogError;

/// The names in a path, unescaped.
#[derive(Debug)]
pub(super) struct Names<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Names<T> {
    type Rejection = CatalogError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Names<T>, CatalogError> {
        well_escaped(parts.uri.path())?;
        let names = Path::from_request_parts(parts, state).await;
        names
            .map(|Path(names)| Names(names))
            .map_err(|why: PathRejection| CatalogError::BadRequest(why.body_text()))
    }
}

/// The parameters that matter; others are passed over.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = CatalogError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &S,
    ) -> Result<Parameters<T>, CatalogError> {
        well_escaped(parts.uri.query().unwrap_or_default())?;
        let parameters = Query::from_request_parts(parts, state).await;
        parameters
            .map(|Query(parameters)| Parameters(parameters))
            .map_err(|why: QueryRejection| CatalogError::BadRequest(why.body_text()))
    }
}

/// Each `%` begins an escape of two digits: what decodes a path leaves others as they are.
fn well_escaped(text: &str) -> Result<(), CatalogError> {
    for escape in text.split('%').skip(1) {
        let digits = escape.as_bytes().get(..2).unwrap_or_default();
        if digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            let escape: String = escape.chars().take(2).collect();
            return Err(CatalogError::BadRequest(format!(
                "%{escape} is no escape of two hexadecimal digits"
            )));
        }
    }
    Ok(())
}
