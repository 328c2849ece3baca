//! What can be written on the command line of what is served: HTTP, its keys, MCP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::{LinkModeArg, SessionArg};
use crate::artifact::key::Rate;
use crate::cli::value::{self, Http};

/// Links over HTTP.
#[derive(Clone, Debug, Default, Args)]
pub struct HttpArgs {
    /// Where links are served, or 'off' [default: 127.0.0.1:7780]
    #[arg(long, value_name = "ADDR", env = "OUTPUTFS_HTTP", hide_env_values = true)]
    pub http: Option<Http>,
    /// How a link's bytes reach the reader [default: stream]
    #[arg(long, value_name = "MODE", env = "OUTPUTFS_LINK_MODE", hide_env_values = true)]
    pub link_mode: Option<LinkModeArg>,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// What the HTTP listener allows.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "HTTP")]
pub struct ServerArgs {
    /// Requests a second with one key, and at once after a pause: 100, 50/500 [default: 100/200]
    #[arg(long, value_name = "N[/BURST]", env = "OUTPUTFS_RATE_LIMIT", hide_env_values = true,
          value_parser = value::rate)]
    pub rate_limit: Option<Rate>,
    /// The longest life that may be asked for over HTTP: 90d [default: any]
    #[arg(long, value_name = "TIME", env = "OUTPUTFS_MAX_TTL", hide_env_values = true, value_parser = value::duration)]
    pub max_ttl: Option<Duration>,
    /// A page's origin that may call the API from a browser, https://app.example.org, or '*'; again for more
    #[arg(long, value_name = "ORIGIN", env = "OUTPUTFS_CORS_ORIGIN", hide_env_values = true, value_delimiter = ',',
          value_parser = value::origin)]
    pub cors_origin: Vec<String>,
    /// A proxy stands before us: believe its X-Forwarded-Host and X-Forwarded-Proto
    #[arg(long, env = "OUTPUTFS_TRUST_PROXY", hide_env_values = true)]
    pub trust_proxy: bool,
    /// Certificate chain (PEM): HTTPS instead of HTTP. Read again when it changes
    #[arg(long, value_name = "FILE", env = "OUTPUTFS_TLS_CERT", hide_env_values = true, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", env = "OUTPUTFS_TLS_KEY", hide_env_values = true, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen [default: 127.0.0.1:7780]
    #[arg(long = "http", visible_alias = "listen", value_name = "ADDR", env = "OUTPUTFS_HTTP", hide_env_values = true)]
    pub http: Option<SocketAddr>,
    /// How a link's bytes reach the reader [default: stream]
    #[arg(long, value_name = "MODE", env = "OUTPUTFS_LINK_MODE", hide_env_values = true)]
    pub link_mode: Option<LinkModeArg>,
    #[command(flatten)]
    pub server: ServerArgs,
    /// What MCP clients of /mcp may do without a key; only on an address of this machine alone
    #[arg(long, value_name = "WHAT", default_value = "none")]
    pub mcp: McpAccessArg,
}

#[derive(Debug, Args)]
pub struct KeyCommand {
    #[command(subcommand)]
    pub command: KeySub,
}

#[derive(Debug, Subcommand)]
pub enum KeySub {
    /// Make a key and print it, once: nobody can read it again
    Create {
        /// What you call it
        #[arg(value_name = "NAME", default_value = "")]
        name: String,
        /// What it may do; again for more: read; write (store, delete, seal, and make links, which are public); admin (keys and the
        /// operator's pages too) [default: read, write]
        #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', value_parser = ["read", "write", "admin"])]
        scopes: Vec<String>,
        /// Requests a second, and at once after a pause: 5, 5/50 [default: the server's]
        #[arg(long = "rate", value_name = "N[/BURST]", value_parser = value::rate)]
        rate: Option<Rate>,
    },
    /// List keys, revoked ones too
    Ls,
    /// End a key, at once
    Revoke {
        /// key_…
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

/// What an MCP client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum McpAccessArg {
    None,
    Read,
    /// And store, delete, make links.
    Write,
    /// And seal.
    Admin,
}

#[derive(Debug, Args)]
pub struct McpArgs {
    #[command(flatten)]
    pub session: SessionArg,
    /// A folder whose files the client may have stored by their path; again for more [default: none]
    #[arg(long = "root", value_name = "DIR")]
    pub roots: Vec<PathBuf>,
    /// Nothing can be stored, deleted, linked or sealed
    #[arg(long)]
    pub read_only: bool,
    /// Sealing, which is for good, is refused
    #[arg(long)]
    pub no_seal: bool,
}
