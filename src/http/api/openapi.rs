//! The API's description, made from the code.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{account, artifacts, create, links, model, publish, sessions, uploads};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "outputfs",
        description = "An artifact store for what agents make. Errors are `{\"error\":{code,message,status}}`; times are RFC 3339, UTC."
    ),
    paths(
        create::create,
        artifacts::list,
        artifacts::get,
        artifacts::download_url,
        artifacts::content,
        artifacts::delete,
        artifacts::extend_ttl,
        uploads::announce,
        uploads::take,
        uploads::complete,
        links::create,
        links::list,
        links::revoke,
        publish::publish,
        publish::unpublish,
        sessions::list,
        sessions::seal,
        sessions::delete,
        sessions::restore,
        account::whoami
    ),
    components(schemas(model::ErrorBody)),
    tags(
        (name = "artifacts", description = "What agents make"),
        (name = "uploads", description = "Bytes that clients put into the store themselves"),
        (name = "links", description = "Public, expiring, revocable URLs"),
        (name = "pages", description = "Artifacts as public pages"),
        (name = "sessions", description = "Groups of artifacts"),
        (name = "account", description = "Keys and use")
    ),
    modifiers(&Key)
)]
struct Description;

struct Key;

impl Modify for Key {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("ak_live_…")
            .description(Some("A key of `outputfs key create`"))
            .build();
        openapi.components.get_or_insert_default().add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// `/openapi.json`.
pub async fn document() -> Response {
    let mut response = axum::Json(description()).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_says_its_errors_and_who_may() {
        let text = serde_json::to_value(description()).unwrap();
        assert!(text["openapi"].as_str().unwrap().starts_with("3.1"));
        let paths = text["paths"].as_object().unwrap();
        assert!(paths.len() >= 13, "{}", paths.len());
        let mut ids = std::collections::HashSet::new();
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                assert!(operation["responses"].get("4XX").is_some(), "{method} {path}");
                // Unique among all (OpenAPI 3.1, 4.8.10): clients name their functions by it.
                assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
                let open = path.ends_with("/content") || path.starts_with("/v1/uploads/");
                assert_eq!(operation.get("security").is_none(), open, "{method} {path}");
            }
        }
    }
}
