//! The MCP server that clients talk to, in every protocol version that rmcp knows.
//!
//! rmcp's handler checks versions and metadata. Arguments and results of tools pass it by as the text
//! that arrived, since rmcp's types lose what they do not know. See `docs/architecture.md`.

use std::sync::Arc;

use rmcp::{
    RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientNotification, ClientRequest,
        CustomRequest, CustomResult, ErrorCode, ErrorData, Implementation, ListToolsResult,
        PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, ServerResult,
    },
    service::{NotificationContext, RequestContext, Service},
};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::{
    carried::{RawArguments, Slot},
    relay::Relay,
};
use crate::{
    domain::{json::RawJson, refusal::RpcError},
    gateway::{Answer, CallRequest, Gateway, Granted, ToolResult, builtin, facade, refused},
};

/// How long clients may keep the list of tools, in milliseconds.
const TOOLS_TTL_MS: u64 = 3_600_000;

/// What a server of this kind answers; a malformed request for one of these is a bad parameter,
/// not an unknown method.
const SERVED: [&str; 5] = ["initialize", "server/discover", "ping", "tools/list", "tools/call"];

/// The gateway as an MCP server.
#[derive(Clone, Debug)]
pub(super) struct McpServer {
    handler: Handler,
}

#[derive(Clone, Debug)]
struct Handler {
    gateway: Arc<Gateway>,
}

impl McpServer {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self { handler: Handler { gateway } }
    }
}

impl Service<RoleServer> for McpServer {
    async fn handle_request(
        &self,
        request: ClientRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, ErrorData> {
        if not_offered(&request) {
            return Err(unsupported(request.method()));
        }
        self.handler.handle_request(request, context).await
    }

    async fn handle_notification(
        &self,
        notification: ClientNotification,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.handler.handle_notification(notification, context).await
    }

    fn get_info(&self) -> ServerConfig {
        ServerHandler::get_info(&self.handler)
    }
}

/// rmcp's handler answers these with empty results; we offer tools only.
fn not_offered(request: &ClientRequest) -> bool {
    matches!(
        request,
        ClientRequest::CompleteRequest(_)
            | ClientRequest::SetLevelRequest(_)
            | ClientRequest::GetPromptRequest(_)
            | ClientRequest::ListPromptsRequest(_)
            | ClientRequest::ListResourcesRequest(_)
            | ClientRequest::ListResourceTemplatesRequest(_)
            | ClientRequest::ReadResourceRequest(_)
            | ClientRequest::SubscribeRequest(_)
            | ClientRequest::UnsubscribeRequest(_)
    )
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let current = self.gateway.current();
        let (name, version) = &current.settings().presented_as;
        let us = Implementation::new(
            name.as_deref().unwrap_or("tollgate"),
            version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION")),
        );
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(us)
            .with_instructions(facade::INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _params: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let stateless = context.protocol_version().is_some_and(|version| !version.has_initialize());
        let mut result = json!({"tools": facade::tools(self.gateway.current().settings().debug)});
        if let (true, Value::Object(result)) = (stateless, &mut result) {
            result.insert("ttlMs".into(), TOOLS_TTL_MS.into());
            result.insert("cacheScope".into(), "public".into());
        }
        put(&context, &result.into());
        Ok(ListToolsResult::default())
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let (client, relay) = Relay::new(&context, params.request_state);
        let asked = CallRequest {
            tool: params.name.into_owned(),
            arguments: arguments(params.arguments, &context),
            credential: credential(context.meta.get(TOKEN)),
            granted: Granted::ProcessCredential,
            meta: for_downstream(&context.meta),
            client,
        };
        let answer = relay.during(self.gateway.call_tool(asked, context.ct.clone())).await;
        match answer {
            Answer::Result(result) => put(&context, &result),
            Answer::Refused(refusal) if refusal.is_rpc_error() => {
                return Err(error_data(refusal.to_rpc_error()));
            }
            Answer::Refused(refusal) => put(&context, &refused(&refusal).into()),
            Answer::Error(error) => return Err(error_data(error)),
        }
        Ok(CallToolResponse::Complete(CallToolResult::success(Vec::new())))
    }

    /// Requests that fit no type of rmcp's end here, malformed ones of known methods included.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if let Some(tool) = builtin::of_method(&request.method) {
            let params = request.params.unwrap_or_default();
            let of_params = params.get("_meta").and_then(|meta| meta.get(TOKEN));
            let credential = credential(of_params.or_else(|| context.meta.get(TOKEN)));
            let answer = self
                .gateway
                .call_method(tool, params, credential, Granted::ProcessCredential)
                .await;
            return answer.map(CustomResult::new).map_err(error_data);
        }
        if SERVED.contains(&request.method.as_str()) {
            let message =
                format!("the params of `{}` are not what the method takes", request.method);
            return Err(ErrorData::invalid_params(message, None));
        }
        Err(unsupported(&request.method))
    }

    fn supported_protocol_versions(&self) -> std::borrow::Cow<'static, [ProtocolVersion]> {
        std::borrow::Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS)
    }
}

