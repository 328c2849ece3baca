//! From write to artifact: every form of closing (CONTRACT §3).

use super::on_every_mount;
use crate::support::{TestMount, python, sh, sha256_of};

on_every_mount!(
    every version:
    redirections,
    duplicated_descriptors,
    inherited_descriptors,
    versions_of_one_handle_collapse,
    same_bytes_same_artifact,
    other_bytes_new_version,
    empty_files,
    mapped_after_close,
    mapped_and_synced,
    an_msync_is_a_write,
    large_files,
    two_writers_at_once,
    unlinked_while_open,
    truncated_by_path,
    random_access,
);

fn redirections(m: &TestMount) {
    sh(
        r#"echo hi > a; [ "$(cat a)" = hi ]
           echo 2 >> a; [ "$(cat a)" = "$(printf 'hi\n2')" ]
           printf x >| a; [ "$(cat a)" = x ]
           cat < a > b; cmp a b
           { echo 1; /bin/echo 2; echo 3; } > c; [ "$(cat c)" = "$(printf '1\n2\n3')" ]
           echo t | tee d e > f; cmp d e; cmp e f
           exec 5<> g; echo rw >&5; exec 5>&-; [ "$(cat g)" = rw ]"#,
        m.path(),
    );
}

/// Stores to a page that is dirty already move no time stamp: each fsync and close commits them all the same.
fn mapped_and_synced(m: &TestMount) {
    python(
        r#"
import hashlib, mmap, os
fd = os.open("mapped", os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 300_000)
m = mmap.mmap(fd, 300_000)

def committed(how):
    got = os.getxattr("mapped", "user.artifact.sha256").decode()
    assert got == hashlib.sha256(m[:]).hexdigest(), how

for i in range(12):
    m[i * 20_000] = m[1] = i + 1
    os.fsync(fd)
    committed(f"fsync {i}")
    m[i * 20_000] = m[2] = i + 100
    if i % 2:
        os.close(os.dup(fd))
        committed(f"close of a duplicate {i}")
m[5] = 77
os.close(fd)
committed("close")
"#,
        m.path(),
    );
}

fn duplicated_descriptors(m: &TestMount) {
    sh(
        r#"exec 3>f; echo a >&3; echo b >&3; /bin/echo c >&3; [ "$(cat f)" = "$(printf 'a\nb\nc')" ]
           echo d >&3; exec 3>&-; [ "$(cat f)" = "$(printf 'a\nb\nc\nd')" ]"#,
        m.path(),
    );
}

fn inherited_descriptors(m: &TestMount) {
    sh(
        r#"cat > /dev/null <<'X'
X
python3 - <<'PY'
import os, subprocess
f = open("p", "w"); os.set_inheritable(f.fileno(), True)
for i in range(5):
    f.write(f"{i}\n"); f.flush()
    subprocess.run(["/bin/true"], close_fds=False)
f.close()
assert open("p").read() == "0\n1\n2\n3\n4\n"
PY"#,
        m.path(),
    );
}

fn versions_of_one_handle_collapse(m: &TestMount) {
    sh(
        r#"exec 3>f; for i in 1 2 3; do /bin/echo $i >&3; done; exec 3>&-
           [ "$(ls .versions/f)" = 1 ]; [ "$(cat .versions/f/1)" = "$(printf '1\n2\n3')" ]"#,
        m.path(),
    );
}

fn same_bytes_same_artifact(m: &TestMount) {
    sh(
        r#"id() { getfattr --only-values -n user.artifact.id "$1"; }
           echo s > s; a=$(id s); echo s > s; [ "$(id s)" = "$a" ]; [ "$(ls .versions/s)" = 1 ]
           cp s s2; [ "$(id s2)" != "$a" ]
           [ "$(getfattr --only-values -n user.artifact.sha256 s)" = "$(getfattr --only-values -n user.artifact.sha256 s2)" ]"#,
        m.path(),
    );
}

fn other_bytes_new_version(m: &TestMount) {
    sh(
        r#"id() { getfattr --only-values -n user.artifact.id "$1"; }
           echo v1 > v; a=$(id v); echo v2 > v; b=$(id v); [ "$a" != "$b" ]
           [ "$(cat .by-id/$a)" = v1 ]; [ "$(cat .by-id/$b)" = v2 ]
           [ "$(cat .versions/v/1)" = v1 ]; [ "$(getfattr --only-values -n user.artifact.version v)" = 2 ]
           refuses -e EPERM eval "echo x > .by-id/$a""#,
        m.path(),
    );
}

