//! What the tools of the server `gateway` take: one type for each, which is both what agents are
//! shown and what reads a call.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Number, Value};

use crate::domain::refusal::Refusal;

/// The arguments of a tool that takes none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// The arguments of `delegate`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct DelegateInput {
    #[schemars(with = "u64", range(min = 1), description = "credits")]
    pub(super) budget: Number,
    #[schemars(
        with = "String",
        description = "tools it may call: comma-separated patterns of tool or server/tool"
    )]
    #[serde(default)]
    pub(super) scope: Option<String>,
    #[schemars(with = "String", length(max = 200))]
    #[serde(default)]
    pub(super) label: Option<String>,
    #[schemars(schema_with = "seconds_or_words", description = "seconds, or 30m, 24h")]
    #[serde(default)]
    pub(super) expires_in: Option<Value>,
    #[schemars(with = "String", description = "an agent whose rules narrow it as well")]
    #[serde(default)]
    pub(super) agent: Option<String>,
    #[schemars(
        with = "u64",
        range(min = 0, max = 255),
        description = "how many levels it may delegate further"
    )]
    #[serde(default)]
    pub(super) depth: Option<Number>,
    #[schemars(
        with = "u64",
        range(min = 1),
        description = "most credits it may give in one delegation"
    )]
    #[serde(default)]
    pub(super) max_delegation: Option<Number>,
    #[schemars(
        with = "String",
        length(max = 200),
        description = "a name of your choice; asked again with it, the answer is the same delegation, and no more credits go"
    )]
    #[serde(default)]
    pub(super) key: Option<String>,
}

/// The arguments of `revoke`: one of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(super) struct RevokeInput {
    #[schemars(with = "String", description = "as delegate answered")]
    #[serde(default, rename = "tokenId")]
    pub(super) token_id: Option<String>,
    #[schemars(with = "String")]
    #[serde(default, rename = "budgetId")]
    pub(super) budget_id: Option<String>,
    #[schemars(with = "String", description = "instead: the agent_id that delegate answered")]
    #[serde(default)]
    pub(super) agent_id: Option<String>,
}

fn seconds_or_words(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["integer", "string"]})
}

/// The schema of a type, without what tells an agent nothing.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    // What the type is for is said by the tool's own description.
    schema.remove("description");
    // A type without members would not say that there are none.
    schema.ensure_object().entry("properties").or_insert_with(|| Value::Object(Map::new()));
    compact(schema.to_value())
}

/// Keywords that are shown, in this order; others are left out.
const SHOWN: [&str; 11] = [
    "type",
    "properties",
    "required",
    "minimum",
    "maximum",
    "maxLength",
    "minProperties",
    "maxProperties",
    "additionalProperties",
    "items",
    "description",
];

fn compact(schema: Value) -> Value {
    let Value::Object(mut keywords) = schema else { return schema };
    let mut shown = Map::new();
    for keyword in SHOWN {
        let Some(value) = keywords.shift_remove(keyword) else { continue };
        let value = match value {
            Value::Object(members) if keyword == "properties" => {
                members.into_iter().map(|(name, value)| (name, compact(value))).collect()
            }
            value => value,
        };
        shown.insert(keyword.to_owned(), value);
    }
    Value::Object(shown)
}

/// The arguments of a tool as its type; null is the same as missing.
///
/// # Errors
/// What does not fit.
pub(super) fn read<T: DeserializeOwned>(args: Value) -> Result<T, Refusal> {
    serde_json::from_value(args).map_err(|error| Refusal::arguments(error.to_string()))
}
