//! Who asks: keys, what they may do, and how fast.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;

use crate::artifact::key::{ApiKey, Rate, Scope};
use crate::catalog::audit::{self, Actor, Who};
use crate::engine::steps;
use crate::http::errors::Problem;
use crate::http::threads::elsewhere;
use crate::http::{App, body};

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// A token bucket for each key. They live as long as the server: keys are few, and made by its owner.
#[derive(Default)]
pub struct Buckets(Mutex<HashMap<String, (Rate, Arc<Bucket>)>>);

/// What a bucket says of one request.
struct Turn {
    rate: Rate,
    remaining: u32,
    /// Seconds to wait; none: go ahead.
    wait: Option<u64>,
}

impl Buckets {
    fn take(&self, key: &str, rate: Rate) -> Turn {
        let bucket = {
            let mut all = self.0.lock();
            match all.get(key) {
                Some((known, bucket)) if *known == rate => Arc::clone(bucket),
                _ => {
                    let at_least_one = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
                    let quota = Quota::per_second(at_least_one(rate.sustained)).allow_burst(at_least_one(rate.burst));
                    let bucket = Arc::new(RateLimiter::direct(quota).with_middleware());
                    all.insert(key.to_owned(), (rate, Arc::clone(&bucket)));
                    bucket
                }
            }
        };
        match bucket.check() {
            Ok(state) => Turn { rate, remaining: state.remaining_burst_capacity(), wait: None },
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                // Rounded up: who comes at the second said is let in.
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                Turn { rate, remaining: 0, wait: Some(seconds.max(1)) }
            }
        }
    }
}

impl Turn {
    fn tell(&self, headers: &mut HeaderMap, now: i64) {
        let missing = self.rate.burst.saturating_sub(self.remaining);
        let full = now + i64::from(missing.div_ceil(self.rate.sustained.max(1)));
        for (name, value) in
            [(LIMIT, i64::from(self.rate.burst)), (REMAINING, i64::from(self.remaining)), (RESET, full)]
        {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

/// Lets in whoever has a key and is not too fast, counts the request, and says how many more may come.
pub async fn guard(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let key = match key_of(&app, request.headers()).await {
        Ok(key) => key,
        Err(problem) => return problem.into_response(),
    };
    let turn = app.api.buckets.take(&key.id, key.rate.unwrap_or(app.api.rate));
    let now = app.store.clock.now().parts().0;
    let slot = app.api.requests.try_many(key.id.clone(), 1);
    let mut response = match (turn.wait, slot) {
        (Some(seconds), _) => Problem::rate_limited(seconds).into_response(),
        (None, Err(full)) => Problem::from(full).into_response(),
        (None, Ok(slot)) => {
            app.store.count_request(&key);
            let name = if key.name.is_empty() { key.id.clone() } else { format!("{} ({})", key.name, key.id) };
            let actor = Actor { door: "http", who: Who::Named(name) };
            let of = key.of.clone();
            request.extensions_mut().insert(Caller(Arc::new(key)));
            // A key holder's work is the mount's own: it does not stand behind it, as a stranger's does.
            let work = steps::scope(of, audit::scope(actor, async move { next.run(request).await }));
            let response = elsewhere(&app.home, work).await.unwrap_or_else(|e| Problem::from(e).into_response());
            response.map(|body| body::with(body, slot))
        }
    };
    turn.tell(response.headers_mut(), now);
    response
}

/// Before a door that is not of the API. A key is asked for unless only programs of this machine reach us and no key was ever
/// made that stands: then the door's own settings decide.
pub async fn guard_door(State(app): State<App>, request: Request, next: Next) -> Response {
    let shown = request.headers().contains_key(header::AUTHORIZATION);
    let open = !shown
        && app.private
        && match app.store.keys().await {
            Ok(keys) => keys.iter().all(|k| k.revoked.is_some()),
            Err(e) => return Problem::from(e).into_response(),
        };
    if !open {
        return guard(State(app), request, next).await;
    }
    let work = elsewhere(&app.home, async move { next.run(request).await });
    work.await.unwrap_or_else(|e| Problem::from(e).into_response())
}

/// The key that a request shows.
///
/// # Errors
/// 401.
pub async fn key_of(app: &App, headers: &HeaderMap) -> Result<ApiKey, Problem> {
    let said = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let key = said.and_then(|s| {
        let (scheme, key) = s.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let Some(key) = key else {
        return Err(unauthorized("An API key is needed: send 'Authorization: Bearer ak_live_…'."));
    };
    let found = app.store.authenticate(key).await?;
    found.ok_or_else(|| unauthorized("The API key is not valid, or was revoked."))
}

fn unauthorized(message: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", message).with(header::WWW_AUTHENTICATE, "Bearer")
}

/// The key that [`guard`] let in.
#[derive(Clone)]
pub struct Caller(pub Arc<ApiKey>);

fn caller(parts: &Parts, needed: Scope) -> Result<Arc<ApiKey>, Problem> {
    let Some(Caller(key)) = parts.extensions.get::<Caller>() else {
        return Err(unauthorized("An API key is needed."));
    };
    if key.may(needed) {
        return Ok(Arc::clone(key));
    }
    let message = format!("This needs a key with the scope '{}'.", needed.as_str());
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", message))
}

/// A caller who may read.
pub struct Reader(pub Arc<ApiKey>);

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        caller(parts, Scope::Read).map(Self)
    }
}

/// A caller who may change things.
pub struct Writer(pub Arc<ApiKey>);

impl<S: Sync> FromRequestParts<S> for Writer {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        caller(parts, Scope::Write).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_says_when_to_come_again() {
        let buckets = Buckets::default();
        let rate = Rate { sustained: 1, burst: 2 };
        assert_eq!(buckets.take("a", rate).remaining, 1);
        assert_eq!(buckets.take("a", rate).remaining, 0);
        let turn = buckets.take("a", rate);
        assert_eq!(turn.wait, Some(1));
        let mut headers = HeaderMap::new();
        turn.tell(&mut headers, 100);
        assert_eq!(headers["x-ratelimit-limit"], "2");
        assert_eq!(headers["x-ratelimit-remaining"], "0");
        assert_eq!(headers["x-ratelimit-reset"], "102");
        // Another key has its own; another rate begins anew.
        assert!(buckets.take("b", rate).wait.is_none());
        assert!(buckets.take("a", Rate { sustained: 5, burst: 5 }).wait.is_none());
    }
}
