//! The options that commands share, as typed.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::Options;

/// Where the settings are, and how results are printed.
#[derive(Clone, Debug, Args)]
pub(super) struct SettingsArgs {
    /// Look for all settings files in this directory, and nowhere else
    #[arg(long, global = true, value_name = "DIR", help_heading = "Settings")]
    config_dir: Option<PathBuf>,
    /// Which servers there are (default: .mcp.json) [env: GATEWAY_MCP_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    mcp_config: Option<PathBuf>,
    /// Who may do what (default: .mcp-gateway-rules.json) [env: GATEWAY_RULES]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    rules: Option<PathBuf>,
    /// How the gateway runs (default: gateway.yaml) [env: GATEWAY_CONFIG]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl SettingsArgs {
    pub(super) fn in_dir(config_dir: &Path, json: bool) -> Self {
        let config_dir = Some(config_dir.to_owned());
        Self { config_dir, mcp_config: None, rules: None, config: None, json }
    }

    pub(super) fn options(&self) -> Options {
        Options {
            config_dir: self.config_dir.clone(),
            mcp_config: self.mcp_config.clone(),
            rules: self.rules.clone(),
            config: self.config.clone(),
            ..Options::default()
        }
    }
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct ServeArgs {
    /// Offer the tool get_gateway_status, and log more [env: GATEWAY_DEBUG]
    #[arg(long)]
    pub(super) debug: bool,
    /// Serve this one agent; calls may only name it, or an agent in its may_act_as
    #[arg(long = "as", value_name = "AGENT")]
    pub(super) act_as: Option<String>,
    /// Serve over HTTP at this address (not supported by this version)
    #[arg(long, value_name = "ADDR")]
    pub(super) http: Option<String>,
}

impl ServeArgs {
    /// Adds what was typed before `serve`.
    pub(super) fn or(self, before: Self) -> Self {
        Self {
            debug: self.debug || before.debug,
            act_as: self.act_as.or(before.act_as),
            http: self.http.or(before.http),
        }
    }
}
