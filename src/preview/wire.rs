//! What the daemon and its worker say to one another, over two pipes.
//!
//! To the worker: the [`Task`](super::Task) as JSON, then the bytes of each read that it asked for, each behind its length. From it: frames
//! of a letter and what belongs to it.

use std::io::{Read, Write};

use bytes::Bytes;

/// What the machine did not let the worker give up, as JSON: once, before anything else.
pub const HELLO: u8 = b'H';
/// A read: offset (8 bytes) and length (4).
pub const READ: u8 = b'R';
/// What was made, as JSON. The last.
pub const ANSWER: u8 = b'A';
/// In place of a length: the read failed.
pub const FAILED: u32 = u32::MAX;

/// Bytes of one read at most.
pub const READ_MAX: usize = 4 << 20;

/// The worker's end.
pub struct Pipe<R, W> {
    pub from: R,
    pub to: W,
}

impl<R: Read, W: Write> Pipe<R, W> {
    fn length(&mut self) -> std::io::Result<u32> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length)?;
        Ok(u32::from_le_bytes(length))
    }

    fn take(&mut self, length: u32) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// The task.
    pub fn task(&mut self) -> std::io::Result<super::Task> {
        let length = self.length()?;
        serde_json::from_slice(&self.take(length)?).map_err(Into::into)
    }

    /// A frame with JSON.
    pub fn say<T: serde::Serialize>(&mut self, letter: u8, what: &T) -> std::io::Result<()> {
        let json = serde_json::to_vec(what)?;
        let length = u32::try_from(json.len()).map_err(std::io::Error::other)?;
        self.to.write_all(&[letter])?;
        self.to.write_all(&length.to_le_bytes())?;
        self.to.write_all(&json)?;
        self.to.flush()
    }

    /// Asks for bytes of the file and waits for them.
    pub fn read(&mut self, offset: u64, len: usize) -> std::io::Result<Bytes> {
        let mut whole = Vec::new();
        // Large reads in pieces: neither side holds more than one on its way.
        while whole.len() < len {
            let piece = u32::try_from((len - whole.len()).min(READ_MAX)).unwrap_or(0);
            let mut frame = vec![READ];
            frame.extend((offset + whole.len() as u64).to_le_bytes());
            frame.extend(piece.to_le_bytes());
            self.to.write_all(&frame)?;
            self.to.flush()?;
            let length = self.length()?;
            if length == FAILED || length > piece {
                return Err(std::io::Error::other("the bytes cannot be had"));
            }
            let bytes = self.take(length)?;
            if whole.is_empty() && (length < piece || bytes.len() == len) {
                return Ok(Bytes::from(bytes));
            }
            whole.reserve_exact(len - whole.len());
            whole.extend(bytes);
            if length < piece {
                break;
            }
        }
        Ok(Bytes::from(whole))
    }
}
