//! Scratch: names of half-written and temporary files, which never become artifacts (CONTRACT §3.5). What is known of them before
//! anybody says a word: [`built_in`].

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder, Glob};

mod built_in;

use built_in::BUILT_IN;

/// The file in a session's root that adds rules.
pub const FILE_NAME: &str = ".outputsignore";

/// What `check-ignore` calls the rules below.
const BUILT_IN_NAME: &str = "built-in";

/// Which paths of a session are scratch.
#[derive(Clone, Debug)]
pub struct IgnoreRules {
    rules: Gitignore,
    problems: Vec<String>,
}

impl Default for IgnoreRules {
    fn default() -> Self {
        Self::new(None)
    }
}

impl IgnoreRules {
    /// The built-in rules and then `lines`, the text of the session's [`FILE_NAME`]: `!pattern` takes a rule back. A
    /// line that is no pattern is left out and told by [`IgnoreRules::problems`].
    #[must_use]
    pub fn new(lines: Option<&str>) -> Self {
        let mut builder = GitignoreBuilder::new("");
        let mut problems = Vec::new();
        let ours =
            |dirs: bool| BUILT_IN.into_iter().zip(1..).filter(move |((line, ..), _)| line.ends_with('/') == dirs);
        // Those for directories last: of two that match, the later decides, and those for files are nothing to a directory.
        let built_in = ours(false).chain(ours(true)).map(|((line, ..), n)| (BUILT_IN_NAME, n, line));
        let own = lines.unwrap_or_default().lines().zip(1..).map(|(line, n)| (FILE_NAME, n, line));
        for (source, number, line) in built_in.chain(own) {
            // The matcher hands the source back as it was given: so it can carry the line's number.
            if let Err(e) = builder.add_line(Some(format!("{source}:{number}").into()), line) {
                problems.push(format!("{FILE_NAME}: '{line}' is not a pattern: {e}"));
            }
        }
        let rules = builder.build().unwrap_or_else(|e| {
            problems.push(format!("{FILE_NAME}: no rule is in force: {e}"));
            Gitignore::empty()
        });
        Self { rules, problems }
    }

    /// One sentence for each line that was left out.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Whether the path inside the session, or a directory above it, matches.
    #[must_use]
    pub fn is_scratch(&self, path: impl AsRef<[u8]>, is_dir: bool) -> bool {
        self.explain(path, is_dir).is_some_and(|rule| rule.ignores)
    }

    /// The rule that decides about the path, if any does.
    #[must_use]
    pub fn explain(&self, path: impl AsRef<[u8]>, is_dir: bool) -> Option<Rule> {
        let path = path.as_ref();
        // The matcher refuses absolute paths; ours all start at the session's root.
        let start = path.iter().position(|&b| b != b'/').unwrap_or(path.len());
        let mut at = Some(Path::new(OsStr::from_bytes(&path[start..])));
        let mut dir = is_dir;
        let matched = loop {
            let path = at.filter(|p| !p.as_os_str().is_empty())?;
            let matched = self.rules.matched(path, dir);
            if matched.inner().is_some_and(|glob| !dir || !is_for_files(glob)) {
                break matched;
            }
            at = path.parent();
            dir = true;
        };
        let glob = matched.inner()?;
        Some(Rule {
            place: glob.from().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default(),
            pattern: glob.original().to_owned(),
            ignores: matched.is_ignore(),
        })
    }
}

/// A built-in rule without `/` at its end: `lab-journal/` is nobody's half-written file. What a session writes itself means
/// what it means in gitignore.
fn is_for_files(glob: &Glob) -> bool {
    !glob.is_only_dir() && glob.from().is_some_and(|place| place.to_string_lossy().starts_with(BUILT_IN_NAME))
}

