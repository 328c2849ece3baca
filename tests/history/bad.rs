//! Made-up histories: each kind of fault is seen, and what a right store may do passes.

use super::checker::{Act, Entries, Entry, Event, Fault, Kind, Outcome, Rules, Seen, content, faults};
use sha2::{Digest, Sha256};

const LAG: u64 = 100;

fn event(door: &str, start: u64, end: u64, act: Act) -> Event {
    Event { by: "w".to_owned(), door: door.to_owned(), start, end, act }
}

fn write(door: &str, start: u64, end: u64, tag: &str, outcome: Outcome) -> Event {
    let (path, tag) = ("s/f".to_owned(), tag.to_owned());
    let act = Act::Write { path, tag, size: 50, in_place: false, outcome, partial: false };
    event(door, start, end, act)
}

fn in_place(mut write: Event) -> Event {
    if let Act::Write { in_place, .. } = &mut write.act {
        *in_place = true;
    }
    write
}

fn ok(door: &str, start: u64, end: u64, tag: &str) -> Event {
    write(door, start, end, tag, Outcome::Ok)
}

fn remove(door: &str, start: u64, end: u64) -> Event {
    event(door, start, end, Act::Remove { path: "s/f".to_owned(), outcome: Outcome::Ok })
}

fn read(door: &str, start: u64, end: u64, seen: Seen) -> Event {
    event(door, start, end, Act::Read { path: "s/f".to_owned(), seen })
}

fn whole(door: &str, start: u64, end: u64, tag: &str) -> Event {
    read(door, start, end, Seen::Whole { tag: tag.to_owned() })
}

fn entries(tags: &[&str]) -> Entries {
    tags.iter()
        .map(|tag| {
            let hash = Some(hex::encode(Sha256::digest(content(tag, 50))));
            ("s/f".to_owned(), Entry { size: Some(50), hash })
        })
        .collect()
}

fn list(door: &str, start: u64, end: u64, tags: &[&str]) -> Event {
    event(door, start, end, Act::List { session: "s".to_owned(), entries: entries(tags) })
}

fn seal(start: u64, end: u64) -> Event {
    event("a", start, end, Act::Seal { session: "s".to_owned() })
}

fn manifest(tags: &[&str]) -> Event {
    event("a", 1000, 1001, Act::Manifest { session: "s".to_owned(), entries: entries(tags) })
}