fn empty_files(m: &TestMount) {
    sh(r#"touch e; : > e2; [ -f e ]; [ ! -s e ]; mv e e3; [ -f e3 ]; [ ! -e e ]"#, m.path());
    crate::support::wait_until("the empty file is an artifact", std::time::Duration::from_secs(10), || {
        crate::support::try_sh("getfattr --only-values -n user.artifact.id e3", m.path()).status.success()
    });
}

fn mapped_after_close(m: &TestMount) {
    sh(
        r#"python3 - <<'PY'
import mmap, os
fd = os.open("m", os.O_RDWR | os.O_CREAT); os.ftruncate(fd, 300000)
m = mmap.mmap(fd, 300000); m[0:5] = b"first"; os.close(fd)
m[5:11] = b"second"; m[299995:300000] = b"third"; m.close()
PY
[ "$(head -c 11 m)" = firstsecond ]; [ "$(tail -c 5 m)" = third ]"#,
        m.path(),
    );
    let want = sh("sha256sum < m | cut -d' ' -f1", m.path());
    crate::support::wait_until("what the mapping stored last is committed", std::time::Duration::from_secs(10), || {
        sh("getfattr --only-values -n user.artifact.sha256 m", m.path()) == want
    });
}

fn large_files(m: &TestMount) {
    let source = m.sandbox().path().join("source");
    sh(&format!("head -c 41000001 /dev/urandom > {}", source.display()), m.path());
    sh(&format!("cp {0} big; cmp {0} big", source.display()), m.path());
    let hash = sha256_of(&source);
    assert_eq!(sh("getfattr --only-values -n user.artifact.sha256 big", m.path()), hash);
    sh(
        &format!(
            "echo tail >> big; echo tail >> {0}; cmp {0} big; [ $(ls .versions/big | wc -l) = 2 ]",
            source.display()
        ),
        m.path(),
    );
    assert_eq!(sha256_of(&m.join(".versions/big/1")), hash);
}

fn two_writers_at_once(m: &TestMount) {
    sh(
        r#"exec 3>>l; exec 4>>l; echo a >&3; exec 3>&-; echo b >&4; exec 4>&-
           [ "$(cat l)" = "$(printf 'a\nb')" ]; [ "$(cat .versions/l/1)" = a ]
           for i in 1 2 3 4; do ( for j in $(seq 50); do echo "$i $j"; done >> many ) & done; wait
           [ "$(wc -l < many)" = 200 ]"#,
        m.path(),
    );
}

fn unlinked_while_open(m: &TestMount) {
    sh(
        r#"exec 4<>u; echo keep >&4; rm u; [ ! -e u ]; [ "$(cat /proc/self/fd/4)" = keep ]; echo more >&4; exec 4>&-; [ ! -e u ]
           echo old > t; exec 5<t; echo new > t2; mv t2 t; [ "$(cat <&5)" = old ]; [ "$(cat t)" = new ]"#,
        m.path(),
    );
}

fn truncated_by_path(m: &TestMount) {
    sh(
        r#"echo 0123456789 > t; truncate -s 4 t; [ "$(cat t)" = 0123 ]; truncate -s 6 t; [ $(stat -c %s t) = 6 ]
           truncate -s 0 t; [ ! -s t ]; [ "$(cat .versions/t/1)" = 0123456789 ]"#,
        m.path(),
    );
}

fn random_access(m: &TestMount) {
    python(
        r#"
import os, random
r = random.Random(7); want = bytearray()
fd = os.open("ra", os.O_RDWR | os.O_CREAT)
for i in range(400):
    off, n = r.randrange(200000), r.randrange(1, 9000)
    data = r.randbytes(n)
    os.pwrite(fd, data, off)
    if len(want) < off + n: want.extend(b"\0" * (off + n - len(want)))
    want[off:off + n] = data
    if i % 97 == 0:
        os.fsync(fd)
    if i % 131 == 0:
        os.close(os.dup(fd))
assert os.pread(fd, 400000, 0) == bytes(want)
os.close(fd)
assert open("ra", "rb").read() == bytes(want)
"#,
        m.path(),
    );
}

/// A database that maps its file syncs it at each commit: what it leaves is one version, the one that it closed or fsynced.
fn an_msync_is_a_write(m: &TestMount) {
    python(
        r#"import mmap, os
fd = os.open("db", os.O_RDWR | os.O_CREAT, 0o644)
os.ftruncate(fd, 1 << 20)
m = mmap.mmap(fd, 1 << 20)
for i in range(20):
    m[i * 4096] = i + 1
    m.flush()
assert not os.path.exists(".versions/db/1"), "a version that nobody closed or fsynced"
os.fdatasync(fd)
first = os.getxattr("db", "user.artifact.id")
m[5] = 77
m.flush()
assert os.getxattr("db", "user.artifact.id") == first
m.close()
os.close(fd)
# The first stays: its ID was asked for.
assert sorted(os.listdir(".versions/db")) == ["1", "2"]
data = open("db", "rb").read()
assert data[5] == 77 and all(data[i * 4096] == i + 1 for i in range(20))"#,
        m.path(),
    );
}
