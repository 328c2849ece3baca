//! A small engine that does what the decisions say, beside a model of what a user is entitled to.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

type State = OpenState<u64, u64>;
type Flush = FlushDecision<u64>;

/// What happens to one inode. Handle numbers choose among those that are open.
#[derive(Clone, Debug)]
enum Event {
    Open {
        writes: bool,
        truncate: bool,
    },
    Write(usize, u8),
    Truncate(usize),
    /// A store through a mapping that outlives its handle.
    MapStore(u8),
    Flush(usize),
    Sync(usize),
    Release(usize),
    /// The commit on its way ends, well or not.
    Finish(bool),
    Unlink,
    Name {
        scratch: bool,
    },
    Seal,
}

/// One commit on its way.
struct Commit {
    stamp: u64,
    bytes: Vec<u8>,
    collapse: Option<u64>,
    maker: Maker,
    /// Who waits for it: handle and the writes it must cover.
    waiting: Vec<Waiter>,
}

#[derive(Clone, Copy)]
struct Waiter {
    handle: Handle,
    asked: Asked,
    /// Stamp at the time of asking: an answer of 0 promises at least these bytes.
    stamp: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    Flush,
    Sync,
    Release,
    Name { scratch: bool },
}

#[derive(Clone, Debug, PartialEq)]
struct Version {
    artifact: u64,
    stamp: u64,
    bytes: Vec<u8>,
    maker: Maker,
}

/// The engine: staging bytes, the catalog's versions, and the state under test.
#[derive(Default)]
struct World {
    state: State,
    bytes: Vec<u8>,
    stamp: u64,
    /// Bytes at each stamp: what the model remembers.
    history: BTreeMap<u64, Vec<u8>>,
    open: BTreeMap<Handle, bool>,
    next: u64,
    commit: Option<Commit>,
    queue: VecDeque<Waiter>,
    versions: Vec<Version>,
    /// The staging file is gone.
    dropped: bool,
    settled: bool,
    sealed_versions: Option<Vec<Version>>,
    /// Everything that was answered 0 with a promise: the stamp it covers.
    promised: u64,
    failed_last: bool,
    /// A naming has committed.
    named: bool,
}

impl World {
    fn new(scratch: bool, orphan: bool) -> Self {
        let mut world = Self::default();
        world.history.insert(0, Vec::new());
        world.state.scratch = scratch;
        world.state.orphan = orphan;
        world.run(&Event::Open { writes: true, truncate: false });
        world
    }

    fn seen(&self) -> Seen<u64> {
        Seen { size: self.bytes.len() as u64, stamp: self.stamp }
    }

    fn touch(&mut self) {
        self.stamp += 1;
        self.history.insert(self.stamp, self.bytes.clone());
    }

    fn pick(&self, n: usize, writer: bool) -> Option<Handle> {
        let all: Vec<_> = self.open.iter().filter(|(_, w)| **w || !writer).map(|(h, _)| *h).collect();
        (!all.is_empty()).then(|| all[n % all.len()])
    }

    fn run(&mut self, event: &Event) {
        match *event {
            Event::Open { writes, truncate } if !(self.dropped || self.state.sealed && writes) => {
                // Nobody can open what has no name, but its maker.
                if self.state.orphan && self.next > 0 {
                    return;
                }
                let handle = Handle(self.next);
                self.next += 1;
                self.open.insert(handle, writes);
                self.state.opened(writes);
                self.settled = false;
                if writes && truncate {
                    self.bytes.clear();
                    self.touch();
                }
            }
            Event::Write(n, byte) if !self.state.sealed && self.pick(n, true).is_some() => {
                self.bytes.push(byte);
                self.touch();
            }
            Event::Truncate(n) if !self.state.sealed && self.pick(n, true).is_some() => {
                self.bytes.clear();
                self.touch();
            }
            Event::MapStore(byte) if !self.bytes.is_empty() && self.open.values().any(|w| *w) => {
                self.bytes[0] = byte;
                self.touch();
            }
            Event::Flush(n) => {
                let Some(handle) = self.pick(n, false) else { return };
                self.ask(handle, Asked::Flush);
            }
            Event::Sync(n) => {
                let Some(handle) = self.pick(n, false) else { return };
                self.ask(handle, Asked::Sync);
            }
            Event::Release(n) => {
                let Some(handle) = self.pick(n, false) else { return };
                // The kernel flushes first, always.
                self.ask(handle, Asked::Flush);
                let writes = self.open.remove(&handle).unwrap();
                self.state.released(writes);
                self.ask(handle, Asked::Release);
            }
            Event::Finish(well) => self.finish(well),
            Event::Unlink if !self.state.sealed => {
                self.state.orphaned();
                if self.open.is_empty() {
                    self.ask(Handle(u64::MAX), Asked::Release);
                }
            }
            // What was unlinked cannot be linked again; what never had a name can.
            Event::Name { scratch }
                if !self.dropped && (!self.state.orphan || self.versions.is_empty() && !self.open.is_empty()) =>
            {
                self.ask(Handle(u64::MAX), Asked::Name { scratch });
            }
            Event::Seal if !self.state.sealed => {
                self.state.sealed();
                self.sealed_versions = Some(self.versions.clone());
            }
            _ => {}
        }
        self.check();
    }

