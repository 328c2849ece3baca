//! The command line, as the real program answers it. What needs a mount is in `mount`.

mod audit;
mod config;
mod doctor;
mod files;
mod help;
mod ignore;
mod links;
mod mounts;
mod run;
mod sessions;
mod steps;
mod words;

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::{Sandbox, Store};

/// A sandbox on the local store.
fn sandbox() -> Sandbox {
    Sandbox::new(Store::Local)
}

/// Runs it with these words; standard input is empty.
fn outputfs(sandbox: &Sandbox, words: &[&str]) -> Output {
    let mut c = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
    let state = sandbox.state_dir();
    // The help is as wide as the terminal says: there is none.
    c.env("OUTPUTFS_STATE_DIR", state).env_remove("COLUMNS").args(words).stdin(Stdio::null());
    c.output().expect("the outputfs binary starts")
}

#[track_caller]
fn ok(sandbox: &Sandbox, words: &[&str]) -> String {
    let out = outputfs(sandbox, words);
    assert!(out.status.success(), "outputfs {words:?}: {}\n{}", out.status, stderr(&out));
    stdout(&out)
}

#[track_caller]
fn ok_json(sandbox: &Sandbox, words: &[&str]) -> Value {
    let text = ok(sandbox, words);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("outputfs {words:?}: {e}: {text}"))
}

/// Fails with this code; what it says on standard error.
#[track_caller]
fn fails(sandbox: &Sandbox, code: i32, words: &[&str]) -> String {
    let out = outputfs(sandbox, words);
    assert_eq!(out.status.code(), Some(code), "outputfs {words:?}\n{}{}", stdout(&out), stderr(&out));
    stderr(&out)
}

fn stdout(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).expect("a file in the sandbox");
}
