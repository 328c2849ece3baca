//! `outputfs completions`.

use clap::CommandFactory;

use crate::cli::args::Cli;
use crate::cli::failure::Outcome;
use crate::cli::output::stdout;

pub fn run(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "outputfs", &mut script);
    stdout(&String::from_utf8_lossy(&script))?;
    Ok(())
}
