//! session ls and new, status, doctor.

use super::*;

#[test]
fn sessions_are_made_named_and_listed() {
    let sandbox = sandbox();
    assert_eq!(ok(&sandbox, &["session", "ls"]), "[]\n");
    assert_eq!(ok(&sandbox, &["session", "new", "report"]), "report\n");
    let made = ok(&sandbox, &["session", "new"]);
    let made = made.trim_end();
    assert!(made.starts_with("ses_") && made.len() == 16 && made[4..].chars().all(char::is_alphanumeric), "{made}");
    assert!(fails(&sandbox, 1, &["session", "new", "report"]).contains("there is a session 'report' already"));
    let list = ok_json(&sandbox, &["session", "ls"]);
    let names: Vec<_> = list.as_array().expect("an array").iter().map(|s| s["session_id"].clone()).collect();
    assert!(names.contains(&Value::from("report")) && names.contains(&Value::from(made)), "{names:?}");
}

#[test]
fn tenants_do_not_see_each_other() {
    let sandbox = sandbox();
    ok(&sandbox, &["session", "new", "mine", "--tenant", "a"]);
    assert_eq!(ok(&sandbox, &["session", "ls", "--tenant", "b"]), "[]\n");
}

#[test]
fn nothing_is_pending_after_a_push() {
    let sandbox = sandbox();
    write(sandbox.path(), "f", "text");
    ok(&sandbox, &["push", "f", "s/f"]);
    let status = ok_json(&sandbox, &["status"]);
    assert_eq!(status["pending_artifacts"], 0);
    assert_eq!(status["mounts"].as_array().map(Vec::len), Some(0));
}

#[test]
fn doctor_examines_the_store() {
    let sandbox = sandbox();
    let out = outputfs(&sandbox, &["doctor"]);
    let checks: Value = serde_json::from_str(&stdout(&out)).expect("JSON");
    let ok = |name: &str| checks.as_array().expect("an array").iter().any(|c| c["check"] == name && c["ok"] == true);
    for name in ["state directory", "write", "read a range", "delete"] {
        assert!(ok(name), "{name}: {checks}");
    }
    let all = checks.as_array().expect("an array").iter().all(|c| c["ok"] == true);
    assert_eq!(out.status.success(), all);
}

#[test]
fn a_state_directory_open_to_others_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = sandbox();
    write(&sandbox.state_dir(), "theirs", "x");
    std::fs::set_permissions(sandbox.state_dir(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    assert!(fails(&sandbox, 1, &["ls"]).contains("chmod 700"));
}
