//! The write-ahead log, written in one call a transaction.
//!
//! SQLite writes each page of its log by two calls, one for the frame's head and one for the page: some forty for a commit of a file.
//! Here what is appended is gathered until the frame that commits (its head says so: the size of the database in it is not 0), and goes out
//! at once, before the call that brought it returns: what SQLite takes to be written then is. Whoever reads, syncs, cuts or closes the log
//! finds everything in it. Nobody looks for frames that are not committed, but the connection that writes them.
//!
//! This is a VFS beside SQLite's own for Unix, which does all of the work: of a log it alone answers some calls first.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

use rusqlite::ffi::{self, SQLITE_OK, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

/// Its name, for [`rusqlite::Connection::open_with_flags_and_vfs`].
const NAME: &CStr = c"outputfs-log";
/// Bytes before each page (https://sqlite.org/fileformat2.html#wal_file_format).
const FRAME_HEAD: usize = 24;
/// Gathered at most: a transaction that is larger is written in pieces of this size.
const MOST: usize = 1 << 20;

/// Of one call: SQLite's own VFS takes the low 17 bits of a length for all of it.
const PIECE: usize = 0x1_ffff;

/// What SQLite's own VFS has of a file is followed by this in the same allocation.
struct Log {
    own: *const sqlite3_io_methods,
    held: Vec<u8>,
    /// Where what is held, or was written last, ends.
    end: sqlite3_int64,
    /// The last write was a frame's head and is held; `true`: of a frame that commits.
    head: Option<bool>,
}

struct Vfs {
    of_unix: *mut sqlite3_vfs,
    /// Where [`Log`]'s address is in a file.
    at: usize,
    methods: OnceLock<(usize, sqlite3_io_methods)>,
}

// SAFETY: the pointer is to SQLite's own VFS, which lives as long as the process and is made for all threads; the address of a table
// of functions is compared, never written.
unsafe impl Send for Vfs {}
// SAFETY: as above; nothing in it changes but by `OnceLock`.
unsafe impl Sync for Vfs {}

static VFS: OnceLock<Option<Vfs>> = OnceLock::new();

/// The name of the VFS, once it is known to SQLite; none where SQLite's own is not the one for Unix.
pub fn vfs() -> Option<&'static CStr> {
    VFS.get_or_init(register).is_some().then_some(NAME)
}

fn register() -> Option<Vfs> {
    // SAFETY: SQLite may be asked for a VFS at any time; the answer is null or lives as long as the process.
    let of_unix = unsafe { ffi::sqlite3_vfs_find(c"unix".as_ptr()) };
    if of_unix.is_null() {
        return None;
    }
    // SAFETY: not null, see above; a plain copy of its numbers and function pointers, which are those of all its files.
    let mut ours = unsafe { std::ptr::read(of_unix) };
    let at = usize::try_from(ours.szOsFile).ok()?.next_multiple_of(align_of::<*mut Log>());
    ours.szOsFile = c_int::try_from(at + size_of::<*mut Log>()).ok()?;
    ours.zName = NAME.as_ptr();
    ours.pNext = std::ptr::null_mut();
    ours.xOpen = Some(open);
    // SQLite keeps it for as long as the process lives.
    let ours = Box::leak(Box::new(ours));
    // SAFETY: a whole VFS that is never freed.
    let done = unsafe { ffi::sqlite3_vfs_register(ours, 0) };
    (done == SQLITE_OK).then_some(Vfs { of_unix, at, methods: OnceLock::new() })
}

/// The place of a file's [`Log`].
///
/// # Safety
/// `file` was allocated for this VFS.
unsafe fn slot(file: *mut sqlite3_file) -> Option<*mut *mut Log> {
    let at = VFS.get()?.as_ref()?.at;
    // SAFETY: SQLite allocates `szOsFile` bytes for a file, which are enough for this and aligned for it.
    Some(unsafe { file.cast::<*mut Log>().byte_add(at) })
}

