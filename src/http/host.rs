//! By which name we were called. A page of another site can have its own name lead to this machine, and its visitor's browser then
//! calls us by that name: a door that is open to programs of this machine answers to names of this machine alone.

use std::net::IpAddr;

use axum::http::header;
use axum::http::request::Parts;

/// An address, `localhost`, or the host of `public_url`. What says no name is no browser.
pub fn is_ours(parts: &Parts, public_url: &str) -> bool {
    let said = parts.headers.get(header::HOST).map(|v| v.to_str().unwrap_or_default());
    let Some(said) = said.or_else(|| parts.uri.host()) else { return true };
    let name = without_port(said).to_ascii_lowercase();
    let public = public_url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    name.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || name == without_port(public).to_ascii_lowercase()
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        let ours = |host: &str| {
            let request = axum::http::Request::get("/metrics").header("host", host).body(()).unwrap();
            is_ours(&request.into_parts().0, "https://files.example.org:8443/x")
        };
        for good in ["127.0.0.1:7780", "[::1]:7780", "localhost", "a.LOCALHOST:1", "files.example.org", "192.0.2.7"] {
            assert!(ours(good), "{good}");
        }
        for bad in ["evil.example:7780", "localhost.evil.example", "127.0.0.1.evil.example", "", "\u{e9}"] {
            assert!(!ours(bad), "{bad}");
        }
    }
}
