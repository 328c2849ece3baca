//! Properties of the rules, and a model of everybody at once.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::artifact::record::Life;

fn facts() -> impl Strategy<Value = Facts> {
    let life = prop_oneof![Just(Life::Live), Just(Life::Superseded), Just(Life::Trashed)];
    let moment = || (0..100i64).prop_map(Timestamp);
    (life, moment(), proptest::option::of(moment()), moment(), any::<bool>(), any::<bool>()).prop_map(
        |(life, created, expires, deleted, linked, sealed)| Facts {
            life,
            created,
            expires,
            deleted: (life == Life::Trashed).then_some(deleted),
            linked,
            sealed,
        },
    )
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (0..100i64, 0..100i64, proptest::option::of(0..100i64)).prop_map(|(now, trash, versions)| Bounds {
        now: Timestamp(now),
        trashed: Timestamp(now.min(trash)),
        versions: versions.map(|v| Timestamp(now.min(v))),
    })
}

proptest! {
    #[test]
    fn what_lives_goes_by_expiry_alone(a in facts(), b in bounds()) {
        let expired = a.expires.is_some_and(|t| t <= b.now);
        match b.end_of(&a) {
            Some(End::Expired) => prop_assert!(expired),
            end => {
                prop_assert!(!expired);
                prop_assert!(a.life != Life::Live || end.is_none());
                prop_assert_eq!(end == Some(End::Purged), a.life == Life::Trashed && a.deleted.is_some_and(|t| t <= b.trashed));
                prop_assert!(end != Some(End::Pruned) || (a.life == Life::Superseded && !a.linked && !a.sealed));
            }
        }
    }

    #[test]
    fn time_brings_nothing_back(a in facts(), b in bounds(), later in 0..100i64) {
        let next = Bounds {
            now: Timestamp(b.now.0 + later),
            trashed: Timestamp(b.trashed.0 + later),
            versions: b.versions.map(|v| Timestamp(v.0 + later)),
        };
        prop_assert!(b.end_of(&a).is_none() || next.end_of(&a).is_some());
    }

    #[test]
    fn a_seal_keeps_content_until_it_expires(a in facts(), b in bounds()) {
        let sealed = Facts { sealed: true, ..a };
        if sealed.life != Life::Trashed {
            prop_assert!(matches!(b.end_of(&sealed), None | Some(End::Expired)));
        }
    }
}

#[test]
fn nobody_uses_what_is_being_deleted_and_everybody_rescues_what_is_condemned() {
    for offer in [Offer::Known, Offer::Inline, Offer::Stored, Offer::Provisional] {
        assert_eq!(meet(Some(BlobState::Deleting), offer, false), Meeting::Gone);
        assert_eq!(meet(Some(BlobState::Condemned), offer, true), Meeting::Rescue);
        assert_eq!(meet(Some(BlobState::Stored), offer, true), Meeting::Keep);
        assert_eq!(meet(None, offer, true), Meeting::Gone);
        assert_eq!(meet(None, offer, false), if offer == Offer::Known { Meeting::Gone } else { Meeting::Add });
    }
}

// ---- the model: every interleaving of everybody's steps, each step one transaction or one request ----------------------

