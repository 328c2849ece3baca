//! Log lines: to standard error, or for a daemon into a file that cannot fill the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::{EnvFilter, fmt};

use crate::artifact::{Error, Result};
use crate::cli::args::{Command, LogFormat};
use crate::cli::output::takes_more;
use crate::cli::settings::Settings;

use super::one_line::OneLine;

/// A daemon writes a line for every file it commits: past this size the file becomes `….1`, whose predecessor goes.
const ROTATE_AT: u64 = 16 << 20;
/// Files of daemons that ended, kept to tell why.
const KEEP: usize = 50;

/// `OUTPUTFS_LOG` (as `RUST_LOG`), else by `-v` and the kind of command.
///
/// # Errors
/// `Invalid` for an impossible `OUTPUTFS_LOG`; I/O errors of a daemon's log file.
pub fn start(settings: &Settings, command: &Command) -> Result<()> {
    let filter = filter(settings, command)?;
    let to: Box<dyn Sink> = match command {
        Command::Mount(args) if args.daemon => Box::new(Rotating::open(&daemon_log(settings)?)?),
        _ => Box::new(Stderr { stuck: false }),
    };
    let writer = BoxMakeWriter::new(Lenient(Mutex::new((to, Lost::default()))));
    let writer = OneLine::new(writer, settings.log_format);
    // Its own complaints would go to standard error by a call that panics when that cannot be written.
    let base = fmt::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false).log_internal_errors(false);
    let set = match settings.log_format {
        LogFormat::Json => base.json().flatten_event(true).try_init(),
        LogFormat::Text => base.try_init(),
    };
    set.map_err(|e| Error::internal(format!("logging could not be set up: {e}")))?;
    // A panic is a line as any other, with its form and its patience.
    std::panic::set_hook(Box::new(|info| {
        let thread = std::thread::current();
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let what = info.payload_as_str().unwrap_or("?");
        tracing::error!(thread = thread.name().unwrap_or("?"), at, "panic: {what}");
    }));
    Ok(())
}

fn filter(settings: &Settings, command: &Command) -> Result<EnvFilter> {
    if let Ok(said) = std::env::var("OUTPUTFS_LOG")
        && !said.is_empty()
    {
        return said.parse().map_err(|e| Error::invalid(format!("OUTPUTFS_LOG='{said}': {e}")));
    }
    let lasting = matches!(command, Command::Mount(_) | Command::Serve(_));
    let usual = match (settings.quiet, settings.verbose, lasting) {
        (true, ..) => "error",
        (false, 0, false) => "warn",
        (false, 0, true) | (false, 1, false) => "info",
        (false, 1, true) | (false, 2, _) => "debug",
        _ => return Ok(EnvFilter::new("trace")),
    };
    // Libraries tell of their own affairs on every level (fuser warns of every mount that we have unmounted before it);
    // a `run` must not speak of a port that it was not told to use.
    let own = match command {
        Command::Run(args) if args.mounting.http.http.is_none() && settings.verbose == 0 => {
            format!("warn,fuser::mnt=error,rmcp=error,outputfs={usual},outputfs::http::takeover=error")
        }
        _ => format!("warn,fuser::mnt=error,rmcp=error,outputfs={usual}"),
    };
    Ok(EnvFilter::new(own))
}

/// Where this daemon writes: outside its mount directory, which goes when it ends well or is recovered.
fn daemon_log(settings: &Settings) -> Result<PathBuf> {
    // Refuses a state directory that is not ours, and makes it private, before anything is written into it.
    let state = crate::staging::state_dir::StateDir::open(&settings.store.state_dir)?;
    let dir = state.root().join("logs");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|e| Error::io(&dir, &e))?;
    prune(&dir)?;
    Ok(dir.join(format!("mount-{}.log", ulid::Ulid::new())))
}

/// Names sort by age.
fn prune(dir: &Path) -> Result<()> {
    let entries = std::fs::read_dir(dir).map_err(|e| Error::io(dir, &e))?;
    let mut names: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    names.sort_unstable();
    let too_many = names.len().saturating_sub(KEEP);
    for old in &names[..too_many] {
        // Another daemon that starts now may be faster; and an old log is no reason not to mount.
        if let Err(e) = std::fs::remove_file(old) {
            tracing::debug!(path = %old.display(), error = %e, "an old log stays");
        }
    }
    Ok(())
}

