//! A PostgreSQL cluster of the test run's own: on a Unix socket in a temporary directory, started when a test first asks, without fsync.
//! A child holds the end of a pipe, and removes the cluster when this process is gone, however it ended.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use ulid::Ulid;

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

struct Cluster {
    socket: PathBuf,
    _keeper: Child,
}

/// Where Debian keeps what is not in PATH.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is needed (Debian: postgresql)");
    versions
        .flatten()
        .map(|e| e.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .max()
        .expect("initdb is needed (Debian: postgresql)")
}

/// The server refuses to run as root.
fn unprivileged(program: &Path) -> Command {
    let mut command = if rustix::process::getuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    // (Without the run's own variables: the keeper may outlive the last test by a moment.)
    command.env_clear().env("PATH", PATH).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

const KEEP: &str = "cat >/dev/null; $3 $2/pg_ctl -D $1/data -m immediate stop >/dev/null 2>&1; rm -rf $1";

fn start() -> Cluster {
    let (bin, dir) = (programs(), tempfile::Builder::new().prefix("pg").tempdir().unwrap().keep());
    if rustix::process::getuid().is_root() {
        run(Command::new("chown").arg("postgres:").arg(&dir));
    }
    // Removes what is not its own, so it stays root; the server's program does not.
    let by = if rustix::process::getuid().is_root() { "runuser -u postgres --" } else { "" };
    let mut keeper = Command::new("/bin/sh");
    keeper.env_clear().env("PATH", PATH).args(["-c", KEEP, "sh"]).args([&dir, &bin]).arg(by);
    let keeper = keeper.current_dir("/").stdin(Stdio::piped()).spawn().unwrap();
    let data = dir.join("data");
    run(unprivileged(&bin.join("initdb"))
        .args(["-A", "trust", "-U", "outputfs", "--no-sync", "-E", "UTF8", "-D"])
        .arg(&data)
        .current_dir("/"));
    let options = format!(
        "-k {} -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=600 -c shared_buffers=64MB",
        dir.display()
    );
    let mut server = unprivileged(&bin.join("pg_ctl"));
    // (Its log goes to a file: a server that kept our pipe open would never be waited for.)
    run(server
        .arg("-D")
        .arg(&data)
        .arg("-l")
        .arg(dir.join("log"))
        .args(["-w", "-o", &options, "start"])
        .current_dir("/"));
    Cluster { socket: dir, _keeper: keeper }
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();

/// The address of a fresh, empty database.
pub fn database() -> String {
    let cluster = CLUSTER.get_or_init(start);
    let name = format!("t{}", Ulid::new().to_string().to_lowercase());
    run(Command::new(programs().join("createdb")).arg("-h").arg(&cluster.socket).args([
        "-U",
        "outputfs",
        "-T",
        "template0",
        &name,
    ]));
    format!("host={} user=outputfs dbname={name}", cluster.socket.display())
}

/// Ends every connection to the database at `address`, in the middle of whatever it does; how many there were.
pub fn cut(address: &str) -> usize {
    let cluster = CLUSTER.get_or_init(start);
    let name = address.rsplit('=').next().unwrap_or_default();
    let sql = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    let mut psql = Command::new(programs().join("psql"));
    let psql = psql.arg("-h").arg(&cluster.socket).args(["-U", "outputfs", "-d", "postgres", "-Atc", &sql]);
    let out = psql.output().expect("psql");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).lines().count()
}