    fn ask(&mut self, handle: Handle, asked: Asked) {
        let waiter = Waiter { handle, asked, stamp: self.stamp };
        self.serve(waiter);
    }

    /// Asks the state and does what it says.
    fn serve(&mut self, who: Waiter) {
        let seen = self.seen();
        let decision = match who.asked {
            Asked::Flush => self.state.decide_flush(who.handle, seen),
            Asked::Sync => self.state.decide_sync(who.handle, seen),
            Asked::Name { scratch } => self.state.decide_name(scratch, seen),
            Asked::Release => return self.release(who, seen),
        };
        match decision {
            Flush::Nothing => self.answer(who),
            Flush::Defer => {
                // Only a file without a byte may leave its record for later.
                assert!(self.bytes.is_empty() && who.asked != Asked::Sync);
                self.state.deferred_record();
                if let Asked::Name { scratch } = who.asked {
                    self.state.named(scratch);
                }
            }
            Flush::Commit { collapse } => {
                let maker = match who.asked {
                    Asked::Name { scratch } => {
                        self.state.named(scratch);
                        Maker::Naming
                    }
                    _ => Maker::Handle(who.handle),
                };
                self.begin(collapse, maker, vec![who]);
            }
            Flush::Join => {
                let commit = self.commit.as_mut().expect("joins a commit");
                assert_eq!(commit.stamp, seen.stamp);
                commit.waiting.push(who);
            }
            Flush::Wait => self.queue.push_back(who),
            Flush::Refuse => assert!(self.state.sealed),
        }
    }

    fn release(&mut self, who: Waiter, seen: Seen<u64>) {
        match self.state.decide_release(who.handle, seen) {
            ReleaseDecision::StillOpen => assert!(!self.open.is_empty()),
            ReleaseDecision::Commit { collapse } => self.begin(collapse, Maker::Handle(who.handle), vec![who]),
            ReleaseDecision::Wait => self.queue.push_back(who),
            ReleaseDecision::Settle => {
                assert!(self.open.is_empty());
                self.settled = true;
            }
            ReleaseDecision::Keep => assert!(self.state.scratch && self.open.is_empty()),
            ReleaseDecision::Discard => {
                assert!(self.open.is_empty() && (self.state.orphan || self.state.sealed));
                self.dropped = true;
            }
        }
    }

    fn begin(&mut self, collapse: Option<u64>, maker: Maker, waiting: Vec<Waiter>) {
        assert!(self.commit.is_none(), "two commits of one inode at a time");
        assert!(!self.state.sealed && !self.state.orphan && !self.state.scratch);
        self.state.began(self.stamp);
        self.commit = Some(Commit { stamp: self.stamp, bytes: self.bytes.clone(), collapse, maker, waiting });
    }

    fn finish(&mut self, well: bool) {
        let Some(commit) = self.commit.take() else { return };
        // The transaction: a seal, or the loss of the name, that came first decides.
        let handle = commit.waiting.first().map_or(Handle(u64::MAX), |w| w.handle);
        if well && !self.state.sealed && !self.state.orphan {
            let artifact = 1000 + self.stamp * 100 + self.versions.len() as u64;
            if let Some(old) = commit.collapse {
                assert_eq!(self.versions.last().map(|v| v.artifact), Some(old), "only the newest version collapses");
                self.versions.pop();
            }
            let Commit { stamp, bytes, maker, .. } = commit;
            self.named |= maker == Maker::Naming;
            self.versions.push(Version { artifact, stamp, bytes, maker });
            self.state.committed(stamp, maker, artifact);
            self.failed_last = false;
            for who in commit.waiting {
                self.answer(who);
            }
        } else {
            self.state.failed();
            self.failed_last = !self.state.orphan && !self.state.sealed;
        }
        for who in std::mem::take(&mut self.queue) {
            self.serve(who);
        }
        // Nobody has it open: who asked has heard of a failure, and the bytes that stay are tried again.
        if self.open.is_empty() && self.commit.is_none() {
            self.ask(handle, Asked::Release);
        }
    }

