//! The architecture's rules, read from the sources: which layer may use which, who may use which crate, that a
//! panic has a reason, that files stay small, that a test's shell can fail. Each rule is shown to be able to fail.

mod rules;
mod shape;
mod shell;
mod source;

use std::path::{Path, PathBuf};

use rules::Fault;
use source::Source;

/// A file above this is to be split by operation family.
const MAX_LINES: usize = 600;

fn rust_files(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Every Rust file under `top`, with its path from the repository's root.
fn read(top: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    rust_files(&root.join(top), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no Rust file under {top}");
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path.strip_prefix(root).expect("under the root").display().to_string(), text)
        })
        .collect()
}

#[track_caller]
fn none(rule: &str, faults: &[Fault]) {
    let list: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{rule}:\n  {}", list.join("\n  "));
}

fn production() -> Vec<Source> {
    source::production(&read("src"))
}

#[test]
fn every_arrow_points_from_user_to_used() {
    let faults: Vec<Fault> = production().iter().flat_map(rules::arrows).collect();
    none(
        "artifact, metrics ← staging, blob, catalog ← check, preview ← engine ← fuse, http, mcp, cli ← daemon",
        &faults,
    );
}

#[test]
fn foreign_crates_stay_behind_their_adapter() {
    let faults: Vec<Fault> = production().iter().flat_map(rules::crates).collect();
    none("fuser only in fuse/, rusqlite only in catalog/sql and catalog/sqlite, aws-* only in blob/s3", &faults);
}

#[test]
fn artifact_is_pure() {
    let faults: Vec<Fault> = production().iter().flat_map(rules::purity).collect();
    none("artifact/ holds values and rules: no I/O, clock, randomness, threads", &faults);
}

#[test]
fn what_has_one_caller_keeps_it() {
    let faults: Vec<Fault> = production().iter().flat_map(rules::callers).collect();
    none("these calls have one home", &faults);
}

#[test]
fn files_of_the_engine_stand_in_no_circle() {
    none("what two files share is in a third, below both", &shape::circles(&production()));
}

#[test]
fn every_possible_panic_has_a_reason() {
    let faults: Vec<Fault> = production().iter().flat_map(rules::panics).collect();
    none("unwrap and expect outside tests need a comment or a `reason` within the lines above", &faults);
}

#[test]
fn files_stay_small() {
    let all = ["src", "tests", "scripts"].map(read).concat();
    let large: Vec<String> = all
        .iter()
        .filter(|(_, text)| text.lines().count() > MAX_LINES)
        .map(|(path, text)| format!("{path}: {} lines", text.lines().count()))
        .collect();
    assert!(large.is_empty(), "over {MAX_LINES} lines, split by operation family:\n  {}", large.join("\n  "));
}

/// The scripts among a test's literals. What is no shell holds neither a lone `!` nor a `&&` between commands, as a rule.
fn blind(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (line, script) in source::literals(text) {
        for blind in shell::blind(&script) {
            let line = line + script[..blind.offset].matches('\n').count();
            faults.push(Fault { path: path.to_owned(), line, what: blind.what.to_owned() });
        }
    }
    faults
}

#[test]
fn every_assertion_of_a_script_can_fail() {
    let tests = read("tests").into_iter().filter(|(path, _)| !path.starts_with("tests/arrows/"));
    let faults: Vec<Fault> = tests.flat_map(|(path, text)| blind(&path, &text)).collect();
    none("`bash -e` goes on after these", &faults);
}

#[test]
fn scripts_stay_short() {
    let mut faults = Vec::new();
    for (path, text) in read("tests").into_iter().filter(|(path, _)| !path.starts_with("tests/arrows/")) {
        let long = source::literals(&text).into_iter().filter(|(_, script)| shell::long(script));
        faults.extend(long.map(|(line, script)| Fault {
            path: path.clone(),
            line,
            what: format!("{} lines", script.lines().count()),
        }));
    }
    none(&format!("shell of more than {} lines becomes Python or Rust", shell::MAX_LINES), &faults);
}

