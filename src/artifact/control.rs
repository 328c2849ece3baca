//! The grammar of the control file (CONTRACT §5): one command a line.
//!
//! ```text
//! [json] link PATH|. [TTL] · links · revoke LNK · seal · status · ttl PATH DURATION · restore PATH [VERSION] · usage · help
//! ```
//! Paths may have blanks, quoted as in a shell or not: `link my report.pdf 7d` is understood. A last word that is a
//! duration (of `restore`: a number) is taken for one; where the path itself ends like that, it is quoted.

use super::error::{Error, Result};
use super::link::LinkRef;
use super::name::{Name, display_bytes, split_path};
use super::time::Ttl;

mod words;

use words::{Word, words};

/// Longest line in bytes: a path of `PATH_MAX` with every byte escaped, and the words around it.
pub const LINE_MAX: usize = 8192 + 64;

/// How the answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The bare value.
    #[default]
    Plain,
    /// One JSON object.
    Json,
}

/// What a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `.`: the directory of the control file.
    Here,
    /// A path below it.
    Path(Vec<Name>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Link { target: Target, ttl: Option<Ttl> },
    Links,
    Revoke(LinkRef),
    Seal,
    Status,
    Ttl { path: Vec<Name>, ttl: Ttl },
    Restore { path: Vec<Name>, version: Option<u64> },
    Usage,
    Help,
}

const HELP: [(&str, &str); 9] = [
    ("link PATH|. [TTL]", "a download link for a file, or for everything here (.)"),
    ("links", "the links made here"),
    ("revoke LNK", "ends a link, by its URL or its ID"),
    ("seal", "makes this session read-only, for good"),
    ("status", "what is being written, and what is not in the store yet"),
    ("ttl PATH DURATION", "a new lifetime from now: 90s, 90m, 12h, 7d, 2w or never"),
    ("restore PATH [VERSION]", "brings back a deleted file or an earlier version"),
    ("usage", "bytes and artifacts used, and the limits"),
    ("help", "this text; with 'json' in front of a command, its answer is JSON"),
];

/// The answer to `help`, with a newline at its end.
#[must_use]
pub fn help_text() -> String {
    let mut out = String::new();
    for (form, text) in HELP {
        // Forms are ASCII: a byte is a column.
        out.extend([form, &" ".repeat(24 - form.len()), text, "\n"]);
    }
    out
}

/// The forms of all commands with their explanations, for `json help`.
#[must_use]
pub fn help() -> &'static [(&'static str, &'static str)] {
    &HELP
}

/// Parses one line, with or without its newline. The format is returned beside the result, so that the answer to a
/// bad command is in the form that was asked for.
pub fn parse(line: &[u8]) -> (Format, Result<Command>) {
    let line = line.trim_ascii();
    match line.strip_prefix(b"json") {
        Some(rest) if rest.first().is_none_or(u8::is_ascii_whitespace) => (Format::Json, command(rest)),
        _ => (Format::Plain, command(line)),
    }
}

fn command(line: &[u8]) -> Result<Command> {
    if line.len() > LINE_MAX {
        return Err(Error::invalid(format!("a command has at most {LINE_MAX} bytes")));
    }
    let words = words(line)?;
    let Some((verb, rest)) = words.split_first() else {
        return Err(Error::invalid("no command: write 'help' for the list"));
    };
    let verb = display_bytes(&verb.text);
    match verb.as_str() {
        "link" => link(rest),
        "links" => alone(&verb, rest, Command::Links),
        "revoke" => match rest {
            [word] => Ok(Command::Revoke(display_bytes(&word.text).parse()?)),
            _ => Err(usage(&verb)),
        },
        "seal" => alone(&verb, rest, Command::Seal),
        "status" => alone(&verb, rest, Command::Status),
        "ttl" => ttl(rest),
        "restore" => restore(rest),
        "usage" => alone(&verb, rest, Command::Usage),
        "help" => alone(&verb, rest, Command::Help),
        _ => Err(Error::invalid(format!(
            "'{verb}' is not a command: there are link, links, revoke, seal, status, ttl, restore, usage and help"
        ))),
    }
}

fn alone(verb: &str, rest: &[Word], command: Command) -> Result<Command> {
    if rest.is_empty() { Ok(command) } else { Err(Error::invalid(format!("'{verb}' stands alone on its line"))) }
}

fn link(rest: &[Word]) -> Result<Command> {
    let (path, ttl) = match rest {
        [path @ .., last] if !path.is_empty() => match unquoted::<Ttl>(last) {
            Some(ttl) => (path, Some(ttl)),
            None => (rest, None),
        },
        _ => (rest, None),
    };
    let path = joined(path).ok_or_else(|| usage("link"))?;
    let target = match path.as_slice() {
        b"." | b"./" => Target::Here,
        path => Target::Path(split_path(path)?),
    };
    Ok(Command::Link { target, ttl })
}

fn ttl(rest: &[Word]) -> Result<Command> {
    let (last, path) = rest.split_last().ok_or_else(|| usage("ttl"))?;
    let path = joined(path).ok_or_else(|| usage("ttl"))?;
    Ok(Command::Ttl { path: split_path(&path)?, ttl: display_bytes(&last.text).parse()? })
}

fn restore(rest: &[Word]) -> Result<Command> {
    let (path, version) = match rest {
        [path @ .., last] if !path.is_empty() => match unquoted::<u64>(last) {
            Some(0) => return Err(Error::invalid("versions are counted from 1")),
            Some(version) => (path, Some(version)),
            None => (rest, None),
        },
        _ => (rest, None),
    };
    let path = joined(path).ok_or_else(|| usage("restore"))?;
    Ok(Command::Restore { path: split_path(&path)?, version })
}

/// A word's value, if it was not quoted and is one.
fn unquoted<T: std::str::FromStr>(word: &Word) -> Option<T> {
    if word.quoted { None } else { std::str::from_utf8(&word.text).ok()?.parse().ok() }
}

/// The words with the blanks between them as they were written; `None` for no words.
fn joined(words: &[Word]) -> Option<Vec<u8>> {
    let (first, rest) = words.split_first()?;
    let mut out = first.text.clone();
    for word in rest {
        out.extend_from_slice(&word.blanks);
        out.extend_from_slice(&word.text);
    }
    Some(out)
}

fn usage(verb: &str) -> Error {
    let form = HELP.iter().map(|(form, _)| *form).find(|form| form.split(' ').next() == Some(verb)).unwrap_or(verb);
    Error::invalid(format!("'{verb}' is written: {form}"))
}

#[cfg(test)]
mod tests;
