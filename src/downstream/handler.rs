//! What we answer when a server asks something of us.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rmcp::{
    ClientHandler, RoleClient,
    model::{ClientCapabilities, ClientConfig, Implementation, ProtocolVersion},
    service::NotificationContext,
};

/// The client side of a connection. It declares no capabilities: roots are answered with none,
/// sampling is refused, and questions to the user are declined.
#[derive(Clone, Debug, Default)]
pub(super) struct Handler {
    /// Set when the server says that its tools have changed; cleared by the next listing.
    pub(super) tools_changed: Arc<AtomicBool>,
}

impl ClientHandler for Handler {
    /// rmcp's default names a version that has no handshake; servers of the handshake era must be
    /// asked for the newest that has one.
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("tollgate", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), us)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.tools_changed.store(true, Ordering::Release);
    }
}
