//! The Model Context Protocol: the store's artifacts as tools and resources, over standard input and output or over
//! streamable HTTP. The protocol is the official SDK's affair; this translates between it and the engine, and decides
//! nothing.
//!
//! [`tools`] are what a model can do, [`args`] what it says with it, [`content`] what it stores, [`resources`] what a client can list and read,
//! [`watch`] the subscriptions, [`roots`] the folders that `store_artifact` may read, [`failure`] errors with advice.

mod args;
mod content;
mod failure;
pub mod owners;
mod read;
mod resources;
pub mod roots;
mod serve;
mod tools;
mod watch;

use std::sync::Arc;

use rmcp::handler::server::router::tool::ToolRouter;

use crate::artifact::name::SessionName;
use crate::artifact::{Error, Kind, Result};
use crate::engine::store::Store;
pub use roots::Roots;
pub use serve::{http, stdio};
use watch::Watcher;

/// What a client may do. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    None,
    Read,
    Write,
    /// Also what cannot be undone: sealing.
    Admin,
}

/// What all connections share.
pub struct Door {
    pub store: Arc<Store>,
    /// `path` of `store_artifact` reaches these alone; none: it reaches nothing.
    pub roots: Roots,
    /// Of tools that are called without one.
    pub session: Option<SessionName>,
    /// Without a key: what a client of standard input may do; over HTTP the key's [`Access`] stands in the request.
    pub access: Option<Access>,
    watcher: Watcher,
}

impl Door {
    #[must_use]
    pub fn new(store: Arc<Store>, roots: Roots, session: Option<SessionName>, access: Option<Access>) -> Arc<Self> {
        let watcher = Watcher::new(Arc::clone(&store));
        Arc::new(Self { store, roots, session, access, watcher })
    }

    /// The session said, or the default one.
    fn session_or_default(&self, said: Option<&str>) -> Result<SessionName> {
        match said {
            Some(name) => name.parse(),
            None => self.session.clone().ok_or_else(|| Error::invalid("which session? Say session_id")),
        }
    }
}

/// One connection.
#[derive(Clone)]
pub struct Server {
    door: Arc<Door>,
    tool_router: ToolRouter<Self>,
    subscriptions: Arc<watch::Subscriptions>,
}

impl Server {
    #[must_use]
    pub fn new(door: Arc<Door>) -> Self {
        Self { door, tool_router: Self::tool_router(), subscriptions: Arc::default() }
    }

    /// # Errors
    /// `Forbidden` when the client may not.
    fn allow(&self, extensions: &rmcp::model::Extensions, needed: Access) -> Result<()> {
        let carried =
            extensions.get::<axum::http::request::Parts>().and_then(|p| p.extensions.get::<Access>().copied());
        match carried.or(self.door.access) {
            Some(access) if access >= needed => Ok(()),
            _ => {
                let needed = match needed {
                    Access::None | Access::Read => "read",
                    Access::Write => "write",
                    Access::Admin => "admin",
                };
                Err(Error::new(Kind::Forbidden, format!("This needs a key with the scope '{needed}'.")))
            }
        }
    }
}
