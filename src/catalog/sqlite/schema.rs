//! The tables, their versions, and how a connection is set up.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::codec::damaged;
use crate::artifact::{Error, Kind, Result};
use crate::catalog::sql;

/// What `PRAGMA user_version` says once every migration below has run.
const VERSION: i64 = MIGRATIONS.len() as i64;

/// One script a version; a published one is never edited, only followed by another.
const MIGRATIONS: [&str; 18] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
    include_str!("schema_10.sql"),
    include_str!("schema_11.sql"),
    include_str!("schema_12.sql"),
    include_str!("schema_13.sql"),
    include_str!("schema_14.sql"),
    include_str!("schema_15.sql"),
    include_str!("schema_16.sql"),
    include_str!("schema_17.sql"),
    include_str!("schema_18.sql"),
];

/// How long one connection waits for another process's transaction before it gives up with `TimedOut`.
const BUSY_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two tries. SQLite's own handler backs off to 100 ms, which starves a busy second process.
pub const BUSY_PAUSE: Duration = Duration::from_micros(500);

/// Pages of cache a connection may hold, in KiB: the idle daemon stays small, the hot set is the kernel's to cache.
const CACHE_KIB: i32 = 2048;

fn busy(tries: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    // The pause is a lower bound, so the deadline is reached a little late, never early.
    u128::from(tries.unsigned_abs()) * BUSY_PAUSE.as_micros() < BUSY_DEADLINE.as_micros()
}

/// Opens a connection with the settings that every connection shares.
fn connect(path: &Path) -> Result<Connection> {
    // Made here, not by SQLite, whatever the umask; its log and index beside it get the mode of the file itself. One that exists is
    // not opened: closing it would end the locks that SQLite holds on it in this process (fcntl(2)).
    let private = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    if let Err(e) = private.map(drop)
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        // What is wrong with it is SQLite's to tell.
        tracing::debug!(path = %path.display(), error = %e, "the catalog's file could not be made");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)
        .map_err(|e| Error::internal(format!("cannot open the catalog {}: {e}", path.display())))?;
    configure(&conn).map_err(|e| damaged(path, &e))?;
    Ok(conn)
}

/// Has the connection wait for others' transactions.
pub fn patient(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_handler(Some(busy))
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    patient(conn)?;
    conn.set_prepared_statement_cache_capacity(160);
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "mmap_size", 0)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "foreign_keys", true)
}

/// The connection of the writer thread; creates and migrates the file.
///
/// # Errors
/// `Unsupported` when the file was written by a newer outputfs.
pub fn open_writer(path: &Path) -> Result<Connection> {
    let mut conn = connect(path)?;
    enter_wal(&conn, path)?;
    // The WAL is overwritten from its start after a checkpoint, not truncated: fdatasync of blocks that exist
    // costs half of one that must grow the file.
    conn.pragma_update(None, "journal_size_limit", -1)?;
    conn.pragma_update(None, "wal_autocheckpoint", 1000)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    migrate(&mut conn, path)?;
    Ok(conn)
}

