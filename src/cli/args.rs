//! What can be written on the command line. Every setting is also read from `OUTPUTFS_*` and from `config.toml`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::artifact::name::{SessionName, TenantName};
use crate::artifact::time::Ttl;
use crate::cli::value::{self, Condition, Keep, Meta, Moment};

mod doctor;
mod http;
mod limits;
mod run;
pub use doctor::DoctorArgs;
pub use http::{HttpArgs, KeyCommand, KeySub, McpAccessArg, McpArgs, ServeArgs, ServerArgs};
pub use limits::{ByArg, LogArgs, QuotaArgs, QuotaCommand, QuotaSub, UsageArgs};
pub use run::RunArgs;

/// How `mount` tells its child to be the daemon: the child has the very arguments of its parent.
pub const DAEMON_VARIABLE: &str = "OUTPUTFS_INTERNAL_DAEMON";

/// A folder that is an artifact store: what is written and closed in it is hashed, stored once and never lost.
#[derive(Debug, Parser)]
#[command(name = "outputfs", version, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done, 1 your mistake, 2 our or the server's failure, 3 network. \
                        'run' exits with the command's own code.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// How much `close()` promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DurabilityArg {
    /// Bytes in the store, record in the catalog.
    Store,
    /// Both on local disk; the upload follows.
    Local,
    /// As a disk: both survive the death of every process, and a power failure after fsync(); the upload follows.
    Fsync,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LinkModeArg {
    /// Through this process, verified.
    Stream,
    /// By a short presigned URL of the store, where it has one.
    Redirect,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Store")]
pub struct Global {
    /// Catalog, journal, staging, cache and, without --store, the bytes
    /// [default: $XDG_DATA_HOME/outputfs, as root /var/lib/outputfs]
    #[arg(long, global = true, value_name = "DIR", env = "OUTPUTFS_STATE_DIR", hide_env_values = true)]
    pub state_dir: Option<PathBuf>,
    /// Where the bytes go: s3://BUCKET/PREFIX or a directory [default: in the state directory]
    #[arg(long, global = true, value_name = "URL", env = "OUTPUTFS_STORE", hide_env_values = true)]
    pub store: Option<String>,
    /// Where several machines keep one catalog: postgres://USER@HOST/DATABASE [default: in the state directory]
    #[arg(long, global = true, value_name = "URL", env = "OUTPUTFS_CATALOG", hide_env_values = true)]
    pub catalog: Option<String>,
    /// Address of an S3 server that is not AWS (else AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL)
    #[arg(long, global = true, value_name = "URL", env = "OUTPUTFS_S3_ENDPOINT", hide_env_values = true)]
    pub s3_endpoint: Option<String>,
    /// The bucket in the path, not in the host name
    #[arg(long, global = true, value_name = "BOOL", env = "OUTPUTFS_S3_PATH_STYLE", hide_env_values = true,
          num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub s3_path_style: Option<bool>,
    /// Region of the bucket (else AWS_REGION, the profile's)
    #[arg(long, global = true, value_name = "NAME", env = "OUTPUTFS_S3_REGION", hide_env_values = true)]
    pub s3_region: Option<String>,
    /// Isolated account within the store [default: default]
    #[arg(long, global = true, value_name = "NAME", env = "OUTPUTFS_TENANT", hide_env_values = true)]
    pub tenant: Option<TenantName>,
    /// Limit of the local cache of stored bytes: 500MB, 10GiB [default: 10GiB]
    #[arg(long, global = true, value_name = "SIZE", env = "OUTPUTFS_CACHE_SIZE", hide_env_values = true,
          value_parser = value::size)]
    pub cache_size: Option<u64>,
    /// How long a failing store is retried before close() answers EIO: 30s, 5m [default: 60s]
    #[arg(long, global = true, value_name = "TIME", env = "OUTPUTFS_UPLOAD_TIMEOUT", hide_env_values = true,
          value_parser = value::duration)]
    pub upload_timeout: Option<Duration>,
    /// When close() answers [default: store]
    #[arg(long, global = true, value_name = "WHERE", env = "OUTPUTFS_DURABILITY", hide_env_values = true)]
    pub durability: Option<DurabilityArg>,
    /// How long deleted files stay in the trash: 12h, 7d [default: 7d]
    #[arg(long, global = true, value_name = "TIME", env = "OUTPUTFS_TRASH_GRACE", hide_env_values = true,
          value_parser = value::duration)]
    pub trash_grace: Option<Duration>,
    /// How long bytes that nothing needs any more stay in the store [default: 1h]
    #[arg(long, global = true, value_name = "TIME", env = "OUTPUTFS_GC_GRACE", hide_env_values = true,
          value_parser = value::duration)]
    pub gc_grace: Option<Duration>,
    /// How often a mount collects garbage, or never [default: 10m]
    #[arg(long, global = true, value_name = "TIME", env = "OUTPUTFS_GC_INTERVAL", hide_env_values = true)]
    pub gc_interval: Option<Ttl>,
    /// How long earlier versions stay, besides their number: 90d, never [default: never ends]
    #[arg(long, global = true, value_name = "TIME", env = "OUTPUTFS_VERSION_AGE", hide_env_values = true)]
    pub version_age: Option<Ttl>,
    /// Versions of a file that one process saves within this time are one: 500ms, 10s, off [default: 2s]
    #[arg(long, global = true, value_name = "TIME", env = "OUTPUTFS_VERSION_WINDOW", hide_env_values = true,
          value_parser = value::window)]
    pub version_window: Option<Duration>,
    /// Versions that a file keeps, the newest among them; linked ones besides: 1, 50, all [default: 10]
    #[arg(long, global = true, value_name = "N", env = "OUTPUTFS_KEEP_VERSIONS", hide_env_values = true)]
    pub keep_versions: Option<Keep>,
    /// For how long a retry key means the same operation: 1h, 7d [default: 24h]
    #[arg(long, global = true, value_name = "TIME", env = "OUTPUTFS_IDEMPOTENCY_WINDOW", hide_env_values = true,
          value_parser = value::duration)]
    pub idempotency_window: Option<Duration>,
    /// Limit of scratch files, which are kept in the state directory: 500MB, 10GiB [default: 10GiB]
    #[arg(long, global = true, value_name = "SIZE", env = "OUTPUTFS_SCRATCH_LIMIT", hide_env_values = true,
          value_parser = value::size)]
    pub scratch_limit: Option<u64>,
    /// Base of links [default: where this host serves them]
    #[arg(long, global = true, value_name = "URL", env = "OUTPUTFS_PUBLIC_URL", hide_env_values = true)]
    pub public_url: Option<String>,
    /// Settings file [default: $XDG_CONFIG_HOME/outputfs/config.toml, as root /etc/outputfs/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "OUTPUTFS_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// JSON, also on a terminal
    #[arg(long, global = true, help_heading = "Output")]
    pub json: bool,
    /// Nothing but results and errors
    #[arg(short, long, global = true, help_heading = "Output")]
    pub quiet: bool,
    /// Say more (-vv: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
    /// Form of log lines [default: text]
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        env = "OUTPUTFS_LOG_FORMAT",
        hide_env_values = true,
        help_heading = "Output"
    )]
    pub log_format: Option<LogFormat>,
}

