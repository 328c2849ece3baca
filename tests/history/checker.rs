//! What a recorded history of concurrent programs must not show. Pure: events in, faults out.
//!
//! Every path is a register. A write, a removal and a rename's target set it within `start..end`; a read, a listing and
//! a manifest observe it. An observation is right if it shows what some change set that had begun by then, and that no
//! acknowledged change replaced which began after it and was visible before the observation began. That is weaker than
//! linearizability and never wrong about a store that is right; it sees what gets lost, comes back, or was refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// One call of one program, on the clock of the machine (nanoseconds).
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    pub by: String,
    /// `a` and `b` are mounts, `cli` and `rest` ask the catalog.
    pub door: String,
    pub start: u64,
    pub end: u64,
    #[serde(flatten)]
    pub act: Act,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Act {
    /// The bytes of `tag`, in place (visible on its own mount before they are whole) or all at once.
    Write {
        path: String,
        tag: String,
        size: u64,
        in_place: bool,
        outcome: Outcome,
        #[serde(default)]
        partial: bool,
    },
    Remove {
        path: String,
        outcome: Outcome,
    },
    Read {
        path: String,
        seen: Seen,
    },
    List {
        session: String,
        entries: Entries,
    },
    Seal {
        session: String,
    },
    Manifest {
        session: String,
        entries: Entries,
    },
    /// The door's daemon was dead or starting.
    Down,
}

/// By path, the session's name included.
pub type Entries = BTreeMap<String, Entry>;

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Entry {
    /// None: it was listed, and gone before it could be asked.
    pub size: Option<u64>,
    pub hash: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    /// The answer was a refusal: sealed, over quota, too large.
    Refused,
    /// The daemon died, or it failed in the middle: done or not, now or at the recovery.
    Unknown,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Seen {
    Absent,
    Empty,
    /// All bytes of the tag and no more.
    Whole {
        tag: String,
    },
    /// The first bytes of it.
    Prefix {
        tag: String,
        size: u64,
    },
    /// The first bytes of it, then zeros.
    Zeros {
        tag: String,
        size: u64,
    },
    Torn {
        what: String,
    },
    Error {
        errno: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What was acknowledged is not there, or an older state is.
    Lost,
    /// Bytes of no version, or of two.
    Torn,
    /// What was refused is there.
    Refused,
    /// What nobody wrote is there.
    Unwritten,
    /// A change of a sealed session was acknowledged.
    AfterSeal,
    /// A listing of a sealed session is not its manifest.
    Listing,
    /// A read failed while its daemon ran.
    Unreadable,
}

#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub text: String,
    /// The path, or the session: whose events tell more.
    pub place: String,
}

#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// How long what came in at one door may be unknown at a mount that it did not come through.
    pub lag: u64,
    /// Doors whose pages the kernel keeps: a file cut while it is read shows zeros there, and no reply of ours helps.
    pub cached: &'a [&'a str],
}

pub fn content(tag: &str, size: u64) -> Vec<u8> {
    let line = format!("{tag}:{size}\n");
    line.bytes().cycle().take(usize::try_from(size).expect("a size in memory")).collect()
}

/// A change of one path; no tag: removed.
struct Change<'a> {
    event: &'a Event,
    tag: Option<&'a str>,
    size: u64,
    hash: String,
    in_place: bool,
    /// A write of it failed: what was written until then may be kept, as on a disk.
    partial: bool,
    outcome: Outcome,
}

impl Change<'_> {
    /// What only happened maybe may still happen.
    fn settled(&self) -> u64 {
        if self.outcome == Outcome::Unknown { u64::MAX } else { self.event.end }
    }
    fn under_way(&self, look: Look<'_>, lag: u64) -> bool {
        // What a close refused is there until the kernel tells of the release, which comes after the close.
        let end = self.event.end.saturating_add(if self.outcome == Outcome::Refused { lag } else { 0 });
        self.in_place && self.event.door == look.door && self.event.start <= look.end && look.start <= end
    }
}

/// When and where it was looked.
#[derive(Clone, Copy)]
struct Look<'a> {
    door: &'a str,
    start: u64,
    end: u64,
}