/// A connection that reads only.
pub fn open_reader(path: &Path) -> Result<Connection> {
    let conn = connect(path)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// Whether the file system takes no changes.
pub fn is_read_only(path: &Path) -> bool {
    let dir = path.parent().unwrap_or(path);
    let said = rustix::fs::statvfs(dir).is_ok_and(|fs| fs.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    // A disk that turned so by a fault need not say it. (Not the catalog itself: closing it here would end SQLite's locks on it.)
    let tried = std::fs::OpenOptions::new().write(true).open(path.with_extension("reserve"));
    said || tried.is_err_and(|e| e.kind() == std::io::ErrorKind::ReadOnlyFilesystem)
}

/// How a catalog on such a disk is read: its log needs an index that can be written, so log and database are read as a copy in a
/// temporary directory, unless there is no log.
pub struct ReadOnly {
    path: PathBuf,
    immutable: bool,
    _copy: Option<tempfile::TempDir>,
}

impl ReadOnly {
    /// # Errors
    /// `NotFound` without a catalog; I/O errors of the copy.
    pub fn find(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default();
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let log = PathBuf::from(log);
        std::fs::metadata(path).map_err(|e| Error::io(path, &e))?;
        if std::fs::metadata(&log).map_or(0, |m| m.len()) == 0 {
            return Ok(Self { path: path.to_owned(), immutable: true, _copy: None });
        }
        let copy =
            tempfile::Builder::new().prefix("outputfs-").tempdir().map_err(|e| Error::io("temporary directory", &e))?;
        let to = copy.path().join(name);
        // Nobody checkpoints on this disk any more: the two belong together.
        for (from, suffix) in [(path, ""), (&log, "-wal")] {
            let mut to = to.clone().into_os_string();
            to.push(suffix);
            std::fs::copy(from, &to).map_err(|e| Error::io(from, &e))?;
        }
        Ok(Self { path: to, immutable: false, _copy: Some(copy) })
    }

    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> Result<Connection> {
        if !self.immutable {
            return open_reader(&self.path);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let escaped = self.path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let conn = Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags)
            .map_err(|e| damaged(&self.path, &e))?;
        configure(&conn).map_err(|e| damaged(&self.path, &e))?;
        Ok(conn)
    }
}

/// Whether this outputfs knows the tables; they cannot be migrated.
///
/// # Errors
/// `Unsupported`.
pub fn known(conn: &sql::Connection) -> Result<()> {
    let found: i64 = conn.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    if found == VERSION {
        return Ok(());
    }
    let text =
        format!("the catalog has schema version {found} and lies on a read-only disk: this outputfs reads {VERSION}");
    Err(Error::new(Kind::Unsupported, text))
}

/// Moves all of the write-ahead log into the database and empties it. When others read or write just now, it stays: they, or the
/// last one to close, do it.
///
/// # Errors
/// Of `SQLite`, a busy catalog excepted.
pub fn empty_log(path: &Path) -> Result<()> {
    let conn = connect(path)?;
    conn.busy_handler(None)?;
    // (A checkpoint that is in the way of others answers so in its row, or fails as busy.)
    match conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok(()),
        done => Ok(done?),
    }
}

/// Switching to WAL needs the file alone and does not ask the busy handler: two processes that create the
/// catalog together meet here, and the later one tries again.
fn enter_wal(conn: &Connection, path: &Path) -> Result<()> {
    let deadline = Instant::now() + BUSY_DEADLINE;
    loop {
        let mode = conn.query_row("PRAGMA journal_mode=WAL", [], |r| r.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                return Err(Error::new(
                    Kind::Unsupported,
                    format!(
                        "the file system of {} cannot hold a SQLite catalog in WAL mode (it is '{mode}')",
                        path.display()
                    ),
                ));
            }
            Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) && Instant::now() < deadline => {
                std::thread::sleep(BUSY_PAUSE);
            }
            Err(e) => return Err(damaged(path, &e)),
        }
    }
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<()> {
    let known = |conn: &Connection| conn.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0));
    let refuse = |found: i64| {
        Error::new(
            Kind::Unsupported,
            format!(
                "the catalog {} has schema version {found}, newer than the {VERSION} that this outputfs knows: use a newer outputfs",
                path.display()
            ),
        )
    };
    // Unlocked look first: the usual open of a migrated file then writes nothing.
    match known(conn)? {
        VERSION => return Ok(()),
        newer if newer > VERSION => return Err(refuse(newer)),
        _ => {}
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let from = known(&tx)?;
    if from > VERSION {
        return Err(refuse(from));
    }
    for script in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        tx.execute_batch(script)?;
    }
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_schema_is_refused_in_one_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        open_writer(&path).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        let e = open_writer(&path).unwrap_err();
        assert_eq!(e.kind, Kind::Unsupported);
        assert!(e.message.contains("newer"), "{e}");
    }

    #[test]
    fn a_file_that_is_no_database_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        std::fs::write(&path, vec![b'x'; 8192]).unwrap();
        let e = open_writer(&path).unwrap_err();
        assert!(e.message.contains("catalog.db"), "{e}");
    }

    /// What a version before had stored counts from the first open on.
    #[test]
    fn sums_of_an_older_file_are_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        let old = Connection::open(&path).unwrap();
        for script in &MIGRATIONS[..9] {
            old.execute_batch(script).unwrap();
        }
        old.pragma_update(None, "user_version", 9).unwrap();
        let blob = "INSERT INTO blobs(tenant, hash, size, state, chunks) VALUES (?1, randomblob(32), ?2, 2, x'')";
        old.execute_batch("INSERT INTO tenants(id, name, root, created) VALUES (1, 'one', 1, 0), (2, 'two', 2, 0)")
            .unwrap();
        for (tenant, size) in [(1, 10), (1, 20), (2, 7)] {
            old.execute(blob, [tenant, size]).unwrap();
        }
        drop(old);
        let conn = open_writer(&path).unwrap();
        conn.execute(blob, [1, 5]).unwrap();
        conn.execute("DELETE FROM blobs WHERE size = 10", []).unwrap();
        let stored = |id: i64| conn.query_row("SELECT stored_bytes FROM tenants WHERE id = ?", [id], |r| r.get(0));
        assert_eq!([stored(1), stored(2)], [Ok(25), Ok(7)]);
    }

    /// At the bytes of what a version before had committed nobody looked: the type that was guessed then counts for them.
    #[test]
    fn types_of_an_older_file_follow_the_name() {
        use super::super::{artifacts, audit};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        let old = Connection::open(&path).unwrap();
        let run = |scripts: &[&str]| scripts.iter().for_each(|script| old.execute_batch(script).unwrap());
        // Before the audit trail: its triggers want functions of the writing connection.
        run(&MIGRATIONS[..7]);
        run(&[
            "INSERT INTO artifacts(id, tenant, session, ino, parent, name, version, content_type, guessed_type, size, \
            hash, metadata, labels, created, life) VALUES (zeroblob(16), 1, 1, 5, 1, CAST('f' AS BLOB), 1, 'text/plain', \
            'text/plain', 1, zeroblob(32), '{}', '{}', 0, 0)",
        ]);
        run(&MIGRATIONS[7..13]);
        old.pragma_update(None, "user_version", 13).unwrap();
        drop(old);
        let conn = open_writer(&path).unwrap();
        audit::equip(&conn, std::sync::Arc::new(|| crate::artifact::time::Timestamp(0))).unwrap();
        for (name, expected) in [("f.csv", "text/csv"), ("f", "text/plain")] {
            let id = crate::artifact::ids::ArtifactId(ulid::Ulid::nil());
            let name = crate::artifact::name::Name::new(name.as_bytes()).unwrap();
            artifacts::refile(&(&conn).into(), id, crate::artifact::ids::Ino(1), &name).unwrap();
            let found: String = conn.query_row("SELECT content_type FROM artifacts", [], |r| r.get(0)).unwrap();
            assert_eq!(found, expected);
        }
    }

    /// Names, blobs and the trail of an earlier release are found where this one looks for them.
    #[test]
    fn tables_of_an_older_file_are_laid_out_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        let old = Connection::open(&path).unwrap();
        let now: super::super::audit::Now = std::sync::Arc::new(|| crate::artifact::time::Timestamp(0));
        super::super::audit::equip(&old, now.clone()).unwrap();
        MIGRATIONS[..17].iter().for_each(|script| old.execute_batch(script).unwrap());
        old.pragma_update(None, "user_version", 17).unwrap();
        old.execute_batch(
            "INSERT INTO tenants(id, name, root, created, stored_bytes) VALUES (1, 'one', 1, 0, 0);
             INSERT INTO dentries(cookie, parent, name, ino) VALUES (9, 2, x'62', 5), (7, 2, x'61', 4), (8, 3, x'61', 6);
             INSERT INTO blobs(tenant, hash, size, state, chunks, data, kept) VALUES (1, x'02', 3, 0, x'', x'010203', 1), (1, x'01', 4, 2, x'', NULL, 0);
             WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 600)
             INSERT INTO audit(at, tenant, session, what, door) SELECT i, 1, 1 + (i > 520), 'seal', 'daemon' FROM n;",
        )
        .unwrap();
        drop(old);
        let conn = open_writer(&path).unwrap();
        super::super::audit::equip(&conn, now).unwrap();
        let text = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
        let names =
            "SELECT group_concat(cookie || '=' || ino) FROM (SELECT * FROM dentries WHERE parent = 2 ORDER BY cookie)";
        assert_eq!(text(names), "7=4,9=5");
        assert!(conn.execute("INSERT INTO dentries(cookie, parent, name, ino) VALUES (10, 2, x'61', 7)", []).is_err());
        assert_eq!(text("SELECT hex(hash) || hex(data) || kept FROM blobs WHERE state = 0"), "020102031");
        conn.execute("DELETE FROM blobs WHERE hash = x'02'", []).unwrap();
        assert_eq!(text("SELECT CAST(stored_bytes AS TEXT) FROM tenants"), "4");
        conn.execute("INSERT INTO audit(at, tenant, session, what, door) VALUES (0, 1, 3, 'seal', 'daemon')", [])
            .unwrap();
        let spans =
            "SELECT group_concat(session || ':' || span) FROM (SELECT * FROM audit_spans ORDER BY session, span)";
        assert_eq!(text(spans), "1:0,1:1,1:2,2:2,3:2");
        assert_eq!(text("SELECT CAST(max(seq) AS TEXT) FROM audit"), "601");
        // The trail only grows, as before.
        assert!(conn.execute("DELETE FROM audit", []).is_err());
        assert_eq!(text("PRAGMA integrity_check"), "ok");
    }

    /// Nobody knows who was told the IDs of an earlier release: they stay.
    #[test]
    fn ids_of_an_older_file_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        let old = Connection::open(&path).unwrap();
        crate::catalog::sqlite::audit::equip(&old, std::sync::Arc::new(|| crate::artifact::time::Timestamp(0)))
            .unwrap();
        for script in &MIGRATIONS[..10] {
            old.execute_batch(script).unwrap();
        }
        old.pragma_update(None, "user_version", 10).unwrap();
        old.execute_batch(
            "INSERT INTO tenants(id, name, root, created) VALUES (1, 'one', 1, 0);
             INSERT INTO artifacts(id, tenant, session, ino, parent, name, version, content_type, guessed_type, size, hash, metadata, \
             labels, created, life) VALUES (x'01', 1, 1, 2, 1, x'61', 1, '', '', 1, x'02', '{}', '{}', 0, 0);
             INSERT INTO blobs(tenant, hash, size, state, chunks) VALUES (1, x'02', 1, 0, x'');",
        )
        .unwrap();
        drop(old);
        let conn = open_writer(&path).unwrap();
        let sql = "SELECT a.fleeting IS NULL, a.run IS NULL, b.kept FROM artifacts a JOIN blobs b ON b.hash = a.hash";
        let read = conn.query_row(sql, [], |r| Ok((r.get::<_, bool>(0)?, r.get::<_, bool>(1)?, r.get::<_, bool>(2)?)));
        assert_eq!(read, Ok((true, true, false)));
    }

    #[test]
    fn opening_again_migrates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog.db");
        drop(open_writer(&path).unwrap());
        let conn = open_writer(&path).unwrap();
        assert_eq!(conn.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0)).unwrap(), VERSION);
    }
}
