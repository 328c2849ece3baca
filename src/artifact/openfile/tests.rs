//! A small engine that does what the decisions say, beside a model of what a user is entitled to.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;

/// What happens to one inode. Handle numbers choose among those that are open.
#[derive(Clone, Debug)]
enum Event {
    Open {
        writes: bool,
        truncate: bool,
    },
    Write(usize, u8),
    Truncate(usize),
    /// A store through a mapping, which may outlive its handle and leave no trace in the stamp.
    MapStore {
        byte: u8,
        traced: bool,
    },
    Flush(usize),
    Sync(usize),
    Release(usize),
    /// The save on its way ends, well or not.
    Finish(bool),
    /// `setxattr`, a link, a rename.
    Birth,
    /// Every mapping is gone.
    Unmap,
    Unlink,
    Seal,
}

/// Bytes at one moment. Two stamps tell two states apart, but for a store that leaves none.
#[derive(Clone, Debug, PartialEq)]
struct Snapshot {
    stamp: u64,
    bytes: Vec<u8>,
}

/// Who holds the save lock, or waits for it.
#[derive(Clone, Copy, Debug)]
struct Asker {
    why: Why,
    /// Number of the last write that its answer must cover.
    covers: u64,
}

struct Saving {
    by: Asker,
    seen: Snapshot,
    write: u64,
    replaces: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Version {
    artifact: u64,
    bytes: Vec<u8>,
    /// Number of the last write in it.
    write: u64,
    maker: Maker,
}

/// The engine: staging bytes and what was saved of them; the catalog's versions.
#[derive(Default)]
struct World {
    now: Option<Snapshot>,
    /// Writes so far, traced or not, and the file after each.
    write: u64,
    history: BTreeMap<u64, Vec<u8>>,
    saved: Option<(Snapshot, u64, Maker)>,
    open: BTreeMap<Handle, bool>,
    next: Handle,
    /// A mapping exists; one did since the last freeze.
    mapped: bool,
    mappable: bool,
    lock: Option<Saving>,
    queue: VecDeque<Asker>,
    /// The last release left work that has not ended.
    finishing: Option<Handle>,
    versions: Vec<Version>,
    made: u64,
    orphan: bool,
    scratch: bool,
    sealed: bool,
    sealed_versions: Option<Vec<Version>>,
    refused: bool,
    /// A birth in between may leave one more version of a handle.
    born: bool,
    parted: Option<Part>,
    /// The last write of which an answered call has said that it is kept.
    promised: u64,
}

impl World {
    fn new(scratch: bool) -> Self {
        let mut world = World { scratch, next: 1, ..World::default() };
        world.now = Some(Snapshot { stamp: 0, bytes: Vec::new() });
        world.history.insert(0, Vec::new());
        world.run(&Event::Open { writes: true, truncate: false });
        world
    }

    fn now(&self) -> &Snapshot {
        self.now.as_ref().expect("there from the start")
    }

    fn change(&mut self, traced: bool, change: impl FnOnce(&mut Vec<u8>)) {
        let now = self.now.as_mut().expect("there from the start");
        change(&mut now.bytes);
        now.stamp += u64::from(traced);
        self.write += 1;
        self.history.insert(self.write, now.bytes.clone());
    }

    fn writers(&self) -> usize {
        self.open.values().filter(|w| **w).count()
    }

    fn bytes(&self) -> Bytes {
        match &self.saved {
            Some((saved, ..)) if saved.stamp != self.now().stamp => Bytes::Unsaved,
            None => Bytes::Unsaved,
            // As where the kernel notes no store to a dirty page.
            Some(_) if self.mappable => Bytes::Doubtful,
            Some(_) => Bytes::Saved,
        }
    }

    fn seen(&self) -> Seen {
        Seen {
            size: self.now().bytes.len() as u64,
            bytes: self.bytes(),
            writers: self.writers(),
            naming: if self.orphan || self.scratch { Naming::Nameless } else { Naming::Named },
        }
    }

    fn pick(&self, n: usize, writer: bool) -> Option<Handle> {
        let all: Vec<_> = self.open.iter().filter(|(_, w)| **w || !writer).map(|(h, _)| *h).collect();
        (!all.is_empty()).then(|| all[n % all.len()])
    }