/// One blob, and who is at work on it. Everything that decides is here, so that two worlds that are equal go on alike.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    /// The row.
    row: Option<BlobState>,
    /// The object in the store.
    object: bool,
    /// Artifacts that need the blob: (whose, life).
    artifacts: BTreeMap<u8, Life>,
    sealed: bool,
    writers: [Writer; 2],
    /// The blob left the store after the writer began.
    outdated: [bool; 2],
    collector: Collector,
    /// Left to it.
    sweeps: u8,
    /// What is still to come, once each.
    seal: bool,
    delete: bool,
    restore: bool,
    expire: bool,
    purge: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Writer {
    /// About to ask whether the catalog has the blob.
    Ask,
    /// It has: about to commit.
    Known,
    /// It has not: about to upload.
    Upload,
    /// Uploaded: about to commit.
    Commit,
    /// Refused: waits until the deletion is over.
    Wait,
    Done,
    /// By a seal.
    Refused,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Collector {
    Condemn,
    Take,
    Delete,
    Forget,
    Done,
}

/// What the rules under test are.
#[derive(Clone, Copy)]
struct Rules {
    meet: fn(Option<BlobState>, Offer, bool) -> Meeting,
    /// The deletion looks once more before it begins.
    recheck: bool,
}

impl World {
    /// The blob is stored for one artifact of the past, which somebody may delete, restore, expire.
    fn start() -> Self {
        Self {
            row: Some(BlobState::Stored),
            object: true,
            artifacts: BTreeMap::from([(9, Life::Live)]),
            sealed: false,
            writers: [Writer::Ask; 2],
            outdated: [false; 2],
            collector: Collector::Condemn,
            sweeps: 3,
            seal: true,
            delete: true,
            restore: true,
            expire: true,
            purge: true,
        }
    }

    fn commit(&mut self, n: usize, offer: Offer, rules: Rules) -> Writer {
        if self.sealed {
            return Writer::Refused;
        }
        match (rules.meet)(self.row, offer, self.outdated[n]) {
            Meeting::Gone => return Writer::Wait,
            Meeting::Keep => {}
            Meeting::Add | Meeting::Better | Meeting::Rescue | Meeting::AnotherPlace => {
                self.row = Some(BlobState::Stored);
            }
        }
        self.artifacts.insert(u8::try_from(n).unwrap(), Life::Live);
        Writer::Done
    }

    fn writer(&mut self, n: usize, rules: Rules) -> bool {
        if matches!(self.writers[n], Writer::Ask | Writer::Wait) {
            self.outdated[n] = false;
        }
        self.writers[n] = match self.writers[n] {
            // As `holds_blob` answers: any row but a pending one looks stored.
            Writer::Ask if self.row.is_some() => Writer::Known,
            Writer::Ask => Writer::Upload,
            Writer::Known => self.commit(n, Offer::Known, rules),
            Writer::Upload => {
                self.object = true;
                Writer::Commit
            }
            Writer::Commit => self.commit(n, Offer::Stored, rules),
            Writer::Wait if self.row != Some(BlobState::Deleting) => Writer::Upload,
            Writer::Wait | Writer::Done | Writer::Refused => return false,
        };
        true
    }

    fn another_sweep(&mut self) -> Collector {
        self.sweeps -= 1;
        if self.sweeps == 0 { Collector::Done } else { Collector::Condemn }
    }

    fn collect(&mut self, rules: Rules) -> bool {
        self.collector = match self.collector {
            Collector::Condemn if self.artifacts.is_empty() && self.row == Some(BlobState::Stored) => {
                self.row = Some(BlobState::Condemned);
                Collector::Take
            }
            Collector::Take
                if self.row == Some(BlobState::Condemned) && (!rules.recheck || self.artifacts.is_empty()) =>
            {
                self.row = Some(BlobState::Deleting);
                Collector::Delete
            }
            // An object without a record: claimed, then as any other.
            Collector::Condemn if self.row.is_none() && self.object => {
                self.row = Some(BlobState::Deleting);
                Collector::Delete
            }
            // Rescued: this sweep is over.
            Collector::Take => self.another_sweep(),
            Collector::Delete => {
                self.object = false;
                Collector::Forget
            }
            Collector::Forget => {
                if self.row == Some(BlobState::Deleting) {
                    self.row = None;
                    self.outdated = [true; 2];
                }
                self.another_sweep()
            }
            Collector::Condemn | Collector::Done => return false,
        };
        true
    }

    /// Every world that one step of anybody leads to.
    fn next(&self, rules: Rules) -> Vec<World> {
        let mut all = Vec::new();
        let mut add = |step: &mut dyn FnMut(&mut World) -> bool| {
            let mut world = self.clone();
            if step(&mut world) {
                all.push(world);
            }
        };
        add(&mut |w| w.writer(0, rules));
        add(&mut |w| w.writer(1, rules));
        add(&mut |w| w.collect(rules));
        add(&mut |w| {
            w.sealed = true;
            std::mem::take(&mut w.seal)
        });
        add(&mut |w| {
            let there = w.artifacts.get(&9) == Some(&Life::Live) && !w.sealed;
            there && std::mem::take(&mut w.delete) && w.artifacts.insert(9, Life::Trashed).is_some()
        });
        // Of what is in the trash, or an earlier version: its bytes are those of an artifact that exists.
        add(&mut |w| {
            let there = w.artifacts.get(&9) == Some(&Life::Trashed) && !w.sealed;
            there && std::mem::take(&mut w.restore) && w.artifacts.insert(8, Life::Live).is_none()
        });
        add(&mut |w| std::mem::take(&mut w.expire) && w.artifacts.remove(&8).or(w.artifacts.remove(&0)).is_some());
        add(&mut |w| {
            let there = w.artifacts.get(&9) == Some(&Life::Trashed);
            there && std::mem::take(&mut w.purge) && w.artifacts.remove(&9).is_some()
        });
        all
    }

    /// The one promise: no artifact without its bytes, and none whose bytes are about to go.
    fn sound(&self) -> bool {
        self.artifacts.is_empty() || (self.object && matches!(self.row, Some(BlobState::Stored | BlobState::Condemned)))
    }
}

/// How many worlds there are, and one that breaks the promise, if any does.
fn explore(rules: Rules) -> (usize, Option<World>) {
    let mut seen = HashSet::from([World::start()]);
    let mut open = vec![World::start()];
    while let Some(world) = open.pop() {
        if !world.sound() {
            return (seen.len(), Some(world));
        }
        for next in world.next(rules) {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    (seen.len(), None)
}

#[test]
fn no_interleaving_leaves_an_artifact_without_its_bytes() {
    for recheck in [true, false] {
        let (worlds, broken) = explore(Rules { meet, recheck });
        assert_eq!(broken, None);
        assert!(worlds > 1000, "only {worlds} worlds: the model does not move");
    }
}

/// The proof that the model can fail: each rule that is left out is found.
#[test]
fn without_the_rescue_an_interleaving_loses_bytes() {
    fn no_rescue(state: Option<BlobState>, offer: Offer, outdated: bool) -> Meeting {
        match meet(state, offer, outdated) {
            Meeting::Rescue => Meeting::Keep,
            other => other,
        }
    }
    let (_, broken) = explore(Rules { meet: no_rescue, recheck: false });
    assert!(broken.is_some(), "the model does not see that nothing is rescued");
}

#[test]
fn without_the_second_upload_an_interleaving_loses_bytes() {
    fn uploaded_is_enough(state: Option<BlobState>, offer: Offer, outdated: bool) -> Meeting {
        match (state, offer) {
            (Some(BlobState::Deleting), Offer::Stored) => Meeting::Better,
            _ => meet(state, offer, outdated),
        }
    }
    let (_, broken) = explore(Rules { meet: uploaded_is_enough, recheck: true });
    assert!(broken.is_some(), "the model does not see a deletion that comes after an upload");
}

#[test]
fn without_the_memory_of_deletions_an_interleaving_loses_bytes() {
    fn forgetful(state: Option<BlobState>, offer: Offer, _: bool) -> Meeting {
        meet(state, offer, false)
    }
    let (_, broken) = explore(Rules { meet: forgetful, recheck: true });
    assert!(broken.is_some(), "the model does not see an upload that is older than the deletion");
}
