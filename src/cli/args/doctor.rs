//! What can be written on the command line of `doctor`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Default, Args)]
pub struct DoctorArgs {
    /// Write what was found into a new zip archive for whoever is to help: checks, status, sizes, the ends of the logs, without names of
    /// sessions and files, without their bytes, without keys
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
}
