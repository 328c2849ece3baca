//! Sealing (CONTRACT §6).

use super::on_every_mount;
use crate::support::{MountOptions, Store, TestMount, python, sh, try_sh};

on_every_mount!(nothing_changes_afterwards, open_files_fail_their_close, seal_and_verify);

fn nothing_changes_afterwards(m: &TestMount) {
    sh(
        "mkdir d; echo a > a; echo b > d/b; touch e; ln -s a l; echo seal > .ctl; echo seal > .ctl; echo 'json status' > .ctl; cat .ctl | grep -q '\"sealed\":true'",
        m.path(),
    );
    for script in [
        "echo x > a",
        "echo x >> a",
        "echo n > n",
        "mkdir n",
        "rm a",
        "mv a c",
        "ln a c",
        "ln -s a c",
        "chmod 777 a",
        "touch a",
        "truncate -s 0 a",
        "setfattr -n user.k -v v a",
        "rmdir d",
        "mknod p p",
        "rm -r d",
    ] {
        let out = try_sh(script, m.path());
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains("Read-only file system"), "{script}: {} {said}", out.status);
    }
    sh(
        r#"[ "$(cat a d/b)" = "$(printf 'a\nb')" ]; [ -f e ]; [ $(stat -c %a a) = 444 ]; [ $(stat -c %a d) = 555 ]; [ $(stat -c %a .) = 555 ]
           python3 -c 'import json; m=json.load(open(".manifest.json")); assert m["session_id"]=="s1" and sorted(a["filename"] for a in m["artifacts"])==["a","d/b","e"], m'
           echo 'link a' > .ctl; cat .ctl | grep -q lnk_; lacks manifest ls -a"#,
        m.path(),
    );
}

fn open_files_fail_their_close(m: &TestMount) {
    sh(
        r#"python3 - <<'PY'
import errno, os
a = os.open("a", os.O_WRONLY | os.O_CREAT); os.write(a, b"before")
b = os.open("b", os.O_WRONLY | os.O_CREAT); os.write(b, b"saved"); os.close(os.dup(b))
fd = os.open(".ctl", os.O_RDWR); os.write(fd, b"seal\n"); os.close(fd)
try:
    os.close(a); assert False, "close of an unsaved file after the seal"
except OSError as e:
    assert e.errno == errno.EROFS, e
os.close(b)
assert open("b").read() == "saved"
PY
[ "$(python3 -c 'import json; print([a["filename"] for a in json.load(open(".manifest.json"))["artifacts"]])')" = "['b']" ]"#,
        m.path(),
    );
}

fn seal_and_verify(m: &TestMount) {
    sh(
        "mkdir d; for i in $(seq 40); do echo $i > d/$i; done; head -c 9000000 /dev/urandom > big; echo seal > .ctl",
        m.path(),
    );
    let out = m.sandbox().outputfs("verify").arg("s1").output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_damaged_blob_is_neither_verified_nor_served() {
    let mut m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    sh("head -c 9000000 /dev/urandom > big; echo small > small; echo seal > .ctl", m.path());
    let hash = sh("getfattr --only-values -n user.artifact.sha256 big", m.path());
    m.sigterm();
    let blob = m.sandbox().path().join("state/blobs/default/blobs").join(&hash[..2]).join(&hash);
    sh(
        &format!("chmod 600 {0}; printf X | dd of={0} bs=1 seek=8500000 conv=notrunc status=none", blob.display()),
        m.sandbox().path(),
    );
    let out = m.sandbox().outputfs("verify").arg("s1").output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", String::from_utf8_lossy(&out.stdout));
    m.remount();
    let read = try_sh("cat big > /dev/null", m.path());
    assert!(String::from_utf8_lossy(&read.stderr).contains("Input/output error"));
    assert_eq!(sh("cat small", m.path()), "small");
    assert!(m.log().contains(&hash), "the log names the key");
}

#[test]
fn closes_race_the_seal() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    // Whatever close returned 0 is in the manifest, and nothing else is.
    python(
        r#"
import errno, json, os, threading
acked = []
def write(k):
    for i in range(400):
        name = f"w{k}_{i}"
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT)
            os.write(fd, name.encode())
            os.close(fd)
        except OSError as e:
            assert e.errno == errno.EROFS, e
            return
        acked.append(name)
ts = [threading.Thread(target=write, args=(k,)) for k in range(6)]
[t.start() for t in ts]
while len(acked) < 200: pass
fd = os.open(".ctl", os.O_RDWR); os.write(fd, b"seal\n"); os.close(fd)
[t.join() for t in ts]
kept = sorted(a["filename"] for a in json.load(open(".manifest.json"))["artifacts"])
assert kept == sorted(acked), (len(kept), len(acked), set(kept) ^ set(acked))
"#,
        m.path(),
    );
}