/// # Safety
/// `file` is a log that [`open`] opened and nobody closed; SQLite uses it from one thread at a time.
unsafe fn log<'a>(file: *mut sqlite3_file) -> Option<&'a mut Log> {
    // SAFETY: as the caller promises: the slot holds what `open` put there, until `close` takes it.
    unsafe { slot(file).and_then(|slot| (*slot).as_mut()) }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let Some(Some(vfs)) = VFS.get() else { return ffi::SQLITE_CANTOPEN };
    // SAFETY: SQLite's own VFS opens into memory that is larger than it asks for; the arguments are SQLite's.
    let done = unsafe {
        match (*vfs.of_unix).xOpen {
            Some(open) => open(vfs.of_unix, name, file, flags, out),
            None => ffi::SQLITE_CANTOPEN,
        }
    };
    if done != SQLITE_OK || flags & ffi::SQLITE_OPEN_WAL == 0 {
        return done;
    }
    // SAFETY: opened: it has its functions, which live as long as the process.
    let own = unsafe { (*file).pMethods };
    // SAFETY: as above, of an open file.
    let (known, methods) = vfs.methods.get_or_init(|| (own as usize, unsafe { shadowed(own) }));
    if *known != own as usize {
        // Another kind of locking than that of the first log: it is left as it is.
        return done;
    }
    let log = Box::new(Log { own, held: Vec::new(), end: 0, head: None });
    // SAFETY: `file` is this VFS's, and its functions may be any that know it.
    unsafe {
        if let Some(slot) = slot(file) {
            *slot = Box::into_raw(log);
            (*file).pMethods = methods;
        }
    }
    done
}

/// # Safety
/// `own` points to the functions of an open file.
unsafe fn shadowed(own: *const sqlite3_io_methods) -> sqlite3_io_methods {
    // SAFETY: as the caller promises; a table of plain pointers.
    let mut methods = unsafe { std::ptr::read(own) };
    methods.xClose = Some(close);
    methods.xRead = Some(read);
    methods.xWrite = Some(write);
    methods.xTruncate = Some(truncate);
    methods.xSync = Some(sync);
    methods.xFileSize = Some(file_size);
    methods.xFileControl = Some(file_control);
    methods
}

impl Log {
    /// Writes what is held.
    ///
    /// # Safety
    /// `file` is the log's own, open.
    unsafe fn flush(&mut self, file: *mut sqlite3_file) -> c_int {
        self.head = None;
        if self.held.is_empty() {
            return SQLITE_OK;
        }
        let held = std::mem::take(&mut self.held);
        let mut done = SQLITE_OK;
        let mut left = held.as_slice();
        while done == SQLITE_OK && !left.is_empty() {
            let Ok(length) = sqlite3_int64::try_from(left.len()) else { return ffi::SQLITE_IOERR_WRITE };
            let piece;
            (piece, left) = left.split_at(left.len().min(PIECE));
            // SAFETY: as the caller promises.
            done = unsafe { self.through(file, piece, self.end - length) };
        }
        self.held = held;
        self.held.clear();
        // (A large transaction is rare, and need not keep its memory.)
        self.held.shrink_to(MOST / 4);
        done
    }

    /// # Safety
    /// `file` is the log's own, open.
    unsafe fn through(&self, file: *mut sqlite3_file, bytes: &[u8], at: sqlite3_int64) -> c_int {
        let Ok(length) = c_int::try_from(bytes.len()) else { return ffi::SQLITE_IOERR_WRITE };
        // SAFETY: SQLite's own function for a file that it opened, with bytes that live until it returns.
        unsafe {
            match (*self.own).xWrite {
                Some(write) => write(file, bytes.as_ptr().cast(), length, at),
                None => ffi::SQLITE_IOERR_WRITE,
            }
        }
    }

