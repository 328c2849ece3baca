//! `outputfs man`.

use clap::CommandFactory;

use crate::artifact::Error;
use crate::cli::args::{Cli, ManArgs};
use crate::cli::failure::Outcome;
use crate::cli::output::stdout;

pub fn run(args: &ManArgs) -> Outcome {
    let Some(dir) = &args.out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(|e| Error::io("the manual page", &e))?;
        stdout(&String::from_utf8_lossy(&page))?;
        return Ok(());
    };
    std::fs::create_dir_all(dir).map_err(|e| Error::io(dir, &e))?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(|e| Error::io(dir, &e))?;
    Ok(())
}