    /// A call returns 0 after its decision or its commit.
    fn answer(&mut self, who: Waiter) {
        if let Asked::Name { scratch } = who.asked {
            if self.commit.is_none() && !self.state.sealed {
                self.state.named(scratch);
            }
            return;
        }
        if !self.state.orphan && !self.state.scratch {
            self.promised = self.promised.max(who.stamp);
            let newest = self.versions.last().map(|v| v.stamp);
            assert!(newest >= Some(who.stamp), "an answered close of {} lacks its bytes: {newest:?}", who.stamp);
        }
    }

    fn check(&self) {
        // Nothing half-written and nothing invented: every version is a state that the file was in.
        for v in &self.versions {
            assert_eq!(self.history[&v.stamp], v.bytes);
        }
        assert!(self.versions.iter().map(|v| v.stamp).is_sorted());
        // One artifact for what one handle commits in a row. (A naming in between may leave one more.)
        for pair in self.versions.windows(2) {
            assert!(self.named || pair[0].maker != pair[1].maker, "{:?}", self.versions);
        }
        if let Some(then) = &self.sealed_versions {
            assert_eq!(then, &self.versions, "the seal holds");
        }
        // What was promised is never lost again.
        if self.promised > 0 {
            assert!(self.versions.last().is_some_and(|v| v.stamp >= self.promised));
        }
        if self.settled && self.open.is_empty() && !self.state.orphan {
            assert!(self.versions.last().is_some());
        }
    }

    /// Closes everything, lets every commit succeed, and compares with what a user would see on a disk.
    fn wind_up(&mut self) {
        while !self.open.is_empty() {
            self.run(&Event::Release(0));
            self.run(&Event::Finish(true));
        }
        for _ in 0..64 {
            self.run(&Event::Finish(true));
        }
        assert!(self.commit.is_none() && self.queue.is_empty(), "nothing waits for ever");
        if self.state.orphan {
            assert!(self.dropped);
        } else if !self.state.sealed && !self.state.scratch {
            assert_eq!(self.versions.last().map(|v| &v.bytes), Some(&self.bytes), "the file is what was written");
            assert!(self.settled, "settled at the end");
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let h = 0..4usize;
    prop_oneof![
        3 => (any::<bool>(), any::<bool>()).prop_map(|(writes, truncate)| Event::Open { writes, truncate }),
        6 => (h.clone(), any::<u8>()).prop_map(|(n, b)| Event::Write(n, b)),
        1 => h.clone().prop_map(Event::Truncate),
        1 => any::<u8>().prop_map(Event::MapStore),
        6 => h.clone().prop_map(Event::Flush),
        1 => h.clone().prop_map(Event::Sync),
        4 => h.prop_map(Event::Release),
        8 => prop::bool::weighted(0.8).prop_map(Event::Finish),
        1 => prop::bool::weighted(0.3).prop_map(|scratch| Event::Name { scratch }),
    ]
}

fn rare() -> impl Strategy<Value = Event> {
    prop_oneof![20 => event(), 1 => Just(Event::Unlink), 1 => Just(Event::Seal)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn what_was_closed_is_there(events in proptest::collection::vec(event(), 0..40), scratch in any::<bool>()) {
        let mut world = World::new(scratch, false);
        for event in &events {
            world.run(event);
        }
        world.wind_up();
    }

    #[test]
    fn also_with_unlink_seal_and_no_name(
        events in proptest::collection::vec(rare(), 0..40),
        scratch in prop::bool::weighted(0.2),
        orphan in prop::bool::weighted(0.2),
    ) {
        let mut world = World::new(scratch, orphan);
        for event in &events {
            world.run(event);
        }
        world.wind_up();
    }
}

fn play(world: &mut World, events: &[Event]) {
    for event in events {
        world.run(event);
        world.run(&Event::Finish(true));
    }
}

fn shown(world: &World) -> Vec<&str> {
    world.versions.iter().map(|v| std::str::from_utf8(&v.bytes).unwrap()).collect()
}

#[test]
fn echo_makes_one_artifact_although_it_closes_twice() {
    let mut w = World::new(false, false);
    play(&mut w, &[Event::Flush(0)]);
    assert!(w.versions.is_empty() && w.state.deferred);
    play(&mut w, &[Event::Write(0, b'h'), Event::Write(0, b'i'), Event::Release(0)]);
    assert_eq!(shown(&w), ["hi"]);
    assert!(w.settled);
}

#[test]
fn touch_makes_an_empty_artifact_at_release_even_while_another_reads_or_writes() {
    let mut w = World::new(false, false);
    play(&mut w, &[Event::Release(0)]);
    assert_eq!(shown(&w), [""]);
    let mut w = World::new(false, false);
    play(&mut w, &[Event::Open { writes: true, truncate: false }, Event::Release(0)]);
    assert_eq!(shown(&w), [""]);
    assert!(!w.settled);
}

#[test]
fn versions_of_one_handle_collapse_and_of_another_do_not() {
    let mut w = World::new(false, false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Flush(0), Event::Write(0, b'b'), Event::Flush(0)]);
    assert_eq!(shown(&w), ["ab"]);
    play(&mut w, &[Event::Open { writes: true, truncate: false }, Event::Write(1, b'c'), Event::Flush(1)]);
    assert_eq!(shown(&w), ["ab", "abc"]);
    play(&mut w, &[Event::Write(0, b'd'), Event::Flush(0)]);
    assert_eq!(shown(&w), ["ab", "abc", "abcd"]);
}

#[test]
fn what_a_mapping_stores_after_the_close_is_committed_at_release() {
    let mut w = World::new(false, false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Flush(0), Event::MapStore(b'b'), Event::Release(0)]);
    assert_eq!(shown(&w), ["b"]);
}

#[test]
fn scratch_becomes_an_artifact_by_its_new_name() {
    let mut w = World::new(true, false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Release(0)]);
    assert!(w.versions.is_empty() && !w.dropped);
    play(&mut w, &[Event::Name { scratch: false }]);
    assert_eq!(shown(&w), ["a"]);
    // Still open: what is written afterwards replaces it.
    let mut w = World::new(true, false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Name { scratch: false }]);
    assert_eq!(shown(&w), ["a"]);
    play(&mut w, &[Event::Write(0, b'b'), Event::Release(0)]);
    assert_eq!(shown(&w), ["ab"]);
}