/// The session of commands that need one.
#[derive(Clone, Debug, Default, Args)]
pub struct SessionArg {
    /// The session (its name: letters, digits, '.', '_', '-')
    #[arg(short, long, value_name = "NAME", env = "OUTPUTFS_SESSION_ID", hide_env_values = true)]
    pub session: Option<SessionName>,
}

/// How a mount behaves.
#[derive(Clone, Debug, Default, Args)]
pub struct MountingArgs {
    /// All writes go through the daemon, none straight from the kernel to the staging file
    #[arg(long)]
    pub no_passthrough: bool,
    /// Let other users in (not root: needs user_allow_other in /etc/fuse.conf)
    #[arg(long)]
    pub allow_other: bool,
    /// The folder need not be empty: what is in it becomes artifacts first, and stays in place underneath
    #[arg(long)]
    pub adopt: bool,
    #[command(flatten)]
    pub http: HttpArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Mount a session, run a command, wait until all it wrote is stored, unmount
    Run(RunArgs),
    /// Mount a session, or all of them
    Mount(MountArgs),
    /// Unmount, after everything written is stored
    Umount(UmountArgs),
    /// List artifacts
    Ls(LsArgs),
    /// Store files without a mount
    Push(PushArgs),
    /// Fetch artifacts without a mount
    Pull(PullArgs),
    /// Everything about one artifact
    Inspect(InspectArgs),
    /// Make a download link
    Link(LinkArgs),
    /// List links
    Links(LinksArgs),
    /// End a link
    Revoke(RevokeArgs),
    /// Make a session read-only, everywhere, for good
    Seal(SealArgs),
    /// List or make sessions
    Session(SessionCommand),
    /// Attempts of a session's steps: how they ended, and what they wrote
    Steps(StepsArgs),
    /// Say which paths are scratch and never become artifacts (-v: by which rule)
    CheckIgnore(CheckIgnoreArgs),
    /// Delete artifacts (they can be restored)
    Rm(RmArgs),
    /// Bring back a deleted file or an earlier version
    Restore(RestoreArgs),
    /// List, empty or restore what was deleted
    Trash(TrashCommand),
    /// Set when an artifact expires: sooner or later than it would
    Ttl(TtlArgs),
    /// Collect garbage: what has expired, and bytes that nothing needs any more
    Gc(GcArgs),
    /// The audit trail: who did what, when, through which door
    Log(LogArgs),
    /// Show or set what the tenant may hold
    Quota(QuotaCommand),
    /// Show what the tenant holds, by session, agent or day
    Usage(UsageArgs),
    /// Prove a session's bytes and its manifest
    Verify(VerifyArgs),
    /// Check that the whole store is consistent
    Check(CheckArgs),
    /// Examine this machine and the store
    Doctor(DoctorArgs),
    /// Mounts, and what is not stored yet
    Status,
    /// Serve links alone, without a mount
    Serve(ServeArgs),
    /// Make, list and revoke keys of the HTTP API
    Key(KeyCommand),
    /// Speak the Model Context Protocol on standard input and output
    Mcp(McpArgs),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write all of them
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub struct MountArgs {
    /// An empty directory, or one to --adopt
    pub mountpoint: PathBuf,
    #[command(flatten)]
    pub session: SessionArg,
    /// Stay in the foreground, log to standard error
    #[arg(short, long)]
    pub foreground: bool,
    #[command(flatten)]
    pub mounting: MountingArgs,
    /// The daemon itself: tells its parent through standard output when it is ready.
    #[arg(long, hide = true, env = DAEMON_VARIABLE, hide_env = true)]
    pub daemon: bool,
}

#[derive(Debug, Args)]
pub struct UmountArgs {
    pub mountpoint: PathBuf,
    /// Give up waiting after this time; the uploads go on
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = value::duration)]
    pub timeout: Duration,
    /// Also while files are in use: their unsaved bytes are kept for the next mount
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub struct LsArgs {
    /// SESSION or SESSION/PATH [default: all sessions]
    #[arg(value_name = "SESSION")]
    pub what: Option<String>,
    #[command(flatten)]
    pub session: SessionArg,
    /// All sessions, whatever OUTPUTFS_SESSION_ID says
    #[arg(short, long)]
    pub all: bool,
    /// Made by this agent
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
    /// With this metadata, or with values like 'claude-*' after a ~; all must hold
    #[arg(long = "where", value_name = "KEY=VALUE|KEY~PATTERN")]
    pub conditions: Vec<Condition>,
    /// At least so large: 4096, 1M
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub larger: Option<u64>,
    /// At most so large
    #[arg(long, value_name = "SIZE", value_parser = value::size)]
    pub smaller: Option<u64>,
    /// Created since: 90m, 7d, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Created before
    #[arg(long, value_name = "TIME")]
    pub until: Option<Moment>,
    /// Of this content type: text/csv, or image/*
    #[arg(long = "type", value_name = "TYPE")]
    pub content_type: Option<String>,
    /// At most so many, newest first
    #[arg(short = 'n', long, value_name = "N")]
    pub limit: Option<usize>,
}

