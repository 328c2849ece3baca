//! Rules on the size and place of types: how many methods a trait has, how many fields a struct of the volume, where
//! `Volume` has methods, and who names the catalog. A place that is not as it shall be stands in a list by name; once it
//! is, the test asks for its line to go.

use super::rules::Fault;
use super::source::Source;

const MAX_METHODS: usize = 20;
const MAX_FIELDS: usize = 12;

/// Structs of the volume that have more fields.
const WIDE: [&str; 2] = ["src/engine/volume/inode/attr.rs: Attr", "src/engine/volume/inode/mod.rs: State"];

/// Files of the volume outside `ops/` that have methods of `Volume`.
const STRAYS: [&str; 15] = [
    "hidden.rs",
    "hidden/control.rs",
    "hidden/listing.rs",
    "hidden/trash.rs",
    "kernel/permit.rs",
    "kernel/quota_check.rs",
    "save/append.rs",
    "save/mod.rs",
    "save/writers.rs",
    "scratch/content.rs",
    "scratch/demote.rs",
    "scratch/moves.rs",
    "scratch/names.rs",
    "scratch/promote.rs",
    "scratch/rules.rs",
];

/// Files of a part of the volume that use a part above theirs.
const UPWARD: [&str; 12] = [
    "hidden.rs",
    "hidden/control.rs",
    "hidden/listing.rs",
    "hidden/trash.rs",
    "inode/mod.rs",
    "inode/staged.rs",
    "kernel/quota_check.rs",
    "save/mod.rs",
    "scratch/content.rs",
    "scratch/moves.rs",
    "scratch/names.rs",
    "scratch/promote.rs",
];

/// Files of a protocol that call the catalog.
const PAST: [&str; 14] = [
    "src/cli/links.rs",
    "src/cli/quota.rs",
    "src/cli/umount.rs",
    "src/cli/usage.rs",
    "src/fuse/expiry.rs",
    "src/fuse/invalidate.rs",
    "src/fuse/ops.rs",
    "src/http/api/account.rs",
    "src/http/api/artifacts.rs",
    "src/http/api/sessions.rs",
    "src/http/links.rs",
    "src/http/operator/home.rs",
    "src/http/operator/manage.rs",
    "src/http/operator/signin.rs",
];

/// Files that still stand in a circle.
const CIRCLED: [&str; 14] = [
    "src/catalog/sqlite/artifacts.rs",
    "src/catalog/sqlite/attempts.rs",
    "src/catalog/sqlite/blobs.rs",
    "src/catalog/sqlite/collect.rs",
    "src/catalog/sqlite/commit.rs",
    "src/catalog/sqlite/find.rs",
    "src/catalog/sqlite/labels.rs",
    "src/catalog/sqlite/make.rs",
    "src/catalog/sqlite/recover.rs",
    "src/catalog/sqlite/remove.rs",
    "src/catalog/sqlite/same.rs",
    "src/catalog/sqlite/sessions.rs",
    "src/catalog/sqlite/sweep.rs",
    "src/catalog/sqlite/versions.rs",
];

/// Every trait of more than [`MAX_METHODS`] methods.
pub fn traits(source: &Source) -> Vec<Fault> {
    items(source, "trait")
        .into_iter()
        .filter_map(|(at, name, body)| {
            let methods = words(body).filter(|word| *word == "fn").count();
            let what = format!("{name} has {methods} methods");
            (methods > MAX_METHODS).then(|| Fault { path: source.path.clone(), line: source.line_of(at), what })
        })
        .collect()
}

/// Every struct of the volume with more than [`MAX_FIELDS`] fields; one that its list excuses is dropped from `excused`.
fn structs(source: &Source, excused: &mut Vec<&str>) -> Vec<Fault> {
    if !source.path.starts_with("src/engine/volume/") {
        return Vec::new();
    }
    items(source, "struct")
        .into_iter()
        .filter_map(|(at, name, body)| {
            let fields = fields(body);
            let what = format!("{name} has {fields} fields");
            let wide = fields > MAX_FIELDS && !excuse(excused, &format!("{}: {name}", source.path));
            wide.then(|| Fault { path: source.path.clone(), line: source.line_of(at), what })
        })
        .collect()
}

