//! Errors that a model can act on: what was wrong, and whether trying again helps.

use rmcp::ErrorData;
use rmcp::model::{CallToolResult, ContentBlock};
use serde_json::{Value, json};

use crate::artifact::{Error, Kind};

/// When the same call may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After this many seconds, unchanged.
    After(u32),
    /// Not as it is: something in it, or in the store, has to change first.
    Changed,
    Never,
}

#[must_use]
pub fn retry(kind: Kind) -> Retry {
    match kind {
        Kind::StoreUnavailable | Kind::TimedOut => Retry::After(10),
        Kind::Busy => Retry::After(1),
        Kind::Internal => Retry::After(30),
        Kind::Sealed | Kind::Corrupt | Kind::Forbidden | Kind::Unsupported | Kind::NoMount => Retry::Never,
        _ => Retry::Changed,
    }
}

/// A stable word for programs: the REST API's where it has one.
#[must_use]
pub fn code(kind: Kind) -> &'static str {
    match kind {
        Kind::NotFound | Kind::Stale => "not_found",
        Kind::Deleted => "artifact_already_deleted",
        Kind::Expired => "artifact_expired",
        Kind::Sealed => "session_sealed",
        Kind::FileTooLarge => "file_too_large",
        Kind::OverQuota => "quota_exceeded",
        Kind::Forbidden => "forbidden",
        Kind::Exists | Kind::AttributeExists => "conflict",
        Kind::StoreUnavailable | Kind::TimedOut => "store_unavailable",
        Kind::Corrupt => "corrupt",
        Kind::Busy => "busy",
        Kind::Internal | Kind::NoSpace | Kind::ReadOnly => "internal",
        _ => "invalid_request",
    }
}

/// What the caller is told. A fault of ours goes to the log; its sentence may name paths and keys.
fn sentence(error: &Error) -> String {
    if error.http_status() < 500 {
        return error.message.clone();
    }
    tracing::error!(kind = ?error.kind, "a call failed: {error}");
    match error.kind {
        Kind::StoreUnavailable | Kind::TimedOut => "The store cannot be reached at the moment.",
        Kind::Corrupt => "The stored bytes are damaged, so they are not given out.",
        Kind::NoSpace => "The server's disk is full.",
        Kind::ReadOnly => "The server's disk takes no changes.",
        _ => "Something went wrong on the server's side.",
    }
    .to_owned()
}

fn advice(retry: Retry) -> String {
    match retry {
        Retry::After(seconds) => format!("The same call may succeed later: retry after {seconds} seconds."),
        Retry::Changed => String::from("Do not retry it unchanged."),
        Retry::Never => String::from("Do not retry: it cannot succeed."),
    }
}

fn data(error: &Error, message: &str) -> Value {
    let retry = retry(error.kind);
    let mut value = json!({
        "code": code(error.kind),
        "message": message,
        "status": error.http_status(),
        "retryable": matches!(retry, Retry::After(_)),
    });
    if let (Retry::After(seconds), Some(object)) = (retry, value.as_object_mut()) {
        object.insert("retry_after_seconds".into(), json!(seconds));
    }
    value
}

/// The failed call of a tool.
#[must_use]
pub fn result(error: &Error) -> CallToolResult {
    let message = sentence(error);
    let text = format!("Error: {} {}", stopped(&message), advice(retry(error.kind)));
    let mut result = CallToolResult::error(vec![ContentBlock::text(text)]);
    result.structured_content = Some(json!({"error": data(error, &message)}));
    result
}

/// A failed request that is no tool's.
#[must_use]
pub fn protocol(error: &Error) -> ErrorData {
    let message = sentence(error);
    let data = Some(data(error, &message));
    match error.kind {
        Kind::NotFound | Kind::Deleted | Kind::Expired => ErrorData::resource_not_found(message, data),
        _ if error.http_status() < 500 => ErrorData::invalid_params(message, data),
        _ => ErrorData::internal_error(message, data),
    }
}

/// With a full stop, so that the advice is a sentence of its own.
fn stopped(message: &str) -> String {
    let trimmed = message.trim_end();
    if trimmed.ends_with(['.', '!', '?']) { trimmed.to_owned() } else { format!("{trimmed}.") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_whether_to_retry() {
        let sealed = result(&Error::sealed("run_42"));
        let value = sealed.structured_content.unwrap();
        assert_eq!(sealed.is_error, Some(true));
        assert_eq!((&value["error"]["code"], &value["error"]["retryable"]), (&json!("session_sealed"), &json!(false)));
        let down = result(&Error::new(Kind::StoreUnavailable, "s3://secret-bucket: refused"));
        let text = down.content[0].as_text().unwrap().text.clone();
        assert!(text.contains("retry after 10 seconds") && !text.contains("secret-bucket"), "{text}");
        assert_eq!(down.structured_content.unwrap()["error"]["retry_after_seconds"], json!(10));
    }

    #[test]
    fn a_missing_resource_is_that_to_the_protocol() {
        let error = protocol(&Error::not_found("there is no artifact art_x"));
        assert_eq!(error.code, rmcp::model::ErrorCode::RESOURCE_NOT_FOUND);
        assert_eq!(error.message, "there is no artifact art_x");
    }
}