struct History<'a> {
    rules: Rules<'a>,
    changes: HashMap<&'a str, Vec<Change<'a>>>,
    seals: HashMap<&'a str, &'a Event>,
    manifests: HashMap<&'a str, &'a Entries>,
    down: Vec<&'a Event>,
}

fn session_of(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// Everything that is wrong with the history.
pub fn faults(events: &[Event], rules: Rules<'_>) -> Vec<Fault> {
    let mut h =
        History { rules, changes: HashMap::new(), seals: HashMap::new(), manifests: HashMap::new(), down: Vec::new() };
    for event in events {
        match &event.act {
            Act::Write { path, tag, size, in_place, outcome, partial, .. } => {
                let change = Change {
                    event,
                    tag: Some(tag),
                    size: *size,
                    hash: hex::encode(Sha256::digest(content(tag, *size))),
                    in_place: *in_place,
                    partial: *partial,
                    outcome: *outcome,
                };
                h.changes.entry(path).or_default().push(change);
            }
            Act::Remove { path, outcome } => {
                let change = Change {
                    event,
                    tag: None,
                    size: 0,
                    hash: String::new(),
                    in_place: false,
                    partial: false,
                    outcome: *outcome,
                };
                h.changes.entry(path).or_default().push(change);
            }
            Act::Seal { session } => {
                h.seals.insert(session, event);
            }
            Act::Manifest { session, entries } => {
                h.manifests.insert(session, entries);
            }
            Act::Down => h.down.push(event),
            Act::Read { .. } | Act::List { .. } => {}
        }
    }
    let mut faults = h.after_seal();
    for event in events {
        match &event.act {
            Act::Read { path, seen } => faults.extend(h.read(event, path, seen)),
            Act::List { session, entries } => faults.extend(h.list(event, session, entries)),
            // What was acknowledged is in it, however it lay to the seal.
            Act::Manifest { session, entries } => {
                let look = Look { door: &event.door, start: u64::MAX, end: u64::MAX };
                faults.extend(h.entries(look, session, entries, &format!("the manifest of {session}")));
            }
            _ => {}
        }
    }
    faults
}

impl<'a> History<'a> {
    fn of(&self, path: &str) -> &[Change<'a>] {
        self.changes.get(path).map_or(&[], Vec::as_slice)
    }

    fn after_seal(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (path, changes) in &self.changes {
            let Some(seal) = self.seals.get(session_of(path)) else { continue };
            for c in changes.iter().filter(|c| c.outcome == Outcome::Ok && c.event.start > seal.end) {
                let text = format!("{} of {path} by {} at {}", c.tag.unwrap_or("a removal"), c.event.by, c.event.door);
                faults.push(Fault { kind: Kind::AfterSeal, text, place: (*path).to_owned() });
            }
        }
        faults
    }

    /// Whether an acknowledged change that began after `settled` was visible before the look.
    fn replaced(&self, path: &str, settled: u64, look: Look<'_>) -> bool {
        self.of(path).iter().any(|c| {
            let mount = look.door.len() == 1;
            let lag = if mount && c.event.door != look.door { self.rules.lag } else { 0 };
            c.outcome == Outcome::Ok && c.event.start > settled && c.event.end.saturating_add(lag) < look.start
        })
    }
    fn may_be_absent(&self, path: &str, look: Look<'_>) -> bool {
        !self.replaced(path, 0, look)
            || self.of(path).iter().any(|c| {
                c.tag.is_none()
                    && c.outcome != Outcome::Refused
                    && c.event.start <= look.end
                    && !self.replaced(path, c.settled(), look)
            })
    }
    /// Whether one of the writes that `matches` may be what is seen.
    fn may_be(&self, path: &str, look: Look<'_>, matches: impl Fn(&Change<'a>) -> bool) -> Result<(), Kind> {
        let mut why = Kind::Unwritten;
        for c in self.of(path).iter().filter(|c| c.tag.is_some() && c.event.start <= look.end && matches(c)) {
            if c.under_way(look, self.rules.lag) {
                return Ok(());
            }
            if c.outcome == Outcome::Refused {
                why = Kind::Refused;
            } else if self.replaced(path, c.settled(), look) {
                why = Kind::Lost;
            } else {
                return Ok(());
            }
        }
        Err(why)
    }

    fn read(&self, event: &Event, path: &str, seen: &Seen) -> Option<Fault> {
        let look = Look { door: &event.door, start: event.start, end: event.end };
        let under_way = |tag: Option<&str>| {
            let of_tag = |c: &&Change<'_>| tag.is_none() || c.tag == tag;
            self.of(path).iter().filter(of_tag).any(|c| c.tag.is_some() && c.under_way(look, self.rules.lag))
        };
        let kind = match seen {
            Seen::Absent => (!self.may_be_absent(path, look)).then_some(Kind::Lost),
            Seen::Whole { tag } => self.may_be(path, look, |c| c.tag == Some(tag)).err(),
            Seen::Empty => (!under_way(None) && self.may_be(path, look, |c| c.partial).is_err()).then_some(Kind::Torn),
            Seen::Prefix { tag, .. } => {
                let kept = self.may_be(path, look, |c| c.partial && c.tag == Some(tag)).is_ok();
                (!under_way(Some(tag)) && !kept).then_some(Kind::Torn)
            }
            Seen::Zeros { .. } => (!(self.rules.cached.contains(&look.door) && under_way(None))).then_some(Kind::Torn),
            Seen::Torn { .. } => Some(Kind::Torn),
            Seen::Error { .. } => (!self.was_down(event)).then_some(Kind::Unreadable),
        };
        kind.map(|kind| {
            let text = format!("{path} at {} by {} was {seen:?}", event.door, event.by);
            Fault { kind, text, place: path.to_owned() }
        })
    }

    fn was_down(&self, event: &Event) -> bool {
        self.down.iter().any(|d| d.door == event.door && d.start <= event.end && event.start <= d.end)
    }

    fn list(&self, event: &Event, session: &str, entries: &Entries) -> Vec<Fault> {
        let look = Look { door: &event.door, start: event.start, end: event.end };
        let what = format!("the listing of {session} at {} by {}", event.door, event.by);
        let mut faults = self.entries(look, session, entries, &what);
        if let (Some(seal), Some(manifest)) = (self.seals.get(session), self.manifests.get(session))
            && event.start > seal.end.saturating_add(self.rules.lag)
        {
            let paths: BTreeSet<&String> = entries.keys().chain(manifest.keys()).collect();
            let differs = |path: &&&String| match (entries.get(**path), manifest.get(**path)) {
                (Some(l), Some(m)) => l.size != m.size || l.hash.as_ref().is_some_and(|h| Some(h) != m.hash.as_ref()),
                _ => true,
            };
            faults.extend(paths.iter().filter(differs).map(|path| {
                let (l, m) = (entries.get(*path), manifest.get(*path));
                let text = format!("{what}: {path} is {l:?}, in the manifest {m:?}");
                Fault { kind: Kind::Listing, text, place: (*path).clone() }
            }));
        }
        faults
    }

    fn entries(&self, look: Look<'_>, session: &str, entries: &Entries, what: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |kind, path: &str, entry: Option<&Entry>| {
            faults.push(Fault { kind, text: format!("{what}: {path} is {entry:?}"), place: path.to_owned() });
        };
        for (path, entry) in entries {
            let matches = |c: &Change<'_>| {
                let growing = c.under_way(look, self.rules.lag);
                growing
                    || c.partial
                    || match (&entry.hash, entry.size) {
                        (Some(hash), _) => *hash == c.hash,
                        (None, Some(size)) => size == c.size,
                        (None, None) => true,
                    }
            };
            if let Err(kind) = self.may_be(path, look, matches) {
                fault(kind, path, Some(entry));
            }
        }
        for path in self.changes.keys().filter(|p| session_of(p) == session && !entries.contains_key(**p)) {
            if !self.may_be_absent(path, look) {
                fault(Kind::Lost, path, None);
            }
        }
        faults
    }
}
