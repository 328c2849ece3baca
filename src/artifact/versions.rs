//! Which versions of a path are worth keeping: the window in which a writer's versions replace one another, and how
//! many a path keeps.
//!
//! # The window
//! A program that saves the same file again and again (a log that is reopened for each line, an editor with autosave)
//! means one version, not thousands. A commit therefore *replaces* the version before it when
//! - the **same writer** made both, through a mount: the same process, or processes of one `outputfs run` ([`same_writer`]), with the
//!   **same labels** ([`same_labels`]), and
//! - the **run** of replaced versions began less than the window ago. The window does not slide: whoever writes without a
//!   pause leaves one version a window, so that at most a window's worth of history is lost, and
//! - nothing holds on to the earlier one: no link, no idempotency key, and **nobody was told its ID**.
//!
//! # IDs that were told
//! An ID that a door has handed out never goes. Each version of a mount is *fleeting* until a moment written into its record; whoever is
//! about to tell of one before that moment pins it first ([`tell`]), and the commit that would take its place asks in its own transaction
//! ([`free`]). The moment lies [`GAP`] after the last one at which a commit still replaces it: as much as a commit on its way may be late.
//!
//! # How many
//! A path keeps its newest [`Rules::keep`] versions, the live one among them. Pinned ones ([`Version::pinned`]) stay
//! besides, however old, and take no place from the others.

use std::time::Duration;

use super::ids::ArtifactId;
use super::metadata::Provenance;
use super::record::Labels;
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
pub const MOUNT: &str = "mount";

/// For how long after its window closed an ID counts as one that may still go. The clock of a commit is read before its transaction,
/// which waits for others half as long at most.
pub const GAP: Duration = Duration::from_mins(1);
/// For how long after it was committed what one open file wrote is replaced by what it writes next, however short the window.
const OPEN: Duration = Duration::from_mins(1);

/// Did the same process of the same user write both, or the same run? What is not known of a writer makes it another one.
#[must_use]
pub fn same_writer(a: &Provenance, b: &Provenance) -> bool {
    let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
    a.uid.is_some()
        && a.uid == b.uid
        && a.door == MOUNT
        && b.door == MOUNT
        && (same(&a.process, &b.process) || same(&a.run, &b.run))
}

/// Would a version with the labels `new` look like the one before it, but for its bytes?
#[must_use]
pub fn same_labels(earlier: &Labels, new: &Labels) -> bool {
    let kept = |new: &Option<String>, old: &Option<String>| new.is_none() || new == old;
    new.environment == earlier.environment
        && new.env_agent_id == earlier.env_agent_id
        && new.env_ttl == earlier.env_ttl
        && new.explicit.0.iter().all(|(k, v)| earlier.explicit.get(k) == Some(v))
        && kept(&new.agent_id, &earlier.agent_id)
        && kept(&new.ttl, &earlier.ttl)
        && kept(&new.content_type, &earlier.content_type)
        && new.aside.names().all(|name| new.aside.get(name) == earlier.aside.get(name))
}

/// Is the ID of a version that is fleeting until then to be pinned before it is told at `now`?
#[must_use]
pub fn tell(fleeting: Option<Timestamp>, now: Timestamp) -> bool {
    fleeting.is_some_and(|until| now < until)
}

/// Can a commit at `now` still take its place: was nobody told its ID?
#[must_use]
pub fn free(fleeting: Option<Timestamp>, now: Timestamp) -> bool {
    fleeting.is_some_and(|until| now.0 < until.0.saturating_sub(nanos(GAP)))
}

fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
}

impl Rules {
    /// When the window of idempotency keys began.
    #[must_use]
    pub fn keyed_since(&self, now: Timestamp) -> Timestamp {
        let window = i64::try_from(self.keys.unwrap_or(KEYS).as_nanos()).unwrap_or(i64::MAX);
        Timestamp(now.0.saturating_sub(window))
    }

    /// Until when the ID of what `writer` commits at `now` is fleeting. None: never.
    #[must_use]
    pub fn fleeting(&self, writer: &Provenance, now: Timestamp) -> Option<Timestamp> {
        let longest = nanos(self.window.max(OPEN)).saturating_add(nanos(GAP));
        (writer.door == MOUNT).then(|| Timestamp(now.0.saturating_add(longest)))
    }

