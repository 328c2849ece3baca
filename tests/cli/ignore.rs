//! check-ignore, after git's.

use super::*;

#[test]
fn scratch_is_told_with_its_rule() {
    let sandbox = sandbox();
    write(sandbox.path(), "rules", "*.bak\n!keep.tmp\nbuild/\n");
    ok(&sandbox, &["push", "rules", "s1/.outputsignore"]);
    assert_eq!(ok(&sandbox, &["check-ignore", "s1/x/a.bak", "s1/a.txt"]), "s1/x/a.bak\n");
    fails(&sandbox, 1, &["check-ignore", "s1/a.txt", "s1/keep.tmp", "s1/build"]);
    let said = ok(&sandbox, &["check-ignore", "-v", "s1/a.bak", "s1/keep.tmp", "s1/build/", "s1/a.tmp"]);
    fails(&sandbox, 1, &["check-ignore", "s1/lab-journal/", "s1/lab-journal/day1.md", "s1/d.tmp/f"]);
    assert_eq!(ok(&sandbox, &["check-ignore", "s1/lab-journal", "s1/.~n.ipynb"]), "s1/lab-journal\ns1/.~n.ipynb\n");
    let lines = [
        ".outputsignore:1:*.bak\ts1/a.bak",
        ".outputsignore:2:!keep.tmp\ts1/keep.tmp",
        ".outputsignore:3:build/\ts1/build/",
        "built-in:1:*.tmp\ts1/a.tmp",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), lines);
}