/// The rules on made-up sources: what each must report, and what it must let pass.
mod can_fail {
    use super::*;

    fn faults(path: &str, text: &str, rule: fn(&Source) -> Vec<Fault>) -> Vec<String> {
        let sources = source::production(&[(path.to_owned(), text.to_owned())]);
        sources.iter().flat_map(rule).map(|f| format!("{}: {}", f.line, f.what)).collect()
    }

    #[test]
    fn wrong_arrows_are_seen() {
        let wrong = |path: &str, text: &str| !faults(path, text, rules::arrows).is_empty();
        assert!(wrong("src/artifact/ids.rs", "use crate::catalog::Catalog;"));
        assert!(wrong("src/blob/local.rs", "use crate::engine;"));
        assert!(wrong("src/fuse/ops.rs", "use crate::http::links;"), "adapters do not import one another");
        assert!(wrong("src/preview/mod.rs", "use crate::check::run;"));
        assert!(
            wrong("src/blob.rs", "use crate::{\n    artifact::Result,\n    engine::{Engine, clock},\n};"),
            "groups"
        );
        assert!(wrong("src/blob/local.rs", "fn f() { crate::daemon::stop() }"), "paths in code");
        assert!(wrong("src/engine/mod.rs", "pub use crate::fuse;"));
        assert!(wrong("src/elsewhere/mod.rs", "use crate::artifact::Result;"), "a layer that the map does not name");
    }

    #[test]
    fn right_arrows_pass() {
        let right = |path: &str, text: &str| assert_eq!(faults(path, text, rules::arrows), [""; 0]);
        right("src/engine/store.rs", "use crate::{artifact::{Result, Error}, blob, check::Scrub, engine::clock};");
        right("src/daemon/mod.rs", "use crate::{fuse, http, cli};");
        right("src/main.rs", "fn main() { outputfs::cli::run() }");
        right(
            "src/artifact/ids.rs",
            "// use crate::engine;\n/// crate::engine::Engine\nconst S: &str = \"crate::engine\";",
        );
        right("src/blob/local.rs", "#[cfg(test)]\nmod tests {\n    use crate::engine::Engine;\n}");
        right("src/catalog/mod.rs", "pub(crate) fn f() {}\nmacro_rules! m { () => { $crate::artifact::X } }");
    }

    #[test]
    fn strayed_crates_are_seen() {
        assert_eq!(faults("src/engine/a.rs", "use fuser::Errno;", rules::crates).len(), 1);
        assert_eq!(faults("src/catalog/mod.rs", "fn f(e: rusqlite::Error) {}", rules::crates).len(), 1);
        assert_eq!(
            faults("src/blob/cache.rs", "\nuse aws_sdk_s3::Client;", rules::crates),
            ["2: aws_* outside src/blob/s3"]
        );
        assert_eq!(faults("src/fuse/a.rs", "use fuser::Errno;", rules::crates), [""; 0]);
        assert_eq!(faults("src/catalog/sqlite/a.rs", "use rusqlite::Row;", rules::crates), [""; 0]);
        assert_eq!(faults("src/catalog/sql/a.rs", "use rusqlite::Row;", rules::crates), [""; 0]);
        assert_eq!(faults("src/blob/s3.rs", "use aws_sdk_s3::Client;", rules::crates), [""; 0]);
        assert_eq!(faults("src/blob/s3_multipart.rs", "use aws_sdk_s3::Client;", rules::crates), [""; 0]);
    }

    #[test]
    fn strayed_calls_are_seen() {
        let found = |path: &str, text: &str| faults(path, text, rules::callers).len();
        assert_eq!(found("src/engine/seal.rs", "fn f() { self.blobs.put(&key, body).await }"), 1);
        assert_eq!(found("src/engine/volume/a.rs", "fn f() { self.store.blobs\n    .adopt(\n&key).await }"), 1);
        assert_eq!(found("src/engine/upload.rs", "fn f() { self.blobs.put(&key, body).await }"), 0);
        assert_eq!(found("src/engine/volume/room.rs", "fn f() { let st = live.state\n.lock(); }"), 1);
        assert_eq!(found("src/engine/volume/inode/names.rs", "fn f() { let st = live.state.lock(); }"), 0);
        assert_eq!(found("src/engine/seal.rs", "// blobs.put(key)\nfn f() { self.blobs.get(&key) }"), 0);
    }