    /// # Safety
    /// `file` is the log's own, open.
    unsafe fn write(&mut self, file: *mut sqlite3_file, bytes: &[u8], at: sqlite3_int64) -> c_int {
        let follows = at == self.end;
        let page = follows.then(|| self.head.take()).flatten();
        let head = follows && page.is_none() && bytes.len() == FRAME_HEAD;
        let Ok(length) = sqlite3_int64::try_from(bytes.len()) else { return ffi::SQLITE_IOERR_WRITE };
        if page.is_none() && !head {
            // The log's own head; checksums that are set right in frames that lie there: nothing of them is kept back.
            // SAFETY: as the caller promises.
            let done = unsafe { self.flush(file) };
            self.end = at + length;
            // SAFETY: as above.
            return if done == SQLITE_OK { unsafe { self.through(file, bytes, at) } } else { done };
        }
        self.held.extend_from_slice(bytes);
        self.end = at + length;
        if head {
            self.head = Some(bytes[4..8] != [0; 4]);
        }
        if page == Some(true) || self.held.len() >= MOST {
            let head = self.head;
            // SAFETY: as above.
            let done = unsafe { self.flush(file) };
            // A page that follows its head is held, though its head is written.
            self.head = head;
            return done;
        }
        SQLITE_OK
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, length: c_int, at: sqlite3_int64) -> c_int {
    // SAFETY: SQLite calls this for an open log, with `length` bytes at `from`.
    unsafe {
        let (Some(log), Ok(length)) = (log(file), usize::try_from(length)) else { return ffi::SQLITE_IOERR_WRITE };
        log.write(file, std::slice::from_raw_parts(from.cast::<u8>(), length), at)
    }
}

/// A call that finds everything in the file.
macro_rules! after_flush {
    ($name:ident, $method:ident, $failed:expr, ($($arg:ident: $kind:ty),*)) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $arg: $kind)*) -> c_int {
            // SAFETY: SQLite calls this for an open log, with arguments of its own; they go to its own function.
            unsafe {
                let Some(log) = log(file) else { return $failed };
                let done = log.flush(file);
                match (*log.own).$method {
                    Some(own) if done == SQLITE_OK => own(file $(, $arg)*),
                    Some(_) => done,
                    None => $failed,
                }
            }
        }
    };
}

