//! The tools of a server: definitions as the server sent them.

use std::{collections::HashMap, sync::Arc};

use serde_json::{Map, Value, json};

pub use super::check::Checked;
use super::{call::ToolName, check::Checker, render};

/// One tool, as its server defined it.
#[derive(Debug)]
pub struct Tool {
    name: ToolName,
    definition: Map<String, Value>,
    checker: Checker,
}

impl Tool {
    /// Reads a definition; anything but the name may be missing or odd.
    ///
    /// # Errors
    /// A definition without a usable name.
    pub fn parse(definition: Value) -> Result<Self, String> {
        let Value::Object(definition) = definition else {
            return Err("a tool definition is not an object".into());
        };
        match definition.get("name").and_then(Value::as_str) {
            Some(name) if render::is_plain_name(name) => {
                Ok(Self { name: ToolName::from(name), definition, checker: Checker::default() })
            }
            Some(_) => Err("a tool's name is too long or hides characters".into()),
            None => Err("a tool definition has no name".into()),
        }
    }

    /// The tool's name.
    pub fn name(&self) -> &ToolName {
        &self.name
    }

    /// The tool's description, empty if it has none.
    pub fn description(&self) -> &str {
        self.definition.get("description").and_then(Value::as_str).unwrap_or_default()
    }

    /// The tool's effect in one word, if its server states it: `read` or `destructive`. A tool with
    /// both hints counts as destructive.
    pub fn effect(&self) -> Option<&'static str> {
        let hints = self.definition.get("annotations")?;
        let says = |hint: &str| hints.get(hint) == Some(&Value::Bool(true));
        match (says("destructiveHint"), says("readOnlyHint")) {
            (true, _) => Some("destructive"),
            (false, true) => Some("read"),
            (false, false) => None,
        }
    }

    /// The schema of the tool's arguments; an object that accepts anything if it has none.
    pub fn input_schema(&self) -> Value {
        self.schema().cloned().unwrap_or_else(|| json!({"type": "object"}))
    }

    /// The definition as it was sent.
    pub fn definition(&self) -> &Map<String, Value> {
        &self.definition
    }

    /// The tool as other gateways pass it on: name, description and schema as they were sent.
    pub fn full(&self) -> Value {
        json!({
            "name": self.name.as_str(),
            "description": self.description(),
            "inputSchema": self.input_schema(),
        })
    }

    /// The tool as one line: its name and parameters.
    pub fn signature(&self) -> String {
        render::parameters(self.name.as_str(), &self.input_schema())
    }

    /// Whether [`Tool::check`] takes microseconds for these arguments; otherwise it needs a thread.
    pub fn is_quickly_checked(&self, arguments: &Value) -> bool {
        self.schema().is_none_or(|schema| self.checker.is_quick(schema, arguments))
    }

    /// Checks arguments against the schema. Only `$ref` within the schema are followed. A parameter
    /// that has a default may be left out.
    ///
    /// # Errors
    /// The faults of the arguments, one clause each, at most three.
    pub fn check(&self, arguments: &Value) -> Result<Checked, String> {
        self.schema().map_or(Ok(Checked::Valid), |schema| self.checker.check(schema, arguments))
    }

    /// Whether this is the first unchecked call of this tool.
    pub fn is_first_unchecked(&self) -> bool {
        self.checker.is_first_unchecked()
    }

    /// The schema, if there is one.
    fn schema(&self) -> Option<&Value> {
        self.definition.get("inputSchema").filter(|schema| schema.is_object())
    }
}

/// All tools of one server, in the server's order, each name once.
#[derive(Debug, Default)]
pub struct Catalogue {
    tools: Vec<Arc<Tool>>,
    by_name: HashMap<ToolName, usize>,
}

impl Catalogue {
    /// A catalogue of these tools. The first tool of each name counts.
    pub fn new(tools: impl IntoIterator<Item = Tool>) -> Self {
        let mut catalogue = Self::default();
        for tool in tools {
            let next = catalogue.tools.len();
            let index = *catalogue.by_name.entry(tool.name.clone()).or_insert(next);
            if index == next {
                catalogue.tools.push(Arc::new(tool));
            }
        }
        catalogue
    }

    /// The tool of that exact name.
    pub fn tool(&self, name: &ToolName) -> Option<&Arc<Tool>> {
        self.by_name.get(name).and_then(|&index| self.tools.get(index))
    }

    /// Whether both hold the same definitions in the same order.
    pub fn is_same(&self, other: &Self) -> bool {
        self.tools.len() == other.tools.len()
            && self.tools.iter().zip(&other.tools).all(|(a, b)| a.definition == b.definition)
    }

    /// All tools.
    pub fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Catalogue, Checked, Tool};

    fn tool(schema: Value) -> Tool {
        Tool::parse(json!({"name": "t", "inputSchema": schema})).unwrap()
    }

    #[test]
    fn arguments_are_checked_with_their_place() {
        let tool = tool(json!({"type": "object", "required": ["a"],
            "properties": {"a": {"type": "integer", "minimum": 1}}}));
        assert_eq!(tool.check(&json!({"a": 3})), Ok(Checked::Valid));
        assert!(tool.check(&json!({"a": "x"})).unwrap_err().contains("`args/a`"));
        assert!(tool.check(&json!({"a": 0})).is_err());
        assert!(tool.check(&json!({})).unwrap_err().contains("\"a\" is a required property"));
        let huge: Value = serde_json::from_str(r#"{"a": 123456789012345678901234567890}"#).unwrap();
        assert_eq!(tool.check(&huge), Ok(Checked::Valid));
    }

    #[test]
    fn unusable_schema_leaves_the_check_to_the_server() {
        for schema in [
            json!({"type": "no such type"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"properties": {"a": {"pattern": "("}}}),
        ] {
            assert!(matches!(tool(schema).check(&json!({})), Ok(Checked::Unchecked(_))));
        }
        assert_eq!(tool(json!({"type": "object"})).check(&json!({"any": 1})), Ok(Checked::Valid));
    }

    #[test]
    fn of_two_tools_with_one_name_the_first_counts() {
        let of = |text: &str| Tool::parse(json!({"name": "t", "description": text})).unwrap();
        let catalogue = Catalogue::new([of("first"), of("second")]);
        assert_eq!(catalogue.tools().len(), 1);
        assert_eq!(catalogue.tool(&"t".into()).unwrap().description(), "first");
        assert!(Tool::parse(json!({"description": "no name"})).is_err());
    }
}
