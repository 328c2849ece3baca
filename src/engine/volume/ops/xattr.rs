//! Extended attributes: metadata, labels, facts (CONTRACT §4).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::artifact::aside::{Aside, Put, put};
use crate::artifact::ids::Ino;
use crate::artifact::metadata::Metadata;
use crate::artifact::permission::{Act, Who};
use crate::artifact::record::{Artifact, Labels, NodeKind};
use crate::artifact::time::{Timestamp, Ttl};
use crate::artifact::xattr::{Attr, Fact, list, value};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::{LabelChange, MustExist};
use crate::engine::telling::Telling;

use crate::engine::volume::Caller;
use crate::engine::volume::Volume;
use crate::engine::volume::hidden;
use crate::engine::volume::inode::OpenInode;
use crate::engine::volume::ops::io::OVERTAKEN;

/// What carries the attributes.
enum Subject {
    /// A file that the catalog does not know yet.
    Pending(Arc<OpenInode>),
    File(Box<Artifact>, Labels),
    /// Directories hold defaults for what is created below them.
    Dir(Labels),
    /// Symlinks and special files carry none, nor does what has no name any more.
    Other,
}

impl Telling for Subject {
    fn told(&self) -> &[Artifact] {
        match self {
            Subject::File(artifact, _) => std::slice::from_ref(artifact),
            _ => &[],
        }
    }
}

impl Volume {
    async fn subject(&self, ino: Ino) -> Result<Subject> {
        let now = self.now();
        if hidden::is_hidden(ino) {
            if self.hidden_artifact(ino).is_none() {
                return Ok(Subject::Other);
            }
            let artifact = self.shown(&self.hidden.table.what(ino)?).await?;
            let labels = Labels { explicit: artifact.metadata.clone(), ..Labels::default() };
            return Ok(Subject::File(Box::new(artifact), labels));
        }
        if let Some(live) = self.inodes.get(ino)
            && live.is_unborn()
        {
            return Ok(Subject::Pending(live));
        }
        for _ in 0..OVERTAKEN {
            let Some(node) = self.store.catalog.node(ino, now).await? else {
                // Unlinked but open: it is a file still, and no artifact.
                let lives = self.inodes.get(ino).is_some() || self.kernel.removed.get(ino).is_some();
                return if lives { Ok(Subject::Other) } else { Err(Error::not_found("the file is gone")) };
            };
            match (node.kind, node.content) {
                (NodeKind::Dir, _) => return Ok(Subject::Dir(self.store.catalog.labels(ino).await?)),
                (NodeKind::File, Some((id, _))) => {
                    let found = self.store.catalog.artifact(self.store.tenant.id, id, now).await?;
                    if let Some(artifact) = found {
                        return Ok(Subject::File(Box::new(artifact), self.store.catalog.labels(ino).await?));
                    }
                    // A version that was replaced in between is no more: its successor is asked.
                }
                _ => return Ok(Subject::Other),
            }
        }
        Err(Error::not_found("the file has expired"))
    }

    /// # Errors
    /// `NoSuchAttribute`, `NotFound`.
    pub async fn getxattr(&self, ino: Ino, name: &[u8], caller: Caller) -> Result<Vec<u8>> {
        if hidden::is_hidden(ino) {
            self.pass_hidden(ino, &Who::is_calling(caller), Act::Read).await?;
        }
        self.xattr(ino, name).await
    }

