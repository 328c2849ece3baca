//! One function a rule; each returns what it found in one source.

use std::fmt;

use super::source::Source;

pub struct Fault {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// How far above an `unwrap` or `expect` its reason may stand, in lines.
const REASON_WITHIN: usize = 6;

/// From the used to the user; the modules of one row do not use one another.
const LAYERS: [&[&str]; 6] = [
    &["artifact", "metrics"],
    &["staging", "blob", "catalog"],
    &["check", "preview"],
    &["engine"],
    &["fuse", "http", "mcp", "cli"],
    &["daemon"],
];

fn height(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&layer))
}

fn fault(source: &Source, offset: usize, what: String) -> Fault {
    Fault { path: source.path.clone(), line: source.line_of(offset), what }
}

/// Every use of another layer that the direction forbids.
pub fn arrows(source: &Source) -> Vec<Fault> {
    let Some(user) = source.layer() else { return Vec::new() };
    let Some(from) = height(user) else {
        return vec![fault(source, 0, format!("{user} is in no layer: give it its place in LAYERS"))];
    };
    let allowed = |used: &str| used == user || height(used).is_some_and(|to| to < from);
    paths_from(source, "crate")
        .into_iter()
        .filter(|(_, path)| !allowed(path.split("::").next().unwrap_or_default()))
        .map(|(at, path)| fault(source, at, format!("{user} uses {path}")))
        .collect()
}

/// Every use of a crate outside the adapter that it belongs to.
pub fn crates(source: &Source) -> Vec<Fault> {
    let rules: [(&str, &str, &dyn Fn(&str) -> bool); 4] = [
        ("src/fuse", "fuser", &|c| c == "fuser"),
        ("src/catalog/sql", "rusqlite", &|c| c == "rusqlite" || c == "libsqlite3_sys"),
        ("src/catalog", "tokio_postgres", &|c| c == "tokio_postgres"),
        ("src/blob/s3", "aws_*", &|c| c.starts_with("aws_")),
    ];
    let mut faults = Vec::new();
    for (home, name, is_it) in rules {
        if source.path.starts_with(home) {
            continue;
        }
        let found = words(&source.code).filter(|(at, word)| is_it(word) && names_a_path(&source.code, *at, word));
        faults.extend(found.map(|(at, _)| fault(source, at, format!("{name} outside {home}"))));
    }
    faults
}

/// Methods that only certain files of the engine call: the receiver's end and the name, the home, and why.
const CALLERS: [(&str, &[&str], &str); 3] = [
    ("blobs.put(", &["src/engine/upload.rs"], "slots, deadline and noted failures are there"),
    ("blobs.adopt(", &["src/engine/upload.rs"], "slots, deadline and noted failures are there"),
    ("live.state.lock(", &["src/engine/volume/inode/"], "an inode's state is changed by its own methods"),
];

/// Every call in the engine that belongs to one file of it, called elsewhere. Line breaks in a chain of calls do not hide it.
pub fn callers(source: &Source) -> Vec<Fault> {
    if !source.path.starts_with("src/engine/") {
        return Vec::new();
    }
    let kept: Vec<(usize, char)> = source.code.char_indices().filter(|(_, c)| !c.is_whitespace()).collect();
    let code: String = kept.iter().map(|(_, c)| c).collect();
    let mut faults = Vec::new();
    for (call, homes, why) in CALLERS {
        if homes.iter().any(|home| source.path.starts_with(home)) {
            continue;
        }
        for (at, _) in code.match_indices(call) {
            let (offset, _) = kept[code[..at].chars().count()];
            faults.push(fault(source, offset, format!("{call}…) outside {}: {why}", homes[0])));
        }
    }
    faults
}

/// The module that a file is: `engine::gc::timer`.
fn module(path: &str) -> Option<String> {
    let path = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    Some(path.strip_suffix("/mod").unwrap_or(path).replace('/', "::"))
}

