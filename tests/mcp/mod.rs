//! The MCP server against published clients: Python's `mcp` and the Inspector's CLI, on real processes.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::{Sandbox, Store};

/// Eight pixels.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

fn run(mut command: Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}; scripts/test installs what it needs"))
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n--- stdout\n{out}\n--- stderr\n{err}", output.status);
    out.into_owned()
}

#[test]
fn the_python_client_does_everything_over_both_transports_and_protocols() {
    let sandbox = Sandbox::new(Store::Local);
    let root = sandbox.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("report.csv"), "a,b\n1,2\n").unwrap();
    std::fs::write(root.join("picture.png"), PICTURE).unwrap();
    std::fs::write(sandbox.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", root.join("escape")).unwrap();
    let mut python = sandbox.program("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/client.py"));
    python.arg(env!("CARGO_BIN_EXE_outputfs")).arg(sandbox.state_dir()).arg(&root);
    let out = succeeded(&run(python));
    assert!(out.contains("stdio auto 2026-07-28") && out.ends_with("all well\n"), "{out}");
}

/// One method by the Inspector's CLI, on a server of its own.
fn inspect(sandbox: &Sandbox, words: &[&str]) -> Value {
    let mut inspector = sandbox.program("mcp-inspector");
    inspector.args(["--cli", env!("CARGO_BIN_EXE_outputfs")]);
    inspector.args(["--state-dir", sandbox.state_dir().to_str().unwrap(), "mcp", "--session", "run_42"]).args(words);
    let out = succeeded(&run(inspector));
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

#[test]
fn the_inspector_is_content() {
    let sandbox = Sandbox::new(Store::Local);
    let tools = inspect(&sandbox, &["--method", "tools/list"]);
    assert_eq!(tools["tools"].as_array().unwrap().len(), 9);
    let call = |tool: &str, args: &[&str]| {
        let mut words = vec!["--method", "tools/call", "--tool-name", tool];
        words.extend(args.iter().flat_map(|a| ["--tool-arg", a]));
        inspect(&sandbox, &words)
    };
    let stored = call("store_artifact", &["filename=a.txt", "content=hello"])["structuredContent"].clone();
    assert_eq!((&stored["session_id"], &stored["size_bytes"]), (&"run_42".into(), &5.into()));
    let uri = format!("artifact://{}", stored["artifact_id"].as_str().unwrap());
    let listed = inspect(&sandbox, &["--method", "resources/list"]);
    assert!(listed["resources"].as_array().unwrap().iter().any(|r| r["uri"] == uri.as_str()), "{listed}");
    let read = inspect(&sandbox, &["--method", "resources/read", "--uri", &uri]);
    assert_eq!(read["contents"][0]["text"], "hello");
    assert_eq!(call("seal_session", &["session_id=run_42"])["structuredContent"]["status"], "sealed");
    let late = call("store_artifact", &["filename=b.txt", "content=late"]);
    assert_eq!((&late["isError"], &late["structuredContent"]["error"]["retryable"]), (&true.into(), &false.into()));
}
