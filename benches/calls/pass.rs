//! The bare pass-through: rmcp in front, rmcp behind, one server, and no question asked. What a
//! gateway costs beyond this is its own.

use std::process::Stdio;

use rmcp::{
    RoleClient, RoleServer, ServerHandler, ServiceExt,
    model::{
        CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, ErrorData,
        Implementation, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
        ServerCapabilities, ServerConfig,
    },
    service::{ClientLifecycleMode, ClientServiceExt, Peer, RequestContext, ServiceError},
    transport::io::stdio_pipes,
};
use tokio::{
    process::Command,
    runtime::{Builder, Runtime},
};

use super::{Era, echo};

pub(super) const ROLE: &str = "pass";

/// As an argument: with a worker thread per core, as Tollgate has them. Without, one thread.
pub(super) const THREADS: &str = "threads";

struct Pass {
    server: Peer<RoleClient>,
}

impl ServerHandler for Pass {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        params: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.server.list_tools(params).await.map_err(failure)
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.server.call_tool_once(params).await.map_err(failure)
    }
}

fn failure(error: ServiceError) -> ErrorData {
    match error {
        ServiceError::McpError(error) => error,
        other => ErrorData::internal_error(other.to_string(), None),
    }
}

pub(super) fn serve(era: Era, arguments: &[String]) {
    let threads = arguments.iter().any(|argument| argument == THREADS);
    runtime(threads).block_on(async {
        let mut server = Command::new(std::env::current_exe().unwrap())
            .args([echo::ROLE, era.argument()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pipes = (server.stdout.take().unwrap(), server.stdin.take().unwrap());
        let us = Implementation::new(ROLE, "1");
        let newest = ProtocolVersion::LATEST_WITH_INITIALIZE;
        let client = ClientConfig::new(ClientCapabilities::default(), us)
            .with_protocol_version(newest)
            .serve_with_lifecycle(pipes, lifecycle(era))
            .await
            .unwrap();
        let front = Pass { server: client.peer().clone() };
        front.serve(stdio_pipes()).await.unwrap().waiting().await.unwrap();
    });
}

fn runtime(threads: bool) -> Runtime {
    let mut builder =
        if threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.enable_all().build().unwrap()
}

fn lifecycle(era: Era) -> ClientLifecycleMode {
    match era {
        Era::Handshake => ClientLifecycleMode::Initialize,
        Era::Stateless => ClientLifecycleMode::Discover {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        },
    }
}