/// Circles of files in the engine and the catalog: who is understood only with another that is understood only with it. (The parts of the volume are still
/// one.)
pub fn circles(sources: &[Source]) -> Vec<Fault> {
    let own = |s: &&Source| {
        (s.path.starts_with("src/engine/") && !s.path.starts_with("src/engine/volume/"))
            || s.path.starts_with("src/catalog/")
    };
    let files: Vec<(String, &Source)> =
        sources.iter().filter(own).filter_map(|s| Some((module(&s.path)?, s))).collect();
    // The file that a path leads to: the longest of its beginnings that is one.
    let leads_to = |path: &str| {
        let is_it = |name: &str| path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
        (0..files.len()).filter(|i| is_it(&files[*i].0)).max_by_key(|i| files[*i].0.len())
    };
    let uses: Vec<Vec<(usize, usize)>> = files
        .iter()
        .map(|(name, source)| {
            let above = name.rsplit_once("::").map_or("", |(above, _)| above);
            let beside = paths_from(source, "super").into_iter().map(|(at, path)| (at, format!("{above}::{path}")));
            paths_from(source, "crate")
                .into_iter()
                .chain(beside)
                .filter_map(|(at, p)| Some((leads_to(&p)?, at)))
                .collect()
        })
        .collect();
    let reaches = |from: usize, to: usize| {
        let (mut seen, mut next) = (vec![false; files.len()], vec![from]);
        while let Some(at) = next.pop() {
            if at == to {
                return true;
            }
            if !std::mem::replace(&mut seen[at], true) {
                next.extend(uses[at].iter().map(|(used, _)| *used));
            }
        }
        false
    };
    let mut faults = Vec::new();
    for (user, used) in uses.iter().enumerate() {
        for (used, at) in used.iter().filter(|(used, _)| *used != user && reaches(*used, user)) {
            let what = format!("{} uses {}, which leads back to it", files[user].0, files[*used].0);
            faults.push(fault(files[user].1, *at, what));
        }
    }
    faults
}

/// What `artifact/` may not use: crates, modules of `std`, calls.
const CRATES: [&str; 7] = ["tokio", "rand", "rustix", "parking_lot", "reqwest", "hyper", "futures"];
const STD: [&str; 11] = [
    "fs",
    "net",
    "process",
    "thread",
    "env",
    "os::fd",
    "os::unix::fs",
    "os::unix::net",
    "os::unix::process",
    "time::SystemTime",
    "time::Instant",
];
const CALLS: [&str; 5] = ["Timestamp::now", "Zoned::now", "Ulid::new", "thread_rng", "getrandom"];

