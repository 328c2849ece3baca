//! `outputfs doctor --bundle`.

use crate::support::{MountOptions, Sandbox, Store, TestMount, python, sh};

#[test]
fn a_bundle_says_what_went_wrong_and_not_whose_it_was() {
    let s = Sandbox::new(Store::Local);
    let at = s.new_mountpoint();
    // A daemon, so that there is a log; names of theirs, so that they could be told.
    s.cli("mount", &[at.as_os_str(), "--session".as_ref(), "acmemerger".as_ref()]);
    sh(
        "echo secretbytes > secretfile.txt; mkdir -p secretdir; echo 1 > 'secretdir/secret name.csv'; setfattr -n user.client -v secretclient secretfile.txt",
        &at,
    );
    let key = s.cli("key", &["create", "secretkey"]);
    let bundle = s.path().join("b.zip");
    let out = s.try_cli("doctor", &["--bundle".as_ref(), bundle.as_os_str()]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success() && said.contains("look into it before you send it"), "{said}");
    s.cli("umount", &[&at]);
    python(
        &format!(
            r#"import json, os, zipfile
path = {path:?}
assert os.stat(path).st_mode & 0o777 == 0o600
z = zipfile.ZipFile(path)
names = z.namelist()
assert {{"about.json", "doctor.json", "files.json", "status.json", "mounts.txt"}} <= set(names), names
logs = [n for n in names if n.startswith("logs/")]
assert logs and b"commit artifact=art_" in z.read(logs[0]) and b"path=\xe2\x80\xa6" in z.read(logs[0]), z.read(logs[0])
everything = b"\n".join(z.read(n) for n in names)
for word in ("secret", "acmemerger", {key:?}, {home:?}):
    assert word.encode() not in everything, (word, [n for n in names if word.encode() in z.read(n)])
assert json.loads(z.read("about.json"))["outputfs"] and json.loads(z.read("status.json"))["mounts"][0]["alive"] is True
assert json.loads(z.read("files.json"))["entries"]["catalog.db"]["files"] == 1"#,
            path = bundle.to_str().unwrap(),
            home = s.path().file_name().unwrap().to_str().unwrap(),
        ),
        s.path(),
    );
    // Nothing is overwritten.
    let again = s.try_cli("doctor", &["--bundle".as_ref(), bundle.as_os_str()]);
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
}

/// The trace in whose span a program writes is in its files' provenance, through each door.
#[test]
fn the_writers_trace_is_recorded() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    let s = m.sandbox();
    sh(&format!("TRACEPARENT={TRACE} sh -c 'echo 1 > a'; TRACEPARENT=00-zz-1-1 sh -c 'echo 1 > b'"), m.path());
    std::fs::write(s.path().join("c"), "1").unwrap();
    let out = s.outputfs("push").args(["c", "s1/"]).env("TRACEPARENT", TRACE).current_dir(s.path()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for (name, want) in [("a", Some(TRACE)), ("b", None), ("c", Some(TRACE))] {
        let told: serde_json::Value =
            serde_json::from_str(&s.cli("inspect", &[&format!("s1/{name}"), "--json"])).unwrap();
        assert_eq!(told["provenance"]["traceparent"].as_str(), want, "{name}: {told}");
    }
}
