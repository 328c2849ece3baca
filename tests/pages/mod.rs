//! The pages in a real browser: what it shows at phone and desktop width, what axe-core says, and that nothing of a
//! hostile session runs.

use std::path::Path;

use crate::support::{Sandbox, Store};

#[test]
fn a_browser_shows_all_and_runs_nothing_of_it() {
    run("browser.py");
}

#[test]
fn the_operators_view_works_and_its_forms_are_its_own() {
    run("signed_in.py");
}

fn run(script: &str) {
    let sandbox = Sandbox::new(Store::Local);
    let node = std::env::var("OUTPUTFS_TEST_NODE").expect("OUTPUTFS_TEST_NODE is not set: run scripts/test");
    let mut python = sandbox.program("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages").join(script));
    python.args([env!("CARGO_BIN_EXE_outputfs"), "chromium"]);
    python.arg(Path::new(&node).join("axe-core/axe.min.js")).arg(sandbox.path().join("shots"));
    let out = python.output().expect("python3 starts");
    let (told, error) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && told.ends_with("all well\n"), "--- stdout\n{told}\n--- stderr\n{error}");
}