    pub(in crate::engine::volume) async fn xattr(&self, ino: Ino, name: &[u8]) -> Result<Vec<u8>> {
        if self.scratch.is(ino) {
            return self.scratch_getxattr(ino, name).await;
        }
        // The kernel asks for `security.capability` before every write: answered without a look at the file.
        let attr = Attr::for_read(name)?;
        let tells = matches!(attr, Attr::Record | Attr::Fact(Fact::Id));
        let subject = if tells { self.store.telling(|| self.subject(ino)).await? } else { self.subject(ino).await? };
        if let Attr::User(name) = &attr {
            return self.user_attribute(&subject, name).ok_or_else(none);
        }
        let text = match subject {
            Subject::Pending(live) => {
                let labels = live.labels();
                match attr {
                    Attr::Fact(Fact::State) => Some(String::from("writing")),
                    Attr::Fact(Fact::Session) => Some(self.session_name(live.session).await?.to_string()),
                    Attr::Record => Some(self.pending_record(&live).await?.to_string()),
                    ref label => label_text(&labels, label),
                }
            }
            Subject::File(artifact, labels) => {
                let writing = self.inodes.get(ino).is_some_and(|l| l.is_writing());
                match attr {
                    Attr::AgentId => artifact.agent_id.clone(),
                    Attr::ContentType => Some(artifact.content_type.clone()),
                    Attr::IdempotencyKey => artifact.idempotency_key.clone(),
                    Attr::Ttl => Some(ttl_text(&artifact, &labels)),
                    Attr::Fact(Fact::ExpiresAt) => {
                        Some(artifact.expires.map_or_else(|| String::from("never"), Timestamp::to_rfc3339))
                    }
                    Attr::Fact(Fact::State) => {
                        Some(String::from(if writing { "writing" } else { artifact.store.as_str() }))
                    }
                    Attr::Fact(fact) => fact.of(&artifact),
                    Attr::Record => {
                        let mut record = artifact.to_full_json();
                        if writing {
                            record["state"] = json!("writing");
                        }
                        Some(record.to_string())
                    }
                    Attr::User(_) => None,
                }
            }
            Subject::Dir(labels) => match attr {
                Attr::Fact(Fact::Session) => {
                    let node = self.store.catalog.node(ino, self.now()).await?;
                    match node {
                        Some(n) if n.session != crate::artifact::ids::SessionId::NONE => {
                            Some(self.session_name(n.session).await?.to_string())
                        }
                        _ => None,
                    }
                }
                ref label => label_text(&labels, label),
            },
            Subject::Other => None,
        };
        text.map(String::into_bytes).ok_or_else(none)
    }

    /// The value of `user.<name>`.
    fn user_attribute(&self, subject: &Subject, name: &[u8]) -> Option<Vec<u8>> {
        let found = |metadata: &Metadata, aside: &Aside| value(metadata, aside, name).map(<[u8]>::to_vec);
        match subject {
            Subject::Pending(live) => {
                let labels = live.labels();
                found(&labels.explicit, &labels.aside).or_else(|| found(&labels.environment, &Aside::default()))
            }
            Subject::File(artifact, _) => found(&artifact.metadata, &artifact.aside),
            Subject::Dir(labels) => found(&labels.explicit, &labels.aside),
            Subject::Other => None,
        }
    }

