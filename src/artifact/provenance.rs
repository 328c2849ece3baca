//! Where an artifact came from: program, process, machine, door.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Longest text of it that is kept, in bytes: what `PATH_MAX` allows.
const TEXT_MAX: usize = 4096;

/// Who wrote a file, as the daemon saw it when the file was opened for writing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    /// The name by which the program was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argv0: Option<String>,
    /// What an interpreter ran: a file, or `-m MODULE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Through which door it came: `mount`, `push`, `http`, `mcp`, `recovery`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub door: String,
    /// Tells the process, from its last `exec` on, from every other that ever ran. Not shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The trace in which it was written, as W3C Trace Context (§3.2) has it in `TRACEPARENT` or the header `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The `outputfs run` that it was part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

impl Provenance {
    /// As every door shows it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!(Self { process: None, ..self.clone() })
    }

    /// A program and its user, as far as they are known.
    #[must_use]
    pub fn program(&self) -> Option<String> {
        let executable = self.executable.as_ref()?;
        Some(self.uid.map_or_else(|| executable.clone(), |uid| format!("{executable}, uid {uid}")))
    }
}

/// A `traceparent` that can be followed (W3C Trace Context §3.2.2); whoever gets another ignores it (§4.3).
#[must_use]
pub fn traceparent(text: &str) -> Option<String> {
    let hex = |part: &str, len| part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<_> = text.trim().split('-').collect();
    let [version, trace, parent, flags, ..] = parts[..] else { return None };
    // A later version may say more; of the first there are four parts.
    let whole = hex(version, 2) && version != "ff" && (version != "00" || parts.len() == 4);
    let named = hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let real = trace.bytes().any(|b| b != b'0') && parent.bytes().any(|b| b != b'0');
    (whole && named && real).then(|| format!("{version}-{trace}-{parent}-{flags}"))
}

/// `text`, cut to what is kept.
#[must_use]
pub fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

/// Programs that run a file which they are given, without version and suffix.
const INTERPRETERS: &[&str] = &[
    "python",
    "pypy",
    "ipython",
    "bash",
    "sh",
    "dash",
    "zsh",
    "ksh",
    "fish",
    "node",
    "nodejs",
    "deno",
    "bun",
    "perl",
    "ruby",
    "php",
    "lua",
    "Rscript",
    "julia",
    "tclsh",
    "java",
    "awk",
    "gawk",
    "pwsh",
    "osascript",
];

/// The script of a command line, when its program is an interpreter: its first word that is no option. Text given with `-c` or `-e` is
/// no script.
#[must_use]
pub fn script_of(words: &[impl AsRef<str>]) -> Option<String> {
    let (program, rest) = words.split_first()?;
    let base = program.as_ref().rsplit('/').next().unwrap_or_default().trim_start_matches('-');
    let name = base.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if !INTERPRETERS.contains(&name) {
        return None;
    }
    let mut rest = rest.iter().map(AsRef::as_ref);
    while let Some(word) = rest.next() {
        match word {
            "-m" => return rest.next().map(|module| format!("-m {module}")),
            "-c" | "-e" | "-E" | "--eval" | "-" => return None,
            "-jar" | "--" => return rest.next().map(str::to_owned),
            // `-W ARG`, `-X ARG` of Python; `-o OPTION` of shells.
            "-W" | "-X" | "-r" | "--require" => drop(rest.next()),
            "run" if matches!(name, "deno" | "bun") => {}
            // `sh -ec TEXT`.
            _ if word.starts_with('-') && !word.starts_with("--") && word.ends_with('c') && word.len() < 6 => {
                return None;
            }
            // `bash -euo pipefail FILE`.
            _ if word.starts_with('-') && !word.starts_with("--") && word.ends_with('o') => drop(rest.next()),
            _ if word.starts_with('-') => {}
            _ => return Some(word.to_owned()),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_that_can_be_followed() {
        let whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(whole).as_deref(), Some(whole));
        assert_eq!(
            traceparent(&whole.replacen("00", "01", 1).replace("-01", "-01-more")).map(|t| t.len()),
            Some(whole.len())
        );
        for bad in [
            "",
            "00",
            &whole.to_uppercase(),
            &format!("{whole}-more"),
            &whole.replacen("00", "ff", 1),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(traceparent(bad), None, "{bad}");
        }
    }

    #[test]
    fn scripts_of_interpreters() {
        for (line, script) in [
            ("python3.11 train.py --epochs 3", Some("train.py")),
            ("/usr/bin/python3 -u -W ignore a/b.py x", Some("a/b.py")),
            ("python -m pkg.mod x", Some("-m pkg.mod")),
            ("python3 -c print(1)", None),
            ("bash -euo pipefail build.sh", Some("build.sh")),
            ("sh -ec true", None),
            ("-bash", None),
            ("node --max-old-space-size=1 app.js", Some("app.js")),
            ("java -jar x.jar", Some("x.jar")),
            ("cp a b", None),
            ("", None),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert_eq!(script_of(&words).as_deref(), script, "{line}");
        }
    }

    #[test]
    fn the_mark_of_a_process_is_not_shown() {
        let p = Provenance { process: Some("secret".into()), door: "mount".into(), ..Provenance::default() };
        assert_eq!(p.to_json(), json!({"door": "mount"}));
        assert_eq!(bounded(&"ä".repeat(4096)).len(), 4096);
    }
}
