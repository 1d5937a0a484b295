//! The API's description in OpenAPI: made from the handlers, served at `/v1/openapi.json` of both parts.

use axum::{Json, Router, http::StatusCode, routing::get};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, RefOr, ResponseBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::router::OpenApiRouter;

use super::errors::Refusal;

/// Path of the description.
pub const OPENAPI_PATH: &str = "/v1/openapi.json";

/// Security scheme of owners' tokens.
struct Tokens;

impl Modify for Tokens {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token from `POST /v1/jobs/{id}/token`"))
            .build();
        api.components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Assay worker: public part",
        description = "Health, status and probes of one machine. Plain HTTP; the status is signed by the worker key.",
    ),
    components(schemas(Refusal))
)]
struct PublicPart;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Assay worker: owner part",
        description = "Jobs of one machine, for their consumers and delegates. Over TLS with a key that the worker key \
                       vouches for, see `GET /v1/owner` of the public part.",
    ),
    components(schemas(Refusal)),
    modifiers(&Tokens)
)]
struct OwnerApi;

/// Returns the description of the public part without its paths.
pub(super) fn public() -> utoipa::openapi::OpenApi {
    PublicPart::openapi()
}

/// Returns the description of the owner part without its paths.
pub(super) fn owner() -> utoipa::openapi::OpenApi {
    OwnerApi::openapi()
}

/// Adds the refusals that the limits can cause to every path, and returns the routes with that of the
/// description itself.
pub(super) fn finish<S: Clone + Send + Sync + 'static>(router: OpenApiRouter<S>) -> Router<S> {
    let (routes, mut api) = router.split_for_parts();
    for item in api.paths.paths.values_mut() {
        for operation in [&mut item.get, &mut item.put, &mut item.post, &mut item.delete] {
            operation.iter_mut().for_each(add_limits);
        }
    }
    routes.route(OPENAPI_PATH, get(move || std::future::ready(Json(api.clone()))))
}

/// Returns the description of a response with a [`Refusal`].
pub(super) fn refusal(description: &str) -> utoipa::openapi::Response {
    let schema = Ref::from_schema_name("Refusal");
    ResponseBuilder::new()
        .description(description)
        .content(
            "application/json",
            ContentBuilder::new().schema(Some(schema)).build(),
        )
        .build()
}

fn add_limits(operation: &mut Operation) {
    for (code, description) in [
        (
            StatusCode::TOO_MANY_REQUESTS,
            "The address sends too many requests",
        ),
        (
            StatusCode::INTERNAL_SERVER_ERROR,
            "The worker failed; its log says why",
        ),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "The worker is overloaded, or not ready",
        ),
    ] {
        operation
            .responses
            .responses
            .entry(code.as_str().to_owned())
            .or_insert_with(|| RefOr::T(refusal(description)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use crate::api::{owner, proxy, public, streams};

    /// Collects the names in a description's schemas: keys of objects, and values of enums.
    fn collect_names(schema: &Value, names: &mut Vec<String>) {
        match schema {
            Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
            Value::Object(fields) => {
                for (key, value) in fields {
                    match (key.as_str(), value) {
                        ("properties", Value::Object(properties)) => {
                            names.extend(properties.keys().cloned());
                            properties
                                .values()
                                .for_each(|property| collect_names(property, names));
                        }
                        ("enum", Value::Array(values)) => {
                            names.extend(values.iter().filter_map(Value::as_str).map(ToOwned::to_owned));
                        }
                        _ => collect_names(value, names),
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn every_name_in_the_worker_s_json_is_in_snake_case() {
        let descriptions = [
            public::routes().into_openapi(),
            owner::routes().into_openapi(),
            streams::description(),
            proxy::description(),
        ];
        let mut names = Vec::new();
        for description in descriptions {
            collect_names(&serde_json::to_value(description).unwrap(), &mut names);
        }
        // A key and an enum value of `/status`, and a key of a job's status.
        for known in ["best_block_hash", "connecting", "result_hash"] {
            assert!(
                names.iter().any(|name| name == known),
                "{known} is not in {names:?}"
            );
        }
        let is_snake_case = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_lowercase())
                && name
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        };
        let others: Vec<_> = names.iter().filter(|name| !is_snake_case(name)).collect();
        assert!(others.is_empty(), "{others:?}");
    }
}
