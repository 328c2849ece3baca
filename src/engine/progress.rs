//! How long work tells of itself: bars on a terminal, nothing elsewhere.

use std::sync::Arc;

/// How far a piece of work has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes done so far.
    pub done: u64,
    /// Bytes in all, where known. May grow while work comes in.
    pub total: Option<u64>,
    /// Files (or blobs) done so far.
    pub items: u64,
    pub items_total: Option<u64>,
    /// What is being worked on, for people: a path.
    pub what: String,
}

/// Called now and then, from any thread, never more than once per piece of 256 KiB or per file. Must not block.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(&Step) + Send + Sync>>);

impl Progress {
    /// Nobody listens.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    pub fn new(listen: impl Fn(&Step) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listen)))
    }

    pub fn tell(&self, step: &Step) {
        if let Some(listen) = &self.0 {
            listen(step);
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Progress({})", if self.0.is_some() { "heard" } else { "unheard" })
    }
}
