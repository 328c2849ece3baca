//! Shells, coreutils, archives, copies.

use super::programs;

programs! {
    bash_redirections:
        r#"echo one > a; echo two >> a; : > empty; cat <<X > here
text
X
           { echo g1; echo g2; } > group; (echo s1; echo s2 >&2) > both 2>&1; exec 3> fd; echo x >&3; echo y >&3; exec 3>&-
           exec 4<> rw; echo hello >&4; exec 4>&-; echo clobber >| a2; echo t | tee t1 t2 > t3; cat < a > copy; echo err 2> nothing >&2 || true"#,
        leaves &["a", "empty", "here", "group", "both", "fd", "rw", "a2", "t1", "t2", "t3", "copy", "nothing"],
        proof r#"[ "$(cat a)" = "$(printf 'one\ntwo')" ]; [ ! -s empty ]; grep -qx text here; [ "$(wc -l < group)" = 2 ]; [ "$(wc -l < both)" = 2 ]
           [ "$(cat fd)" = "$(printf 'x\ny')" ]; [ "$(cat rw)" = hello ]; [ "$(cat a2)" = clobber ]; cmp t1 t2; cmp t2 t3; cmp a copy; grep -qx err nothing"#;
    coreutils:
        r#"mkdir src; for i in $(seq 20); do seq $i > src/$i; done; ln -s 3 src/link; cp -a src copy; mv copy moved; install -D -m 640 src/2 deep/er/2
           seq 100000 | tee big > /dev/null; dd if=big of=dd.out bs=4k status=none; split -b 200k big part.; shuf -n 10 big | sort -o sorted; cp --sparse=always big sparse"#,
        leaves &["src/*", "moved/*", "deep/er/2", "big", "dd.out", "part.aa", "part.ab", "part.ac", "sorted", "sparse"],
        proof r#"python3 - <<'P'
import os
for i in range(1, 21):
    want = "".join(f"{n}\n" for n in range(1, i + 1))
    assert open(f"src/{i}").read() == want == open(f"moved/{i}").read()
assert os.readlink("moved/link") == "3" and os.stat("deep/er/2").st_mode & 0o777 == 0o640
big = open("big").read(); assert big == open("dd.out").read() == open("sparse").read() == "".join(open(f"part.a{c}").read() for c in "abc")
assert len(open("sorted").read().split()) == 10
P"#;
    tar_and_zip:
        r#"mkdir d; for i in $(seq 50); do head -c $((i * 900)) /dev/urandom > d/$i; done; tar cf t.tar d; tar czf t.tgz d; zip -qr t.zip d; mkdir x y; tar xf t.tar -C x; unzip -q t.zip -d y; rm -r d"#,
        leaves &["t.tar", "t.tgz", "t.zip", "x/*", "y/*"],
        proof r#"diff -r x/d y/d; python3 - <<'P'
import tarfile, zipfile
assert zipfile.ZipFile("t.zip").testzip() is None
for name in ("t.tar", "t.tgz"):
    t = tarfile.open(name); files = [m for m in t.getmembers() if m.isfile()]; assert len(files) == 50
    assert all(t.extractfile(m).read() == open("x/" + m.name, "rb").read() for m in files)
P"#;
    rsync_both_ways:
        r#"mkdir -p a/sub; seq 5000 > a/f; seq 10 > a/sub/g; rsync -a a/ default/; rsync -a --inplace a/ inplace/; echo more >> a/f; rsync -a a/ default/; rsync -a --inplace --no-whole-file a/ inplace/"#,
        leaves &["a/f", "a/sub/g", "default/f", "default/sub/g", "inplace/f", "inplace/sub/g"],
        proof "diff -r a default; diff -r a inplace; tail -n 1 default/f | grep -qx more";
    git:
        r#"git init -q r; cd r; git config user.email a@b; git config user.name n; for i in $(seq 30); do echo $i > f$i; done; git add .; git commit -qm one
           echo x >> f1; git commit -qam two; git branch side; git gc -q; git fsck --strict 2> /dev/null; cd ..; git clone -q r clone; git -C clone log --format=%s > log"#,
        leaves &["r/f*", "clone/f*", "log"],
        proof r#"diff -r -x .git r clone; [ "$(cat log)" = "$(printf 'two\none')" ]"#;
    curl_and_wget:
        r#"mkdir /tmp/$$-www; seq 300000 > /tmp/$$-www/data; python3 - /tmp/$$-www <<'P' &
import functools, http.server, os, sys
os.chdir(sys.argv[1])
class Ranges(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        data = open("data", "rb").read(); start = int((self.headers.get("range") or "bytes=0-")[6:].split("-")[0])
        self.send_response(206 if start else 200); self.send_header("content-length", str(len(data) - start))
        if start: self.send_header("content-range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers(); self.wfile.write(data[start:])
    def log_message(self, *a): pass
s = http.server.HTTPServer(("127.0.0.1", 0), Ranges); open("port", "w").write(str(s.server_port)); os.rename("port", "ready"); s.serve_forever()
P
           server=$!; trap "kill $server; rm -r /tmp/$$-www" EXIT; until [ -s /tmp/$$-www/ready ]; do sleep 0.05; done; url=http://127.0.0.1:$(cat /tmp/$$-www/ready)/data
           curl -sfo curl.out $url; head -c 100000 curl.out > resumed; wget -qcO resumed $url; wget -q -O wget.out $url"#,
        leaves &["curl.out", "resumed", "wget.out"],
        proof "seq 300000 | cmp - curl.out; cmp curl.out resumed; cmp curl.out wget.out";
}
