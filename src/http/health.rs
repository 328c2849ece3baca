//! `/health`, `/health/ready` and `/metrics`: for those who watch over us.

use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::artifact::Error;
use crate::artifact::key::Scope;
use crate::engine::ready::Readiness;
use crate::http::errors::Problem;
use crate::http::{App, auth, host};
use crate::metrics;

/// A look at catalog and store is good for so long: whoever asks more often costs us nothing.
const FRESH: Duration = Duration::from_secs(2);

/// The last look.
#[derive(Default)]
pub struct Probe(tokio::sync::Mutex<Option<(Instant, Readiness)>>);

/// We are there. Says nothing of catalog and store: a supervisor that restarts us mends neither.
pub async fn live() -> Response {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(json!({"status": "ok"}))).into_response()
}

/// The catalog takes writes and the store answers, as of two seconds ago at most. What fails is said; why stands in the log.
pub async fn ready(State(app): State<App>) -> Response {
    // Held while looking: those who come meanwhile take the same answer.
    let mut last = app.probe.0.lock().await;
    let known = last.take().filter(|(at, _)| at.elapsed() < FRESH);
    let found = match known {
        Some((at, found)) => (at, found),
        None => {
            let found = app.store.ready().await;
            for (what, failed) in [("catalog", &found.catalog), ("store", &found.blobs)] {
                if let Some(e) = failed {
                    tracing::warn!(what, "not ready: {e}");
                }
            }
            (Instant::now(), found)
        }
    };
    let say = |failed: &Option<Error>| if failed.is_none() { "ok" } else { "failed" };
    let (status, word) =
        if found.1.is_ready() { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    let body = json!({"status": word, "catalog": say(&found.1.catalog), "store": say(&found.1.blobs)});
    *last = Some(found);
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
}

/// The instruments. To programs of this machine without a key, unless a proxy stands before us or a stranger's name leads here; else a key that may read.
pub async fn metrics(State(app): State<App>, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    if !app.private || !host::is_ours(&parts, &app.store.options.public_url) {
        let key = auth::key_of(&app, &parts.headers).await?;
        if !key.may(Scope::Read) {
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "This needs a key with the scope 'read'."));
        }
    }
    if let Err(e) = app.store.measure_queue().await {
        // The catalog's own counter tells of it; all else is still worth reading.
        tracing::warn!("the queue could not be measured: {e}");
    }
    if let Some(bytes) = resident() {
        metrics::get().resident_bytes.set(bytes);
    }
    let headers = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, metrics::get().text()).into_response())
}

/// Resident memory in bytes, where the kernel tells.
fn resident() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok().map(|kib| kib << 10)
}