/// Where a type of the volume's router has methods.
fn strays(source: &Source, excused: &mut Vec<&str>) -> Vec<Fault> {
    let volume = "src/engine/volume/";
    let Some(rest) = source.path.strip_prefix(volume) else { return Vec::new() };
    if rest == "mod.rs" || rest.starts_with("ops/") {
        return Vec::new();
    }
    let blocks = ["impl Volume {", "impl super::Volume {", "impl crate::engine::volume::Volume {"];
    let found = blocks.iter().flat_map(|block| source.code.match_indices(block));
    let faults: Vec<Fault> = found
        .map(|(at, _)| Fault {
            path: source.path.clone(),
            line: source.line_of(at),
            what: "impl Volume outside mod.rs and ops/: give the part a type that receives what it needs".to_owned(),
        })
        .collect();
    if !faults.is_empty() && excuse(excused, rest) { Vec::new() } else { faults }
}

/// Parts of the volume, from the used to the user; those of one row do not use one another.
const FLOORS: [&[&str]; 5] = [&["inode"], &["kernel"], &["save"], &["scratch", "hidden"], &["ops"]];

/// Which file of a part uses a part above its own.
fn upward(source: &Source, excused: &mut Vec<&str>) -> Vec<Fault> {
    let Some(rest) = source.path.strip_prefix("src/engine/volume/") else { return Vec::new() };
    let floor = |part: &str| FLOORS.iter().position(|row| row.contains(&part));
    let own = rest.split(['/', '.']).next().unwrap_or_default();
    let Some(from) = floor(own) else { return Vec::new() };
    let mut faults = Vec::new();
    for (at, path) in super::rules::paths_from(source, "crate") {
        let Some(used) = path.strip_prefix("engine::volume::").and_then(|p| p.split("::").next()) else { continue };
        if used != own && floor(used).is_some_and(|to| to >= from) {
            faults.push(Fault {
                path: source.path.clone(),
                line: source.line_of(at),
                what: format!("{own} uses {used}"),
            });
        }
    }
    if !faults.is_empty() && excuse(excused, rest) { Vec::new() } else { faults }
}

/// Which file of a protocol calls the catalog past the engine. (Types of the catalog that an answer holds may be named.)
fn past_the_engine(source: &Source, excused: &mut Vec<&str>) -> Vec<Fault> {
    if !["fuse", "http", "mcp", "cli"].iter().any(|door| source.layer() == Some(door)) {
        return Vec::new();
    }
    let kept: Vec<(usize, char)> = source.code.char_indices().filter(|(_, c)| !c.is_whitespace()).collect();
    let code: String = kept.iter().map(|(_, c)| *c).collect();
    let mut faults = Vec::new();
    for call in ["store.catalog.", "store.catalog)", "store.catalog,"] {
        for (at, _) in code.match_indices(call) {
            let (offset, _) = kept[code[..at].chars().count()];
            let what = "calls the catalog: the engine has the use case".to_owned();
            faults.push(Fault { path: source.path.clone(), line: source.line_of(offset), what });
        }
    }
    if !faults.is_empty() && excuse(excused, &source.path) { Vec::new() } else { faults }
}

fn excuse(excused: &mut Vec<&str>, name: &str) -> bool {
    let before = excused.len();
    excused.retain(|e| *e != name);
    excused.len() < before
}

/// Circles of files, and the excuses that nothing needs any more.
pub fn circles(sources: &[Source]) -> Vec<Fault> {
    let mut left = CIRCLED.to_vec();
    let mut faults = super::rules::circles(sources);
    left.retain(|path| !faults.iter().any(|f| f.path == *path));
    faults.retain(|f| !CIRCLED.contains(&f.path.as_str()));
    faults.extend(left.into_iter().map(needless));
    faults
}

/// What `rule` finds in the sources, and the excuses that nothing needs any more.
pub fn but_for(
    list: &[&'static str],
    sources: &[Source],
    rule: fn(&Source, &mut Vec<&'static str>) -> Vec<Fault>,
) -> Vec<Fault> {
    let mut left = list.to_vec();
    let mut faults: Vec<Fault> = sources.iter().flat_map(|source| rule(source, &mut left)).collect();
    faults.extend(left.into_iter().map(needless));
    faults
}

fn needless(name: &str) -> Fault {
    let what = "keeps the rule by now: take it off the list in tests/arrows/shape.rs".to_owned();
    Fault { path: name.to_owned(), line: 0, what }
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty())
}

/// Items of that kind with a body in braces: where, the name, the body.
fn items<'a>(source: &'a Source, kind: &str) -> Vec<(usize, &'a str, &'a str)> {
    let code = source.code.as_str();
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&format!("{kind} ")) {
        let name = &code[at + kind.len() + 1..];
        let begins_word = code[..at].chars().next_back().is_none_or(char::is_whitespace);
        let name = &name[..name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len())];
        let Some(open) = code[at..].find(['{', ';', '(']).map(|n| at + n) else { continue };
        if !begins_word || name.is_empty() || !code[open..].starts_with('{') {
            continue;
        }
        let mut depth = 0;
        let close = code[open..].char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        let end = close.map_or(code.len(), |(n, _)| open + n);
        found.push((at, name, &code[open + 1..end]));
    }
    found
}

