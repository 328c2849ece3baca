//! What a model can do.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, ContentBlock, Extensions};
use rmcp::{tool, tool_router};
use serde_json::{Value, json};

use super::args::{DeleteArgs, GetArgs, LinkArgs, ListArgs, ReadArgs, SealArgs, SessionsArgs, StoreArgs};
use super::{Access, Server, content, failure, read, resources};
use crate::artifact::metadata::Metadata;
use crate::artifact::name::display_bytes;
use crate::artifact::query::Query;
use crate::artifact::record::{Artifact, Labels, LinkTarget, SessionSummary};
use crate::artifact::time::{Timestamp, Ttl};
use crate::artifact::{Error, Kind, Result};
use crate::catalog::Committed;
use crate::engine::progress::Progress;
use crate::engine::push::{PushRequest, PushSource};

/// Entries in one answer.
const LIMIT: u32 = 50;
const LIMIT_MAX: u32 = 200;

/// A tool's outcome, success or not, as the caller's model sees it.
fn told(result: Result<CallToolResult>) -> CallToolResult {
    result.unwrap_or_else(|e| failure::result(&e))
}

#[tool_router(vis = "pub(super)")]
impl Server {
    /// Store a file as an artifact: durable, content-addressed, with an ID that never changes. Storing the same bytes
    /// at the same path again answers the same artifact; other bytes become a new version, and the old one stays.
    #[tool(annotations(
        title = "Store an artifact",
        read_only_hint = false,
        destructive_hint = false,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn store_artifact(&self, Parameters(args): Parameters<StoreArgs>, extensions: Extensions) -> CallToolResult {
        told(self.store(args, &extensions).await)
    }

    /// List artifacts, newest first, by session, agent, metadata, type or time. An answer that has next_cursor has more.
    #[tool(annotations(title = "List artifacts", read_only_hint = true, open_world_hint = false))]
    async fn list_artifacts(&self, Parameters(args): Parameters<ListArgs>, extensions: Extensions) -> CallToolResult {
        told(self.list(args, &extensions).await)
    }

    /// Everything about one artifact: type, size, SHA-256, session, agent, metadata, expiry, and its versions if asked.
    #[tool(annotations(title = "Get an artifact's record", read_only_hint = true, open_world_hint = false))]
    async fn get_artifact(&self, Parameters(args): Parameters<GetArgs>, extensions: Extensions) -> CallToolResult {
        told(self.get(args, &extensions).await)
    }

    /// Read an artifact's content: text as text, pictures and sound as such, anything else as base64. Large files are
    /// read in parts with offset and length.
    #[tool(annotations(title = "Read an artifact", read_only_hint = true, open_world_hint = false))]
    async fn read_artifact(&self, Parameters(args): Parameters<ReadArgs>, extensions: Extensions) -> CallToolResult {
        let door = &self.door;
        let result = async {
            self.allow(&extensions, Access::Read)?;
            let artifact = door.store.artifact(&args.artifact_id).await?;
            read::blocks(&door.store, &artifact, args.offset.unwrap_or(0), args.length).await
        };
        told(result.await)
    }

    /// Make a public link to an artifact, or to a page that shows a whole session. Whoever has the link can open it
    /// until it expires; it can be revoked by its link_id.
    #[tool(annotations(
        title = "Create a download link",
        read_only_hint = false,
        destructive_hint = false,
        idempotent_hint = false,
        open_world_hint = true
    ))]
    async fn create_download_link(
        &self,
        Parameters(args): Parameters<LinkArgs>,
        extensions: Extensions,
    ) -> CallToolResult {
        told(self.link(args, &extensions).await)
    }

    /// Seal a session: nothing in it can ever be added, changed or deleted again. Irreversible. Sealing twice is fine.
    #[tool(annotations(
        title = "Seal a session for good",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn seal_session(&self, Parameters(args): Parameters<SealArgs>, extensions: Extensions) -> CallToolResult {
        told(self.seal(args, &extensions).await)
    }

    /// List sessions, the one with the newest artifact first.
    #[tool(annotations(title = "List sessions", read_only_hint = true, open_world_hint = false))]
    async fn list_sessions(
        &self,
        Parameters(args): Parameters<SessionsArgs>,
        extensions: Extensions,
    ) -> CallToolResult {
        told(self.sessions(args, &extensions).await)
    }

    /// Delete an artifact. It can be restored for a while; its links stop working at once. Not in a sealed session.
    #[tool(annotations(
        title = "Delete an artifact",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn delete_artifact(
        &self,
        Parameters(args): Parameters<DeleteArgs>,
        extensions: Extensions,
    ) -> CallToolResult {
        let result = async {
            self.allow(&extensions, Access::Write)?;
            let gone = self.door.store.rm(&args.artifact_id).await?;
            Ok(CallToolResult::structured(json!({
                "artifact_id": gone.id.to_string(),
                "filename": display_bytes(&gone.filename),
                "deleted": true,
                "deleted_at": self.door.store.clock.now().to_rfc3339(),
            })))
        };
        told(result.await)
    }

    /// Which store and tenant this is, what it holds, what this client may do, and which folders it may store from.
    #[tool(annotations(title = "Who am I", read_only_hint = true, open_world_hint = false))]
    async fn whoami(&self, extensions: Extensions) -> CallToolResult {
        told(self.who(&extensions).await)
    }
}

