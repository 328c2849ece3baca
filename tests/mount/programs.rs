//! Everyday programs in each of the four ways of mounting, their results read back at once (`tests/programs` has many more, after a fresh mount).

use super::on_every_mount;
use crate::support::{TestMount, python, sh};

on_every_mount!(coreutils_and_archives, databases, version_control, python_in_many_ways);

fn coreutils_and_archives(m: &TestMount) {
    sh(
        r#"mkdir src; for i in $(seq 30); do seq $i > src/$i; done; cp -a src copy; diff -r src copy; mv copy moved; diff -r src moved
           tar cf t.tar src; mkdir u; tar xf t.tar -C u; diff -r src u/src; gzip -k t.tar; gunzip -c t.tar.gz | cmp - t.tar
           rsync -a src/ synced/; diff -r src synced; rsync -a --inplace src/ synced/; split -b 100 t.tar part.; cat part.* | cmp - t.tar
           dd if=t.tar of=dd.out bs=4096 status=none; cmp t.tar dd.out; sed -i s/1/one/ src/1; grep -q one src/1; sort -o src/30 -r src/30
           install -D -m 644 src/2 deep/er/2; cmp src/2 deep/er/2; find . -name '1*' -newer t.tar > /dev/null; rm -rf moved u synced"#,
        m.path(),
    );
}

fn databases(m: &TestMount) {
    sh(
        r#"sqlite3 r.db 'create table t(a); insert into t values (1),(2)'; [ "$(sqlite3 r.db 'select sum(a) from t')" = 3 ]
           sqlite3 w.db 'pragma journal_mode=wal; create table t(a); insert into t values (3);' > /dev/null; sqlite3 w.db 'insert into t values (4)'; [ "$(sqlite3 w.db 'select sum(a) from t')" = 7 ]
           [ "$(sqlite3 r.db 'pragma integrity_check')" = ok ]"#,
        m.path(),
    );
}

fn version_control(m: &TestMount) {
    sh(
        r#"git init -q g; cd g; git config user.email a@b; git config user.name n; for i in $(seq 20); do echo $i > f$i; done
           git add .; git commit -qm one; echo x >> f1; git commit -qam two; git gc -q; git fsck --strict 2>/dev/null; [ "$(git log --oneline | wc -l)" = 2 ]
           cd ..; git clone -q g h; diff -r -x .git g h"#,
        m.path(),
    );
}

fn python_in_many_ways(m: &TestMount) {
    python(
        r#"
import json, logging, logging.handlers, mmap, os, pathlib, shutil, sqlite3, tempfile, zipfile
p = pathlib.Path("py"); p.mkdir(); (p / "t.txt").write_text("text\n" * 1000); assert (p / "t.txt").read_text().count("text") == 1000
with open("py/b", "w+b") as f:
    f.write(bytes(range(256)) * 64); f.seek(100); f.write(b"patched"); f.seek(0); d = f.read()
assert open("py/b", "rb").read() == d and d[100:107] == b"patched"
with open("py/b", "r+b") as f, mmap.mmap(f.fileno(), 0) as mm: mm[0:3] = b"map"
assert open("py/b", "rb").read(3) == b"map"
with zipfile.ZipFile("py/z.zip", "w") as z: z.write("py/t.txt"); z.writestr("x", "y")
assert zipfile.ZipFile("py/z.zip").testzip() is None
shutil.copy2("py/t.txt", "py/t2.txt"); shutil.copytree("py", "py2"); shutil.rmtree("py2"); assert not os.path.exists("py2")
with tempfile.NamedTemporaryFile(dir="py", delete=False) as t: t.write(b"tmp")
os.replace(t.name, "py/named"); assert open("py/named").read() == "tmp"
h = logging.handlers.RotatingFileHandler("py/log", maxBytes=400, backupCount=3); l = logging.getLogger("x"); l.addHandler(h)
for i in range(200): l.warning("line %d", i)
h.close(); assert os.path.exists("py/log.3")
c = sqlite3.connect("py/db"); c.execute("create table t(a)"); c.executemany("insert into t values(?)", [(i,) for i in range(100)]); c.commit(); c.close()
assert sqlite3.connect("py/db").execute("select count(*) from t").fetchone() == (100,)
fd = os.open("py/sparse", os.O_RDWR | os.O_CREAT); os.pwrite(fd, b"end", 1 << 20); os.posix_fallocate(fd, 0, 4096); os.fsync(fd); os.close(fd)
assert os.stat("py/sparse").st_size == (1 << 20) + 3
src = os.open("py/t.txt", os.O_RDONLY); dst = os.open("py/cfr", os.O_WRONLY | os.O_CREAT); n = os.copy_file_range(src, dst, 5000); os.close(src); os.close(dst)
assert n == 5000 and open("py/cfr").read() == open("py/t.txt").read()
"#,
        m.path(),
    );
}
