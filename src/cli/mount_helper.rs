//! What mount(8) calls for a file system of the type `fuse.outputfs`: the program under the name `mount.fuse.outputfs`. Its arguments become
//! those of `outputfs mount`. (umount(8) needs no helper: what was closed is stored, and the daemon ends by itself.)
//!
//! The call is the one that mount(8) describes under EXTERNAL HELPERS: `/sbin/mount.TYPE SOURCE DIR [-sfnv] [-N NAMESPACE]
//! [-o OPTIONS] [-t TYPE.SUBTYPE]`. In /etc/fstab the source is a session's name, or `outputfs` for all of them, and an option is one of
//! `outputfs mount`, with `_` or `-` between its words: `run_42 /srv/outputs fuse.outputfs allow_other,store=s3://bucket/prefix`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::artifact::{Error, Result};

/// All sessions.
const EVERYTHING: [&str; 3] = ["outputfs", "none", "-"];
/// What mount(8) and systemd read for themselves, and what is so on every mount of ours.
const NOT_OURS: [&str; 24] = [
    "",
    "rw",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "exec",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "async",
    "atime",
    "noatime",
    "relatime",
    "diratime",
    "nodiratime",
    "nostrictatime",
    "silent",
];

/// The arguments of outputfs, if it was called by that name. Empty: nothing is to be done (`mount --fake`).
///
/// # Errors
/// `Invalid`: a source, a directory or an option that makes no sense here.
pub fn arguments(called: &[OsString]) -> Result<Option<Vec<OsString>>> {
    let name = called.first().and_then(|path| Path::new(path).file_name());
    match name.and_then(OsStr::to_str) {
        Some("mount.fuse.outputfs") => mount(called.get(1..).unwrap_or_default()).map(Some),
        _ => Ok(None),
    }
}

fn mount(words: &[OsString]) -> Result<Vec<OsString>> {
    let (mut places, mut options, mut fake) = (Vec::new(), Vec::new(), false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-o") => options.extend(split(words.next().map_or(b"".as_slice(), |o| o.as_bytes()))),
            Some("-t") => drop(words.next()),
            Some("-N") => {
                return Err(Error::invalid(
                    "mount in another namespace: enter it first (nsenter --mount=FILE mount …)",
                ));
            }
            Some(flags) if flags.len() > 1 && flags.starts_with('-') => fake |= flags.contains('f'),
            _ => places.push(word),
        }
    }
    let [source, dir] = places[..] else {
        return Err(Error::invalid(
            "mount.fuse.outputfs takes SOURCE DIR [-o OPTIONS]: a session's name or 'outputfs', and a directory",
        ));
    };
    if fake {
        return Ok(Vec::new());
    }
    let mut out = vec![OsString::from("mount")];
    if !EVERYTHING.iter().any(|all| source == *all) {
        out.extend([OsString::from("--session"), source.clone()]);
    }
    for option in options {
        let (key, value) = match option.iter().position(|&b| b == b'=') {
            Some(at) => (&option[..at], Some(&option[at + 1..])),
            None => (&option[..], None),
        };
        let key = String::from_utf8_lossy(key).replace('_', "-");
        match key.as_str() {
            "remount" => return Err(Error::invalid("outputfs cannot remount: unmount and mount again")),
            "ro" => return Err(Error::invalid("outputfs has no read-only mounts: seal the session instead")),
            _ if NOT_OURS.contains(&key.as_str())
                || key == "-netdev" /* _netdev */
                || key.starts_with("x-")
                || key.starts_with("comment") =>
            {
                continue;
            }
            _ => {}
        }
        let mut word = format!("--{key}").into_bytes();
        if let Some(value) = value {
            word.push(b'=');
            word.extend_from_slice(value);
        }
        out.push(OsString::from_vec(word));
    }
    // What begins with a dash is a directory all the same.
    out.extend([OsString::from("--"), dir.clone()]);
    Ok(out)
}

/// The options of a list with commas; `"` keeps them together, as in fstab(5)'s `context="a,b"`.
fn split(list: &[u8]) -> Vec<Vec<u8>> {
    let (mut all, mut quoted) = (vec![Vec::new()], false);
    for &byte in list {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => all.push(Vec::new()),
            _ => all.last_mut().into_iter().for_each(|option| option.push(byte)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Option<String>> {
        let called: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        arguments(&called).map(|found| found.map(|w| w.join(OsStr::new(" ")).to_string_lossy().into_owned()))
    }

    fn said(line: &str) -> String {
        words(line).unwrap().unwrap()
    }

    #[test]
    fn a_line_of_fstab_is_a_mount() {
        assert_eq!(
            said(
                "/sbin/mount.fuse.outputfs run_42 /srv/out -s -o rw,allow_other,_netdev,x-systemd.automount,store=s3://b/p,state_dir=/s"
            ),
            "mount --session run_42 --allow-other --store=s3://b/p --state-dir=/s -- /srv/out"
        );
        assert_eq!(said("mount.fuse.outputfs outputfs /o"), "mount -- /o");
        assert_eq!(
            said("mount.fuse.outputfs none /o -o cors_origin=\"a,b\" -t fuse.outputfs"),
            "mount --cors-origin=a,b -- /o"
        );
        assert_eq!(said("mount.fuse.outputfs outputfs /o -fv"), "", "nothing is mounted");
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_other_names_are_left_alone() {
        for line in [
            "mount.fuse.outputfs",
            "mount.fuse.outputfs a",
            "mount.fuse.outputfs a /b -o ro",
            "mount.fuse.outputfs a /b -o remount",
            "mount.fuse.outputfs a /b -N 7",
        ] {
            assert_eq!(words(line).unwrap_err().exit_code(), 1, "{line}");
        }
        assert!(words("/usr/bin/outputfs mount /o").unwrap().is_none());
    }
}