#[test]
fn a_version_left_by_a_naming_is_not_replaced_by_the_next_writer() {
    let mut w = World::new(true, false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Name { scratch: false }]);
    play(&mut w, &[Event::Name { scratch: true }, Event::Write(0, b'b'), Event::Name { scratch: false }]);
    assert_eq!(shown(&w), ["ab"]);
    play(&mut w, &[Event::Release(0), Event::Open { writes: true, truncate: false }]);
    play(&mut w, &[Event::Write(0, b'c'), Event::Release(0)]);
    assert_eq!(shown(&w), ["ab", "abc"]);
}

#[test]
fn a_file_without_a_name_is_nothing_until_it_gets_one() {
    let mut w = World::new(false, true);
    play(&mut w, &[Event::Write(0, b'a'), Event::Flush(0), Event::Sync(0)]);
    assert!(w.versions.is_empty());
    play(&mut w, &[Event::Name { scratch: false }]);
    assert_eq!(shown(&w), ["a"]);
    let mut w = World::new(false, true);
    play(&mut w, &[Event::Write(0, b'a'), Event::Release(0)]);
    assert!(w.versions.is_empty() && w.dropped);
}

#[test]
fn a_close_during_a_commit_joins_it_or_waits_for_its_own() {
    let mut w = World::new(false, false);
    w.run(&Event::Write(0, b'a'));
    w.run(&Event::Flush(0));
    assert_eq!(w.state.decide_flush(Handle(0), w.seen()), Flush::Join);
    w.run(&Event::Write(0, b'b'));
    assert_eq!(w.state.decide_flush(Handle(0), w.seen()), Flush::Wait);
    w.run(&Event::Flush(0));
    assert_eq!(w.queue.len(), 1);
    w.run(&Event::Finish(true));
    w.run(&Event::Finish(true));
    assert_eq!(shown(&w), ["ab"]);
}

#[test]
fn a_sealed_session_refuses_what_is_unsaved_and_only_that() {
    let mut w = World::new(false, false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Flush(0), Event::Seal]);
    assert_eq!(w.state.decide_flush(Handle(0), w.seen()), Flush::Nothing);
    play(&mut w, &[Event::MapStore(b'b')]);
    assert_eq!(w.state.decide_flush(Handle(0), w.seen()), Flush::Refuse);
    assert_eq!(w.state.decide_name(false, w.seen()), Flush::Refuse);
    play(&mut w, &[Event::Release(0)]);
    assert_eq!(shown(&w), ["a"]);
    assert!(w.dropped);
}

#[test]
fn a_failed_commit_leaves_the_bytes_unsaved() {
    let mut w = World::new(false, false);
    w.run(&Event::Write(0, b'a'));
    w.run(&Event::Flush(0));
    w.run(&Event::Finish(false));
    assert!(w.failed_last && w.state.is_dirty(w.seen()));
    play(&mut w, &[Event::Release(0)]);
    assert_eq!(shown(&w), ["a"]);
}
