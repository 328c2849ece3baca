//! Whose key it is, and what was used.

use axum::extract::State;
use axum::http::{HeaderMap, header};

use super::model::{ErrorBody, Whoami};
use crate::http::App;
use crate::http::auth::Reader;
use crate::http::errors::Problem;

/// No limit, to the one client that breaks down over a null: the largest whole number that it reads exactly.
const UNLIMITED: u64 = 9_007_199_254_740_991;
const FORMATS_NUMBERS: &str = "artifacta-cli/";

/// The account behind the key: its limits and what was used of them.
#[utoipa::path(
    get, path = "/v1/whoami", operation_id = "whoami", tag = "account", security(("key" = [])),
    responses((status = 200, description = "The account", body = Whoami), (status = "4XX", description = "Refused", body = ErrorBody), (status = "5XX", description = "Failed", body = ErrorBody))
)]
pub async fn whoami(
    State(app): State<App>,
    Reader(key): Reader,
    headers: HeaderMap,
) -> Result<axum::Json<Whoami>, Problem> {
    let store = &app.store;
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let limit = |max: Option<u64>| max.or(agent.starts_with(FORMATS_NUMBERS).then_some(UNLIMITED));
    let usage = store.usage().await?;
    let rate = key.rate.unwrap_or(app.api.rate);
    Ok(axum::Json(Whoami {
        tenant_name: store.tenant_name.to_string(),
        plan: String::from("self-hosted"),
        api_key_last_4: key.last4.clone(),
        scopes: key.scopes.iter().map(|s| s.as_str().to_owned()).collect(),
        usage_requests_month: store.requests_this_month().await?,
        plan_requests_limit_month: limit(None),
        usage_storage_bytes: usage.logical_bytes,
        plan_storage_limit_bytes: limit(usage.max_bytes),
        active_links: store.catalog.active_links(store.tenant.id, store.clock.now()).await?,
        max_active_links: limit(store.catalog.room(store.tenant.id).await?.quota.max_links),
        rate_limit_sustained: rate.sustained,
        rate_limit_burst: rate.burst,
    }))
}
