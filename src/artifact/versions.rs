//! Which versions of a path are worth keeping: the window in which a writer's versions replace one another, and how
//! many a path keeps.
//!
//! # The window
//! A program that saves the same file again and again (a log that is reopened for each line, an editor with autosave)
//! means one version, not thousands. A commit therefore *replaces* the version before it when
//! - the **same writer** made both: same user and same executable, through a mount ([`same_writer`]), and
//! - the **run** of replaced versions began less than the window ago. The window does not slide: whoever writes without a
//!   pause leaves one version a window, so that at most a window's worth of history is lost, and
//! - nothing holds on to the earlier one: no link, no idempotency key.
//!
//! # How many
//! A path keeps its newest [`Rules::keep`] versions, the live one among them. Pinned ones ([`Version::pinned`]) stay
//! besides, however old, and take no place from the others.

use std::time::Duration;

use super::ids::ArtifactId;
use super::metadata::Provenance;
use super::time::Timestamp;

/// What a catalog does with earlier versions when it commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Zero: every close that changed something is a version.
    pub window: Duration,
    /// At least 1; none: all.
    pub keep: Option<u32>,
    /// For how long an idempotency key names its operation; none: [`KEYS`].
    pub keys: Option<Duration>,
}

/// A day, as Stripe and Artifacta have it.
pub const KEYS: Duration = Duration::from_hours(24);

/// The door whose versions may replace one another: a program that calls `push` or the API means each of its versions.
const MOUNT: &str = "mount";

/// Did the same program of the same user write both? What is not known of a writer makes it another one.
#[must_use]
pub fn same_writer(a: &Provenance, b: &Provenance) -> bool {
    let known = a.executable.is_some() && a.uid.is_some();
    known && a.door == MOUNT && b.door == MOUNT && a.executable == b.executable && a.uid == b.uid
}

impl Rules {
    /// When the window of idempotency keys began.
    #[must_use]
    pub fn keyed_since(&self, now: Timestamp) -> Timestamp {
        let window = i64::try_from(self.keys.unwrap_or(KEYS).as_nanos()).unwrap_or(i64::MAX);
        Timestamp(now.0.saturating_sub(window))
    }

    /// May a commit at `now` by `writer` replace the version that `earlier` made, whose run of replaced versions began at
    /// `began`? (Whether something holds on to it is the caller's to ask.)
    #[must_use]
    pub fn replaces(&self, earlier: &Provenance, began: Timestamp, writer: &Provenance, now: Timestamp) -> bool {
        let window = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        // A clock that was set back proves nothing about what came first: then every close is a version.
        let age = now.0.saturating_sub(began.0);
        (0..window).contains(&age) && same_writer(earlier, writer)
    }
}

/// One existing version of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub id: ArtifactId,
    /// Grows along the path's history.
    pub number: u64,
    /// What the directory shows: never pruned.
    pub live: bool,
    /// A link, a seal, an idempotency key or bytes that are not in the store yet hold on to it.
    pub pinned: bool,
}

/// The versions that a path which keeps `keep` is to lose, in the order given. `keep` 0 counts as 1.
#[must_use]
pub fn surplus(versions: &[Version], keep: u32) -> Vec<ArtifactId> {
    let mut free: Vec<&Version> = versions.iter().filter(|v| !v.pinned || v.live).collect();
    // The live one first, then from the newest to the oldest.
    free.sort_unstable_by_key(|v| (!v.live, std::cmp::Reverse(v.number)));
    let lost: std::collections::HashSet<ArtifactId> =
        free.iter().skip(keep.max(1) as usize).filter(|v| !v.live).map(|v| v.id).collect();
    versions.iter().map(|v| v.id).filter(|id| lost.contains(id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ulid::Ulid;

    fn writer(executable: &str, uid: u32) -> Provenance {
        Provenance { executable: Some(executable.into()), pid: Some(1), uid: Some(uid), door: "mount".into() }
    }

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn one_program_of_one_user_through_a_mount_is_one_writer() {
        let bash = writer("/bin/bash", 7);
        assert!(same_writer(&bash, &Provenance { pid: Some(2), ..bash.clone() }));
        assert!(!same_writer(&bash, &writer("/bin/dash", 7)));
        assert!(!same_writer(&bash, &writer("/bin/bash", 8)));
        assert!(!same_writer(&bash, &Provenance { door: "push".into(), ..bash.clone() }));
        let unknown = Provenance { door: "mount".into(), uid: Some(7), ..Provenance::default() };
        assert!(!same_writer(&unknown, &unknown.clone()));
    }

    #[test]
    fn the_window_is_open_below_its_length_and_never_backwards() {
        let (rules, w) = (Rules { window: Duration::from_secs(2), ..Rules::default() }, writer("/bin/sh", 0));
        let at = |seconds| rules.replaces(&w, Timestamp(10 * SECOND), &w, Timestamp(seconds * SECOND));
        assert!(at(10) && at(11));
        assert!(!at(12) && !at(9) && !at(1000));
        assert!(!Rules::default().replaces(&w, Timestamp(0), &w, Timestamp(0)), "no window, no replacing");
    }

    fn versions() -> impl Strategy<Value = Vec<Version>> {
        (proptest::collection::vec(any::<(u16, bool)>(), 0..40), any::<proptest::sample::Index>(), any::<bool>())
            .prop_map(|(drawn, live, some)| {
                let numbers: std::collections::BTreeMap<u16, bool> = drawn.into_iter().collect();
                let mut all: Vec<Version> = numbers
                    .into_iter()
                    .map(|(n, pinned)| Version {
                        id: ArtifactId(Ulid::from_parts(u64::from(n), 0)),
                        number: u64::from(n),
                        live: false,
                        pinned,
                    })
                    .collect();
                if some && !all.is_empty() {
                    let at = live.index(all.len());
                    all[at].live = true;
                }
                all
            })
    }

    proptest! {
        #[test]
        fn what_is_lost_is_old_free_and_no_more_than_needed(all in versions(), keep in 0_u32..15) {
            let lost = surplus(&all, keep);
            let is_lost = |v: &Version| lost.contains(&v.id);
            prop_assert!(all.iter().filter(|v| v.live || v.pinned).all(|v| !is_lost(v)));
            let free = all.iter().filter(|v| v.live || !v.pinned).count();
            prop_assert_eq!(lost.len(), free.saturating_sub(keep.max(1) as usize));
            // Whatever is lost is older than whatever free one stays.
            for gone in all.iter().filter(|v| is_lost(v)) {
                prop_assert!(all.iter().filter(|v| !v.pinned && !v.live && !is_lost(v)).all(|v| v.number > gone.number));
            }
        }

        #[test]
        fn pruning_at_each_commit_is_pruning_once(all in versions(), keep in 1_u32..15) {
            let mut step = Vec::new();
            for v in &all {
                step.push(*v);
                let lost = surplus(&step, keep);
                step.retain(|v| !lost.contains(&v.id));
            }
            let live_last = all.iter().all(|v| !v.live) || all.last().is_some_and(|v| v.live);
            prop_assume!(live_last);
            let lost = surplus(&all, keep);
            let once: Vec<_> = all.iter().filter(|v| !lost.contains(&v.id)).copied().collect();
            prop_assert_eq!(step, once);
        }
    }
}
