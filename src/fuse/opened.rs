//! How a file that was opened is told to the kernel.

use fuser::{BackingId, FopenFlags};

use crate::engine::volume::inode::Backing;
use crate::engine::volume::ops::open::{How, Opened};

/// Flags for the kernel, and the backing ID where it takes one.
pub fn io_flags(
    opened: &Opened,
    register: impl FnOnce(&Backing) -> std::io::Result<BackingId>,
) -> (FopenFlags, Option<&BackingId>) {
    let mut flags = FopenFlags::empty();
    if opened.read_only {
        flags |= FopenFlags::FOPEN_NOFLUSH;
    }
    match &opened.how {
        How::Passthrough(backing) => {
            let token = backing.token.get_or_init(|| match register(backing) {
                Ok(id) => Some(Box::new(id)),
                Err(e) => {
                    tracing::debug!(error = %e, "passthrough refused: the daemon carries the data");
                    None
                }
            });
            (flags, token.as_ref().and_then(|t| t.downcast_ref::<BackingId>()))
        }
        How::Cached { keep } => {
            if *keep {
                flags |= FopenFlags::FOPEN_KEEP_CACHE;
            }
            (flags, None)
        }
        How::Direct => (flags | FopenFlags::FOPEN_DIRECT_IO, None),
    }
}
