//! Flags over environment over `config.toml` over defaults.

use super::*;

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let sandbox = sandbox();
    let status = |env: Option<&str>, flag: Option<&str>| {
        let mut c = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
        c.env("XDG_CONFIG_HOME", sandbox.path().join("config")).arg("status");
        if let Some(dir) = env {
            c.env("OUTPUTFS_STATE_DIR", sandbox.path().join(dir));
        }
        if let Some(dir) = flag {
            c.arg("--state-dir").arg(sandbox.path().join(dir));
        }
        let out = c.output().expect("the outputfs binary starts");
        assert!(out.status.success(), "{}", stderr(&out));
        let value: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
        let dir = value["state_dir"].as_str().expect("a state directory").to_owned();
        dir.rsplit('/').next().expect("a name").to_owned()
    };
    std::fs::create_dir_all(sandbox.path().join("config/outputfs")).expect("a folder");
    let file = format!("state_dir = \"{}/by-file\"\ncache_size = \"1GiB\"\n", sandbox.path().display());
    write(sandbox.path(), "config/outputfs/config.toml", &file);
    assert_eq!(status(None, None), "by-file");
    assert_eq!(status(Some("by-env"), None), "by-env");
    assert_eq!(status(Some("by-env"), Some("by-flag")), "by-flag");
}

#[test]
fn without_settings_the_state_is_where_programs_keep_it() {
    let sandbox = sandbox();
    let mut c = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
    let out = c.env("XDG_DATA_HOME", sandbox.path().join("data")).arg("status").output().expect("it starts");
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(sandbox.path().join("data/outputfs/catalog.db").exists());
}

#[test]
fn mistakes_in_the_file_are_told_in_a_sentence() {
    let sandbox = sandbox();
    write(sandbox.path(), "c.toml", "stoer = \"s3://b\"\n");
    let said = fails(&sandbox, 1, &["ls", "--config", "c.toml"]);
    assert!(said.starts_with("outputfs: c.toml: stoer: there is no such setting; there are state_dir"), "{said}");
    assert!(fails(&sandbox, 1, &["ls", "--config", "none.toml"]).contains("none.toml"));
}

#[test]
fn empty_variables_are_not_set() {
    let sandbox = sandbox();
    let mut c = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
    for name in ["STORE", "TENANT", "SESSION_ID", "UPLOAD_TIMEOUT", "CONFIG", "HTTP", "S3_PATH_STYLE"] {
        c.env(format!("OUTPUTFS_{name}"), "");
    }
    let out = c.env("OUTPUTFS_STATE_DIR", sandbox.state_dir()).arg("ls").output().expect("it starts");
    assert!(out.status.success(), "{}", stderr(&out));
}

#[test]
fn log_lines_are_json_when_asked_for() {
    let sandbox = sandbox();
    write(sandbox.path(), "a", "a");
    let out = outputfs(&sandbox, &["push", "a", "s/", "-v", "--log-format", "json"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let lines: Vec<Value> = stderr(&out).lines().map(|l| serde_json::from_str(l).expect(l)).collect();
    assert!(lines.iter().any(|l| l["message"] == "commit" && l["path"] == "a"), "{lines:?}");
}

#[test]
fn a_store_that_cannot_be_reached_is_a_network_fault() {
    let sandbox = sandbox();
    write(sandbox.path(), "a", "a");
    let mut c = sandbox.program(env!("CARGO_BIN_EXE_outputfs"));
    // A port of the discard service, where nobody listens.
    c.args([
        "push",
        "a",
        "s/",
        "--store",
        "s3://bucket/p",
        "--s3-endpoint",
        "http://127.0.0.1:9",
        "--upload-timeout",
        "1s",
    ])
    .env("OUTPUTFS_STATE_DIR", sandbox.state_dir())
    .env("AWS_ACCESS_KEY_ID", "k")
    .env("AWS_SECRET_ACCESS_KEY", "s");
    let out = c.output().expect("it starts");
    assert_eq!(out.status.code(), Some(3), "{}", stderr(&out));
    assert!(stderr(&out).contains("hint: 'outputfs doctor'"), "{}", stderr(&out));
}