    #[test]
    fn circles_are_seen() {
        let faults = |files: &[(&str, &str)]| {
            let files: Vec<_> = files.iter().map(|(p, t)| ((*p).to_owned(), (*t).to_owned())).collect();
            rules::circles(&source::production(&files)).len()
        };
        let (a, b) = (("src/engine/a.rs", "use crate::engine::b::B;"), ("src/engine/b.rs", "use crate::engine::c::C;"));
        assert_eq!(faults(&[a, b, ("src/engine/c.rs", "use super::a::A;")]), 3);
        assert_eq!(faults(&[a, b, ("src/engine/c/mod.rs", "fn f() { crate::engine::a::f() }")]), 3);
        assert_eq!(faults(&[a, b, ("src/engine/c.rs", "// crate::engine::a\nuse crate::artifact::a;")]), 0);
        assert_eq!(faults(&[a, ("src/engine/b.rs", "use crate::engine::b::f;")]), 0);
    }

    #[test]
    fn impurity_is_seen() {
        let impure = |text: &str| !faults("src/artifact/x.rs", text, rules::purity).is_empty();
        assert!(impure("use std::fs;"));
        assert!(impure("use std::{fmt, fs::File};"));
        assert!(impure("use std::os::unix::fs::MetadataExt;"));
        assert!(!impure("use std::os::unix::ffi::OsStrExt;"));
        assert!(impure("use tokio::sync::Mutex;"));
        assert!(impure("fn f() { std::env::var(\"X\"); }"));
        assert!(impure("use std::time::SystemTime;"));
        assert!(impure("fn f() { unsafe { libc::getuid() } }"));
        assert!(!impure("const E: libc::c_int = libc::EROFS;"));
        assert!(impure("fn f() { jiff::Timestamp::now(); }"));
        assert!(impure("fn f() { Ulid::new(); }"));
        assert!(impure("fn f() { rand::random() }"));
        assert!(!impure("use std::time::Duration;\nuse std::fmt;"));
        assert!(!impure("//! no tokio, std::fs\nconst HELP: &str = \"std::fs\";"));
        assert!(faults("src/engine/x.rs", "use std::fs;", rules::purity).is_empty());
    }

    #[test]
    fn panics_without_a_reason_are_seen() {
        let found = |text: &str| faults("src/engine/x.rs", text, rules::panics).len();
        assert_eq!(found("fn f() { a().unwrap(); }"), 1);
        assert_eq!(found("fn f() {\n    a()\n        .expect(\"there\");\n}"), 1);
        assert_eq!(found("#[allow(clippy::unwrap_used)]\nfn f() {}"), 1);
        assert_eq!(found("fn f() {\n    // One was just pushed.\n    a().unwrap();\n}"), 0);
        assert_eq!(
            found("#[expect(clippy::expect_used, reason = \"proven\")]\nfn f() {\n    a().expect(\"x\");\n}"),
            0
        );
        assert_eq!(found("fn f() { a().unwrap_or(1); \".unwrap()\"; } // .unwrap()"), 0);
        assert_eq!(found("#[cfg(test)]\nmod tests {\n    fn f() { a().unwrap(); }\n}\n"), 0);
        assert_eq!(found("#[cfg(test)]\nmod tests { fn f() {} }\nfn g() { a().unwrap(); }"), 1, "code after the tests");
    }

