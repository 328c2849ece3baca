//! What this process counts, for Prometheus. Names and units follow its conventions (base units, `_total`).

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use crate::artifact::{Error, Result};

/// From half a millisecond to a minute.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    /// By outcome: new, same, collapsed, idempotent.
    pub commits: IntCounterVec,
    /// Commits whose bytes the store had already.
    pub dedup_hits: IntCounter,
    /// Commits of whole copies of stored files: neither hashed nor sent.
    pub copies: IntCounter,
    /// Logical bytes committed.
    pub bytes: IntCounter,
    /// Putting bytes into the store, or finding them there.
    pub upload: Histogram,
    /// `close()`, from the kernel's question to the answer.
    pub close: Histogram,
    /// The catalog's transaction of a commit, waiting for its turn included.
    pub record: Histogram,
    /// By method and status.
    pub requests: IntCounterVec,
    pub store_errors: IntCounter,
    pub catalog_errors: IntCounter,
    /// Artifacts whose bytes wait for the store, and their bytes: set when somebody looks.
    pub pending: IntGauge,
    pub pending_bytes: IntGauge,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let registry = Registry::new();
    // Names are constants that Prometheus takes, each once: a unit test says so.
    let keep =
        |m: Box<dyn prometheus::core::Collector>| registry.register(m).unwrap_or_else(|e| tracing::error!("{e}"));
    let counter = |name: &str, help: &str| {
        let made = IntCounter::new(name, help).unwrap_or_else(|e| unreachable!("{name}: {e}"));
        keep(Box::new(made.clone()));
        made
    };
    let counters = |name: &str, help: &str, labels: &[&str]| {
        let made = IntCounterVec::new(Opts::new(name, help), labels).unwrap_or_else(|e| unreachable!("{name}: {e}"));
        keep(Box::new(made.clone()));
        made
    };
    let gauge = |name: &str, help: &str| {
        let made = IntGauge::new(name, help).unwrap_or_else(|e| unreachable!("{name}: {e}"));
        keep(Box::new(made.clone()));
        made
    };
    let histogram = |name: &str, help: &str| {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        let made = Histogram::with_opts(options).unwrap_or_else(|e| unreachable!("{name}: {e}"));
        keep(Box::new(made.clone()));
        made
    };
    Metrics {
        commits: counters("outputfs_commits_total", "Commits, by what came of them.", &["outcome"]),
        dedup_hits: counter("outputfs_dedup_hits_total", "Commits whose bytes the store had already."),
        copies: counter("outputfs_copies_total", "Commits of whole copies of stored files, neither hashed nor sent."),
        bytes: counter("outputfs_committed_bytes_total", "Logical bytes committed."),
        upload: histogram("outputfs_upload_seconds", "Putting the bytes of a commit into the store."),
        close: histogram("outputfs_close_seconds", "Answering close() on a mount."),
        record: histogram("outputfs_catalog_commit_seconds", "Recording a commit in the catalog."),
        requests: counters("outputfs_http_requests_total", "HTTP requests answered.", &["method", "status"]),
        store_errors: counter("outputfs_store_errors_total", "Uploads that failed for good."),
        catalog_errors: counter("outputfs_catalog_errors_total", "Commits that the catalog could not take."),
        pending: gauge("outputfs_pending_artifacts", "Artifacts whose bytes wait for the store."),
        pending_bytes: gauge("outputfs_pending_bytes", "Bytes that wait for the store."),
        registry,
    }
});

/// The counters of this process.
pub fn metrics() -> &'static Metrics {
    &METRICS
}

impl Metrics {
    /// All of them in Prometheus' text format.
    ///
    /// # Errors
    /// `Internal`, never in practice.
    pub fn text(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let failed = |e: prometheus::Error| Error::internal(format!("the counters cannot be shown: {e}"));
        TextEncoder::new().encode(&self.registry.gather(), &mut out).map_err(failed)?;
        Ok(out)
    }
}

/// A time as histograms take it.
#[must_use]
pub fn seconds(d: Duration) -> f64 {
    d.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instrument_is_shown() {
        let m = metrics();
        m.commits.with_label_values(&["new"]).inc();
        m.requests.with_label_values(&["GET", "200"]).inc();
        m.close.observe(0.002);
        let text = String::from_utf8(m.text().unwrap()).unwrap();
        for name in [
            "commits_total{outcome=\"new\"}",
            "dedup_hits_total",
            "copies_total",
            "committed_bytes_total",
            "upload_seconds_bucket",
            "close_seconds_bucket{le=\"0.0025\"}",
            "catalog_commit_seconds_sum",
            "http_requests_total",
            "store_errors_total",
            "catalog_errors_total",
            "pending_artifacts",
            "pending_bytes",
        ] {
            assert!(text.contains(&format!("outputfs_{name}")), "{name}\n{text}");
        }
    }
}
