//! Hidden entries and the control file, to a local user who may not see everything (`--allow-other`).

use crate::support::{MountOptions, Store, TestMount, python, sh};

/// Functions for what uid 65534 tries: `nobody PROGRAM` runs Python as that user, `fails ERRNO CALL…` wants it refused.
const NOBODY: &str = r#"
nobody() { setpriv --reuid 65534 --regid 65534 "${groups:---clear-groups}" env PATH=/usr/bin:/bin python3 -c "$1" "${@:2}"; }
PY='
import errno, json, os, sys
def no(code, call, *args):
    try: found = call(*args)
    except OSError as e: assert e.errno == code, (args, e)
    else: raise AssertionError(("allowed", args, found))
def read(path): return open(path, "rb").read()
def ctl(command, where=".ctl"):
    fd = os.open(where, os.O_RDWR)
    try: os.write(fd, command.encode())
    except OSError as e: failed = e.errno
    else: failed = 0
    answer = os.read(fd, 65536).decode(); os.close(fd)
    assert (failed != 0) == answer.startswith("error: "), (command, failed, answer)
    return failed, answer
def refused(command, code=errno.EACCES):
    got = ctl(command)
    assert got[0] == code and " " in got[1], (command, got)
DENY = errno.EACCES
'
id() { getfattr --only-values -n user.artifact.id "$1"; }
"#;

fn allowing_others(options: MountOptions) -> TestMount {
    TestMount::with(Store::Local, options.args(&["--allow-other", "--version-window", "off"]))
}

/// `private/f` lies in a directory of mode 0700, `own` has mode 0600, `pub` is everybody's; each with two versions, and each with a
/// twin that is deleted.
const WORLD: &str = r#"
umask 022; mkdir private; mkdir was
for f in private/f own pub private/gone was/gone own-gone pub-gone; do
  echo "secret 1 of $f" > $f; echo "secret 2 of $f" > $f; setfattr -n user.stage -v final $f
done
chmod 600 own own-gone; chmod 700 private was
private=$(id private/f) own=$(id own) pub=$(id pub)
gone="$(id private/gone) $(id was/gone) $(id own-gone)"
rm private/gone own-gone pub-gone; rm -r was
echo 'link own' > .ctl; link=$(cat .ctl); link=${link##*/}; echo 'link private/f' > .ctl; hiddenlink=$(cat .ctl); hiddenlink=${hiddenlink##*/}
"#;

fn hidden_entries(m: &TestMount) {
    let script = r#"
nobody "$PY"'
private, own, pub, gone, versions = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4].split(), sys.argv[5].split()
for of in [".by-id/"]:
    no(DENY, os.stat, of + private); no(DENY, read, of + private); no(DENY, os.getxattr, of + private, "user.artifact")
    st = os.stat(of + own); assert (st.st_uid, st.st_mode & 0o777) == (0, 0o400), st
    no(DENY, read, of + own); no(DENY, os.getxattr, of + own, "user.artifact"); no(DENY, os.getxattr, of + own, "user.stage")
    assert read(of + pub) == b"secret 2 of pub\n" and os.getxattr(of + pub, "user.artifact")
    for id in gone: no(errno.ENOENT, read, of + id); no(errno.ENOENT, os.getxattr, of + id, "user.artifact")
listed = os.listdir(".by-id")
assert own in listed and pub in listed and private not in listed, listed
no(DENY, os.listdir, ".versions/private"); no(DENY, os.listdir, ".versions/private/f"); no(DENY, read, ".versions/private/f/1")
for v in versions: no(DENY, read, ".versions/own/" + v)
for v in os.listdir(".versions/pub"): assert read(".versions/pub/" + v).startswith(b"secret")
trash = os.listdir(".trash")
assert not any(n.startswith("gone~") for n in trash), trash
for n in trash:
    if n.startswith("own-gone"): no(DENY, read, ".trash/" + n)
    no(DENY, os.rename, ".trash/" + n, "mine"); no(DENY, os.unlink, ".trash/" + n)
where = os.listdir(".where/stage=final")
assert "own" in where and "pub" in where and "f" not in where, where
assert not os.path.lexists(".where/stage=final/f")
no(DENY, read, ".where/stage=final/own"); assert read(".where/stage=final/pub")
' "$private" "$own" "$pub" "$gone" "$(ls .versions/own | tr '\n' ' ')"
# A further group is the caller's too; the group of the file, without its right to read, is not enough.
chgrp 4242 own; chmod 640 own
groups='--groups=4242' nobody "$PY"'assert read(".by-id/" + sys.argv[1]) == b"secret 2 of own\n"' "$own"
nobody "$PY"'no(DENY, read, ".by-id/" + sys.argv[1])' "$own"
# A descriptor of the directory does not spare the search of what leads to the file, and a mode that changes counts at once.
chmod 755 private
nobody "$PY"'assert read(".by-id/" + sys.argv[1]); assert sys.argv[1] in os.listdir(".by-id")' "$private"
chmod 700 private
nobody "$PY"'no(DENY, read, ".by-id/" + sys.argv[1])' "$private"
# Who may search a session may not read it: its manifest neither.
echo seal > .ctl; nobody "$PY"'assert read(".manifest.json")'
"#;
    sh(&format!("{NOBODY}{WORLD}{script}"), m.path());
}