impl Server {
    async fn store(&self, args: StoreArgs, extensions: &Extensions) -> Result<CallToolResult> {
        self.allow(extensions, Access::Write)?;
        let session = self.door.session_or_default(args.session_id.as_deref())?;
        let labels = labels(&args)?;
        let (source, own_name) = self.source(args.content, args.content_base64, args.path, extensions).await?;
        let filename = args.filename.or(own_name).ok_or_else(|| Error::invalid("under which name? Say filename"))?;
        let request = PushRequest {
            session,
            path: filename.into_bytes(),
            source,
            labels,
            mode: None,
            mtime: None,
            progress: Progress::none(),
        };
        let stored = self.door.store.push(request).await?;
        let Committed { artifact, outcome, .. } = stored.committed;
        let mut value = artifact.to_json();
        value["outcome"] = json!(outcome.as_str());
        let mut result = CallToolResult::structured(value);
        result.content.push(ContentBlock::resource_link(resources::of(&artifact)));
        Ok(result)
    }

    /// What is stored, and the name it has by itself.
    async fn source(
        &self,
        content: Option<String>,
        base64: Option<String>,
        path: Option<String>,
        extensions: &Extensions,
    ) -> Result<(PushSource, Option<String>)> {
        match (content, base64, path) {
            (Some(text), None, None) => Ok((content::kept(text.into_bytes(), extensions), None)),
            (None, Some(text), None) => {
                let bytes = STANDARD
                    .decode(text.trim())
                    .map_err(|e| Error::invalid(format!("content_base64 is not base64 as RFC 4648 has it: {e}")))?;
                Ok((content::kept(bytes, extensions), None))
            }
            (None, None, Some(path)) => {
                let name = Path::new(&path).file_name().and_then(|n| n.to_str()).map(str::to_owned);
                let door = Arc::clone(&self.door);
                // Opening may wait for a disk or a network file system.
                let file = tokio::task::spawn_blocking(move || door.roots.file(Path::new(&path)))
                    .await
                    .map_err(|e| Error::internal(format!("a task of the pool broke down: {e}")))??;
                // A size that cannot be had is only missing from the progress.
                let size = file.metadata().ok().map(|m| m.len());
                Ok((PushSource::Stream { reader: Box::new(tokio::fs::File::from_std(file)), size }, name))
            }
            _ => Err(Error::invalid("give exactly one of content, content_base64 and path")),
        }
    }

    async fn list(&self, args: ListArgs, extensions: &Extensions) -> Result<CallToolResult> {
        self.allow(extensions, Access::Read)?;
        let store = &self.door.store;
        let time = |text: Option<String>| text.map(|t| Timestamp::parse_rfc3339(&t)).transpose();
        let query = Query {
            session: match &args.session_id {
                Some(name) => Some(store.session(name).await?.id),
                None => None,
            },
            agent: args.agent_id,
            metadata: args.metadata.unwrap_or_default().into_iter().collect(),
            filename: args.filename.map(String::into_bytes),
            content_type: args.content_type,
            since: time(args.created_after)?,
            until: time(args.created_before)?,
            after: args.cursor.as_deref().map(resources::read_cursor).transpose()?,
            limit: limit(args.limit)?,
            ..Query::all(store.tenant.id)
        };
        let page = store.find(&query).await?;
        Ok(CallToolResult::structured(json!({
            "artifacts": page.artifacts.iter().map(Artifact::to_json).collect::<Vec<_>>(),
            "has_more": page.next.is_some(),
            "next_cursor": page.next.map(resources::write_cursor),
        })))
    }

    async fn get(&self, args: GetArgs, extensions: &Extensions) -> Result<CallToolResult> {
        self.allow(extensions, Access::Read)?;
        let store = &self.door.store;
        let artifact = store.artifact(&args.artifact_id).await?;
        let mut value = artifact.to_full_json();
        if args.versions == Some(true)
            && let (Some(name), Some(object)) = (&artifact.session_name, value.as_object_mut())
        {
            let session = store.session(name.as_str()).await?;
            // A deleted file has no versions at its path any more: its own record is all there is to say.
            let versions = match store.versions(&session, &artifact.filename).await {
                Ok(versions) => versions,
                Err(e) if e.kind == Kind::NotFound => vec![artifact.clone()],
                Err(e) => return Err(e),
            };
            object.insert("versions".into(), versions.iter().map(Artifact::to_json).collect());
        }
        let mut result = CallToolResult::structured(value);
        result.content.push(ContentBlock::resource_link(resources::of(&artifact)));
        Ok(result)
    }

