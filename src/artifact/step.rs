//! Steps and their attempts: what makes retries safe without the agent's help.
//!
//! What one attempt of a step wrote is a set. When a later attempt of the same step of the same session has succeeded, what earlier
//! attempts wrote under names that this one did not write goes to the trash. A failed attempt replaces nothing.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, Result};
use super::ids::SessionId;
use super::time::Timestamp;

/// Longest name, in bytes.
const NAME_MAX: usize = 128;

/// What people call a step: text without control characters, 1 to 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepName(String);

impl StepName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for StepName {
    type Err = Error;
    fn from_str(s: &str) -> Result<Self> {
        if s.is_empty() || s.len() > NAME_MAX || s.chars().any(char::is_control) || s.trim() != s {
            return Err(Error::invalid(format!(
                "'{}' is no name of a step: 1 to {NAME_MAX} bytes of text, without control characters and outer spaces",
                s.escape_default()
            )));
        }
        Ok(Self(s.to_owned()))
    }
}

/// Who deleted what an attempt of a step replaced, as the trash says it.
#[must_use]
pub fn replacement(step: &str, number: u64) -> String {
    format!("attempt {number} of step '{step}'")
}

/// Whether the trash says that.
#[must_use]
pub fn is_replacement(by: &str) -> bool {
    by.strip_prefix("attempt ")
        .and_then(|rest| rest.split_once(" of step '"))
        .is_some_and(|(number, _)| number.parse::<u64>().is_ok())
}

/// Row of an attempt in its catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptId(pub i64);

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptState {
    Running,
    Succeeded,
    /// The command failed, or what it wrote could not all be stored.
    Failed,
    /// Its owner died before the command's end was known.
    Abandoned,
}

impl AttemptState {
    /// As the catalog's columns say it.
    #[must_use]
    pub fn of(ended: bool, exit_code: Option<i64>, succeeded: bool) -> Self {
        match (ended, exit_code, succeeded) {
            (false, ..) => Self::Running,
            (true, _, true) => Self::Succeeded,
            (true, Some(_), false) => Self::Failed,
            (true, None, false) => Self::Abandoned,
        }
    }

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// One run of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub id: AttemptId,
    pub session: SessionId,
    pub step: String,
    /// 1 is the first of its step.
    pub number: u64,
    pub command: String,
    pub started: Timestamp,
    pub ended: Option<Timestamp>,
    pub exit_code: Option<i64>,
    pub state: AttemptState,
    /// Files of earlier attempts that it sent to the trash.
    pub replaced: u64,
    /// Files it wrote that are there, and their bytes.
    pub artifacts: u64,
    pub bytes: u64,
}

/// Which attempt wrote an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptOf {
    pub step: String,
    pub number: u64,
    pub state: AttemptState,
}

impl AttemptOf {
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "step": self.step, "number": self.number, "state": self.state.as_str() })
    }

    /// Worth a warning: what it wrote may be half of something.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self.state, AttemptState::Failed | AttemptState::Abandoned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text() {
        for good in ["report", "Größe 2", "a/b", &"x".repeat(128)] {
            assert!(good.parse::<StepName>().is_ok(), "{good}");
        }
        for bad in ["", " a", "a\n", "a ", &"x".repeat(129)] {
            assert!(bad.parse::<StepName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_without_a_code_is_no_success() {
        assert_eq!(AttemptState::of(false, None, false), AttemptState::Running);
        assert_eq!(AttemptState::of(true, Some(0), true), AttemptState::Succeeded);
        // It ended with 0, but its files were not all stored.
        assert_eq!(AttemptState::of(true, Some(0), false), AttemptState::Failed);
        assert_eq!(AttemptState::of(true, None, false), AttemptState::Abandoned);
    }
}
