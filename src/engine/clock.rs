//! The clock that everything above the pure domain asks, so that tests can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::artifact::time::Timestamp;

/// Real time, plus an offset that tests set.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_nanos: Arc<AtomicI64>,
}

/// Names a file whose text is the offset of every process's clock in nanoseconds: the clock of daemons under test. Read at
/// each look, so that they all move in the same instant. Only with the feature `failpoints`.
#[cfg(feature = "failpoints")]
pub const CLOCK_FILE: &str = "OUTPUTFS_TEST_CLOCK";

impl Clock {
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        Timestamp(nanos.saturating_add(self.offset_nanos.load(Ordering::Relaxed)).saturating_add(from_file()))
    }

    /// Moves this clock (and its clones) forward.
    pub fn advance(&self, by: std::time::Duration) {
        self.offset_nanos.fetch_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

#[cfg(not(feature = "failpoints"))]
#[inline]
fn from_file() -> i64 {
    0
}

#[cfg(feature = "failpoints")]
fn from_file() -> i64 {
    static PATH: std::sync::OnceLock<Option<std::ffi::OsString>> = std::sync::OnceLock::new();
    let Some(path) = PATH.get_or_init(|| std::env::var_os(CLOCK_FILE)) else { return 0 };
    // A test that has not written it yet has not moved the clock.
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
