//! A temporary folder with a state directory, mount points and a store of its own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

/// Where the blobs go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// The state directory.
    Local,
    /// The server of [`s3_env`], under a prefix of the sandbox's own.
    S3,
}

/// The S3 server that `scripts/test` started.
#[derive(Clone, Debug)]
pub struct S3Env {
    pub endpoint: String,
    pub bucket: String,
    /// `juicefs` or `garage`.
    pub kind: String,
    pub access_key: String,
    pub secret_key: String,
    pub region: String,
}

/// # Panics
/// When a variable is missing: a test that needs the server and has none fails, it is never skipped.
#[must_use]
pub fn s3_env() -> S3Env {
    let get = |name: &str| {
        std::env::var(name).ok().filter(|v| !v.is_empty()).unwrap_or_else(|| {
            panic!("{name} is not set: run scripts/test, or eval \"$(scripts/s3-server start juicefs DIR)\" first")
        })
    };
    S3Env {
        endpoint: get("OUTPUTFS_TEST_S3_ENDPOINT"),
        bucket: get("OUTPUTFS_TEST_S3_BUCKET"),
        kind: get("OUTPUTFS_TEST_S3_KIND"),
        access_key: get("AWS_ACCESS_KEY_ID"),
        secret_key: get("AWS_SECRET_ACCESS_KEY"),
        region: get("AWS_REGION"),
    }
}

/// One state directory and one store; any number of mounts and commands on them.
#[derive(Debug)]
pub struct Sandbox {
    dir: TempDir,
    store: Store,
    /// `s3://bucket/prefix` and its server.
    s3: Option<(String, S3Env)>,
    mounts: AtomicU32,
}

impl Sandbox {
    /// # Panics
    /// When the folder cannot be made, or for [`Store::S3`] without a server.
    #[must_use]
    pub fn new(store: Store) -> Self {
        super::failures::are_said_at_once();
        let dir = tempfile::Builder::new().prefix("ofs-").tempdir().expect("a temporary folder");
        for sub in ["state", "home"] {
            std::fs::create_dir(dir.path().join(sub)).expect("a folder in the sandbox");
        }
        let s3 = (store == Store::S3).then(|| {
            let env = s3_env();
            // The folder's random name and our pid: no two sandboxes share a prefix, also on a server that outlives us.
            let name = dir.path().file_name().unwrap_or_default().to_string_lossy();
            (format!("s3://{}/test-{}-{name}", env.bucket, std::process::id()), env)
        });
        Self { dir, store, s3, mounts: AtomicU32::new(0) }
    }
    /// On the S3 server behind `endpoint`, which forwards to it.
    #[must_use]
    pub fn through(endpoint: &str) -> Self {
        let mut sandbox = Self::new(Store::S3);
        if let Some((_, env)) = &mut sandbox.s3 {
            endpoint.clone_into(&mut env.endpoint);
        }
        sandbox
    }
    /// Another machine with the same store: a state directory of its own.
    #[must_use]
    pub fn beside(&self) -> Self {
        let mut other = Self::new(Store::Local);
        other.s3.clone_from(&self.s3);
        other.store = self.store;
        other
    }
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.path().join("state")
    }
    #[must_use]
    pub fn store(&self) -> Store {
        self.store
    }
    /// `s3://bucket/prefix` of this sandbox.
    #[must_use]
    pub fn s3_url(&self) -> Option<&str> {
        self.s3.as_ref().map(|(url, _)| url.as_str())
    }
    /// A new empty folder to mount on.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new_mountpoint(&self) -> PathBuf {
        let path = self.path().join(format!("mnt{}", self.mounts.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&path).expect("a mount point in the sandbox");
        path
    }
    /// `--state-dir`, and for S3 `--store` and its options.
    #[must_use]
    pub fn store_args(&self) -> Vec<String> {
        let mut args = vec!["--state-dir".to_owned(), self.state_dir().display().to_string()];
        if let Some((url, env)) = &self.s3 {
            args.extend(["--store", url, "--s3-endpoint", &env.endpoint, "--s3-path-style"].map(str::to_owned));
        }
        args
    }
    /// `outputfs COMMAND` on this sandbox's state and store, in a clean environment; add the rest and run it.
    #[must_use]
    pub fn outputfs(&self, command: &str) -> Command {
        let mut c = self.program(env!("CARGO_BIN_EXE_outputfs"));
        c.arg(command).args(self.store_args());
        c
    }
    /// Runs `outputfs COMMAND ARGS…`; its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn cli<S: AsRef<OsStr>>(&self, command: &str, args: &[S]) -> String {
        let out = self.try_cli(command, args);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "outputfs {command}: {}\n{stderr}", out.status);
        String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
    }
    /// Like [`Self::cli`], for commands that are expected to fail.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn try_cli<S: AsRef<OsStr>>(&self, command: &str, args: &[S]) -> Output {
        self.outputfs(command).args(args).output().expect("the outputfs binary starts")
    }
    /// Any program with the sandbox's environment: what the tester's shell has set must not decide a test.
    #[must_use]
    pub fn program(&self, program: &str) -> Command {
        let mut c = Command::new(program);
        c.current_dir(self.path());
        for (name, _) in std::env::vars_os() {
            let n = name.to_string_lossy();
            // OUTPUTFS_TEST_RUN stays: scripts/test finds processes that were left behind by it.
            let foreign = ["OUTPUTFS_", "ARTIFACTA_", "AWS_", "XDG_", "FAILPOINTS"].iter().any(|p| n.starts_with(p));
            if foreign && n != "OUTPUTFS_TEST_RUN" {
                c.env_remove(&name);
            }
        }
        c.env("HOME", self.path().join("home")).env("AWS_EC2_METADATA_DISABLED", "true");
        if let Some((_, env)) = &self.s3 {
            c.env("AWS_ACCESS_KEY_ID", &env.access_key)
                .env("AWS_SECRET_ACCESS_KEY", &env.secret_key)
                .env("AWS_REGION", &env.region);
        }
        c
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let Some((url, _)) = &self.s3 else { return };
        if let Err(e) = super::s3::remove_all(url) {
            // The test is over and said what it had to say; the server may be gone by now.
            eprintln!("objects are left in {url}: {e}");
        }
    }
}
