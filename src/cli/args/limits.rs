//! What can be written on the command line of limits, use and the audit trail.

use clap::{Args, Subcommand, ValueEnum};

use super::SessionArg;
use crate::cli::value::{Limit, Moment};

#[derive(Debug, Args)]
pub struct QuotaCommand {
    #[command(subcommand)]
    pub command: Option<QuotaSub>,
}

#[derive(Debug, Subcommand)]
pub enum QuotaSub {
    /// Show limits and use (as without a word)
    Show,
    /// Set limits; what is not said stays
    Set(QuotaArgs),
}

#[derive(Debug, Args)]
pub struct QuotaArgs {
    /// Of all live artifacts together, before deduplication: 100GiB, none
    #[arg(long, value_name = "SIZE")]
    pub bytes: Option<Limit>,
    /// Live artifacts: 100000, none
    #[arg(long, value_name = "N")]
    pub artifacts: Option<Limit>,
    /// Of one file: 5GiB, none
    #[arg(long, value_name = "SIZE")]
    pub file_bytes: Option<Limit>,
    /// Links that lead somewhere: 100, none
    #[arg(long, value_name = "N")]
    pub links: Option<Limit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ByArg {
    Session,
    Agent,
    /// Of creation, UTC
    Day,
}

#[derive(Debug, Args)]
pub struct UsageArgs {
    /// Divide it
    #[arg(long, value_name = "WHAT")]
    pub by: Option<ByArg>,
}

#[derive(Debug, Args)]
pub struct LogArgs {
    /// SESSION [default: all sessions]
    #[arg(value_name = "SESSION")]
    pub name: Option<String>,
    #[command(flatten)]
    pub session: SessionArg,
    /// All sessions, whatever OUTPUTFS_SESSION_ID says
    #[arg(short, long)]
    pub all: bool,
    /// Since: 90m, 7d, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<Moment>,
    /// Only lines with a smaller number, `seq`: the page before
    #[arg(long, value_name = "SEQ")]
    pub before: Option<u64>,
    /// At most so many, the newest, in the order of time
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1000)]
    pub limit: u32,
}