after_flush!(read, xRead, ffi::SQLITE_IOERR_READ, (into: *mut c_void, length: c_int, at: sqlite3_int64));
after_flush!(truncate, xTruncate, ffi::SQLITE_IOERR_TRUNCATE, (size: sqlite3_int64));
after_flush!(sync, xSync, ffi::SQLITE_IOERR_FSYNC, (flags: c_int));
after_flush!(file_size, xFileSize, ffi::SQLITE_IOERR_FSTAT, (size: *mut sqlite3_int64));
after_flush!(file_control, xFileControl, ffi::SQLITE_NOTFOUND, (what: c_int, argument: *mut c_void));

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open log once; what `open` made for it is taken back here, and its own functions with it.
    unsafe {
        let Some(slot) = slot(file) else { return ffi::SQLITE_IOERR_CLOSE };
        if (*slot).is_null() {
            return ffi::SQLITE_IOERR_CLOSE;
        }
        let mut log = Box::from_raw(std::mem::replace(&mut *slot, std::ptr::null_mut()));
        let flushed = log.flush(file);
        (*file).pMethods = log.own;
        let closed = (*log.own).xClose.map_or(SQLITE_OK, |close| close(file));
        if flushed == SQLITE_OK { closed } else { flushed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{Connection, OpenFlags};
    use std::path::Path;

    fn opened(path: &Path, gathered: bool) -> Connection {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let c = match vfs().filter(|_| gathered) {
            Some(name) => Connection::open_with_flags_and_vfs(path, flags, name).unwrap(),
            None => Connection::open_with_flags(path, flags).unwrap(),
        };
        c.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())).unwrap();
        c
    }

    /// Calls of this thread that wrote something.
    fn writes() -> u64 {
        let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        io.lines().find_map(|l| l.strip_prefix("syscw: ")).unwrap().parse().unwrap()
    }

    fn sum(c: &Connection) -> i64 {
        c.query_row("SELECT coalesce(sum(n), 0) FROM t", [], |r| r.get(0)).unwrap()
    }

    #[test]
    fn a_transaction_is_one_write() {
        let dir = tempfile::tempdir().unwrap();
        let mut counts = Vec::new();
        for gathered in [false, true] {
            let c = opened(&dir.path().join(format!("{gathered}.db")), gathered);
            c.pragma_update(None, "synchronous", "FULL").unwrap();
            for t in 0..12 {
                c.execute_batch(&format!("CREATE TABLE t{t}(n INTEGER)")).unwrap();
            }
            let all: String = (0..12).map(|t| format!("INSERT INTO t{t} VALUES (1);")).collect();
            c.execute_batch(&format!("BEGIN; {all} COMMIT")).unwrap();
            let before = writes();
            c.execute_batch(&format!("BEGIN; {all} COMMIT")).unwrap();
            counts.push(writes() - before);
        }
        assert_eq!(counts, [24, 1]);
    }

    /// Transactions of all sizes, in part undone, with a cache that is too small for them: readers see each as soon as it is committed, and
    /// so does who opens the files as a crash at that moment leaves them.
    #[test]
    fn readers_and_crashes_find_what_was_committed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let writer = opened(&path, true);
        let other = opened(&path, false);
        writer
            .execute_batch("PRAGMA cache_size = 10; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 200")
            .unwrap();
        writer.execute_batch("CREATE TABLE t(n INTEGER, pad BLOB); CREATE INDEX i ON t(pad)").unwrap();
        let insert = |c: &Connection, n: i64| {
            c.execute("INSERT INTO t VALUES (?, randomblob(900))", [n]).unwrap();
        };
        let mut due = 0;
        for round in 0..60_i64 {
            writer.execute_batch("BEGIN IMMEDIATE").unwrap();
            let rows = [1, 3, 40, 400][usize::try_from(round % 4).unwrap()];
            (0..rows).for_each(|_| insert(&writer, 1));
            writer.execute_batch("SAVEPOINT s").unwrap();
            (0..rows).for_each(|_| insert(&writer, 1000));
            writer.execute_batch("UPDATE t SET pad = randomblob(900) WHERE rowid % 7 = 0").unwrap();
            writer.execute_batch("ROLLBACK TO s").unwrap();
            assert_eq!(sum(&other), due, "round {round}");
            if round % 5 == 4 {
                writer.execute_batch("ROLLBACK").unwrap();
            } else {
                writer.execute_batch("COMMIT").unwrap();
                due += rows;
            }
            assert_eq!(sum(&other), due, "round {round}");
            if round % 9 == 0 {
                // Its frames lie between the writer's.
                insert(&other, 1);
                due += 1;
            }
            let copy = dir.path().join(format!("copy-{round}.db"));
            for suffix in ["", "-wal"] {
                let from = format!("{}{suffix}", path.display());
                std::fs::copy(from, format!("{}{suffix}", copy.display())).unwrap();
            }
            assert_eq!(sum(&opened(&copy, false)), due, "round {round}");
        }
        for c in [&writer, &other] {
            assert_eq!(c.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
        }
    }

    #[test]
    fn a_full_disk_is_told_to_who_commits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let c = opened(&path, true);
        c.execute_batch("CREATE TABLE t(n INTEGER, pad BLOB)").unwrap();
        // This thread's own limit would be the process's: a child has one of its own.
        let me = std::env::current_exe().unwrap();
        let out = std::process::Command::new("prlimit")
            .args(["--fsize=200000", me.to_str().unwrap(), "--exact", "--nocapture", "--include-ignored"])
            .arg("catalog::sqlite::log_file::tests::commits_until_refused")
            .env("OUTPUTFS_TEST_LOG", &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        let told: i64 = said
            .lines()
            .find_map(|l| l.strip_prefix("committed "))
            .unwrap_or_else(|| panic!("{said}"))
            .parse()
            .unwrap();
        assert!(told > 0, "{said}");
        assert_eq!(sum(&c), told);
    }

    /// Only of use to the test above.
    #[test]
    fn commits_until_refused() {
        let Some(path) = std::env::var_os("OUTPUTFS_TEST_LOG") else { return };
        // SAFETY: the signal of a file that would become too large, ignored from here on in this process.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let c = opened(Path::new(&path), true);
        let mut done = 0;
        while c.execute("INSERT INTO t VALUES (1, randomblob(9000))", []).is_ok() {
            done += 1;
        }
        println!("\ncommitted {done}");
    }
}
