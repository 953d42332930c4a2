//! The three settings files as they are written. The comments here are the reference: they become
//! the JSON Schemas in `config/schemas` and the tables of `docs/configuration.md`.
//!
//! What `extend` adds to a schema, for [`super::check`]:
//! - `default`: the value of a key that is left out, for readers only.
//! - `x-format`: what a text or a number must look like.
//! - `x-refused`: keys of an object, or words of an enumeration, that are known and refused, and why.
//! - `x-hides`, `x-shows`: keys with which clients hide tools.
//! - `x-server`: the object is a server's entry.

mod forms;
mod gateway;
mod rules;
mod servers;

pub(super) use forms::{At, ByName, Location, OneOrMany, Time};
pub(super) use gateway::{
    Arguments, AuditSection, AuthSection, AuthWord, BudgetSection, ChargeOnSection, DiscoveryEntry,
    DiscoveryWord, EnforcementSection, GatewayFile, KeyEntry, MeteringSection, RouteEntry,
    ServerSection, Servers, StoreSection, ToolsSection,
};
pub(super) use rules::{
    AgentEntry, ContextEntry, ContextOfAll, DefaultsEntry, EntriesEntry, IdentityWord, LimitEntry,
    RulesFile,
};
pub(super) use servers::{McpFile, Private, ServerEntry};
