//! What stands before an inode: owners and modes, for doors that decide themselves who may pass.

use async_trait::async_trait;

use crate::artifact::Result;
use crate::artifact::ids::{ArtifactId, Ino};
use crate::artifact::permission::Guard;

/// Of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// Also a directory that was removed, as long as paths of artifacts lead through it.
    Inode(Ino),
    /// The inode that shows it, or what is known of one that is gone.
    Artifact(ArtifactId),
}

#[async_trait]
pub trait Guards: Send + Sync + 'static {
    /// None when there is no such thing. `top` is the last directory that counts, and has none above it.
    async fn guard(&self, of: Guarded, top: Ino) -> Result<Option<Guard>>;
    /// The same of many, in one snapshot.
    async fn guards(&self, of: Vec<Guarded>, top: Ino) -> Result<Vec<Option<Guard>>>;
}
