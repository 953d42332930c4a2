//! `tollgate schema`: the JSON Schema of a settings file, for editors and other programs.

use clap::{Args, ValueEnum};

use super::{context::CommandContext, exit::Exit, output::Report};
use crate::{config, domain::settings::SettingsFile};

#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// The file
    file: SchemaOf,
}

/// A settings file, by what it is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaOf {
    /// .mcp-gateway-rules.json
    Rules,
    /// gateway.yaml
    Gateway,
    /// .mcp.json
    Servers,
}

pub(super) fn run(context: &CommandContext, asked: &SchemaArgs) -> anyhow::Result<Exit> {
    let schema = config::schema(match asked.file {
        SchemaOf::Rules => SettingsFile::Rules,
        SchemaOf::Gateway => SettingsFile::Gateway,
        SchemaOf::Servers => SettingsFile::McpConfig,
    });
    let text = format!("{schema:#}");
    context.show(&Report::new(schema).line(text))
}