    #[test]
    fn a_test_module_in_its_own_file_is_no_production_code() {
        let files = [
            ("src/engine/mod.rs", "#[cfg(test)]\nmod tests;\nmod real;"),
            ("src/engine/tests.rs", "fn f() { a().unwrap(); }"),
            ("src/engine/tests/more.rs", "fn f() { a().unwrap(); }"),
            ("src/engine/real.rs", "fn f() {}"),
        ];
        let sources = source::production(&files.map(|(p, t)| (p.to_owned(), t.to_owned())));
        let paths: Vec<&str> = sources.iter().map(|s| s.path.as_str()).collect();
        assert_eq!(paths, ["src/engine/mod.rs", "src/engine/real.rs"]);
    }

    fn lines(text: &str) -> Vec<usize> {
        blind("tests/x.rs", text).into_iter().map(|f| f.line).collect()
    }

    #[test]
    fn negations_that_nobody_reads_are_seen() {
        for script in [
            "! rm a; true",
            "true; ! rm a",
            "true\n! rm a",
            "x && ! rm a",
            "x | ! grep y",
            "if x; then ! rm a; fi",
            "for f in a; do ! rm $f; done",
            "f() { ! rm a; }",
            "f() {{ ! rm a; }}",
            "(! rm a)",
            "[ \"$(! rm a)\" = b ]",
            "cat <<X; ! rm a\ntext\nX",
            "cat <<'X'\ntext\nX\n! rm a",
            "case $x in a) ! rm a ;; esac",
            "echo \"it's\"; ! rm a",
            "echo 2>&1; ! rm a # it's",
        ] {
            assert_eq!(shell::blind(script).len(), 1, "{script}");
        }
        assert_eq!(lines("fn f() {\n    sh(\"a; ! b\", p);\n    sh(r#\"a\n ! b\"#, p);\n}"), [2, 4]);
        for script in [
            "if ! rm a; then b; fi",
            "while ! rm a; do b; done",
            "if a; then b; elif ! c; then d; fi",
            "until ! rm a && ! rm b; do c; done",
            "[ ! -e a ]; [[ ! -e b ]]",
            "echo hi!; echo '! rm a'; echo \"! rm a\"",
            "cat <<X\n! rm a\nX",
            "cat <<-'X' > f; b\n! rm a\n\tX\nb",
            "a # ! rm b",
            "refuses rm a",
            "!",
            "printf '!x\\n' > f; find . ! -name b",
        ] {
            assert_eq!(shell::blind(script), [], "{script}");
        }
    }

    #[test]
    fn lists_that_are_half_blind_are_seen() {
        for script in [
            "a && b; c",
            "a && b\nc",
            "a &&\nb\nc",
            "a || b && c; d",
            "{ a && b; }; c",
            "f() { a && b; c; }; f",
            "if a; then b && c; fi",
            "for i in x; do a && break; done",
            "while a; do b && c; done",
            "(a && b; c)",
            "x=$(a && b; c)",
            "[ \"$(a && b; c)\" = d ]",
            "a && b & c",
            "case $x in a) b && c ;; esac",
        ] {
            assert_eq!(shell::blind(script).len(), 1, "{script}");
        }
        for script in [
            "a && b",
            "a; b && c\n",
            "(a && b); c",
            "x=$(a && b); c",
            "f() { a && b; }; f; c",
            "f() {{ a && b; }}; f; c",
            "a && b || c; d",
            "if a && b; then c; fi; d",
            "while a && b; do c; done; d",
            "[[ a && b ]]; c",
            "echo 'a && b; c'; d",
            "((x && y)); c",
            "cat <<X\na && b\nX\nc",
            "a 2>&1 >&2 &> f; b",
        ] {
            assert_eq!(shell::blind(script), [], "{script}");
        }
    }

    #[test]
    fn long_scripts_are_seen() {
        assert!(!shell::long(&"true\n".repeat(15)));
        assert!(shell::long(&"true\n".repeat(16)));
        assert!(shell::long(&format!("python3 - <<'X'\nimport os\n{}X", "pass\n".repeat(20))));
        assert!(!shell::long(&format!("\nimport os\n{}", "pass\n".repeat(20))));
        assert!(!shell::long(&format!("python3 -c '\n{}'", "pass\n".repeat(20))));
    }
}
