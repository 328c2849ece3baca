//! Attributes that a disk would take: kept and given back, whatever their names and bytes (CONTRACT §4).

use super::on_every_mount;
use crate::support::{TestMount, python, sh, try_sh};

on_every_mount!(any_name_and_value, tools_that_copy_them, on_directories_and_scratch);
on_every_mount!(every version: with_each_version);

/// `has FILE NAME HEX`: the attribute, in hex.
const HAS: &str = r#"has() { [ "$(getfattr --only-values -n "$2" -- "$1" | xxd -p | tr -d '\n')" = "$3" ] || { echo "$1: $2: $(getfattr -d -m - -e hex -- "$1")" >&2; exit 1; }; }
"#;

fn check(m: &TestMount, script: &str) {
    sh(&format!("{HAS}{script}"), m.path());
}

fn any_name_and_value(m: &TestMount) {
    check(
        m,
        r#"echo x > f; setfattr -n user.xdg.origin.url -v https://example.com/a f; setfattr -n user.mime_type -v text/plain f
           setfattr -n user.DOSATTRIB -v 0x3078323000000400ff f; setfattr -n 'user.1 ü/' -v x f; setfattr -n user.k -v 0xff00 f; setfattr -n user.e f
           has f user.DOSATTRIB 3078323000000400ff; has f user.k ff00; has f user.xdg.origin.url 68747470733a2f2f6578616d706c652e636f6d2f61; has f user.e ''
           [ "$(getfattr -d f | grep -c ^user)" = 6 ]
           getfattr --only-values -n user.artifact f | python3 -c 'import json,sys; m = json.load(sys.stdin)["metadata"]; assert set(m) == {"xdg.origin.url", "mime_type", "e"}, m'
           setfattr -n user.k -v text f; has f user.k 74657874; [ "$(getfattr -d f | grep -c ^user)" = 6 ]; [ "$(ls .where/k=text .where/xdg.origin.url=https:* 2>/dev/null | grep -c f)" -ge 1 ]
           setfattr -n user.k -v 0xff f; has f user.k ff; [ -z "$(ls .where/k=text)" ]; setfattr -x user.k f; [ "$(getfattr -d f | grep -c ^user)" = 5 ]"#,
    );
    python(
        r#"
import errno, os
def refused(code, f, *a):
    try: f(*a)
    except OSError as e: assert e.errno == code, e
    else: raise SystemExit(f"{a[:2]} is taken")
os.setxattr("f", "user.big", b"\0" * 40000); assert os.getxattr("f", "user.big") == b"\0" * 40000
refused(errno.ENOSPC, os.setxattr, "f", "user.bigger", b"\0" * 30000)
refused(errno.EEXIST, os.setxattr, "f", "user.big", b"x", os.XATTR_CREATE)
refused(errno.ENODATA, os.setxattr, "f", "user.none", b"\xff", os.XATTR_REPLACE)
refused(errno.ENODATA, os.removexattr, "f", "user.none"); refused(errno.ENODATA, os.getxattr, "f", "user.9")
os.removexattr("f", "user.big"); os.setxattr("f", b"user.\xff\xfe", b"n"); assert "user.\udcff\udcfe" in os.listxattr("f")
os.setxattr("f", "user.words", b"w" * 3000); assert os.getxattr("f", "user.words") == b"w" * 3000
# While it is written for the first time.
with open("g", "w") as g:
    os.setxattr("g", "user.9", b"\0"); os.setxattr("g", "user.k", b"\xff"); refused(errno.EEXIST, os.setxattr, "g", "user.9", b"", os.XATTR_CREATE)
    os.setxattr("g", "user.k", b"v"); assert sorted(os.listxattr("g")) == ["user.9", "user.k"]
    os.removexattr("g", "user.9"); os.setxattr("g", "user.8", b"\0\1"); g.write("x")
assert sorted(os.listxattr("g")) == ["user.8", "user.k"] and os.getxattr("g", "user.8") == b"\0\1"
"#,
        m.path(),
    );
    for script in ["setfattr -n trusted.x -v x f", "setfattr -n user.artifact.made_up -v x f"] {
        assert!(!try_sh(script, m.path()).status.success(), "{script}");
    }
}

fn with_each_version(m: &TestMount) {
    check(
        m,
        r#"echo 1 > f; setfattr -n user.9 -v 0x0001 f; i=$(getfattr --only-values -n user.artifact.id f); exec 3< f; echo 2 > f; has f user.9 0001
           setfattr -n user.9 -v 0x02ff f; has f user.9 02ff; has .by-id/$i user.9 0001; has .versions/f/1 user.9 0001; has .versions/f/2 user.9 02ff
           mv f g; has g user.9 02ff; ln g h; has h user.9 02ff; rm g; has h user.9 02ff; exec 3<&-; rm h"#,
    );
    m.sandbox().cli("restore", &["s1/h"]);
    check(m, "has h user.9 02ff");
}

fn tools_that_copy_them(m: &TestMount) {
    let out = m.sandbox().path().join("out");
    check(
        m,
        &format!(
            r#"mkdir {out} {out}/src; echo x > {out}/src/f; mkdir {out}/src/d; for f in f d; do setfattr -n user.xdg.origin.url -v u {out}/src/$f; setfattr -n user.b -v 0x00ff {out}/src/$f; done
               cp --preserve=xattr {out}/src/f c; has c user.b 00ff; has c user.xdg.origin.url 75
               rsync -aX {out}/src/ r/; has r/f user.b 00ff; has r/d user.b 00ff; rsync -aXi {out}/src/ r/ > {out}/again; [ ! -s {out}/again ]
               tar --xattrs -C {out}/src -cf {out}/t.tar .; mkdir t; tar --xattrs -C t -xf {out}/t.tar; has t/f user.b 00ff; has t/d user.b 00ff
               cp -a r {out}/back; has {out}/back/f user.b 00ff; has {out}/back/d user.b 00ff"#,
            out = out.display()
        ),
    );
}

fn on_directories_and_scratch(m: &TestMount) {
    check(
        m,
        r#"mkdir d; setfattr -n user.9 -v 0x00 d; setfattr -n user.stage -v final d; has d user.9 00; [ "$(getfattr -d d | grep -c ^user)" = 2 ]
           echo x > d/f; [ "$(getfattr -d d/f | grep ^user)" = 'user.stage="final"' ]; mv d e; has e user.9 00; setfattr -x user.9 e; [ "$(getfattr -d e | grep -c ^user)" = 1 ]
           echo x > s.tmp; setfattr -n user.9 -v 0x00ff s.tmp; setfattr -n user.xdg.tags -v a,b s.tmp; has s.tmp user.9 00ff; mv s.tmp s; has s user.9 00ff
           getfattr --only-values -n user.artifact s | grep -q '"xdg.tags":"a,b"'; mv s s~; has s~ user.9 00ff; [ "$(getfattr -d s~ | grep -c ^user)" = 2 ]; mv s~ s; has s user.9 00ff"#,
    );
}