    fn run(&mut self, event: &Event) {
        match *event {
            Event::Open { writes, truncate } if !(self.orphan || self.parted.is_some() || self.sealed && writes) => {
                self.open.insert(self.next, writes);
                self.next += 1;
                if writes && truncate {
                    self.change(true, Vec::clear);
                }
            }
            Event::Write(n, byte) if !self.sealed && self.pick(n, true).is_some() => {
                self.change(true, |bytes| bytes.push(byte));
            }
            Event::Truncate(n) if !self.sealed && self.pick(n, true).is_some() => self.change(true, Vec::clear),
            Event::MapStore { byte, traced } if !self.now().bytes.is_empty() && (self.writers() > 0 || self.mapped) => {
                (self.mapped, self.mappable) = (true, true);
                self.change(traced, |bytes| bytes[0] = byte);
            }
            Event::Unmap => self.mapped = false,
            Event::Flush(n) => {
                if let Some(handle) = self.pick(n, true) {
                    self.ask(Why::Flush(handle));
                }
            }
            Event::Sync(n) => {
                if let Some(handle) = self.pick(n, false) {
                    self.ask(Why::Fsync(handle));
                }
            }
            Event::Birth => self.ask(Why::Birth),
            Event::Release(n) => self.release(n),
            Event::Finish(well) => self.finish(well),
            Event::Unlink if !self.sealed => {
                self.orphan = true;
            }
            Event::Seal if !self.sealed => {
                self.sealed = true;
                self.sealed_versions = Some(self.versions.clone());
            }
            _ => {}
        }
        self.part();
        self.check();
    }

    fn release(&mut self, n: usize) {
        let Some(handle) = self.pick(n, false) else { return };
        // The kernel flushes first, always.
        if self.open[&handle] {
            self.ask(Why::Flush(handle));
        }
        self.open.remove(&handle);
        match released(self.writers(), self.parted.is_none()) {
            Released::Nothing => assert!(self.writers() > 0),
            Released::Finish => {
                self.finishing = Some(handle);
                self.ask(Why::Release(handle));
            }
            Released::Retire => assert!(self.parted.is_some()),
        }
    }

    fn ask(&mut self, why: Why) {
        self.queue.push_back(Asker { why, covers: self.write });
        self.serve();
    }

    /// Gives the lock to who is next; answers those whose answer needs no save.
    fn serve(&mut self) {
        while self.lock.is_none() {
            let Some(by) = self.queue.pop_front() else { return };
            if !by.why.saves(self.seen()) {
                self.answer(by);
                continue;
            }
            // Hashed, and found to be what was committed.
            if self.bytes() != Bytes::Unsaved && self.saved.as_ref().is_some_and(|(s, ..)| s == self.now()) {
                if let Some(newest) = self.versions.last_mut() {
                    // A store of the very byte that stood there: the version has it.
                    newest.write = self.write;
                }
                self.answer(by);
                continue;
            }
            let last = self.saved.as_ref().map(|(_, artifact, maker)| (*artifact, *maker));
            let replaces = by.why.replaces(last);
            self.lock = Some(Saving { by, seen: self.now().clone(), write: self.write, replaces });
        }
    }

    fn finish(&mut self, well: bool) {
        let Some(Saving { by, seen, write, replaces }) = self.lock.take() else { return };
        // The transaction: a seal, or the loss of the name, that came first decides.
        if self.sealed {
            self.refused = true;
        } else if well && !self.orphan {
            if let Some(old) = replaces {
                assert_eq!(self.versions.last().map(|v| v.artifact), Some(old), "only the newest version is replaced");
                self.versions.pop();
            }
            self.made += 1;
            let maker = by.why.maker(self.next);
            self.born |= matches!(maker, Maker::Birth { .. });
            self.versions.push(Version { artifact: self.made, bytes: seen.bytes.clone(), write, maker });
            self.saved = Some((seen, self.made, maker));
            self.answer(by);
        }
        self.serve();
        let idle = self.lock.is_none() && self.queue.is_empty();
        if let (true, Some(handle)) = (idle, self.finishing)
            && !self.orphan
            && !self.refused
            && self.bytes() == Bytes::Unsaved
        {
            // Whoever asked has heard of a failure; the bytes stay and are tried again.
            self.ask(Why::Release(handle));
        }
    }

    /// A call returns 0 after its decision or its save.
    fn answer(&mut self, who: Asker) {
        let silent = matches!(who.why, Why::Release(_) | Why::Linger);
        let deferred = matches!(who.why, Why::Flush(_)) && self.now().bytes.is_empty();
        if silent || deferred || self.orphan || self.scratch || self.refused {
            return;
        }
        self.promised = self.promised.max(who.covers);
        let newest = self.versions.last().map(|v| v.write);
        assert!(newest >= Some(who.covers), "an answered {:?} lacks its bytes: {newest:?} < {}", who.why, who.covers);
    }

