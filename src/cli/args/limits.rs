//! What can be written on the command line of limits and use.

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::value::Limit;

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
