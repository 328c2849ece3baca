//! What can be written on the command line of `run`.

use std::path::PathBuf;

use clap::Args;

use super::{MountingArgs, SessionArg};
use crate::artifact::step::StepName;

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub session: SessionArg,
    /// Where to mount: made if missing, and then removed again
    #[arg(long, value_name = "DIR", default_value = "outputs")]
    pub mount: PathBuf,
    /// The command is an attempt of this step: when it succeeds, what only its earlier attempts wrote goes to the trash
    #[arg(long, value_name = "NAME", env = "OUTPUTFS_STEP", hide_env_values = true)]
    pub step: Option<StepName>,
    /// Seal the session when the command has succeeded
    #[arg(long)]
    pub seal: bool,
    /// Write what came of it as one JSON object ('-': to standard output)
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Mount nothing: watch the folder, which stays with all that is in it, and store what is closed there. For where FUSE is not
    /// allowed; by itself where nothing can be mounted
    #[arg(long, env = "OUTPUTFS_WATCH", value_parser = clap::builder::FalseyValueParser::new())]
    pub watch: bool,
    #[command(flatten)]
    pub mounting: MountingArgs,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub command: Vec<std::ffi::OsString>,
}