    /// `user.<name>` names, each ended by NUL.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn listxattr(&self, ino: Ino, caller: Caller) -> Result<Vec<u8>> {
        if hidden::is_hidden(ino) {
            self.pass_hidden(ino, &Who::is_calling(caller), Act::Read).await?;
        }
        self.xattrs(ino).await
    }

    pub(in crate::engine::volume) async fn xattrs(&self, ino: Ino) -> Result<Vec<u8>> {
        if self.scratch.is(ino) {
            return self.scratch_listxattr(ino);
        }
        Ok(match self.subject(ino).await? {
            Subject::Pending(live) => {
                let labels = live.labels();
                list(&labels.explicit.over(&labels.environment), &labels.aside)
            }
            Subject::File(artifact, _) => list(&artifact.metadata, &artifact.aside),
            Subject::Dir(labels) => list(&labels.explicit, &labels.aside),
            Subject::Other => Vec::new(),
        })
    }

    /// `flags`: `XATTR_CREATE` or `XATTR_REPLACE`.
    ///
    /// # Errors
    /// `Invalid`, `NoSpace`, `Sealed`, `Unsupported` for other namespaces.
    pub async fn setxattr(self: &Arc<Self>, ino: Ino, name: &[u8], value: &[u8], flags: i32) -> Result<()> {
        if self.scratch.is(ino) {
            return self.scratch_setxattr(ino, name, Some(value), flags).await;
        }
        let attr = Attr::for_write(name)?;
        let must = match flags {
            libc::XATTR_CREATE => MustExist::New,
            libc::XATTR_REPLACE => MustExist::Old,
            _ => MustExist::Either,
        };
        match self.writable_subject(ino).await? {
            Subject::Pending(live) => {
                // A first commit on its way has its labels already: wait for it, then the change is the catalog's.
                let _saving = live.saving().await;
                if live.is_unborn() {
                    return Self::labels_mut(&live, |labels| set_pending(labels, &attr, value, must));
                }
            }
            Subject::Other => return Err(Error::new(Kind::Reserved, "this kind of file carries no metadata")),
            _ => {}
        }
        self.change_labels(ino, &attr, Some(value), must).await
    }

    /// # Errors
    /// `NoSuchAttribute`, `Sealed`, `Unsupported`.
    pub async fn removexattr(self: &Arc<Self>, ino: Ino, name: &[u8]) -> Result<()> {
        if self.scratch.is(ino) {
            return self.scratch_setxattr(ino, name, None, 0).await;
        }
        let attr = Attr::for_write(name)?;
        if let Subject::Pending(live) = self.writable_subject(ino).await? {
            let _saving = live.saving().await;
            if live.is_unborn() {
                return Self::labels_mut(&live, |labels| remove_pending(labels, &attr));
            }
        }
        self.change_labels(ino, &attr, None, MustExist::Old).await
    }

    async fn writable_subject(&self, ino: Ino) -> Result<Subject> {
        if hidden::is_hidden(ino) {
            return Err(Error::new(Kind::Reserved, "set attributes on the file itself"));
        }
        self.subject(ino).await
    }

    async fn change_labels(&self, ino: Ino, attr: &Attr, value: Option<&[u8]>, must: MustExist) -> Result<()> {
        let mut change = LabelChange { must, ..LabelChange::default() };
        if let Attr::User(name) = attr {
            change.attributes.push((name.clone(), value.map(<[u8]>::to_vec)));
            return self.store.catalog.set_labels(self.store.origin, ino, change, self.now()).await;
        }
        let value = value.map(text_of).transpose()?.map(str::to_owned);
        value.as_deref().map_or(Ok(()), |value| attr.check(value))?;
        match attr {
            Attr::AgentId => change.agent_id = Some(value),
            Attr::ContentType => change.content_type = Some(value),
            Attr::Ttl => {
                if let Some(ttl) = &value {
                    ttl.parse::<Ttl>()?;
                }
                change.ttl = Some(value);
            }
            Attr::IdempotencyKey => {
                return Err(Error::invalid("an idempotency key is set before the file is closed for the first time"));
            }
            _ => return Err(Error::new(Kind::Reserved, "this attribute is a fact and cannot be set")),
        }
        self.store.catalog.set_labels(self.store.origin, ino, change, self.now()).await
    }

    /// The record of a file that is still being written for the first time.
    async fn pending_record(&self, live: &OpenInode) -> Result<Value> {
        let attr = self.attr_of_pending(live)?;
        let session = self.session_name(live.session).await?;
        let (labels, place) = live.labels_and_place();
        let mut filename = Vec::new();
        if let Some(place) = place {
            filename = self.store.catalog.path(place.parent).await?;
            if !filename.is_empty() {
                filename.push(b'/');
            }
            filename.extend_from_slice(place.name.as_bytes());
        }
        Ok(json!({
            "artifact_id": null,
            "filename": crate::artifact::name::display_bytes(&filename),
            "size_bytes": attr.size,
            "session_id": session.as_str(),
            "agent_id": labels.agent_id.as_ref().or(labels.env_agent_id.as_ref()),
            "metadata": labels.explicit.over(&labels.environment),
            "state": "writing",
        }))
    }
}

