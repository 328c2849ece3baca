//! What is counted and timed, for `/metrics` in Prometheus' words. One set a process: instruments are named, so that every layer
//! above may count without being handed anything, and a scrape finds them all.
//!
//! Counters never hold names, paths or IDs: labels are of small fixed sets.

pub mod moved;

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Seconds, from a cached row to a large upload.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

/// What a scrape is answered with.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All instruments of this process.
pub struct Instruments {
    registry: Registry,
    /// By method and status.
    pub requests: IntCounterVec,
    /// Until an answer begins.
    pub request_seconds: Histogram,
    /// Bodies, in bytes: `direction` is in or out.
    pub http_bytes: IntCounterVec,
    pub connections: IntGauge,
    /// By how it ended: made, broken (by its file), failed.
    pub previews: IntCounterVec,
    /// Connections that were ended for want of a place, a head or a handshake.
    pub connections_cut: IntCounterVec,
    /// By outcome: new, same, collapsed, idempotent.
    pub commits: IntCounterVec,
    pub commit_bytes: IntCounter,
    /// Commits whose bytes were there already.
    pub dedup_hits: IntCounter,
    /// Whole copies of stored files: neither hashed nor sent.
    pub copies: IntCounter,
    pub dedup_bytes: IntCounter,
    /// Of `close()` of files that were open for writing.
    pub close_seconds: Histogram,
    pub close_errors: IntCounter,
    /// The catalog's transaction of a commit, waiting for its turn included.
    pub record_seconds: Histogram,
    /// Putting bytes into the store.
    pub upload_seconds: Histogram,
    /// By operation, in seconds.
    pub store_seconds: HistogramVec,
    /// To and from the store: `direction` is in (from the store) or out (to it).
    pub store_bytes: IntCounterVec,
    /// By operation.
    pub store_errors: IntCounterVec,
    pub catalog_errors: IntCounter,
    /// Artifacts and bytes that wait to be moved into the store.
    pub queue: IntGauge,
    pub queue_bytes: IntGauge,
    pub resident_bytes: IntGauge,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(Instruments::new);

/// The instruments of this process.
pub fn get() -> &'static Instruments {
    &INSTRUMENTS
}

impl Instruments {
    fn new() -> Self {
        let r = Registry::new();
        Self {
            requests: counters(&r, "http_requests_total", "Requests over HTTP", &["method", "status"]),
            request_seconds: histogram(&r, "http_request_seconds", "Time until an answer began"),
            http_bytes: counters(&r, "http_bytes_total", "Bytes of bodies", &["direction"]),
            connections: gauge(&r, "http_connections", "Open connections"),
            previews: counters(&r, "previews_total", "Previews that a process was started for", &["outcome"]),
            connections_cut: counters(&r, "http_connections_cut_total", "Connections cut off", &["why"]),
            commits: counters(&r, "commits_total", "Commits, through whatever door", &["outcome"]),
            commit_bytes: counter(&r, "committed_bytes_total", "Bytes of committed artifacts"),
            copies: counter(&r, "copies_total", "Commits of whole copies of stored files, neither hashed nor sent"),
            dedup_hits: counter(&r, "dedup_hits_total", "Commits whose bytes were stored already"),
            dedup_bytes: counter(&r, "dedup_bytes_total", "Bytes that were not stored again"),
            close_seconds: histogram(&r, "close_seconds", "Time of close() and fsync() of written files"),
            close_errors: counter(&r, "close_errors_total", "close() and fsync() that failed"),
            record_seconds: histogram(&r, "catalog_commit_seconds", "Time of recording a commit in the catalog"),
            upload_seconds: histogram(&r, "upload_seconds", "Time of putting bytes into the store"),
            store_seconds: histograms(&r, "store_seconds", "Time of operations of the store", &["operation"]),
            store_bytes: counters(&r, "store_bytes_total", "Bytes to and from the store", &["direction"]),
            store_errors: counters(&r, "store_errors_total", "Operations of the store that failed", &["operation"]),
            catalog_errors: counter(&r, "catalog_errors_total", "Statements of the catalog that failed"),
            queue: gauge(&r, "pending_artifacts", "Artifacts whose bytes wait to be moved into the store"),
            queue_bytes: gauge(&r, "pending_bytes", "Bytes that wait to be moved into the store"),
            resident_bytes: gauge(&r, "resident_memory_bytes", "Resident memory of this process"),
            registry: r,
        }
    }

