//! The server as the SDK sees it, and its two transports.

use std::collections::HashSet;
use std::sync::Arc;

use rmcp::handler::server::tool::ToolCallContext;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
    ResourceUpdatedNotificationParam, ServerCapabilities, ServerConfig, SubscribeRequestParams, SubscriptionFilter,
    Tool, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use tokio_util::sync::CancellationToken;

use super::resources::{self, Named};
use super::watch::{self, SUBSCRIPTIONS_MAX};
use super::{Access, Door, Server, failure};
use crate::artifact::ids::SessionId;
use crate::artifact::{Error, Result};

/// One request over HTTP, in bytes: content in base64, and what stands around it.
const BODY_MAX: usize = 16 << 20;

const INSTRUCTIONS: &str = "An artifact store for what agents make. Files are kept under sessions; each stored file is \
    an artifact with an ID (art_…) that never changes, and storing other bytes at the same path makes a new version. \
    Name things either by ID or as SESSION/PATH. Give people links from create_download_link. seal_session makes a \
    session read-only for good: call it only when told to.";

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_resources().enable_resources_subscribe().build();
        let mut info = ServerConfig::default();
        info.capabilities = capabilities;
        info.server_info = Implementation::new("outputfs", env!("CARGO_PKG_VERSION"));
        info.instructions = Some(INSTRUCTIONS.to_owned());
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.tool_router.list_all()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.tool_router.get(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.tool_router.call(ToolCallContext::new(self, request, context)).await
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.allow(&context.extensions, Access::Read).map_err(|e| failure::protocol(&e))?;
        let cursor = request.and_then(|r| r.cursor);
        let (resources, next) =
            resources::list(&self.door.store, cursor.as_deref()).await.map_err(|e| failure::protocol(&e))?;
        let mut result = ListResourcesResult::with_all_items(resources);
        result.next_cursor = next;
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.allow(&context.extensions, Access::Read).map_err(|e| failure::protocol(&e))?;
        let contents = resources::content(&self.door.store, &request.uri).await.map_err(|e| failure::protocol(&e))?;
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        let uris = requested.resource_subscriptions.clone().unwrap_or_default();
        let ours = uris.into_iter().filter(|u| matches!(Named::parse(u), Ok(Named::Session(_))));
        Some(SubscriptionFilter::builder().resource_subscriptions(ours.take(SUBSCRIPTIONS_MAX)).build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let told = |e: Error| failure::protocol(&e);
        self.allow(&context.request_context().extensions, Access::Read).map_err(told)?;
        let mut news = self.door.watcher.listen().await.map_err(told)?;
        let mut wanted = HashSet::new();
        for uri in context.accepted().resource_subscriptions.clone().unwrap_or_default() {
            // A session that does not exist has no news.
            if let Ok(id) = self.session_of(&uri).await {
                wanted.insert((id, uri));
            }
        }
        loop {
            let changed = tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = watch::next(&mut news) => changed,
            };
            let Some(changed) = changed else { return Ok(()) };
            for uri in watch::concerned(&wanted, &changed) {
                if context.sink().notify_resource_updated(uri).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let told = |e: Error| failure::protocol(&e);
        self.allow(&context.extensions, Access::Read).map_err(told)?;
        let id = self.session_of(&request.uri).await.map_err(told)?;
        {
            let mut uris = self.subscriptions.uris.lock();
            if uris.len() >= SUBSCRIPTIONS_MAX {
                return Err(told(Error::invalid(format!("at most {SUBSCRIPTIONS_MAX} subscriptions a connection"))));
            }
            uris.insert((id, request.uri));
        }
        let mut news = self.door.watcher.listen().await.map_err(told)?;
        let mut task = self.subscriptions.task.lock();
        if task.as_ref().is_some_and(|t| !t.is_finished()) {
            return Ok(());
        }
        // Not the subscriptions themselves: their end is the task's.
        let subscriptions = Arc::downgrade(&self.subscriptions);
        *task = Some(tokio::spawn(async move {
            while let Some(changed) = watch::next(&mut news).await {
                let Some(subscriptions) = subscriptions.upgrade() else { return };
                let uris = watch::concerned(&subscriptions.uris.lock(), &changed);
                drop(subscriptions);
                for uri in uris {
                    let param = ResourceUpdatedNotificationParam::new(uri);
                    if context.peer.notify_resource_updated(param).await.is_err() {
                        return;
                    }
                }
            }
        }));
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.subscriptions.uris.lock().retain(|(_, uri)| *uri != request.uri);
        Ok(())
    }
}

impl Server {
    async fn session_of(&self, uri: &str) -> Result<SessionId> {
        match Named::parse(uri)? {
            Named::Session(name) => Ok(self.door.store.session(name.as_str()).await?.id),
            Named::Artifact(_) => {
                Err(Error::invalid("an artifact never changes: subscribe to its session, session://NAME"))
            }
        }
    }
}

/// Serves one client over standard input and output, until it closes them or `stop`.
///
/// # Errors
/// `Invalid` when what comes in is not the protocol.
pub async fn stdio(door: Arc<Door>, stop: CancellationToken) -> Result<()> {
    let serving = Server::new(door).serve_with_ct(rmcp::transport::stdio(), stop.clone());
    let running = tokio::select! {
        served = serving => served,
        () = stop.cancelled() => return Ok(()),
    };
    let running = match running {
        Ok(running) => running,
        // A client that went before it said anything did no wrong.
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(e) => return Err(Error::invalid(format!("the client does not speak the protocol: {e}"))),
    };
    let ended = running.waiting().await;
    ended.map(drop).map_err(|e| Error::internal(format!("the connection broke down: {e}")))
}

/// The service for `/mcp`. `hosts` are names by which clients may call us, beside those of this machine: a browser that was
/// tricked into calling us says another. None: whoever has come this far has shown a key, which no such browser has.
/// Sessions end with `stop`.
pub fn http(
    door: Arc<Door>,
    hosts: Option<Vec<String>>,
    stop: CancellationToken,
) -> StreamableHttpService<Server, LocalSessionManager> {
    let mut config = StreamableHttpServerConfig::default();
    match hosts {
        Some(hosts) => config.allowed_hosts.extend(hosts),
        None => config.allowed_hosts.clear(),
    }
    let config = config.enforce_origin_validation().with_max_request_body_bytes(BODY_MAX).with_cancellation_token(stop);
    StreamableHttpService::new(move || Ok(Server::new(Arc::clone(&door))), Arc::default(), config)
}