    /// After the last release, as often as there is news.
    fn part(&mut self) {
        if !self.open.is_empty() || self.lock.is_some() || self.parted.is_some() || self.finishing.is_none() {
            return;
        }
        let orphan = self.orphan || self.refused || self.scratch;
        let stamp_only = if self.bytes() == Bytes::Unsaved { Bytes::Unsaved } else { Bytes::Saved };
        let leaving = Leaving { orphan, mappable: self.mappable, bytes: stamp_only, provisional: true };
        match leaving.decide() {
            Part::Freeze if self.mapped => {}
            Part::Freeze => {
                self.mappable = false;
                // Looked at once more, whatever the stamp says.
                if self.saved.as_ref().is_none_or(|(s, ..)| s.bytes != self.now().bytes) {
                    self.mappable = true;
                    self.ask(Why::Linger);
                } else {
                    self.part();
                }
            }
            Part::Save => assert!(!self.orphan),
            part => self.parted = Some(part),
        }
    }

    fn check(&self) {
        for v in &self.versions {
            assert_eq!(self.history[&v.write], v.bytes, "a version is a state that the file was in");
        }
        assert!(self.versions.iter().map(|v| v.write).is_sorted());
        for pair in self.versions.windows(2) {
            let same = matches!(pair[0].maker, Maker::Handle(_)) && pair[0].maker == pair[1].maker;
            assert!(!same || self.born, "one handle left two versions in a row: {:?}", self.versions);
        }
        if let Some(then) = &self.sealed_versions {
            let shown = |all: &[Version]| all.iter().map(|v| (v.artifact, v.bytes.clone())).collect::<Vec<_>>();
            assert_eq!(shown(then), shown(&self.versions), "the seal holds");
        }
        if self.promised > 0 {
            assert!(self.versions.last().is_some_and(|v| v.write >= self.promised), "what was promised stays");
        }
    }

