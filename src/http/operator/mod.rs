//! The operator's view, at `/`: sessions, search, use, links, keys; to whoever signs in with a key of scope `admin`.
//!
//! [`signin`] has who is signed in and the protection of forms, [`home`] the first page and its [`plot`]s, [`lists`] sessions and
//! search, [`manage`] links and keys. What agents made is shown by the same pages, with the same policies, as under a link.

mod home;
mod lists;
mod manage;
mod plot;
pub mod signin;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use maud::{Markup, html};

use crate::http::App;
use crate::http::pages;

/// Largest form: a name and a token.
const FORM_MAX: usize = 16 << 10;

pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(home::page))
        .route("/signin", post(signin::sign_in))
        .route("/signout", post(signin::sign_out))
        .route("/sessions", get(lists::sessions))
        .route("/sessions/{session}", get(lists::session))
        .route("/sessions/{session}/f/{*file}", get(lists::file))
        .route("/sessions/{session}/v/{artifact}", get(lists::view))
        .route("/sessions/{session}/zip", get(lists::zip))
        .route("/search", get(lists::search))
        .route("/links", get(manage::links))
        .route("/links/{link}/revoke", post(manage::revoke_link))
        .route("/keys", get(manage::keys).post(manage::make_key))
        .route("/keys/{key}/revoke", post(manage::revoke_key))
        .layer(DefaultBodyLimit::max(FORM_MAX))
}

/// The parts of the view, in the order of the menu.
const PARTS: [(&str, &str); 5] =
    [("/", "Overview"), ("/sessions", "Sessions"), ("/search", "Search"), ("/links", "Links"), ("/keys", "Keys")];

/// A page of the view with its menu. `here`: the address of the part that it belongs to.
fn page(status: StatusCode, title: &str, here: &str, csrf: &str, content: &Markup) -> Response {
    let whole = html! {
        div.operator {
            nav.menu aria-label="Main" {
                ul {
                    @for (address, name) in PARTS {
                        li { a href=(address) aria-current=[(address == here).then_some("page")] { (name) } }
                    }
                }
                form method="post" action="/signout" {
                    input type="hidden" name="csrf" value=(csrf);
                    button.plain type="submit" { "Sign out" }
                }
            }
            (content)
        }
    };
    kept_nowhere(pages::page(status, &format!("{title} · outputfs"), &whole))
}

/// Neither the browser nor a proxy keeps it: after signing out nothing is left to look at.
fn kept_nowhere(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
