//! Extended attributes, defaults, provenance, queries by metadata (CONTRACT §4).

use super::on_every_mount;
use crate::support::{TestMount, python, sh, try_sh};

on_every_mount!(
    set_get_list_remove,
    limits,
    environment_and_defaults,
    the_whole_record,
    copies_keep_metadata,
    while_it_is_saved,
    queries
);

fn set_get_list_remove(m: &TestMount) {
    sh(
        r#"echo x > f; setfattr -n user.stage -v final f; setfattr -n user.model -v 'm 1' f
           [ "$(getfattr --only-values -n user.stage f)" = final ]
           [ "$(getfattr -d f | grep -c '^user')" = 2 ]; lacks artifact getfattr -d f
           setfattr -x user.model f; [ "$(getfattr -d f | grep -c '^user')" = 1 ]; refuses -e ENODATA setfattr -x user.model f
           setfattr -n user.artifact.agent_id -v bob f; [ "$(getfattr --only-values -n user.artifact.agent_id f)" = bob ]
           setfattr -n user.artifact.ttl -v never f; [ "$(getfattr --only-values -n user.artifact.expires_at f 2>/dev/null || echo never)" = never ]
           [ "$(getfattr --only-values -n user.artifact.state f)" != writing ]
           exec 3>f; [ "$(getfattr --only-values -n user.artifact.state f)" = writing ]; echo y >&3; exec 3>&-
           a=$(getfattr --only-values -n user.artifact.id f); setfattr -n user.late -v 1 f; [ "$(getfattr --only-values -n user.artifact.id f)" = "$a" ]"#,
        m.path(),
    );
}

fn limits(m: &TestMount) {
    sh("echo x > f", m.path());
    for (script, errno) in [
        ("setfattr -n user.artifact.agent_id -v 0xff f", "Invalid argument"),
        ("setfattr -n user.artifact.other -v x f", "Invalid argument"),
        ("setfattr -n user.artifact.id -v x f", "Operation not permitted"),
        ("setfattr -n user.artifact.ttl -v soon f", "Invalid argument"),
        ("setfattr -n trusted.x -v x f", "Operation not supported"),
        ("getfattr -n user.none f", "No such attribute"),
    ] {
        let out = try_sh(script, m.path());
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains(errno), "{script}: {said}");
    }
}

fn environment_and_defaults(m: &TestMount) {
    sh(
        r#"get() { getfattr --only-values -n "$1" "$2"; }
           OUTPUTFS_META_STAGE=draft OUTPUTFS_AGENT_ID=bob OUTPUTFS_TTL=7d bash -c 'echo e > e'
           [ "$(get user.stage e)" = draft ]; [ "$(get user.artifact.agent_id e)" = bob ]; [ "$(get user.artifact.ttl e)" = 7d ]
           mkdir -p d/sub; setfattr -n user.model -v m1 d; setfattr -n user.artifact.agent_id -v dir d; echo q > d/sub/q
           [ "$(get user.model d/sub/q)" = m1 ]; [ "$(get user.artifact.agent_id d/sub/q)" = dir ]
           OUTPUTFS_META_MODEL=m2 bash -c 'echo r > d/r'; [ "$(get user.model d/r)" = m2 ]
           setfattr -n user.model -v m3 d/r; OUTPUTFS_META_MODEL=m4 bash -c 'echo again > d/r'; [ "$(get user.model d/r)" = m3 ]"#,
        m.path(),
    );
}

fn the_whole_record(m: &TestMount) {
    sh(
        r#"mkdir d; echo hello > d/r.txt; setfattr -n user.stage -v final d/r.txt
           getfattr --only-values -n user.artifact d/r.txt | python3 -c '
import json, sys
d = json.load(sys.stdin)
assert d["filename"] == "d/r.txt" and d["size_bytes"] == 6 and d["session_id"] == "s1" and d["metadata"] == {"stage": "final"}, d
assert d["content_type"] == "text/plain" and d["version"] == 1 and d["artifact_id"].startswith("art_"), d
assert d["content_hash"] == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03", d
assert d["created_at"].endswith("Z") and d["expires_at"].endswith("Z"), d
assert d["provenance"]["executable"].endswith("bash") and d["provenance"]["pid"] > 0, d'"#,
        m.path(),
    );
}

fn copies_keep_metadata(m: &TestMount) {
    let out = m.sandbox().path().join("out");
    sh(
        &format!(
            r#"mkdir d; echo x > d/f; setfattr -n user.stage -v final d/f; chmod 640 d/f
               get() {{ getfattr --only-values -n user.stage "$1"; }}
               cp -a d/f d/g; [ "$(get d/g)" = final ]; [ $(stat -c %a d/g) = 640 ]
               cp -a d {out}; [ "$(get {out}/f)" = final ]; rsync -aX d/ {out}/r/; [ "$(get {out}/r/g)" = final ]
               rsync -aX {out}/r/ back/; [ "$(get back/f)" = final ]; cp -a {out}/f in; [ "$(get in)" = final ]
               tar --xattrs -cf {out}/t.tar d; mkdir t; tar --xattrs -C t -xf {out}/t.tar; [ "$(get t/d/f)" = final ]
               rsync -aX --delete ./ {out}/all/; [ "$(cd {out}/all; find . -type f | wc -l)" = "$(find . -type f | wc -l)" ]"#,
            out = out.display()
        ),
        m.path(),
    );
}

/// A version that takes another's place never leaves a moment in which the file has no attributes.
fn while_it_is_saved(m: &TestMount) {
    python(
        r#"
import os, threading
def save(text):
    with open("f", "w") as f: f.write(text)
save("first")
os.setxattr("f", "user.stage", b"final")
over = threading.Event()
def saver():
    n = 0
    while not over.is_set(): n += 1; save(str(n))
thread = threading.Thread(target=saver)
thread.start()
try:
    for _ in range(600):
        assert os.listxattr("f") == ["user.stage"] and os.getxattr("f", "user.artifact") and os.getxattr("f", "user.artifact.id")
finally:
    over.set()
    thread.join()
"#,
        m.path(),
    );
}

fn queries(m: &TestMount) {
    sh(
        r#"mkdir d; for i in 1 2 3; do echo $i > d/f$i; setfattr -n user.stage -v final d/f$i; done; setfattr -n user.model -v m1 d/f2
           [ "$(ls .where/stage=final | tr '\n' ' ')" = 'f1 f2 f3 ' ]; [ "$(cat .where/stage=final/f1)" = 1 ]
           [ "$(ls .where/stage=final/model=m1)" = f2 ]; [ "$(cat .where/stage=final/model=m1/f2)" = 2 ]; [ -z "$(ls .where/stage=none)" ]
           rm d/f1; [ "$(ls .where/stage=final | wc -l)" = 2 ]"#,
        m.path(),
    );
}
