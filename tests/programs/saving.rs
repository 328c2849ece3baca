//! How programs save: databases, editors, Python's many ways, watchers.

use super::programs;

programs! {
    sqlite_in_both_modes_with_concurrent_readers:
        r#"python3 - <<'P'
import sqlite3, threading
for name, mode in (("rollback.db", "delete"), ("wal.db", "wal")):
    db = sqlite3.connect(name); db.execute(f"pragma journal_mode={mode}"); db.execute("create table t(a)"); db.commit()
    seen, stop = [], threading.Event()
    def read():
        c = sqlite3.connect(name, timeout=30)
        while not stop.is_set(): seen.append(c.execute("select count(*) from t").fetchone()[0])
        c.close()
    readers = [threading.Thread(target=read) for _ in range(3)]; [r.start() for r in readers]
    for n in range(30): db.executemany("insert into t values(?)", [(n,)] * 10); db.commit()
    stop.set(); [r.join() for r in readers]; db.close()
    assert all(n % 10 == 0 for n in seen), "half a transaction was read"
P
           sqlite3 cli.db 'create table x(y); insert into x values (42)'; sqlite3 cli.db .dump > cli.sql"#,
        leaves &["rollback.db", "wal.db", "cli.db", "cli.sql"],
        proof r#"for db in rollback wal; do [ "$(sqlite3 $db.db 'select count(*) from t')" = 300 ]; [ "$(sqlite3 $db.db 'pragma integrity_check')" = ok ]; done; grep -q 42 cli.sql"#;
    vim_and_atomic_savers:
        r#"printf 'one\ntwo\n' > v.txt; vim -es -u NONE -i NONE -c '%s/two/2/' -c 'wq' v.txt || true; vim -es -u NONE -i NONE -c 'set backup writebackup' -c '1d' -c 'wq' v.txt || true
           echo config > n.conf; echo new > n.conf.tmp; sync n.conf.tmp; mv n.conf.tmp n.conf; sed -i s/new/newer/ n.conf; perl -pi -e s/newer/newest/ n.conf"#,
        leaves &["v.txt", "n.conf"],
        proof "[ \"$(cat v.txt)\" = 2 ]; [ \"$(cat n.conf)\" = newest ]";
    python_in_every_way:
        r#"python3 - <<'P'
import logging, logging.handlers, mmap, os, pathlib, shutil, sqlite3, tempfile, zipfile
pathlib.Path("p").mkdir(); pathlib.Path("p/text").write_text("ä\n" * 1000)
with open("p/rw", "w+b") as f: f.write(bytes(65536)); f.seek(100); f.write(b"patched")
with open("p/rw", "r+b") as f, mmap.mmap(f.fileno(), 0) as m: m[:3] = b"map"; m.flush()
shutil.copy2("p/text", "p/text2"); shutil.copytree("p", "tree"); shutil.move("tree/text2", "moved")
with tempfile.NamedTemporaryFile(dir="p", delete=False) as t: t.write(b"tmp")
os.replace(t.name, "p/named")
with tempfile.TemporaryDirectory(dir="p") as d: pathlib.Path(d, "x").write_text("gone")
with tempfile.TemporaryFile(dir="p") as f: f.write(b"nobody sees it")
with zipfile.ZipFile("p/z.zip", "w", zipfile.ZIP_DEFLATED) as z: z.write("p/text"); z.writestr("in", "y")
h = logging.handlers.RotatingFileHandler("p/app.log", maxBytes=400, backupCount=2); log = logging.getLogger("x"); log.addHandler(h)
for n in range(200): log.warning("line %d", n)
h.close(); c = sqlite3.connect("p/db"); c.execute("create table t(a)"); c.execute("insert into t values (7)"); c.commit(); c.close()
P"#,
        leaves &["p/text", "p/text2", "p/rw", "p/named", "p/z.zip", "p/app.log", "p/app.log.1", "p/app.log.2", "p/db", "tree/text", "tree/rw", "moved"],
        proof r#"[ "$(wc -l < p/text)" = 1000 ]; cmp p/text moved; [ "$(head -c 3 p/rw)" = map ]; [ "$(dd if=p/rw bs=1 skip=100 count=7 status=none)" = patched ]; cmp p/rw tree/rw
           [ "$(cat p/named)" = tmp ]; unzip -tq p/z.zip > /dev/null; tail -n 1 p/app.log | grep -qx "line 199"; [ "$(sqlite3 p/db 'select a from t')" = 7 ]"#;
    inotify_watchers_see_what_this_host_does:
        r#"mkdir w; inotifywait -qm --format '%e %f' w > /tmp/$$-events & watcher=$!; trap "kill $watcher; rm -f /tmp/$$-events" EXIT
           until grep -q inotify /proc/$watcher/fdinfo/* 2> /dev/null && grep -qs 'inotify wd:' /proc/$watcher/fdinfo/*; do sleep 0.02; done
           echo x > w/a; mv w/a w/b; rm w/b; echo y > w/c
           for n in $(seq 250); do if grep -q 'CLOSE_WRITE.* c' /tmp/$$-events; then break; fi; sleep 0.02; done
           for event in 'CREATE a' 'CLOSE_WRITE,CLOSE a' 'MOVED_FROM a' 'MOVED_TO b' 'DELETE b' 'CLOSE_WRITE,CLOSE c'; do grep -qx "$event" /tmp/$$-events; done"#,
        leaves &["w/c"],
        proof "grep -qx y w/c";
}
