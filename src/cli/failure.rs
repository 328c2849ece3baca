//! A failed command: one sentence, a hint where it helps, an exit code.

use crate::artifact::visible::visible;
use crate::artifact::{Error, Kind};

/// What a command ends with when it fails.
#[derive(Debug, Clone)]
pub struct Failure {
    /// None: everything was said already.
    pub message: Option<String>,
    pub hint: Option<String>,
    pub code: u8,
    /// Of the error that it tells, if it is one.
    pub kind: Option<Kind>,
}

pub type Outcome<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    pub fn new(error: &Error) -> Self {
        Self {
            message: Some(error.message.clone()),
            hint: usual_hint(error.kind).map(str::to_owned),
            code: error.exit_code(),
            kind: Some(error.kind),
        }
    }

    /// The output has told it.
    #[must_use]
    pub fn silent(code: u8) -> Self {
        Self { message: None, hint: None, code, kind: None }
    }

    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (label, line) in [("outputfs", &self.message), ("hint", &self.hint)] {
            if let Some(line) = line {
                let line = format!("{label}: {}\n", visible(line));
                text.push_str(&line);
            }
        }
        text
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(&error)
    }
}

fn usual_hint(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::StoreUnavailable => Some("'outputfs doctor' examines the store; what was closed is kept and retried"),
        Kind::Corrupt => Some("'outputfs verify SESSION' and 'outputfs check --read-data' say what else is affected"),
        Kind::OverQuota => Some("'outputfs rm' frees space once the trash is emptied"),
        _ => None,
    }
}
