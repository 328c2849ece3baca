//! The control file (CONTRACT §5).

use super::on_every_mount;
use crate::support::{MountOptions, Store, TestMount, python, sh, try_sh};

on_every_mount!(every version: from_a_shell, from_one_descriptor, bad_commands);

fn from_a_shell(m: &TestMount) {
    sh(
        r#"echo r > 'my report.pdf'; echo 'link "my report.pdf" 7d' > .ctl; cat .ctl | grep -Eq '^http://[^ ]*/lnk_[A-Za-z0-9]{28}$'
           url=$(cat .ctl); echo 'json links' > .ctl; cat .ctl | python3 -c 'import json,sys; d=json.load(sys.stdin); assert len(d["links"])==1, d'
           lacks "${url##*/}" cat .ctl; echo "revoke $url" > .ctl; cat .ctl | grep -q ^lnk_
           echo help > .ctl; cat .ctl | grep -q '^seal'; echo usage > .ctl; cat .ctl | grep -q bytes; echo status > .ctl; cat .ctl | grep -q pending
           echo v1 > v; echo v2 > v; echo 'restore v 1' > .ctl; [ "$(cat v)" = v1 ]; echo 'ttl v never' > .ctl; [ "$(cat .ctl)" = never ]"#,
        m.path(),
    );
}

fn from_one_descriptor(m: &TestMount) {
    python(
        r#"
import json, os
open("a", "w").write("x")
fd = os.open(".ctl", os.O_RDWR)
for _ in range(3):
    os.write(fd, b"json link a 1h\n")
    d = json.loads(os.read(fd, 65536))
    assert d["url"].startswith("http") and d["artifact_id"].startswith("art_"), d
assert os.read(fd, 100) == b""
try:
    os.write(fd, b"link nope\n"); assert False
except FileNotFoundError:
    pass
assert os.read(fd, 65536).startswith(b"error: ")
with open(".ctl", "r+") as f:
    f.write("status\n"); f.flush(); assert "pending" in f.read()
"#,
        m.path(),
    );
}

fn bad_commands(m: &TestMount) {
    for (command, errno) in [
        ("lnik a", libc::EINVAL),
        ("link nope", libc::ENOENT),
        ("ttl", libc::EINVAL),
        ("revoke lnk_AAAAAAAA", libc::ENOENT),
    ] {
        let e = m.ctl(command).expect_err(command);
        assert_eq!(e.errno, Some(errno), "{command}: {e:?}");
        assert!(e.answer.starts_with("error: "), "{command}: {e:?}");
    }
}

#[test]
fn answers_are_not_shown_to_others() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1").args(&["--allow-other"]));
    sh("chmod 777 .; echo secret > s; echo 'link s' > .ctl; [ -n \"$(cat .ctl)\" ]", m.path());
    // Another process group of the same user, and another user, see nothing.
    assert_eq!(sh("setsid -w cat .ctl", m.path()), "");
    let out = try_sh("echo 'link s' > .ctl; setpriv --reuid 65534 --clear-groups cat .ctl", m.path());
    assert_eq!(String::from_utf8_lossy(&out.stdout), "", "{}", String::from_utf8_lossy(&out.stderr));
}