    /// Closes everything, lets every save succeed, and compares with what a user would see on a disk.
    fn wind_up(&mut self) {
        self.run(&Event::Unmap);
        for _ in 0..64 {
            self.run(&Event::Release(0));
            self.run(&Event::Finish(true));
        }
        assert!(self.open.is_empty() && self.lock.is_none() && self.queue.is_empty(), "nothing waits for ever");
        assert!(self.parted.is_some(), "the staging file is given up in the end");
        if !self.orphan && !self.refused && !self.sealed && !self.scratch {
            assert_eq!(self.versions.last().map(|v| &v.bytes), Some(&self.now().bytes), "the file is what was written");
            assert_eq!(self.parted, Some(Part::Settle));
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    let h = 0..4usize;
    prop_oneof![
        3 => (any::<bool>(), any::<bool>()).prop_map(|(writes, truncate)| Event::Open { writes, truncate }),
        6 => (h.clone(), any::<u8>()).prop_map(|(n, b)| Event::Write(n, b)),
        1 => h.clone().prop_map(Event::Truncate),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(byte, traced)| Event::MapStore { byte, traced }),
        6 => h.clone().prop_map(Event::Flush),
        1 => h.clone().prop_map(Event::Sync),
        4 => h.prop_map(Event::Release),
        8 => prop::bool::weighted(0.8).prop_map(Event::Finish),
        1 => Just(Event::Birth),
        1 => Just(Event::Unmap),
    ]
}

fn rare() -> impl Strategy<Value = Event> {
    prop_oneof![20 => event(), 1 => Just(Event::Unlink), 1 => Just(Event::Seal)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn what_was_closed_is_there(events in proptest::collection::vec(event(), 0..40)) {
        let mut world = World::new(false);
        for event in &events {
            world.run(event);
        }
        world.wind_up();
    }

    #[test]
    fn also_with_unlink_seal_and_scratch(
        events in proptest::collection::vec(rare(), 0..40),
        scratch in prop::bool::weighted(0.2),
    ) {
        let mut world = World::new(scratch);
        for event in &events {
            world.run(event);
        }
        world.wind_up();
        prop_assert!(!scratch || world.versions.is_empty());
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
    let mut w = World::new(false);
    play(&mut w, &[Event::Flush(0)]);
    assert!(w.versions.is_empty());
    play(&mut w, &[Event::Write(0, b'h'), Event::Write(0, b'i'), Event::Release(0)]);
    assert_eq!(shown(&w), ["hi"]);
    assert_eq!(w.parted, Some(Part::Settle));
}

#[test]
fn touch_makes_an_empty_artifact_at_release_even_while_another_reads() {
    let mut w = World::new(false);
    play(&mut w, &[Event::Release(0)]);
    assert_eq!(shown(&w), [""]);
    let mut w = World::new(false);
    play(&mut w, &[Event::Open { writes: false, truncate: false }, Event::Release(0)]);
    assert_eq!(shown(&w), [""]);
    assert_eq!(w.parted, None);
}

#[test]
fn versions_of_one_handle_collapse_and_of_another_do_not() {
    let mut w = World::new(false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Flush(0), Event::Write(0, b'b'), Event::Flush(0)]);
    assert_eq!(shown(&w), ["ab"]);
    play(&mut w, &[Event::Open { writes: true, truncate: false }, Event::Write(1, b'c'), Event::Flush(1)]);
    assert_eq!(shown(&w), ["ab", "abc"]);
    play(&mut w, &[Event::Write(0, b'd'), Event::Flush(0)]);
    assert_eq!(shown(&w), ["ab", "abc", "abcd"]);
}

#[test]
fn what_a_birth_left_is_replaced_by_who_was_there_and_not_by_who_comes() {
    let mut w = World::new(false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Birth, Event::Write(0, b'b'), Event::Flush(0)]);
    assert_eq!(shown(&w), ["ab"]);
    let mut w = World::new(false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Birth, Event::Open { writes: true, truncate: false }]);
    play(&mut w, &[Event::Write(1, b'b'), Event::Flush(1)]);
    assert_eq!(shown(&w), ["a", "ab"]);
}

#[test]
fn what_a_mapping_stores_after_the_close_is_committed_and_replaces() {
    let mut w = World::new(false);
    let store = Event::MapStore { byte: b'b', traced: false };
    play(&mut w, &[Event::Write(0, b'a'), Event::MapStore { byte: b'x', traced: true }, Event::Release(0), store]);
    assert_eq!(w.parted, None, "a mapping lives on");
    play(&mut w, &[Event::Unmap]);
    assert_eq!(shown(&w), ["b"]);
    assert_eq!(w.parted, Some(Part::Settle));
}

#[test]
fn a_file_without_a_name_is_nothing() {
    let mut w = World::new(false);
    play(&mut w, &[Event::Unlink, Event::Write(0, b'a'), Event::Flush(0), Event::Sync(0), Event::Release(0)]);
    assert!(w.versions.is_empty() && w.parted.is_some());
}

#[test]
fn a_close_during_a_save_has_its_own_bytes_saved() {
    let mut w = World::new(false);
    for event in [Event::Write(0, b'a'), Event::Flush(0), Event::Write(0, b'b'), Event::Flush(0)] {
        w.run(&event);
    }
    assert_eq!(w.queue.len(), 1);
    w.run(&Event::Finish(true));
    assert_eq!(shown(&w), ["a"]);
    w.run(&Event::Finish(true));
    assert_eq!(shown(&w), ["ab"]);
}

#[test]
fn a_sealed_session_refuses_what_is_unsaved_and_only_that() {
    let mut w = World::new(false);
    play(&mut w, &[Event::Write(0, b'a'), Event::Flush(0), Event::Seal, Event::Flush(0)]);
    assert!(!w.refused);
    play(&mut w, &[Event::MapStore { byte: b'b', traced: true }, Event::Flush(0)]);
    assert!(w.refused);
    play(&mut w, &[Event::Release(0), Event::Unmap]);
    assert_eq!(shown(&w), ["a"]);
    assert!(w.parted.is_some());
}

#[test]
fn a_failed_save_leaves_the_bytes_unsaved() {
    let mut w = World::new(false);
    w.run(&Event::Write(0, b'a'));
    w.run(&Event::Flush(0));
    w.run(&Event::Finish(false));
    assert_eq!(w.bytes(), Bytes::Unsaved);
    play(&mut w, &[Event::Release(0)]);
    assert_eq!(shown(&w), ["a"]);
}

#[test]
fn a_version_moves_out_of_the_way_of_a_writer_who_goes_on() {
    assert!(Why::Fsync(1).goes_on(None) && Why::Birth.goes_on(None) && Why::Overtaken.goes_on(None));
    assert!(!Why::Flush(1).goes_on(None), "most closes are the only one");
    assert!(Why::Flush(1).goes_on(Some(Maker::Handle(1))), "it saved before: it has another descriptor");
    assert!(!Why::Flush(2).goes_on(Some(Maker::Handle(1))));
    assert!(!Why::Release(1).goes_on(Some(Maker::Handle(1))));
}

/// Whatever led there: bytes of a file that was given up are never acknowledged, an empty close of it loses nothing.
#[test]
fn what_was_given_up_is_not_acknowledged() {
    let seen = |size, bytes, naming| Seen { size, bytes, writers: 1, naming };
    for why in [Why::Flush(1), Why::Fsync(1)] {
        assert!(!why.acknowledges(seen(1, Bytes::Unsaved, Naming::Refused)));
        assert!(why.acknowledges(seen(1, Bytes::Saved, Naming::Refused)));
        assert!(why.acknowledges(seen(1, Bytes::Unsaved, Naming::Nameless)));
        // Another writer's bytes may have come since.
        assert!(why.acknowledges(seen(1, Bytes::Unsaved, Naming::Named)));
        assert!(!why.saves(seen(1, Bytes::Unsaved, Naming::Refused)));
    }
    assert!(Why::Flush(1).acknowledges(seen(0, Bytes::Unsaved, Naming::Refused)));
    assert!(!Why::Fsync(1).acknowledges(seen(0, Bytes::Unsaved, Naming::Refused)));
}
