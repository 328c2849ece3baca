//! Shell scripts and hashes, by the system's own tools: a judge that shares no code with what is judged.
//!
//! Scripts run with `tests/support/prelude.sh`: `refuses [-e ERRNO] CMD…` for what must fail, `lacks PATTERN CMD…` for
//! what must not be said, and a failing script names its line. Under `bash -e` neither `! CMD` nor the left side of
//! `&&` ends a script; `tests/arrows` rejects them.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `script` with `bash -euo pipefail` in `cwd`; its output, trimmed at the end.
///
/// # Panics
/// When it fails, with the script and all it said.
#[track_caller]
pub fn sh(script: &str, cwd: &Path) -> String {
    let out = try_sh(script, cwd);
    assert!(
        out.status.success(),
        "{} of a script in {}\n--- script\n{script}\n--- stdout\n{}\n--- stderr\n{}",
        out.status,
        cwd.display(),
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
}

/// Like [`sh`], for scripts that are expected to fail.
///
/// # Panics
/// When bash cannot be started.
#[track_caller]
pub fn try_sh(script: &str, cwd: &Path) -> Output {
    bash(&mut Command::new("bash"), script)
        .current_dir(cwd)
        .output()
        .unwrap_or_else(|e| panic!("cannot run bash in {}: {e}", cwd.display()))
}

/// Makes `command`, a bash, run the script with the prelude, stop at the first failure and speak the C locale.
pub fn bash<'a>(command: &'a mut Command, script: &str) -> &'a mut Command {
    command
        .args(["-euo", "pipefail", "-c", script])
        .env("BASH_ENV", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/prelude.sh"))
        .env("LC_ALL", "C")
}

/// Runs a Python script in `cwd`; its output, trimmed at the end.
///
/// # Panics
/// When it fails, with all it said.
#[track_caller]
pub fn python(script: &str, cwd: &Path) -> String {
    let out = Command::new("python3").args(["-c", script]).current_dir(cwd).env("LC_ALL", "C.UTF-8").output();
    let out = out.unwrap_or_else(|e| panic!("cannot run python3 in {}: {e}", cwd.display()));
    assert!(
        out.status.success(),
        "{} of a Python script in {}\n--- stdout\n{}\n--- stderr\n{}",
        out.status,
        cwd.display(),
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
}

/// SHA-256 of a file, in hex.
///
/// # Panics
/// When it cannot be read.
#[track_caller]
pub fn sha256_of(path: &Path) -> String {
    sha256_of_all(&[path]).remove(0)
}

/// SHA-256 of each file, in hex, in the given order.
///
/// # Panics
/// When one cannot be read.
#[track_caller]
pub fn sha256_of_all<P: AsRef<Path>>(paths: &[P]) -> Vec<String> {
    // Under the limit on arguments, however long the paths.
    let sums: Vec<String> = paths
        .chunks(500)
        .flat_map(|chunk| {
            // `--zero`: names are not escaped, so a sum is always the line's first 64 characters.
            let out = Command::new("sha256sum").args(["--zero", "--"]).args(chunk.iter().map(AsRef::as_ref)).output();
            let out = out.unwrap_or_else(|e| panic!("cannot run sha256sum: {e}"));
            assert!(out.status.success(), "sha256sum: {}", String::from_utf8_lossy(&out.stderr));
            let lines = out.stdout.split(|b| *b == 0).filter(|l| !l.is_empty());
            lines.map(|l| String::from_utf8_lossy(&l[..64]).into_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(sums.len(), paths.len(), "sha256sum answered for fewer files than asked");
    sums
}
