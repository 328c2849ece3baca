//! The process that looks at one file.

use std::io::{Read, Write};
use std::process::ExitCode;

use super::wire::{ANSWER, HELLO, Pipe};
use super::{Bytes, confine, make};

/// The first argument of the program that makes it this. Not for people: no help names it.
pub const WORD: &str = "__preview";

impl<R: Read + Send, W: Write + Send> Bytes for Pipe<R, W> {
    fn read_at(&mut self, offset: u64, len: usize) -> std::io::Result<bytes::Bytes> {
        self.read(offset, len)
    }
}

/// Gives up all that it does not need, then reads its task, and answers.
#[must_use]
pub fn main() -> ExitCode {
    let missing = confine::enter();
    let mut pipe = Pipe { from: std::io::stdin(), to: std::io::stdout() };
    let done = pipe.say(HELLO, &missing).and_then(|()| pipe.task()).and_then(|task| {
        let made = make(&task, Pipe { from: std::io::stdin(), to: std::io::stdout() })?;
        pipe.say(ANSWER, &made)
    });
    // Nobody hears why: the daemon sees that there is no answer.
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