fn kinds(events: &[Event]) -> Vec<Kind> {
    let mut kinds: Vec<Kind> =
        faults(events, Rules { lag: LAG, cached: &["b"] }).iter().map(|f: &Fault| f.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

#[track_caller]
fn bad(kind: Kind, events: &[Event]) {
    assert_eq!(kinds(events), [kind]);
}

#[track_caller]
fn good(events: &[Event]) {
    assert_eq!(kinds(events), []);
}

#[test]
fn what_is_lost_is_seen() {
    let acked = ok("a", 1, 2, "x");
    bad(Kind::Lost, &[acked.clone(), read("a", 3, 4, Seen::Absent)]);
    bad(Kind::Lost, &[acked.clone(), list("a", 3, 4, &[])]);
    bad(Kind::Lost, &[acked.clone(), list("cli", 3, 4, &[])]);
    bad(Kind::Lost, &[acked.clone(), read("b", 103, 104, Seen::Absent)]);
    good(&[acked.clone(), read("b", 102, 104, Seen::Absent)]);
    good(&[acked.clone(), read("a", 2, 4, Seen::Absent)]);
    // An older version, and one that was removed.
    let newer = ok("a", 3, 4, "y");
    bad(Kind::Lost, &[acked.clone(), newer.clone(), whole("a", 5, 6, "x")]);
    bad(Kind::Lost, &[acked.clone(), newer.clone(), list("rest", 5, 6, &["x"])]);
    bad(Kind::Lost, &[acked.clone(), remove("a", 3, 4), whole("a", 5, 6, "x")]);
    good(&[acked.clone(), newer.clone(), whole("a", 4, 6, "x"), whole("a", 4, 6, "y"), whole("b", 50, 60, "x")]);
    good(&[acked.clone(), remove("a", 3, 4), read("a", 5, 6, Seen::Absent)]);
    // Two at a time: either may be the last.
    let both = [acked.clone(), ok("b", 2, 4, "y")];
    good(&[both.as_slice(), &[whole("cli", 9, 9, "x"), whole("cli", 9, 9, "y")]].concat());
    bad(Kind::Lost, &[both.as_slice(), &[read("cli", 9, 9, Seen::Absent)]].concat());
}

#[test]
fn what_only_maybe_happened_may_show_or_not() {
    let maybe = write("a", 3, 4, "y", Outcome::Unknown);
    let history = [ok("a", 1, 2, "x"), maybe];
    good(&[history.as_slice(), &[whole("a", 9, 9, "x"), whole("a", 900, 900, "y")]].concat());
    // It excuses nothing that was acknowledged.
    bad(Kind::Lost, &[history.as_slice(), &[read("a", 9, 9, Seen::Absent)]].concat());
}

#[test]
fn what_was_refused_is_seen() {
    let refused = write("a", 1, 2, "x", Outcome::Refused);
    bad(Kind::Refused, &[refused.clone(), whole("a", 3, 4, "x")]);
    bad(Kind::Refused, &[refused.clone(), list("b", 1, 4, &["x"])]);
    good(&[refused.clone(), read("a", 3, 4, Seen::Absent)]);
    good(&[in_place(refused.clone()), whole("a", 2, 4, "x"), list("a", 50, 60, &["x"])]);
    bad(Kind::Refused, &[in_place(refused.clone()), whole("a", 103, 104, "x")]);
    bad(Kind::Refused, &[in_place(refused), whole("b", 2, 4, "x")]);
    bad(Kind::Unwritten, &[whole("a", 3, 4, "x")]);
    bad(Kind::Unwritten, &[ok("a", 5, 6, "x"), whole("a", 3, 4, "x")]);
}

#[test]
fn torn_reads_are_seen() {
    let prefix = |door: &str, at| read(door, at, at, Seen::Prefix { tag: "x".to_owned(), size: 9 });
    let zeros = |door: &str, at| read(door, at, at, Seen::Zeros { tag: "x".to_owned(), size: 90 });
    let acked = ok("a", 1, 5, "x");
    for seen in [prefix("a", 3), prefix("b", 3), zeros("b", 3), zeros("a", 7), read("a", 3, 3, Seen::Empty)] {
        bad(Kind::Torn, &[acked.clone(), seen]);
    }
    // While it is written in place, on its own mount.
    good(&[in_place(acked.clone()), prefix("a", 3), read("a", 3, 3, Seen::Empty)]);
    bad(Kind::Torn, &[in_place(acked.clone()), prefix("a", 6)]);
    bad(Kind::Torn, &[in_place(acked.clone()), prefix("b", 3)]);
    bad(Kind::Torn, &[in_place(acked.clone()), zeros("a", 3)]);
    good(&[in_place(ok("b", 1, 5, "x")), zeros("b", 3)]);
    // A write of it failed: its beginning may be kept.
    let mut failed = in_place(write("a", 1, 5, "x", Outcome::Unknown));
    bad(Kind::Torn, &[failed.clone(), prefix("b", 9)]);
    if let Act::Write { partial, .. } = &mut failed.act {
        *partial = true;
    }
    good(&[failed, prefix("b", 9)]);
    bad(Kind::Torn, &[acked.clone(), read("a", 3, 3, Seen::Torn { what: "two".to_owned() })]);
}

#[test]
fn what_enters_after_the_seal_is_seen() {
    let sealed = [ok("a", 1, 2, "x"), seal(10, 20), manifest(&["x"])];
    good(&sealed);
    good(&[sealed.as_slice(), &[write("b", 21, 22, "y", Outcome::Refused), list("b", 200, 201, &["x"])]].concat());
    bad(Kind::Lost, &[ok("a", 1, 2, "x"), seal(10, 20), manifest(&[])]);
    bad(Kind::Lost, &[ok("a", 15, 25, "x"), seal(10, 20), manifest(&[])]);
    bad(Kind::Refused, &[write("a", 1, 15, "x", Outcome::Refused), seal(10, 20), manifest(&["x"])]);
    assert!(kinds(&[sealed.as_slice(), &[ok("b", 21, 22, "y")]].concat()).contains(&Kind::AfterSeal));
    assert!(kinds(&[sealed.as_slice(), &[remove("b", 21, 22)]].concat()).contains(&Kind::AfterSeal));
}

#[test]
fn listings_that_are_not_the_manifest_are_seen() {
    let maybe = [ok("a", 1, 2, "x"), write("a", 3, 4, "y", Outcome::Unknown), seal(10, 20), manifest(&["x"])];
    bad(Kind::Listing, &[maybe.as_slice(), &[list("b", 121, 122, &["y"])]].concat());
    good(&[maybe.as_slice(), &[list("b", 119, 122, &["y"])]].concat());
    let removed = event("a", 3, 4, Act::Remove { path: "s/f".to_owned(), outcome: Outcome::Unknown });
    bad(Kind::Listing, &[ok("a", 1, 2, "x"), removed, seal(10, 20), manifest(&["x"]), list("a", 121, 122, &[])]);
}

#[test]
fn reads_that_fail_are_seen() {
    let failed = read("a", 5, 6, Seen::Error { errno: "EIO".to_owned() });
    bad(Kind::Unreadable, &[ok("a", 1, 2, "x"), failed.clone()]);
    good(&[ok("a", 1, 2, "x"), event("a", 6, 9, Act::Down), failed.clone()]);
    bad(Kind::Unreadable, &[ok("a", 1, 2, "x"), event("b", 6, 9, Act::Down), failed]);
}