/// An attribute of a scratch file that becomes an artifact. Other namespaces are not ours.
pub(in crate::engine::volume) fn label_from_scratch(labels: &mut Labels, name: &[u8], value: &[u8]) -> Result<()> {
    if !name.starts_with(b"user.") {
        return Ok(());
    }
    set_pending(labels, &Attr::for_write(name)?, value, MustExist::Either)
}

/// Our own attributes are text.
fn text_of(value: &[u8]) -> Result<&str> {
    std::str::from_utf8(value).map_err(|_| Error::invalid("the value is not UTF-8"))
}

fn none() -> Error {
    Error::new(Kind::NoSuchAttribute, "no such attribute")
}

fn label_text(labels: &Labels, attr: &Attr) -> Option<String> {
    match attr {
        Attr::AgentId => labels.agent_id.clone().or_else(|| labels.env_agent_id.clone()),
        Attr::Ttl => labels.ttl.clone().or_else(|| labels.env_ttl.clone()),
        Attr::ContentType => labels.content_type.clone(),
        Attr::IdempotencyKey => labels.idempotency_key.clone(),
        _ => None,
    }
}

/// The TTL as it was given, or else the one that its expiry amounts to.
fn ttl_text(artifact: &Artifact, labels: &Labels) -> String {
    if let Some(text) = labels.ttl.as_ref().or(labels.env_ttl.as_ref()) {
        return text.clone();
    }
    match artifact.expires {
        None => String::from("never"),
        Some(at) => {
            let seconds = (at.0 - artifact.created.0).max(0).cast_unsigned() / 1_000_000_000;
            Ttl::Seconds(seconds).to_string()
        }
    }
}

fn set_pending(labels: &mut Labels, attr: &Attr, bytes: &[u8], must: MustExist) -> Result<()> {
    if let Attr::User(name) = attr {
        let exists = value(&labels.explicit, &labels.aside, name).is_some()
            || value(&labels.environment, &Aside::default(), name).is_some();
        match must {
            MustExist::New if exists => {
                let shown = String::from_utf8_lossy(name);
                return Err(Error::new(Kind::AttributeExists, format!("'{shown}' exists")));
            }
            MustExist::Old if !exists => return Err(none()),
            _ => {}
        }
        if let Put::Aside = put(&mut labels.explicit, &mut labels.aside, name, bytes)?
            && let Ok(key) = std::str::from_utf8(name)
        {
            labels.environment.0.remove(key);
        }
        return Ok(());
    }
    let text = text_of(bytes)?;
    attr.check(text)?;
    match attr {
        Attr::AgentId => labels.agent_id = Some(text.to_owned()),
        Attr::ContentType => labels.content_type = Some(text.to_owned()),
        Attr::IdempotencyKey => labels.idempotency_key = Some(text.to_owned()),
        Attr::Ttl => {
            text.parse::<Ttl>()?;
            labels.ttl = Some(text.to_owned());
        }
        _ => return Err(Error::new(Kind::Reserved, "this attribute is a fact and cannot be set")),
    }
    Ok(())
}

fn remove_pending(labels: &mut Labels, attr: &Attr) -> Result<()> {
    let had = match attr {
        Attr::User(name) => {
            let key = String::from_utf8_lossy(name);
            let aside = labels.aside.remove(name);
            let explicit = labels.explicit.0.remove(&*key).is_some();
            labels.environment.0.remove(&*key).is_some() || explicit || aside
        }
        Attr::AgentId => labels.agent_id.take().is_some(),
        Attr::ContentType => labels.content_type.take().is_some(),
        Attr::IdempotencyKey => labels.idempotency_key.take().is_some(),
        Attr::Ttl => labels.ttl.take().is_some(),
        _ => return Err(Error::new(Kind::Reserved, "this attribute is a fact and cannot be removed")),
    };
    if had { Ok(()) } else { Err(none()) }
}