    async fn link(&self, args: LinkArgs, extensions: &Extensions) -> Result<CallToolResult> {
        self.allow(extensions, Access::Write)?;
        let store = &self.door.store;
        let target = match (args.artifact_id, args.session_id) {
            (Some(what), None) => LinkTarget::Artifact(store.artifact(&what).await?.id),
            (None, Some(name)) => LinkTarget::Session(store.session(&name).await?.id),
            _ => return Err(Error::invalid("give exactly one of artifact_id and session_id")),
        };
        let ttl: Option<Ttl> = args.expires_in.map(|t| t.parse()).transpose()?;
        let new = store.create_link(target, ttl).await?;
        let artifact = match target {
            LinkTarget::Artifact(id) => Some(id.to_string()),
            LinkTarget::Session(_) => None,
        };
        let mut result = CallToolResult::structured(json!({
            "link_id": new.link.id,
            "url": new.url,
            "artifact_id": artifact,
            "expires_at": new.link.expires.map(Timestamp::to_rfc3339),
            "created_at": new.link.created.to_rfc3339(),
            "note": new.note(),
        }));
        result.content.extend(new.note().map(ContentBlock::text));
        Ok(result)
    }

    async fn seal(&self, args: SealArgs, extensions: &Extensions) -> Result<CallToolResult> {
        self.allow(extensions, Access::Admin)?;
        let store = &self.door.store;
        let session = store.session(&args.session_id).await?;
        let manifest = store.seal(&session, store.options.upload_timeout, &Progress::none()).await?;
        Ok(CallToolResult::structured(json!({
            "session_id": manifest.session_id.as_str(),
            "status": "sealed",
            "sealed_at": manifest.sealed_at.to_rfc3339(),
            "artifact_count": manifest.artifacts.len(),
            "digest": manifest.digest.to_hex(),
        })))
    }

    async fn sessions(&self, args: SessionsArgs, extensions: &Extensions) -> Result<CallToolResult> {
        self.allow(extensions, Access::Read)?;
        let limit = limit(args.limit)? as usize;
        let sessions = resources::sessions_newest_first(&self.door.store).await?;
        let from = match &args.cursor {
            None => 0,
            Some(name) => {
                let place = sessions.iter().position(|s| s.session.name.as_str() == name.as_str());
                place.ok_or_else(|| Error::invalid("that cursor is none: begin again without it"))? + 1
            }
        };
        let rest = sessions.get(from..).unwrap_or_default();
        let page = rest.get(..limit).unwrap_or(rest);
        let more = rest.len() > page.len();
        Ok(CallToolResult::structured(json!({
            "sessions": page.iter().map(session_json).collect::<Vec<_>>(),
            "has_more": more,
            "next_cursor": page.last().filter(|_| more).map(|s| s.session.name.as_str()),
        })))
    }

    async fn who(&self, extensions: &Extensions) -> Result<CallToolResult> {
        self.allow(extensions, Access::Read)?;
        let door = &self.door;
        let usage = door.store.usage().await?;
        let may = |needed| self.allow(extensions, needed).is_ok();
        Ok(CallToolResult::structured(json!({
            "tenant_name": door.store.tenant_name.as_str(),
            "session_id": door.session.as_ref().map(crate::artifact::name::SessionName::as_str),
            "may_write": may(Access::Write),
            "may_seal": may(Access::Admin),
            "roots": door.roots.paths(),
            "sessions": usage.sessions,
            "artifacts": usage.artifacts,
            "usage_storage_bytes": usage.stored_bytes,
            "usage_logical_bytes": usage.logical_bytes,
            "plan_storage_limit_bytes": usage.max_bytes,
            "version": env!("CARGO_PKG_VERSION"),
        })))
    }
}

fn labels(args: &StoreArgs) -> Result<Labels> {
    let mut explicit = Metadata::default();
    for (key, value) in args.metadata.iter().flatten() {
        explicit.set(key, value.as_bytes())?;
    }
    if let Some(ttl) = &args.ttl {
        ttl.parse::<Ttl>()?;
    }
    let mut labels = Labels {
        explicit,
        agent_id: args.agent_id.clone(),
        ttl: args.ttl.clone(),
        content_type: args.content_type.clone(),
        idempotency_key: args.idempotency_key.clone(),
        ..Labels::default()
    };
    "mcp".clone_into(&mut labels.provenance.door);
    Ok(labels)
}

fn limit(said: Option<u32>) -> Result<u32> {
    match said.unwrap_or(LIMIT) {
        n @ 1..=LIMIT_MAX => Ok(n),
        n => Err(Error::invalid(format!("limit is {n}: 1 to {LIMIT_MAX} are possible"))),
    }
}

/// As the REST API has it.
pub(super) fn session_json(s: &SessionSummary) -> Value {
    json!({
        "session_id": s.session.name.as_str(),
        "artifact_count": s.artifacts,
        "size_bytes": s.bytes,
        "is_sealed": s.session.sealed.is_some(),
        "sealed_at": s.session.sealed.map(Timestamp::to_rfc3339),
        "first_artifact_at": s.first_artifact.map(Timestamp::to_rfc3339),
        "last_artifact_at": s.last_artifact.map(Timestamp::to_rfc3339),
    })
}