fn verbs(m: &TestMount) {
    let script = r#"
trashed=$(ls .trash | sort)
nobody "$PY"'
link, hiddenlink = sys.argv[1], sys.argv[2]
for command in ["link private/f", "link own", "link .", "link private/none", "ttl private/f 1s", "ttl own 1s", "ttl pub 1s",
                "restore own 1", "restore pub 1", "restore pub-gone", "restore own-gone", "restore private/gone", "restore was/gone", "seal",
                "revoke " + link, "revoke " + hiddenlink]:
    refused(command)
links = ctl("links")[1]
assert link[:12] in links and hiddenlink[:12] not in links, links
assert ctl("link pub")[1].startswith("http")
for command in ["help", "status", "usage"]: assert ctl(command)[0] == 0
' "$link" "$hiddenlink"
[ "$(ls .trash | sort)" = "$trashed" ]; [ "$(cat pub)" = "secret 2 of pub" ]; getfattr --only-values -n user.artifact.ttl pub | grep -q d
# A directory that is everybody's, and what is one's own: what the file system allows, the verbs allow.
mkdir -m 777 free
nobody "$PY"'
for text in ["1", "2"]: open("free/mine", "w").write(text)
assert ctl("ttl free/mine 1h")[0] == 0 and ctl("restore free/mine 1")[0] == 0 and read("free/mine") == b"1"
url = ctl("link free/mine")[1].strip(); assert ctl("revoke " + url)[0] == 0
os.unlink("free/mine"); assert ctl("restore free/mine")[0] == 0 and os.path.exists("free/mine")
os.unlink("free/mine"); n = [n for n in os.listdir(".trash") if n.startswith("mine~")]; assert len(n) >= 1
os.unlink(".trash/" + n[0])
'
# The rights are those of the one who opened it.
exec 3<>.ctl; setpriv --reuid 65534 --regid 65534 --clear-groups bash -c 'echo "ttl pub 2h" >&3'; exec 3>&-
chmod 711 .; nobody "$PY"'no(DENY, os.listdir, ".by-id"); no(DENY, os.listdir, ".where")'
chmod 700 .; nobody "$PY"'no(DENY, read, ".ctl")'; chmod 755 .
chown 65534 .; nobody "$PY"'assert ctl("link .")[0] == 0 and ctl("revoke " + sys.argv[1])[0] == 0 and ctl("seal")[0] == 0' "$link"
"#;
    sh(&format!("{NOBODY}{WORLD}{script}"), m.path());
}

#[test]
fn hidden_entries_are_those_of_their_inodes() {
    hidden_entries(&allowing_others(MountOptions::new().session("s1")));
}

#[test]
fn a_verb_asks_what_the_act_would() {
    verbs(&allowing_others(MountOptions::new().session("s1")));
}