/// Fields of a struct's body: colons outside brackets that are no part of a path.
fn fields(body: &str) -> usize {
    let (mut depth, mut count) = (0, 0);
    let b = body.as_bytes();
    for (i, c) in b.iter().enumerate() {
        match c {
            b'(' | b'[' | b'{' | b'<' => depth += 1,
            b'>' if i > 0 && b[i - 1] == b'-' => {}
            b')' | b']' | b'}' | b'>' => depth -= 1,
            b':' if depth == 0 && b.get(i + 1) != Some(&b':') && (i == 0 || b[i - 1] != b':') => count += 1,
            _ => {}
        }
    }
    count
}

mod on_the_tree {
    use super::super::{none, production};
    use super::*;

    #[test]
    fn traits_stay_small() {
        let faults: Vec<Fault> = production().iter().flat_map(traits).collect();
        none(&format!("a trait of more than {MAX_METHODS} methods serves more than one kind of user"), &faults);
    }

    #[test]
    fn structs_of_the_volume_stay_small() {
        let faults = but_for(&WIDE, &production(), structs);
        none(&format!("more than {MAX_FIELDS} fields are more than one part"), &faults);
    }

    #[test]
    fn the_volume_is_a_router() {
        none("methods of Volume are in mod.rs and ops/", &but_for(&STRAYS, &production(), strays));
    }

    #[test]
    fn parts_of_the_volume_use_those_below() {
        none("inode ← kernel ← save ← scratch, hidden ← ops", &but_for(&UPWARD, &production(), upward));
    }

    #[test]
    fn protocols_ask_the_engine() {
        none("fuse, http, mcp and cli call the engine", &but_for(&PAST, &production(), past_the_engine));
    }
}

mod can_fail {
    use super::super::source::production;
    use super::*;

    fn source(path: &str, text: &str) -> Vec<Source> {
        production(&[(path.to_owned(), text.to_owned())])
    }

    #[test]
    fn large_traits_are_seen() {
        let of =
            |n| traits(&source("src/blob/a.rs", &format!("pub trait A: B {{ {} }}", "fn f();\n".repeat(n)))[0]).len();
        assert_eq!((of(20), of(21)), (0, 1));
    }

    #[test]
    fn wide_structs_are_seen() {
        let text =
            |n: usize| format!("struct A {{ {} }}", "x: std::collections::HashMap<(u8, u8), fn() -> u8>,\n".repeat(n));
        let of = |path, n, list: &[&'static str]| but_for(list, &source(path, &text(n)), structs).len();
        assert_eq!(of("src/engine/volume/a.rs", 12, &[]), 0);
        assert_eq!(of("src/engine/volume/a.rs", 13, &[]), 1);
        assert_eq!(of("src/engine/a.rs", 13, &[]), 0);
        assert_eq!(of("src/engine/volume/a.rs", 13, &["src/engine/volume/a.rs: A"]), 0);
        assert_eq!(of("src/engine/volume/a.rs", 12, &["src/engine/volume/a.rs: A"]), 1, "the list has to shrink");
    }

    #[test]
    fn strayed_methods_are_seen() {
        let of = |path| but_for(&[], &source(path, "impl Volume {\n    fn f() {}\n}"), strays).len();
        assert_eq!(of("src/engine/volume/save.rs"), 1);
        assert_eq!(of("src/engine/volume/ops/open.rs"), 0);
        assert_eq!(of("src/engine/volume/mod.rs"), 0);
    }

    #[test]
    fn uses_of_a_part_above_are_seen() {
        let of = |path, text| but_for(&[], &source(path, text), upward).len();
        assert_eq!(of("src/engine/volume/inode/a.rs", "use crate::engine::volume::{ops::open::How, inode::Attr};"), 1);
        assert_eq!(of("src/engine/volume/hidden.rs", "use crate::engine::volume::scratch::Scratch;"), 1);
        assert_eq!(of("src/engine/volume/ops/a.rs", "use crate::engine::volume::scratch::Scratch;"), 0);
    }

    #[test]
    fn calls_past_the_engine_are_seen() {
        let of = |path| but_for(&[], &source(path, "fn f() { app.store\n.catalog.key(&id) }"), past_the_engine).len();
        assert_eq!((of("src/http/a.rs"), of("src/engine/a.rs")), (1, 0));
    }
}