/// Where lines go.
trait Sink: Send {
    /// # Errors
    /// When (a part of) the line was not written.
    fn line(&mut self, line: &[u8]) -> io::Result<()>;
}

/// Lines that could not be written since the last one that was, and why the first of them could not.
#[derive(Default)]
struct Lost {
    lines: u64,
    why: String,
}

/// No failure of the log reaches whoever logs: a line that cannot be written (nobody reads, the disk is full) is counted, and
/// the next one that can says how many went before it.
struct Lenient(Mutex<(Box<dyn Sink>, Lost)>);

impl<'a> MakeWriter<'a> for Lenient {
    type Writer = &'a Lenient;
    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Lenient {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let (sink, lost) = &mut *self.0.lock();
        if lost.lines > 0 {
            let said = sink.line(format!("({} log lines were lost: {})\n", lost.lines, lost.why).as_bytes());
            if said.is_ok() {
                *lost = Lost::default();
            }
        }
        if let Err(e) = sink.line(line) {
            if lost.lines == 0 {
                lost.why = e.to_string();
            }
            lost.lines += 1;
        }
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error. A reader who does not read (a pipe that is full, a stopped terminal) would hold up every thread that logs.
struct Stderr {
    /// It took nothing for [`PATIENCE`]: from now on it is not waited for.
    stuck: bool,
}

/// For a reader that is only slow.
const PATIENCE: Duration = Duration::from_millis(200);
/// What a pipe that is not full takes without a wait (`PIPE_BUF`, pipe(7)).
const PIECE: usize = 4096;

impl Sink for Stderr {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let err = io::stderr();
        for piece in line.chunks(PIECE) {
            let patience = if self.stuck { Duration::ZERO } else { PATIENCE };
            self.stuck = !takes_more(&err, patience);
            if self.stuck {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "nobody reads them"));
            }
            err.lock().write_all(piece)?;
        }
        Ok(())
    }
}

/// A file that is set aside when it is full. Standard error goes there too, for what is not a log line.
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Rotating {
    fn open(path: &Path) -> Result<Self> {
        let file = open(path).map_err(|e| Error::io(path, &e))?;
        let told = |e: rustix::io::Errno| Error::io(path, &e.into());
        rustix::stdio::dup2_stderr(&file).map_err(told)?;
        Ok(Self { path: path.to_owned(), file, size: 0 })
    }

    fn rotate(&mut self) -> io::Result<()> {
        std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
        self.file = open(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Sink for Rotating {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size >= ROTATE_AT {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    /// Takes lines as long as it is told to.
    #[derive(Clone, Default)]
    struct Moody(Arc<Mutex<(bool, Vec<u8>)>>);

    impl Sink for Moody {
        fn line(&mut self, line: &[u8]) -> io::Result<()> {
            let mut inner = self.0.lock();
            if inner.0 {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            inner.1.extend_from_slice(line);
            Ok(())
        }
    }

    #[test]
    fn what_was_lost_is_said_once_lines_can_be_written_again() {
        let moody = Moody::default();
        let log = Lenient(Mutex::new((Box::new(moody.clone()), Lost::default())));
        let say = |line: &[u8]| (&log).write_all(line).unwrap();
        say(b"one\n");
        moody.0.lock().0 = true;
        say(b"two\n");
        say(b"three\n");
        moody.0.lock().0 = false;
        say(b"four\n");
        say(b"five\n");
        let text = String::from_utf8(moody.0.lock().1.clone()).unwrap();
        assert_eq!(text, "one\n(2 log lines were lost: No space left on device (os error 28))\nfour\nfive\n");
    }

    #[test]
    fn a_full_pipe_takes_no_more_and_an_empty_one_a_piece() {
        let (read, write) = io::pipe().unwrap();
        let mut write = File::from(OwnedFd::from(write));
        let mut pieces = 0;
        while takes_more(&write, Duration::ZERO) {
            write.write_all(&[0; PIECE]).unwrap();
            pieces += 1;
        }
        assert!(pieces > 1);
        drop(read);
        assert!(takes_more(&write, Duration::ZERO), "a write fails at once");
        assert!(write.write_all(b"x").is_err());
    }
}
