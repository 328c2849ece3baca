//! Content types: guessed again under each name that a file gets, unless somebody set them (CONTRACT §3.3).

use super::on_every_mount;
use crate::support::{TestMount, sh};

on_every_mount!(saved_by_way_of_another_name, one_that_was_set_stays, as_other_doors_tell_it);

/// `is FILE TYPE`.
const IS: &str = r#"is() { [ "$(getfattr --only-values -n user.artifact.content_type "$1")" = "$2" ] || { echo "$1: $(getfattr --only-values -n user.artifact.content_type "$1"), not $2" >&2; exit 1; }; }
"#;

fn check(m: &TestMount, script: &str) {
    sh(&format!("{IS}{script}"), m.path());
}

fn saved_by_way_of_another_name(m: &TestMount) {
    let out = m.sandbox().path().join("in");
    check(
        m,
        &format!(
            r#"printf 'a,b\n' > r.csv; is r.csv text/csv; sed -i s/a/x/ r.csv; is r.csv text/csv; [ "$(ls .versions/r.csv | wc -l)" = 2 ]
               mkdir {out}; echo '# x' > {out}/t.md; cp {out}/t.md {out}/t.json; rsync -a {out}/ ./; is t.md text/markdown; is t.json application/json
               python3 - <<'P'
import os, tempfile
fd, name = tempfile.mkstemp(dir="."); os.write(fd, b"{{}}"); os.close(fd); os.replace(name, "m.json")
with open("report.md.tmp.17.1700000000", "w") as f: f.write("r")
os.replace("report.md.tmp.17.1700000000", "report.md")
open("held", "w").write("x"); os.link("held", "held.toml"); os.unlink("held")
P
               is m.json application/json; is report.md text/markdown; is held.toml application/toml
               printf '\x89PNG\r\n\x1a\n\0\0\0\rIHDR' > img.png; is img.png image/png; mv img.png img.txt; is img.txt text/plain; mv img.txt img; is img image/png; mv img a.dot; is a.dot text/vnd.graphviz
               echo 'digraph{{}}' > g.tmp; mv g.tmp g.dot; is g.dot text/vnd.graphviz; mv g.dot g.dot~; mv g.dot~ g.rs; is g.rs text/x-rust
               echo x > o.log; for i in 1 2 3; do echo $i >> o.log; done; mv o.log o.mmd; is o.mmd text/vnd.mermaid
               echo 1 > one.csv; echo 2 > two.md; python3 -c 'import ctypes; assert ctypes.CDLL(None).renameat2(-100, b"one.csv", -100, b"two.md", 2) == 0'
               is one.csv text/csv; is two.md text/markdown"#,
            out = out.display()
        ),
    );
}

fn one_that_was_set_stays(m: &TestMount) {
    check(
        m,
        r#"set_() { setfattr -n user.artifact.content_type -v "$1" "$2"; }
           echo 1 > a.txt; set_ x/y a.txt; mv a.txt a.csv; is a.csv x/y; echo 2 > a.csv; is a.csv x/y; sed -i s/2/3/ a.csv; is a.csv text/csv
           echo 1 > b.tmp; set_ x/z b.tmp; mv b.tmp b.md; is b.md x/z; mv b.md b.md~; mv b.md~ b.json; is b.json x/z
           setfattr -x user.artifact.content_type b.json; is b.json application/json; mv b.json b.toml; is b.toml application/toml"#,
    );
}

fn as_other_doors_tell_it(m: &TestMount) {
    check(m, "echo 1 > a.md; mv a.md a.csv; rm a.csv; echo k > b.md; mv b.md b.rs");
    let told = |name: &str| {
        let all = m.sandbox().cli("ls", &["s1", "--json"]);
        let script = format!(
            r#"import json,sys; print(*(a["content_type"] for a in json.load(sys.stdin) if a["filename"] == "{name}"))"#
        );
        sh(&format!("python3 -c '{script}' <<'J'\n{all}\nJ"), m.path())
    };
    assert_eq!(told("b.rs"), "text/x-rust");
    m.sandbox().cli("restore", &["s1/a.csv"]);
    assert_eq!(told("a.csv"), "text/csv");
    check(m, "rm a.csv; mv \".trash/$(ls .trash | tail -n 1)\" a.jsonl; is a.jsonl application/jsonl");
}
