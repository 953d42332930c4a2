//! `.mcp.json`, and the entries of servers in `gateway.yaml`.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::json;

use super::forms::{At, ByName, LATER, OneOrMany, Time, Word, properties, refused};
use crate::domain::settings::{Elicitation, StartMode};

/// Tollgate's servers (`.mcp.json`), in the format that MCP clients share.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct McpFile {
    /// The servers, by name.
    #[serde(rename = "mcpServers")]
    pub(crate) servers: ByName<At<ClientServer>>,
}

/// An entry of `.mcp.json`, in which clients keep keys of their own.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = of_client)]
pub(crate) struct ClientServer(pub(crate) ServerEntry);

/// An entry of `gateway.yaml` under its name.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = under_its_name)]
pub(crate) struct NamedServer(pub(crate) ServerEntry);

/// An entry of a list in `gateway.yaml`.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = in_a_list)]
pub(crate) struct ListedServer(pub(crate) ServerEntry);

const TLS: &str = "is not supported: certificates are always verified; remove it";
const HIDES: &str = "hides tools, which is the work of rules here; write it into `allow.tools` or `deny.tools` of .mcp-gateway-rules.json, then remove it";

#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-server" = true))]
#[schemars(extend("x-refused" = refused(&[
    ("oauth", LATER), ("pin", LATER), ("instances", LATER), ("tags", LATER), ("maxMemory", LATER),
    ("healthCheck", LATER), ("tlsSkipVerify", TLS),
])))]
pub(crate) struct ServerEntry {
    /// The server's name.
    pub(crate) id: Option<String>,
    /// What the server is for, if there is no `description`.
    pub(crate) name: Option<String>,
    /// The program: a path, or a name to find in `PATH`. Run without a shell.
    pub(crate) command: Option<At<OneOrMany<String>>>,
    /// `["-y", "some-server"]`
    pub(crate) args: Option<Vec<String>>,
    /// Variables for the server, on top of the small environment below. `{"LOG_LEVEL": "info"}`
    pub(crate) env: Option<At<ByName<String>>>,
    /// Variables to pass on from the gateway's own environment: names, or patterns such as `AWS_*`.
    /// A pattern never passes on `TOLLGATE_*`, `GATEWAY_*` and `MCP_GATEWAY_*`. `["HTTPS_PROXY"]`
    pub(crate) inherit_env: Option<Vec<At<String>>>,
    /// Where the server runs. A relative path starts at the gateway's working directory, which is
    /// the default.
    pub(crate) cwd: Option<String>,
    /// `"https://example.com/mcp"`, the server's Streamable HTTP address. `http://` or `https://`.
    pub(crate) url: Option<At<String>>,
    /// Sent with every request. `{"Authorization": "Bearer ${TOKEN}"}`
    pub(crate) headers: Option<At<ByName<String>>>,
    /// Which addresses that are not public the server may have. `["127.0.0.1", "10.0.0.0/8"]`
    #[schemars(extend("default" = false))]
    pub(crate) allow_private: Option<Private>,
    /// What the server is for. Agents see it in `list_servers`.
    pub(crate) description: Option<String>,
    /// How long a call may take. Progress extends it, see
    /// [operations.md](operations.md#timeouts).
    #[schemars(extend("default" = "30s"))]
    pub(crate) timeout: Option<At<Time>>,
    /// `lazy`: started at first use. `eager`: started with the gateway, at most four at a time.
    /// `GATEWAY_INIT_STRATEGY` is the default, or else `lazy`.
    pub(crate) init: Option<Word<StartMode>>,
    /// Stops the server when it has not been used for this long: its processes, or its session over
    /// HTTP. The next call starts it again. Nothing that runs is interrupted. Without it, never.
    pub(crate) idle: Option<Time>,
    /// At most this many calls at a time are forwarded to the server. Others wait in order, within
    /// their own timeout. Without it, there is no bound.
    pub(crate) max_concurrency: Option<std::num::NonZeroUsize>,
    /// Whether the server may ask the user something in the middle of a call. See
    /// [request-path.md](request-path.md#questions).
    #[schemars(extend("default" = "deny"))]
    pub(crate) elicitation: Option<Word<Elicitation>>,
    /// `true` leaves the server out. Rules may still name it.
    #[schemars(extend("default" = false))]
    pub(crate) disabled: Option<bool>,
    /// `false` leaves the server out, as `disabled: true` does.
    #[schemars(extend("default" = true))]
    pub(crate) enabled: Option<bool>,
    /// May repeat what `command` (`"stdio"`) or `url` (`"http"`, `"streamable-http"`) says. Anything
    /// else is an error, `"sse"` included.
    #[serde(rename = "type")]
    pub(crate) kind: Option<At<String>>,
    /// The same as `type`.
    pub(crate) transport: Option<At<String>>,
}

/// `true`, or the addresses and networks that are meant.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Private {
    All(bool),
    Only(#[schemars(extend("x-format" = "network"))] Vec<String>),
}

fn of_client(schema: &mut Schema) {
    under_its_name(schema);
    let text = json!({"type": ["string", "null"], "x-position": true});
    if let Some(command) = properties(schema).and_then(|keys| keys.get_mut("command")) {
        let description = command.get("description").cloned();
        *command = text;
        command["description"] = description.unwrap_or_default();
    }
    schema.remove("additionalProperties");
    schema.insert(
        "x-refused".into(),
        refused(&[("oauth", LATER), ("pin", LATER), ("instances", LATER)]),
    );
    let hides = ["disabledTools", "disabled_tools", "excludeTools"];
    let shows = ["enabledTools", "enabled_tools", "includeTools", "allowedTools", "tools"];
    schema.insert("x-hides".into(), refused(&hides.map(|key| (key, HIDES))));
    schema.insert("x-shows".into(), refused(&shows.map(|key| (key, HIDES))));
}

fn under_its_name(schema: &mut Schema) {
    if let Some(keys) = properties(schema) {
        keys.shift_remove("id");
        keys.shift_remove("name");
    }
}

fn in_a_list(schema: &mut Schema) {
    schema.insert("required".into(), json!(["id"]));
    if let Some(id) = properties(schema).and_then(|keys| keys.get_mut("id")) {
        id["type"] = json!("string");
    }
}
