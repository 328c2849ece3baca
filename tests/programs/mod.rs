//! The programs that agents run, each for real: what it saves is read back by another program after a fresh mount, and what it
//! leaves behind is the clean set of results, none of the debris of how it saved.

mod documents;
mod media;
mod saving;
mod shells;
mod toolchains;

use std::collections::BTreeSet;

use crate::support::{MountOptions, Store, TestMount, sh};

/// What a program does and what must come of it.
pub struct Case {
    /// Shell, in the mounted session, with `set -e`.
    pub work: &'static str,
    /// The artifacts that it leaves, by path; `dir/*`: everything below, at least one.
    pub leaves: &'static [&'static str],
    /// Shell, in the same session mounted afresh.
    pub proof: &'static str,
}

/// On a local store, and on S3 without passthrough: the two ways that differ most.
#[track_caller]
pub fn proves(case: &Case) {
    for (store, options) in [(Store::Local, MountOptions::new()), (Store::S3, MountOptions::new().no_passthrough())] {
        let mut m = TestMount::with(store, options.session("s1"));
        sh(case.work, m.path());
        m.remount();
        let listed = m.sandbox().cli("ls", &["s1", "--json"]);
        let all: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        let found: BTreeSet<String> = all.iter().map(|a| a["filename"].as_str().unwrap().to_owned()).collect();
        let belongs = |path: &str| case.leaves.iter().any(|l| covers(l, path));
        let debris: Vec<_> = found.iter().filter(|p| !belongs(p)).collect();
        assert!(debris.is_empty(), "{store:?}: left behind: {debris:?}");
        let missing: Vec<_> = case.leaves.iter().filter(|l| !found.iter().any(|p| covers(l, p))).collect();
        assert!(missing.is_empty(), "{store:?}: no artifact: {missing:?} of {found:?}");
        sh(case.proof, m.path());
        m.sandbox().cli("check", &["--read-data"]);
    }
}

fn covers(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

/// A test for each case.
macro_rules! programs {
    ($($name:ident: $work:expr, leaves $leaves:expr, proof $proof:expr;)+) => { $(
        #[test]
        fn $name() {
            $crate::programs::proves(&$crate::programs::Case { work: $work, leaves: $leaves, proof: $proof });
        }
    )+ };
}
pub(crate) use programs;