/// Every use of the world in `artifact/`.
pub fn purity(source: &Source) -> Vec<Fault> {
    if source.layer() != Some("artifact") {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (at, word) in words(&source.code) {
        if CRATES.contains(&word) && names_a_path(&source.code, at, word) {
            faults.push(fault(source, at, format!("uses {word}")));
        }
    }
    // Its constants (errno, mode bits) are values; its functions are calls into the kernel.
    for (at, path) in paths_from(source, "libc") {
        let end = at + path.rsplit("::").next().unwrap_or_default().len();
        if path.starts_with(|c: char| c.is_lowercase()) && source.code[end..].trim_start().starts_with('(') {
            faults.push(fault(source, at, format!("calls libc::{path}")));
        }
    }
    for (at, path) in paths_from(source, "std") {
        if STD.iter().any(|s| path == *s || path.starts_with(&format!("{s}::"))) {
            faults.push(fault(source, at, format!("uses std::{path}")));
        }
    }
    for call in CALLS {
        faults.extend(source.code.match_indices(call).map(|(at, _)| fault(source, at, format!("calls {call}"))));
    }
    faults
}

/// Every `.unwrap()` and `.expect(` that says no reason, and every licence for them that gives none.
pub fn panics(source: &Source) -> Vec<Fault> {
    let raw: Vec<&str> = source.raw.lines().collect();
    let reasoned = |line: usize| {
        // `line` counts from 1: the lines above it, and itself.
        let around = &raw[line.saturating_sub(REASON_WITHIN + 1)..line];
        around.iter().any(|l| l.contains("reason = ") || l.split_once("//").is_some_and(|(_, c)| is_reason(c)))
    };
    let mut faults = Vec::new();
    for needle in [".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("] {
        for (at, _) in source.code.match_indices(needle) {
            if !reasoned(source.line_of(at)) {
                faults.push(fault(source, at, format!("{needle} without a reason")));
            }
        }
    }
    for licence in ["clippy::unwrap_used", "clippy::expect_used"] {
        for (at, _) in source.code.match_indices(licence) {
            let to = source.raw[at..].find(']').map_or(source.raw.len(), |n| at + n);
            if !source.raw[at..to].contains("reason = ") {
                faults.push(fault(source, at, format!("{licence} is allowed without a reason")));
            }
        }
    }
    faults
}

/// A comment of words; documentation says what a thing is, not why it cannot fail.
fn is_reason(comment: &str) -> bool {
    !comment.starts_with('/') && !comment.starts_with('!') && comment.split_whitespace().count() > 1
}

/// Identifiers with their offsets.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
        .map(move |w| (w.as_ptr() as usize - code.as_ptr() as usize, w))
}

/// Whether the word at `at` begins a path or is imported by itself: `fuser::X`, `use fuser;`, `{fuser, …}` after `use`.
fn names_a_path(code: &str, at: usize, word: &str) -> bool {
    let (before, after) = (code[..at].trim_end(), code[at + word.len()..].trim_start());
    // A module or field of our own that has the crate's name.
    if before.ends_with("::") && !before.trim_end_matches("::").trim_end().is_empty() && !begins_global(before) {
        return false;
    }
    after.starts_with("::") || before.ends_with("use") || before.ends_with("extern crate")
}

/// `::fuser::X`: the leading colons belong to no other name.
fn begins_global(before: &str) -> bool {
    let head = before.trim_end_matches("::");
    !head.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>')
}

/// What follows `root::` anywhere in the code, groups spread out: `use crate::{a::B, c}` gives `a::B` and `c`.
pub fn paths_from<'a>(source: &'a Source, root: &'a str) -> Vec<(usize, String)> {
    let code = source.code.as_str();
    let mut found = Vec::new();
    for (at, _) in words(code).filter(|(_, w)| *w == root) {
        // `$crate` of a macro is still this crate; `pub(crate)` is no path.
        if let Some(rest) = code[at + root.len()..].trim_start().strip_prefix("::") {
            spread(code, code.len() - rest.len(), "", &mut found);
        }
    }
    found
}

/// Reads one path or group that begins at `from`; returns where it ends.
fn spread(code: &str, from: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let skip = |at: usize| at + (code[at..].len() - code[at..].trim_start().len());
    let mut at = skip(from);
    if code[at..].starts_with('{') {
        at += 1;
        loop {
            at = skip(at);
            match code[at..].chars().next() {
                None => return at,
                Some('}') => return at + 1,
                Some(c) if c.is_alphanumeric() || matches!(c, '_' | '{' | '*') => at = spread(code, at, prefix, found),
                Some(c) => at += c.len_utf8(),
            }
        }
    }
    let len = code[at..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len() - at);
    let (begin, name) = (at, format!("{prefix}{}", &code[at..at + len]));
    // A star, or whatever else is no name: it says nothing beyond its prefix.
    at += len.max(code[at..].chars().next().map_or(0, |c| if len == 0 { c.len_utf8() } else { 0 }));
    if let Some(rest) = code[at..].trim_start().strip_prefix("::") {
        return spread(code, code.len() - rest.len(), &format!("{name}::"), found);
    }
    if len > 0 {
        found.push((begin, name));
    }
    at
}