    /// May a commit at `now` with the labels `new` replace the version that has `earlier`, whose run of replaced versions began at
    /// `began`? (Whether something holds on to it is the caller's to ask.)
    #[must_use]
    pub fn replaces(&self, earlier: &Labels, began: Timestamp, new: &Labels, now: Timestamp) -> bool {
        // A clock that was set back proves nothing about what came first: then every close is a version.
        let age = now.0.saturating_sub(began.0);
        // A key names the operation that made it: another operation does not take its place.
        let keyed = earlier.idempotency_key.is_some() || new.idempotency_key.is_some();
        (0..nanos(self.window)).contains(&age)
            && !keyed
            && same_writer(&earlier.provenance, &new.provenance)
            && same_labels(earlier, new)
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

    fn writer(process: &str, uid: u32) -> Provenance {
        Provenance { process: Some(process.into()), uid: Some(uid), door: "mount".into(), ..Provenance::default() }
    }

    fn labels(provenance: Provenance) -> Labels {
        Labels { provenance, ..Labels::default() }
    }

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn one_process_or_one_run_through_a_mount_is_one_writer() {
        let (one, other) = (writer("p1", 7), writer("p2", 7));
        let in_run = |p: &Provenance, run: &str| Provenance { run: Some(run.into()), ..p.clone() };
        assert!(same_writer(&one, &Provenance { cwd: Some("/".into()), ..one.clone() }));
        assert!(!same_writer(&one, &other) && same_writer(&in_run(&one, "r"), &in_run(&other, "r")));
        assert!(!same_writer(&in_run(&one, "r"), &in_run(&other, "s")) && !same_writer(&one, &writer("p1", 8)));
        assert!(!same_writer(&one, &Provenance { door: "push".into(), ..one.clone() }));
        let unknown = Provenance { door: "mount".into(), uid: Some(7), ..Provenance::default() };
        assert!(!same_writer(&unknown, &unknown.clone()));
    }

    #[test]
    fn other_labels_make_another_version() {
        let agent = |a: &str| Labels { env_agent_id: Some(a.into()), ..Labels::default() };
        assert!(same_labels(&agent("a"), &agent("a")) && !same_labels(&agent("a"), &agent("b")));
        let mut set = agent("a");
        set.explicit.set("stage", b"final").unwrap();
        set.ttl = Some("7d".into());
        assert!(same_labels(&set, &agent("a")), "what was set by hand is carried on");
        assert!(!same_labels(&agent("a"), &set));
    }

    #[test]
    fn the_window_is_open_below_its_length_and_never_backwards() {
        let (rules, w) = (Rules { window: Duration::from_secs(2), ..Rules::default() }, labels(writer("p", 0)));
        let at = |seconds| rules.replaces(&w, Timestamp(10 * SECOND), &w, Timestamp(seconds * SECOND));
        assert!(at(10) && at(11));
        assert!(!at(12) && !at(9) && !at(1000));
        assert!(!Rules::default().replaces(&w, Timestamp(0), &w, Timestamp(0)), "no window, no replacing");
        let keyed = Labels { idempotency_key: Some("k".into()), ..w.clone() };
        assert!(!rules.replaces(&w, Timestamp(0), &keyed, Timestamp(0)));
    }

    proptest! {
        /// Whoever tells of an ID without pinning it does so after the last commit that could have taken its place, by far.
        #[test]
        fn no_id_is_told_unpinned_and_replaced(window in 0_u64..100_000, told in 0_i64..200_000, replaced in 0_i64..200_000) {
            let rules = Rules { window: Duration::from_millis(window), ..Rules::default() };
            let until = rules.fleeting(&writer("p", 0), Timestamp(0));
            let at = |ms: i64| Timestamp(ms * 1_000_000);
            if !tell(until, at(told)) && free(until, at(replaced)) {
                prop_assert!(told - replaced >= 60_000, "{told} {replaced}");
            }
            prop_assert!(replaced >= i64::try_from(window).unwrap() || free(until, at(replaced)), "all of the window is of use");
        }
    }

    #[test]
    fn what_no_mount_wrote_is_told_as_it_is() {
        let rules = Rules { window: Duration::from_secs(2), ..Rules::default() };
        let pushed = Provenance { door: "push".into(), ..Provenance::default() };
        let never = rules.fleeting(&pushed, Timestamp(0));
        assert!(!tell(never, Timestamp(1)) && !free(never, Timestamp(1)));
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
