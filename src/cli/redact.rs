//! Taking names out of what is sent to others: what went wrong stays, whose it was does not.
//!
//! It errs on the side of leaving out: a name in a place that is not known may look like a word of ours, so whoever sends a bundle is told
//! to look into it first.

use serde_json::Value;

/// Fields of log lines and of JSON whose values name something of the user's.
const NAMES: [&str; 36] = [
    "agent",
    "agent_id",
    "argv",
    "argv0",
    "bucket",
    "command",
    "cwd",
    "dir",
    "endpoint",
    "executable",
    "file",
    "filename",
    "from",
    "host",
    "hostname",
    "id",
    "key",
    "link",
    "mountpoint",
    "name",
    "nodename",
    "path",
    "paths",
    "prefix",
    "public_url",
    "script",
    "session",
    "session_id",
    "state_dir",
    "store",
    "tenant",
    "to",
    "unsaved",
    "uri",
    "url",
    "who",
];
const GONE: &str = "…";

/// Of a line of a log or a sentence.
pub fn text(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let before = out.chars().last();
        let begins = before.is_none_or(|b| b.is_whitespace() || "(=\"'[{,:".contains(b));
        if c == '\''
            && begins
            && let Some(end) = rest[1..].find('\'')
        {
            out.push_str("'…'");
            rest = &rest[end + 2..];
        } else if begins && let Some((name, value)) = field(rest) {
            out.push_str(name);
            out.push('=');
            out.push_str(GONE);
            rest = &rest[name.len() + 1 + value..];
        } else if begins && (c == '/' || secret(rest)) {
            let end = rest.find(|c: char| c.is_whitespace() || "\"'),;]}".contains(c)).unwrap_or(rest.len());
            // A slash alone is a word.
            out.push_str(if end > 1 { GONE } else { "/" });
            rest = &rest[end..];
        } else if let Some(at) = url(rest).filter(|_| begins) {
            let end = rest.find(|c: char| c.is_whitespace() || "\"'),;]}".contains(c)).unwrap_or(rest.len());
            out.push_str(&rest[..at]);
            out.push_str(GONE);
            rest = &rest[end..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// Of all that is in it.
pub fn json(value: Value) -> Value {
    match value {
        Value::String(s) => Value::String(text(&s)),
        Value::Array(all) => Value::Array(all.into_iter().map(json).collect()),
        Value::Object(all) => Value::Object(
            all.into_iter()
                .map(|(key, value)| {
                    let names = NAMES.contains(&key.as_str());
                    let value = if names { hidden(value) } else { json(value) };
                    (key, value)
                })
                .collect(),
        ),
        other => other,
    }
}

/// How many there are is told, not which.
fn hidden(value: Value) -> Value {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
        Value::Array(all) => Value::Array(all.into_iter().map(hidden).collect()),
        Value::Object(_) | Value::String(_) => Value::String(GONE.to_owned()),
    }
}

/// `name=value` of a field that is left out: the name, and how long the value is.
fn field(rest: &str) -> Option<(&str, usize)> {
    let (name, value) = rest.split_once('=')?;
    if !NAMES.contains(&name) {
        return None;
    }
    let len = if let Some(quoted) = value.strip_prefix('"') {
        let mut escaped = false;
        let end = quoted.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        end.map_or(value.len(), |(at, _)| at + 2)
    } else {
        value.find(char::is_whitespace).unwrap_or(value.len())
    };
    Some((name, len))
}

fn secret(rest: &str) -> bool {
    ["ak_", "whsec_", "lnk_", "Bearer "].iter().any(|start| rest.starts_with(start))
}

/// Where what names a place begins in `scheme://…`.
fn url(rest: &str) -> Option<usize> {
    let (scheme, _) = rest.split_once("://")?;
    scheme.bytes().all(|b| b.is_ascii_alphanumeric()).then_some(scheme.len() + 3)
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::*;

    #[test]
    fn names_go_and_faults_stay() {
        for (line, want) in [
            (
                "2026-01-01T00:00:00Z  INFO outputfs::engine::ingest: commit artifact=art_01 session=acme path=\"merger \\\"x\\\".pdf\" bytes=7 upload_ms=0.1",
                "2026-01-01T00:00:00Z  INFO outputfs::engine::ingest: commit artifact=art_01 session=… path=… bytes=7 upload_ms=0.1",
            ),
            ("Session 'acme' is sealed.", "Session '…' is sealed."),
            ("/srv/acme/x: No space left on device (os error 28)", "… No space left on device (os error 28)"),
            ("upload of s3://acme/prefix failed", "upload of s3://… failed"),
            ("postgres://me:secret@db/x", "postgres://…"),
            ("key ak_live_abc is unknown", "key … is unknown"),
            ("it doesn't answer, and isn't known", "it doesn't answer, and isn't known"),
            ("5 MiB/s, 1 / 2", "5 MiB/s, 1 / 2"),
        ] {
            assert_eq!(text(line), want);
        }
    }

    #[test]
    fn json_keeps_its_form() {
        let told =
            value!({"pid": 7, "session_id": "acme", "unsaved": ["a", "b"], "message": "'x' failed", "tenant": null});
        let want =
            value!({"pid": 7, "session_id": "…", "unsaved": ["…", "…"], "message": "'…' failed", "tenant": null});
        assert_eq!(json(told), want);
    }
}
