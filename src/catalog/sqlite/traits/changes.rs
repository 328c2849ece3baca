//! The transactions of [`Changes`].

use async_trait::async_trait;

use super::super::{SqliteCatalog, changes};
use crate::artifact::Result;
use crate::catalog::Changes;
use crate::catalog::{Change, Origin};
use std::time::Duration;

#[async_trait]
impl Changes for SqliteCatalog {
    async fn last_change(&self) -> Result<u64> {
        self.readers.read(changes::last)
    }

    async fn changes(&self, seq: u64, origin: Origin, wait: Duration) -> Result<Vec<Change>> {
        changes::wait_after(self, seq, origin, wait).await
    }
}