/// One line that matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands: `.outputsignore:3`, `built-in:1`.
    pub place: String,
    pub pattern: String,
    /// False for `!pattern`.
    pub ignores: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scratch(rules: &IgnoreRules, path: &str) -> bool {
        rules.is_scratch(path, false)
    }

    #[test]
    fn what_programs_leave_on_the_way_is_scratch() {
        let rules = IgnoreRules::new(None);
        assert!(rules.problems().is_empty());
        for path in [
            "a.tmp",
            "x/y/a.tmp",
            ".report.md.swp",
            "4913",
            "notes~",
            ".#notes",
            "#notes#",
            ".~lock.a.odt#",
            "~$a.docx",
            "db.sqlite-journal",
            "db-wal",
            "db-shm",
            "__pycache__/m.cpython-312.pyc",
            "a/.git/objects/12/34",
            "m.part",
            "m.crdownload",
            ".nfs000012",
            ".fuse_hidden0001",
            "/a.tmp",
        ] {
            assert!(scratch(&rules, path), "{path}");
        }
        for path in [
            "report.pdf",
            "tmp",
            "a.tmp.txt",
            "__pycache__",
            ".gitignore",
            "git/x",
            "journal",
            "4913.txt",
            "#1 hit.txt",
            ".outputsignore",
            "",
        ] {
            assert!(!scratch(&rules, path), "{path}");
        }
        assert!(rules.is_scratch("__pycache__", true));
        for path in
            ["x/.~a.ipynb", "a.py___jb_tmp___", "w.incomplete", ".report.md.kak.a1B2c3", ".tmpA1b2C3", "d/.~tmp~/f"]
        {
            assert!(scratch(&rules, path), "{path}");
        }
        assert!(!scratch(&rules, ".tmpA1b2C3d") && !scratch(&rules, "a~.ipynb"));
        assert!(rules.is_scratch(b"\xff.tmp", false));
    }

    #[test]
    fn rules_for_files_are_nothing_to_a_directory() {
        let rules = IgnoreRules::new(Some("mine*\n!4913/kept.tmp"));
        for dir in ["lab-journal", "4913", "d.tmp", "d~", "old.part", ".#x", "x.swp", "Thumbs.db"] {
            assert!(!rules.is_scratch(dir, true), "{dir}");
            assert!(!scratch(&rules, &format!("{dir}/day1.md")) && !scratch(&rules, &format!("a/{dir}/b/c")), "{dir}");
            assert!(scratch(&rules, dir) && scratch(&rules, &format!("{dir}/x.tmp")), "{dir}");
        }
        assert!(rules.is_scratch("minerals", true) && scratch(&rules, "minerals/a"));
        assert!(scratch(&rules, "d.tmp/.git/x") && scratch(&rules, ".git/d.tmp/x"));
        assert!(!scratch(&rules, "4913/kept.tmp"));
    }

    /// A pattern that is no pattern would be dropped without a word.
    #[test]
    fn every_built_in_line_is_a_rule_and_stands_once() {
        assert_eq!(IgnoreRules::new(None).rules.len(), BUILT_IN.len());
        for (n, (line, who, source)) in BUILT_IN.iter().enumerate() {
            assert!(!who.is_empty() && !source.is_empty(), "{line}");
            assert!(BUILT_IN[..n].iter().all(|(other, ..)| other != line), "{line} twice");
        }
    }

    #[test]
    fn a_session_adds_and_takes_back() {
        let rules = IgnoreRules::new(Some("# mine\n*.bak\n!keep.tmp\n/top\r\nbuild/\n!*-journal\n"));
        assert!(scratch(&rules, "a.bak") && scratch(&rules, "a.tmp"));
        assert!(!scratch(&rules, "keep.tmp") && !scratch(&rules, "x/keep.tmp"));
        assert!(!scratch(&rules, "daily-journal"));
        assert!(scratch(&rules, "top") && !scratch(&rules, "x/top"));
        assert!(scratch(&rules, "build/out") && !scratch(&rules, "build"));
    }

    #[test]
    fn the_line_that_decides_is_named() {
        let rules = IgnoreRules::new(Some("# mine\n*.bak\n!keep.tmp"));
        let rule = |path| rules.explain(path, false).map(|r| (format!("{}:{}", r.place, r.pattern), r.ignores));
        assert_eq!(rule("x/a.bak"), Some((String::from(".outputsignore:2:*.bak"), true)));
        assert_eq!(rule("keep.tmp"), Some((String::from(".outputsignore:3:!keep.tmp"), false)));
        assert_eq!(rule("a.tmp"), Some((String::from("built-in:1:*.tmp"), true)));
        assert_eq!(rule("a.txt"), None);
    }

    #[test]
    fn a_bad_line_is_told_and_the_others_hold() {
        let rules = IgnoreRules::new(Some("a{b\n*.bak"));
        assert_eq!(rules.problems().len(), 1);
        assert!(rules.problems()[0].contains("'a{b'"));
        assert!(scratch(&rules, "x.bak") && scratch(&rules, "x.tmp"));
    }

    proptest! {
        #[test]
        fn never_panics(lines in "\\PC*(\n\\PC*)*", path in any::<Vec<u8>>(), dir in any::<bool>()) {
            let _ = IgnoreRules::new(Some(&lines)).is_scratch(path, dir);
        }
    }
}