#[derive(Debug, Args)]
pub struct PushArgs {
    /// Files ('-': standard input), then optionally SESSION/ or SESSION/PATH
    #[arg(required = true, value_name = "FILE… [SESSION/[PATH]]")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub session: SessionArg,
    /// Where to: SESSION/ or SESSION/PATH; then every argument is a file
    #[arg(long, value_name = "SESSION/[PATH]")]
    pub to: Option<String>,
    /// Folders with all that is in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Metadata
    #[arg(long, value_name = "KEY=VALUE")]
    pub meta: Vec<Meta>,
    /// Who made it
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
    /// How long it lives: 12h, 7d, never
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<Ttl>,
    /// Content type, instead of a guess
    #[arg(long = "type", value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Retry key: the same key with the same bytes is the same artifact
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub struct PullArgs {
    /// art_…, SESSION/PATH, SESSION/FOLDER or SESSION
    pub what: String,
    /// File or folder ('-': standard output) [default: the current folder]
    pub to: Option<PathBuf>,
    #[command(flatten)]
    pub session: SessionArg,
    /// Replace files that are there
    #[arg(short, long)]
    pub force: bool,
    /// One artifact out of the trash: by its ID, or what was deleted last at the path
    #[arg(long)]
    pub deleted: bool,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// art_… or SESSION/PATH
    pub what: String,
    #[command(flatten)]
    pub session: SessionArg,
    /// All versions of the path, oldest first
    #[arg(long)]
    pub versions: bool,
    /// What is in the trash: by its ID, or what was deleted last at the path
    #[arg(long, conflicts_with = "versions")]
    pub deleted: bool,
}

#[derive(Debug, Args)]
pub struct LinkArgs {
    /// art_…, SESSION/PATH, or SESSION for a page with all of it
    pub what: Option<String>,
    #[command(flatten)]
    pub session: SessionArg,
    /// How long the link lives, as in '.ctl': 12h, 7d, never [default: 7d]
    #[arg(value_name = "TTL")]
    pub lives: Option<Ttl>,
    /// The same
    #[arg(long, value_name = "TIME", conflicts_with = "lives")]
    pub ttl: Option<Ttl>,
}

#[derive(Debug, Args)]
pub struct LinksArgs {
    /// Of this artifact or session alone
    pub what: Option<String>,
    #[command(flatten)]
    pub session: SessionArg,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The link, its URL or its ID
    #[arg(required = true, value_name = "LINK")]
    pub links: Vec<String>,
}

#[derive(Debug, Args)]
pub struct SealArgs {
    #[arg(value_name = "SESSION")]
    pub name: Option<String>,
    #[command(flatten)]
    pub session: SessionArg,
}

#[derive(Debug, Args)]
pub struct SessionCommand {
    #[command(subcommand)]
    pub command: SessionSub,
}

#[derive(Debug, Subcommand)]
pub enum SessionSub {
    /// List sessions
    Ls,
    /// Make a session and print its name
    New {
        /// [default: ses_ and 12 characters]
        name: Option<SessionName>,
    },
    /// Put sessions into the trash, all that is in them
    Rm {
        #[arg(required = true, value_name = "SESSION")]
        names: Vec<SessionName>,
    },
    /// Bring a deleted session back, with all that went with it
    Restore {
        #[arg(value_name = "SESSION")]
        name: SessionName,
        /// Under another name
        #[arg(long = "as", value_name = "NAME")]
        new_name: Option<SessionName>,
    },
}

#[derive(Debug, Args)]
pub struct StepsArgs {
    #[arg(value_name = "SESSION")]
    pub name: Option<String>,
    #[command(flatten)]
    pub session: SessionArg,
}

#[derive(Debug, Args)]
pub struct RmArgs {
    /// Directories too, with all that is in them; of SESSION all that is in it
    #[arg(long, short)]
    pub recursive: bool,
    /// art_… or SESSION/PATH
    #[arg(required = true, value_name = "WHAT")]
    pub what: Vec<String>,
    #[command(flatten)]
    pub session: SessionArg,
}

#[derive(Debug, Args)]
pub struct CheckIgnoreArgs {
    /// SESSION/PATH, or a path in a mount; a directory ends with /
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<String>,
    #[command(flatten)]
    pub session: SessionArg,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// SESSION/PATH or art_…
    pub what: String,
    #[command(flatten)]
    pub session: SessionArg,
    /// This version [default: the one deleted last]
    #[arg(value_name = "VERSION")]
    pub number: Option<u64>,
    /// The same
    #[arg(long, value_name = "N", conflicts_with = "number")]
    pub version: Option<u64>,
}

#[derive(Debug, Args)]
pub struct TrashCommand {
    #[command(subcommand)]
    pub command: TrashSub,
}

#[derive(Debug, Subcommand)]
pub enum TrashSub {
    /// What was deleted, when and by whom, newest first
    Ls {
        /// SESSION [default: all sessions]
        #[arg(value_name = "SESSION")]
        name: Option<String>,
        #[command(flatten)]
        session: SessionArg,
        /// All sessions, whatever OUTPUTFS_SESSION_ID says
        #[arg(short, long)]
        all: bool,
    },
    /// End what was deleted, for good
    Empty {
        /// art_… or SESSION
        #[arg(value_name = "WHAT")]
        what: Vec<String>,
        #[command(flatten)]
        session: SessionArg,
        /// All sessions
        #[arg(short, long)]
        all: bool,
    },
    /// Bring deleted files back to where they were
    Restore {
        /// art_… or SESSION/PATH
        #[arg(required = true, value_name = "WHAT")]
        what: Vec<String>,
        #[command(flatten)]
        session: SessionArg,
    },
}

#[derive(Debug, Args)]
pub struct TtlArgs {
    /// art_… or SESSION/PATH
    pub what: String,
    /// From now: 90m, 12h, 7d; or 2026-01-31T12:00:00Z; or never
    #[arg(value_name = "TIME")]
    pub lives: Ttl,
    #[command(flatten)]
    pub session: SessionArg,
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Say what would go, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[arg(value_name = "SESSION")]
    pub name: Option<String>,
    #[command(flatten)]
    pub session: SessionArg,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Read and hash every stored byte
    #[arg(long)]
    pub read_data: bool,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write the pages of all commands there
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_the_command_of_run_is_its_own() {
        let words = ["outputfs", "run", "--seal", "echo", "-n", "--seal", "x"];
        let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        assert!(args.seal);
        assert_eq!(args.command, ["echo", "-n", "--seal", "x"]);
        assert!(Cli::try_parse_from(["outputfs", "run", "--nonsense", "echo"]).is_err());
        let words = ["outputfs", "mount", "--s3-path-style", "dir"];
        assert_eq!(Cli::try_parse_from(words).unwrap().global.s3_path_style, Some(true));
    }
}
