//! Log lines: to standard error, or for a daemon into a file that cannot fill the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::{EnvFilter, fmt};

use crate::artifact::{Error, Result};
use crate::cli::args::{Command, LogFormat};
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
    let writer = match command {
        Command::Mount(args) if args.daemon => BoxMakeWriter::new(Rotating::open(&daemon_log(settings)?)?),
        _ => BoxMakeWriter::new(io::stderr),
    };
    let base =
        fmt::fmt().with_env_filter(filter).with_writer(OneLine::new(writer, settings.log_format)).with_ansi(false);
    let set = match settings.log_format {
        LogFormat::Json => base.json().flatten_event(true).try_init(),
        LogFormat::Text => base.try_init(),
    };
    set.map_err(|e| Error::internal(format!("logging could not be set up: {e}")))
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
    std::fs::create_dir_all(&dir).map_err(|e| Error::io(&dir, &e))?;
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

/// A file that is set aside when it is full. Standard output and error go there too, for what is not a log line.
struct Rotating {
    path: PathBuf,
    now: Mutex<(File, u64)>,
}

impl Rotating {
    fn open(path: &Path) -> Result<Self> {
        let file = open(path).map_err(|e| Error::io(path, &e))?;
        let told = |e: rustix::io::Errno| Error::io(path, &e.into());
        rustix::stdio::dup2_stderr(&file).map_err(told)?;
        Ok(Self { path: path.to_owned(), now: Mutex::new((file, 0)) })
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl<'a> MakeWriter<'a> for Rotating {
    type Writer = &'a Rotating;
    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut now = self.now.lock();
        if now.1 >= ROTATE_AT {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *now = (open(&self.path)?, 0);
        }
        let written = now.0.write(line)?;
        now.1 += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.now.lock().0.flush()
    }
}