    /// A commit: what came of it, the artifact's size in bytes, whether the bytes were there already.
    pub fn committed(&self, outcome: &str, size: u64, dedup: bool) {
        self.commits.with_label_values(&[outcome]).inc();
        self.commit_bytes.inc_by(size);
        if dedup {
            self.dedup_hits.inc();
            self.dedup_bytes.inc_by(size);
        }
    }

    /// A `close()` or `fsync()` of a file that was written.
    pub fn closed(&self, took: Duration, well: bool) {
        self.close_seconds.observe(took.as_secs_f64());
        if !well {
            self.close_errors.inc();
        }
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        if let Err(e) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            // Only of an instrument without a value; the others stand in `out`.
            tracing::warn!("metrics could not be written: {e}");
        }
        String::from_utf8(out).unwrap_or_default()
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    #[allow(clippy::expect_used, reason = "names are fixed and distinct: a test makes all of them")]
    let instrument = made.expect("a metric's name");
    #[allow(clippy::expect_used, reason = "names are fixed and distinct: a test makes all of them")]
    registry.register(Box::new(instrument.clone())).expect("a metric's name twice");
    instrument
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("outputfs_{name}"), help)
}

fn counter(r: &Registry, name: &str, help: &str) -> IntCounter {
    register(r, IntCounter::with_opts(opts(name, help)))
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(r, IntCounterVec::new(opts(name, help), labels))
}

fn gauge(r: &Registry, name: &str, help: &str) -> IntGauge {
    register(r, IntGauge::with_opts(opts(name, help)))
}

fn histogram(r: &Registry, name: &str, help: &str) -> Histogram {
    let opts = HistogramOpts::from(opts(name, help)).buckets(SECONDS.to_vec());
    register(r, Histogram::with_opts(opts))
}

fn histograms(r: &Registry, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let opts = HistogramOpts::from(opts(name, help)).buckets(SECONDS.to_vec());
    register(r, HistogramVec::new(opts, labels))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A dashboard or an alert over a name that nobody counts shows nothing and never fires.
    #[test]
    fn dashboard_and_alerts_ask_for_what_there_is() {
        let all = Instruments::new();
        // One with labels is told once it has counted.
        all.requests.with_label_values(&["GET", "200"]).inc();
        all.http_bytes.with_label_values(&["in"]).inc();
        all.previews.with_label_values(&["made"]).inc();
        all.connections_cut.with_label_values(&["head"]).inc();
        all.commits.with_label_values(&["new"]).inc();
        all.store_seconds.with_label_values(&["put"]).observe(1.0);
        all.store_bytes.with_label_values(&["in"]).inc();
        all.store_errors.with_label_values(&["put"]).inc();
        let told = all.text();
        let known: BTreeSet<_> =
            told.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.split(['{', ' ']).next()).collect();
        let mut asked = BTreeSet::new();
        for text in
            [include_str!("../../scripts/operate/grafana.json"), include_str!("../../scripts/operate/alerts.yml")]
        {
            for (at, _) in text.match_indices("outputfs_") {
                let rest = &text[at..];
                asked
                    .insert(&rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())]);
            }
        }
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?} are asked for and not told: {known:?}");
        let bare = |name: &&str| !["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
        let unseen: Vec<_> = known.iter().filter(|name| bare(name) && !asked.contains(**name)).collect();
        assert!(unseen.len() <= 3, "neither shown nor watched: {unseen:?}");
    }

    #[test]
    fn what_was_counted_is_told() {
        let all = Instruments::new();
        all.committed("new", 10, false);
        all.committed("new", 5, true);
        all.closed(Duration::from_millis(3), false);
        let text = all.text();
        for line in [
            "outputfs_commits_total{outcome=\"new\"} 2",
            "outputfs_committed_bytes_total 15",
            "outputfs_dedup_hits_total 1",
            "outputfs_dedup_bytes_total 5",
            "outputfs_close_seconds_bucket{le=\"0.0025\"} 0",
            "outputfs_close_seconds_bucket{le=\"0.005\"} 1",
            "outputfs_close_errors_total 1",
            "outputfs_pending_artifacts 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