#[test]
fn of_the_whole_tenant_too() {
    let m = allowing_others(MountOptions::new().no_passthrough());
    sh(
        &format!(
            r#"{NOBODY}
mkdir s1 s2 closed; (cd s1; {WORLD}
echo "$private $own $pub" > ../s2/ids; echo "$link" > ../s2/link); read -r private own pub < s2/ids; link=$(cat s2/link)
echo c > closed/c; setfattr -n user.stage -v final closed/c; chmod 700 closed; c=$(id closed/c)
echo 'link closed/c' > .ctl; closed=$(cat .ctl); closed=${{closed##*/}}
nobody "$PY"'
private, own, pub, c, link, closed = sys.argv[1:]
for id in [private, c]: no(DENY, os.stat, ".by-id/" + id)
no(DENY, read, ".by-id/" + own); assert read(".by-id/" + pub)
listed = os.listdir(".by-id"); assert pub in listed and private not in listed and c not in listed
where = os.listdir(".where/stage=final"); assert "pub" in where and "f" not in where and "c" not in where, where
no(DENY, os.listdir, "closed/.trash")
for command in ["link closed/c", "link s1/own", "link s1", "ttl s1/pub 1s", "restore s1/pub 1", "revoke " + link, "revoke " + closed]: refused(command)
assert ctl("link s1/pub")[0] == 0 and closed[:12] not in ctl("links")[1]
' "$private" "$own" "$pub" "$c" "$link" "$closed"
# A session's control file acts in its own session: also for root.
python3 -c "$PY"'
got = ctl("revoke " + sys.argv[1], "s2/.ctl"); assert got[0] == errno.ENOENT, got
assert sys.argv[1][:12] not in ctl("links", "s2/.ctl")[1]
assert ctl("revoke " + sys.argv[1], "s1/.ctl")[0] == 0
' "$link""#
        ),
        m.path(),
    );
}

/// Megabytes that the daemon has in memory.
fn resident(m: &TestMount) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", m.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() >> 10
}

#[test]
fn lookups_of_what_is_not_there_leave_nothing_behind() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    sh("echo x > f; setfattr -n user.k -v v f; cat .where/k=v/f", m.path());
    let before = resident(&m);
    // Each level is a directory that the kernel knows only as long as it is looked at; and no question has endless conditions.
    sh(
        r#"python3 - <<'PY'
import os
def walk(path, levels):
    os.chdir(path)
    for n in range(levels):
        try: os.chdir("k%d=%s" % (n, "v" * 200))
        except OSError: return n
    return levels
top = os.getcwd()
assert walk(top + "/.where", 3000) == 16
os.chdir(top)
for n in range(40000):
    os.path.lexists(".where/k%d=%s" % (n, "v" * 200))
    if n % 4 == 0: os.path.lexists(".versions/%d" % n); os.path.lexists(".by-id/art_01M8AQCZ61BSS692X9WABH152S")
PY"#,
        m.path(),
    );
    let after = resident(&m);
    assert!(after < before + 24, "{before} MB became {after}");
    // What is held open is known still, under its number.
    sh(
        r#"exec 3< .where/k=v; before=$(stat -c %i .where/k=v); for i in $(seq 2000); do [ -e .where/x=$i ]; done
           [ "$(ls /proc/self/fd/3/)" = f ]; [ "$(stat -c %i .where/k=v)" = "$before" ]; exec 3<&-; [ "$(stat -c %i .where/k=v)" = "$before" ]"#,
        m.path(),
    );
}

#[test]
fn a_long_listing_of_hidden_entries_is_linear() {
    let m = TestMount::with(Store::Local, MountOptions::new().args(&["--durability", "local"]));
    python(
        r#"
import os, time
for session, count in (("small", 200), ("large", 1600)):
    os.mkdir(session)
    for n in range(count):
        os.makedirs("%s/d%d" % (session, n % 40), exist_ok=True)
        path = "%s/d%d/%s" % (session, n % 40, "same" if n < 40 else "f%d" % n)
        open(path, "w").write("x" + path)
        os.setxattr(path, "user.stage", session.encode())
    for n in range(count // 2): os.unlink("%s/d%d/%s" % (session, n % 40, "same" if n < 40 else "f%d" % n))
def long_listing(path):
    took = []
    for _ in range(3):
        began = time.monotonic()
        names = os.listdir(path)
        for name in names: os.lstat(path + "/" + name)
        took.append(time.monotonic() - began)
    assert len(set(names)) == len(names)
    return len(names), min(took)
for of in (".where/stage=%s", "%s/.trash", "%s/.by-id"):
    (few, short), (many, long) = long_listing(of % "small"), long_listing(of % "large")
    assert many == 8 * few == 800, (of, few, many)
    print(of, few, short, many, long)
    assert long < 24 * short, (of, short, long)
for name in os.listdir(".where/stage=large"): os.stat(".where/stage=large/" + name)
"#,
        m.path(),
    );
}

#[test]
fn names_forge_no_line() {
    let m = TestMount::with(Store::Local, MountOptions::new().session("s1"));
    let forged = "a\n2026-01-01T00:00:00Z ERROR forged\u{1b}[2J\u{202e}fdp.exe";
    std::fs::write(m.join(forged), "x").unwrap();
    std::fs::write(m.join(".ctl"), format!("link \"{}\"", "no\u{1b}[2Jne\u{202e}")).unwrap_err();
    let answer = m.ctl("link no\u{1b}[2Jne\u{202e}").unwrap_err().answer;
    assert!(answer.starts_with("error: ") && answer.contains("'no␛[2Jne[U+202E]'"), "{answer:?}");
    let log = m.log();
    assert!(log.contains("path=a␊2026-01-01T00:00:00Z ERROR forged␛[2J[U+202E]fdp.exe"), "{log}");
    assert!(!log.lines().any(|l| l.contains("forged") && !l.contains("path=a␊")), "{log}");
    // Standard error of a command, and a table as a terminal shows it (script(1) gives it one).
    let lost = m.sandbox().try_cli("inspect", &[format!("s1/{forged}2")]);
    let said = String::from_utf8(lost.stderr).unwrap();
    assert!(said.contains("a␊2026") && !said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
}
