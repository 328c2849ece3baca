//! Which names of a session are scratch: its `.outputsignore` over the built-in rules, kept until the file changes.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::artifact::Result;
use crate::artifact::ids::{Ino, SessionId};
use crate::artifact::ignore::{FILE_NAME, IgnoreRules};
use crate::artifact::name::Name;
use crate::catalog::ChangeKind;

use crate::engine::volume::Volume;

/// Rules by session, and the inode of the file they were read from.
#[derive(Default)]
pub struct Rules {
    known: Mutex<HashMap<SessionId, (Option<Ino>, Arc<IgnoreRules>)>>,
}

impl Rules {
    fn forget(&self) {
        self.known.lock().clear();
    }
}

impl Volume {
    /// The rules in force in `session`.
    pub(super) async fn ignore_rules(&self, session: SessionId) -> Result<Arc<IgnoreRules>> {
        if let Some((_, rules)) = self.scratch.rules.known.lock().get(&session) {
            return Ok(rules.clone());
        }
        let Some(found) = self.store.catalog.session_by_id(session).await? else {
            return Ok(Arc::new(IgnoreRules::default()));
        };
        let (source, text) = self.store.ignore_file(found.root).await?;
        let rules = Arc::new(IgnoreRules::new(text.as_deref()));
        for problem in rules.problems() {
            tracing::warn!(session = %found.name, "{problem}");
        }
        self.scratch.rules.known.lock().insert(session, (source, rules.clone()));
        Ok(rules)
    }

    /// Would a new `name` in this directory of the catalog's be scratch?
    pub(in crate::engine::volume) async fn is_ignored(
        &self,
        session: SessionId,
        parent: Ino,
        name: &Name,
        is_dir: bool,
    ) -> Result<bool> {
        if session == SessionId::NONE {
            return Ok(false);
        }
        let rules = self.ignore_rules(session).await?;
        let mut path = self.store.catalog.path(parent).await?;
        if path.is_empty() && name.as_bytes() == FILE_NAME.as_bytes() {
            return Ok(false);
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        Ok(rules.is_scratch(&path, is_dir))
    }

    /// A file of this name was made, saved, moved or removed.
    pub(in crate::engine::volume) fn rules_may_change(&self, name: &[u8]) {
        if name == FILE_NAME.as_bytes() {
            self.scratch.rules.forget();
        }
    }

    pub(in crate::engine::volume) fn rules_heard(&self, change: &ChangeKind) {
        match change {
            ChangeKind::Entry { name, .. } => self.rules_may_change(name.as_bytes()),
            ChangeKind::Inode { ino } => {
                let ours = self.scratch.rules.known.lock().values().any(|(source, _)| *source == Some(*ino));
                if ours {
                    self.scratch.rules.forget();
                }
            }
            ChangeKind::Sealed { .. } => {}
        }
    }
}