/// What to say of a method that is not served, and what to use instead.
fn unsupported(method: &str) -> ErrorData {
    const LONGEST: usize = 64;
    const TOOLS: &str = "tools are found with get_server_tools and called with execute_tool";
    let family = method.split_once('/').map_or(method, |(family, _)| family);
    let instead = match family {
        "resources" | "prompts" | "completion" => {
            format!("{family} of servers are not passed on; {TOOLS}")
        }
        "logging" => {
            "nothing is logged to clients; `logging.level` of gateway.yaml sets what standard error gets".to_owned()
        }
        "tollgate" | "satgate" | "budget" => {
            "use tollgate/budget, tollgate/delegate or tollgate/revoke".to_owned()
        }
        _ => format!("this gateway offers tools only; {TOOLS}"),
    };
    let method: String = method.chars().take(LONGEST).collect();
    let message = format!("method `{method}` is not supported: {instead}");
    ErrorData::new(ErrorCode::METHOD_NOT_FOUND, message, None)
}

fn error_data(error: RpcError) -> ErrorData {
    ErrorData::new(ErrorCode(error.code), error.message, error.data)
}

/// Where clients put a credential in `_meta`.
const TOKEN: &str = "token";

/// A longer text is no credential, in bytes.
const LONGEST_CREDENTIAL: usize = 8 * 1024;

/// A credential as it was shown; one that is no text is good nowhere.
fn credential(shown: Option<&Value>) -> Option<SecretString> {
    match shown? {
        Value::Null => None,
        Value::String(text) if text.len() <= LONGEST_CREDENTIAL => {
            Some(SecretString::from(text.as_str()))
        }
        _ => Some(SecretString::default()),
    }
}

/// The arguments as they came; those that the transport did not take out are few.
fn arguments(typed: Option<Map<String, Value>>, context: &RequestContext<RoleServer>) -> RawJson {
    let raw = context.extensions.get::<RawArguments>().map(|arguments| arguments.0.clone());
    raw.unwrap_or_else(|| Value::Object(typed.unwrap_or_default()).into())
}

/// Hands a result to the transport; what rmcp hands it is only the word that there is one.
fn put(context: &RequestContext<RoleServer>, result: &ToolResult) {
    if let Some(slot) = context.extensions.get::<Slot>() {
        let version = context.protocol_version();
        slot.put(result, version.is_some_and(|version| !version.has_initialize()));
    }
}

/// The request's `_meta` without what belongs to this hop: credentials, the progress token, and
/// MCP's own keys.
fn for_downstream(meta: &Map<String, Value>) -> Map<String, Value> {
    meta.iter()
        .filter(|(key, _)| {
            !matches!(key.as_str(), TOKEN | "progressToken")
                && !key.starts_with("io.modelcontextprotocol/")
                && !key.starts_with("tollgate/")
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}
