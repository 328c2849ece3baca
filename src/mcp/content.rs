//! Content that a client sent, on its way out of memory.

use std::io::Cursor;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::request::Parts;
use bytes::Bytes;
use rmcp::model::Extensions;
use tokio::io::{AsyncRead, ReadBuf};

use crate::engine::push::PushSource;
use crate::engine::turns::Turn;

/// Content that stays in memory until the store has it; more does not wait there for a store that takes its time.
const IN_MEMORY_MAX: usize = 16 << 10;

/// Content that a client sent. When it is in a staging file, the request's turn to be in memory is over.
pub(super) fn kept(bytes: Vec<u8>, extensions: &Extensions) -> PushSource {
    if bytes.len() <= IN_MEMORY_MAX {
        return PushSource::Bytes(Bytes::from(bytes));
    }
    let turn = extensions.get::<Parts>().and_then(|p| p.extensions.get::<Arc<Turn>>().cloned());
    PushSource::Spilled(Box::new(Leaving { bytes: Cursor::new(bytes), turn }))
}

/// Bytes on their way out of memory.
struct Leaving {
    bytes: Cursor<Vec<u8>>,
    turn: Option<Arc<Turn>>,
}

impl AsyncRead for Leaving {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.bytes).poll_read(cx, buf);
        if self.bytes.position() >= self.bytes.get_ref().len() as u64 {
            self.bytes = Cursor::default();
            if let Some(turn) = self.turn.take() {
                turn.give_back();
            }
        }
        read
    }
}
