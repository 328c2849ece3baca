//! The REST API: the published clients of Artifacta, what the wire says besides, and the mount beside it.

mod doors;

use std::path::Path;
use std::process::Command;

use crate::support::{Sandbox, Store};

/// Runs a script of this folder with the binary and the sandbox's store.
#[track_caller]
fn script(sandbox: &Sandbox, name: &str) {
    let mut python = sandbox.program("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rest").join(name));
    python.arg(env!("CARGO_BIN_EXE_outputfs")).args(sandbox.store_args());
    succeeded(python);
}

#[track_caller]
fn succeeded(mut command: Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; scripts/test installs what it needs"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.ends_with("all well\n"),
        "{}\n--- stdout\n{out}\n--- stderr\n{err}",
        output.status
    );
}

#[test]
fn the_python_client_can_do_everything_local() {
    script(&Sandbox::new(Store::Local), "client.py");
}

#[test]
fn the_python_client_can_do_everything_s3() {
    script(&Sandbox::new(Store::S3), "client.py");
}

#[test]
fn every_command_of_artifacta_works_local() {
    script(&Sandbox::new(Store::Local), "command.py");
}

#[test]
fn every_command_of_artifacta_works_s3() {
    script(&Sandbox::new(Store::S3), "command.py");
}

#[test]
fn the_wire_says_what_the_contract_says_local() {
    script(&Sandbox::new(Store::Local), "wire.py");
}

#[test]
fn the_wire_says_what_the_contract_says_s3() {
    script(&Sandbox::new(Store::S3), "wire.py");
}

#[test]
fn what_the_client_pushes_in_a_step_is_its_attempt_s() {
    script(&Sandbox::new(Store::Local), "steps.py");
}

#[test]
fn a_session_is_deleted_and_restored_over_the_wire() {
    script(&Sandbox::new(Store::Local), "sessions.py");
}

#[test]
fn a_type_that_says_nothing_is_guessed() {
    script(&Sandbox::new(Store::Local), "guessed.py");
}

#[test]
fn https_serves_the_certificate_it_finds() {
    script(&Sandbox::new(Store::Local), "https.py");
}

#[test]
fn nothing_that_the_description_allows_breaks_the_server() {
    script(&Sandbox::new(Store::Local), "fuzz.py");
}
