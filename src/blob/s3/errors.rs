//! What S3 answers, in terms of the domain: which failures may pass by themselves, and the others in plain words.

use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::artifact::{Error, Kind};

/// What was asked of whom.
pub(super) struct Place<'a> {
    pub what: String,
    pub store: &'a str,
    pub bucket: &'a str,
}

/// How the message of a missing key ends; told from a missing bucket by it.
const NO_SUCH_KEY: &str = "there is no such key";

/// How the message of an upload in parts that the server has forgotten ends.
const NO_SUCH_UPLOAD: &str = "the server does not know the upload any more";

pub(super) fn is_unknown_upload(error: &Error) -> bool {
    error.kind == Kind::NotFound && error.message.ends_with(NO_SUCH_UPLOAD)
}

pub(super) fn is_missing_key(error: &Error) -> bool {
    error.kind == Kind::NotFound && error.message.ends_with(NO_SUCH_KEY)
}

pub(super) fn from_sdk<E>(place: &Place<'_>, error: &SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let Place { what, store, .. } = place;
    match error {
        SdkError::ServiceError(service) => {
            let status = service.raw().status().as_u16();
            let (code, message) = (service.err().code().unwrap_or(""), service.err().message().unwrap_or(""));
            from_answer(place, status, code, message)
        }
        // A request that was never sent: no credentials, or our own mistake.
        SdkError::ConstructionFailure(_) | SdkError::DispatchFailure(_) => {
            let text = DisplayErrorContext(error).to_string();
            if text.contains("no providers in chain provided credentials") || text.contains("CredentialsNotLoaded") {
                return Error::new(
                    Kind::Forbidden,
                    format!(
                        "{what}: there are no credentials for {store}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
                    ),
                );
            }
            let kind =
                if matches!(error, SdkError::ConstructionFailure(_)) { Kind::Internal } else { Kind::StoreUnavailable };
            Error::new(kind, format!("{what}: {store} cannot be reached: {}", innermost(error)))
        }
        SdkError::TimeoutError(_) => {
            Error::new(Kind::StoreUnavailable, format!("{what}: {store} did not answer in time"))
        }
        _ => Error::new(
            Kind::StoreUnavailable,
            format!("{what}: the answer of {store} makes no sense: {}", innermost(error)),
        ),
    }
}

/// By S3's error codes, which all servers use, then by HTTP status.
fn from_answer(place: &Place<'_>, status: u16, code: &str, message: &str) -> Error {
    let Place { what, store, bucket } = place;
    let (kind, text) = match (code, status) {
        ("NoSuchBucket", _) => (Kind::NotFound, format!("bucket '{bucket}' does not exist on {store}")),
        ("NoSuchUpload", _) => (Kind::NotFound, NO_SUCH_UPLOAD.to_owned()),
        ("NoSuchKey" | "NotFound", _) => (Kind::NotFound, NO_SUCH_KEY.to_owned()),
        ("InvalidRange", _) | (_, 416) => (Kind::Corrupt, "the object is shorter than on record".to_owned()),
        ("BadDigest" | "XAmzContentSHA256Mismatch" | "XAmzContentChecksumMismatch", _) => {
            (Kind::Corrupt, format!("{store} received other bytes than were sent: {message}"))
        }
        // Credentials that rotate: the provider chain brings new ones.
        ("ExpiredToken" | "ExpiredTokenException" | "RequestExpired", _) => {
            (Kind::StoreUnavailable, format!("the credentials for {store} have expired"))
        }
        ("RequestTimeTooSkewed", _) => {
            (Kind::Forbidden, format!("{store} refused the request because this machine's clock is wrong: {message}"))
        }
        ("InvalidAccessKeyId", _) => (Kind::Forbidden, format!("{store} does not know the access key: {message}")),
        ("SignatureDoesNotMatch", _) => (
            Kind::Forbidden,
            format!("{store} refused the signature: the secret key is wrong, or the clock: {message}"),
        ),
        ("AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException", _)
        | (_, 301 | 307) => {
            (Kind::Forbidden, format!("{store} is in another region or at another endpoint: {message}"))
        }
        ("NotImplemented" | "MethodNotAllowed", _) | (_, 405 | 501) => {
            (Kind::Unsupported, format!("{store} does not know this request: {message}"))
        }
        ("EntityTooLarge", _) => (Kind::FileTooLarge, format!("{store} does not take objects of this size")),
        (
            "SlowDown"
            | "RequestTimeout"
            | "Throttling"
            | "ThrottlingException"
            | "InternalError"
            | "ServiceUnavailable"
            | "OperationAborted",
            _,
        )
        | (_, 408 | 429 | 500..=599) => {
            let said = if message.is_empty() { code } else { message };
            (Kind::StoreUnavailable, format!("{store} answered {status}: {said}"))
        }
        (_, 401 | 403) => {
            let said = if message.is_empty() {
                "the credentials do not allow it, are wrong, or the bucket is another's"
            } else {
                message
            };
            (Kind::Forbidden, format!("bucket '{bucket}' at {store} refuses access: {said}"))
        }
        // HEAD answers carry no code.
        (_, 404) => (Kind::NotFound, NO_SUCH_KEY.to_owned()),
        _ => (Kind::Internal, format!("{store} answered {status} {code}: {message}")),
    };
    Error::new(kind, format!("{what}: {text}"))
}

/// The cause at the bottom says most: "Connection refused (os error 111)".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_by_itself_is_unavailable() {
        let place = Place { what: "reading 'k'".into(), store: "s3://b at http://h", bucket: "b" };
        for (status, code, kind) in [
            (404, "NoSuchKey", Kind::NotFound),
            (404, "", Kind::NotFound),
            (404, "NoSuchBucket", Kind::NotFound),
            (403, "AccessDenied", Kind::Forbidden),
            (403, "RequestTimeTooSkewed", Kind::Forbidden),
            (403, "", Kind::Forbidden),
            (503, "SlowDown", Kind::StoreUnavailable),
            (500, "", Kind::StoreUnavailable),
            (400, "RequestTimeout", Kind::StoreUnavailable),
            (400, "BadDigest", Kind::Corrupt),
            (416, "InvalidRange", Kind::Corrupt),
            (501, "NotImplemented", Kind::Unsupported),
            (400, "SomethingElse", Kind::Internal),
        ] {
            assert_eq!(from_answer(&place, status, code, "").kind, kind, "{status} {code}");
        }
        assert!(is_missing_key(&from_answer(&place, 404, "NoSuchKey", "")));
        assert!(!is_missing_key(&from_answer(&place, 404, "NoSuchBucket", "")));
    }
}
