//! Signals with their sender: what the terminal sent reached the command of `run` already, what `kill` sent did not.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram as Datagram;
use std::sync::atomic::{AtomicI32, Ordering};

use tokio::net::UnixDatagram;

use crate::artifact::{Error, Result};

/// A signal that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub number: i32,
    /// By a key at the terminal: the whole foreground process group got it.
    pub from_terminal: bool,
}

/// Those that end a process politely.
pub const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Where the handler writes; -1 before [`Signals::install`].
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Signals of this process, one at a time. Made once.
pub struct Signals {
    read: UnixDatagram,
    /// Kept open for the handler.
    _write: Datagram,
}

extern "C" fn handle(number: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo_t, alive during the call.
    let code = unsafe { (*info).si_code };
    let from_terminal = u8::from(code == libc::SI_KERNEL);
    let number = u8::try_from(number).unwrap_or(0);
    let bytes = [number, from_terminal];
    let fd = PIPE.load(Ordering::Relaxed);
    // SAFETY: errno belongs to the interrupted code and is put back; write is async-signal-safe and the buffer is alive.
    // It does not block: a signal that finds the queue full is lost, with many of its kind before it.
    unsafe {
        let errno = *libc::__errno_location();
        let _ = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        *libc::__errno_location() = errno;
    }
}

impl Signals {
    /// Takes over the signals that end a process. One that was ignored (`nohup`) stays ignored.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn install() -> Result<Self> {
        let failed = |e: std::io::Error| Error::internal(format!("signals cannot be handled: {e}"));
        let (read, write) = Datagram::pair().map_err(failed)?;
        for end in [&read, &write] {
            end.set_nonblocking(true).map_err(failed)?;
        }
        PIPE.store(write.as_raw_fd(), Ordering::Relaxed);
        for number in ENDING {
            // SAFETY: both structures are initialised (all zero is a valid sigaction), the handler has the signature that
            // SA_SIGINFO asks for, and does only what is async-signal-safe.
            let done = unsafe {
                let mut old: libc::sigaction = std::mem::zeroed();
                let asked = libc::sigaction(number, std::ptr::null(), &raw mut old);
                if asked == 0 && old.sa_sigaction == libc::SIG_IGN {
                    continue;
                }
                let mut new: libc::sigaction = std::mem::zeroed();
                new.sa_sigaction = handle as extern "C" fn(_, _, _) as usize;
                new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
                libc::sigaction(number, &raw const new, std::ptr::null_mut())
            };
            if done != 0 {
                return Err(failed(std::io::Error::last_os_error()));
            }
        }
        Ok(Self { read: UnixDatagram::from_std(read).map_err(failed)?, _write: write })
    }

    /// The next one. Cancel-safe.
    pub async fn next(&self) -> Arrived {
        let mut bytes = [0u8; 2];
        match self.read.recv(&mut bytes).await {
            Ok(_) => Arrived { number: i32::from(bytes[0]), from_terminal: bytes[1] == 1 },
            // The other end is ours and open: this cannot happen, and no signal is made up.
            Err(_) => std::future::pending().await,
        }
    }
}

/// `SIGTERM`.
#[must_use]
pub fn name(number: i32) -> &'static str {
    match number {
        libc::SIGINT => "SIGINT",
        libc::SIGTERM => "SIGTERM",
        libc::SIGHUP => "SIGHUP",
        libc::SIGQUIT => "SIGQUIT",
        _ => "a signal",
    }
}
