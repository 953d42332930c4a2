//! The tools of a server: definitions as the server sent them, and the check of arguments.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use jsonschema::{PatternOptions, Validator};
use serde_json::{Map, Value, json};

use super::{call::ToolName, render};

/// One tool, as its server defined it.
#[derive(Debug)]
pub struct Tool {
    name: ToolName,
    definition: Map<String, Value>,
    /// How many values the schema is made of.
    weight: usize,
    /// Compiled on the first call; the error says why arguments go unchecked.
    validator: OnceLock<Result<Validator, String>>,
}

/// What the check of arguments against a schema came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// They satisfy the schema.
    Valid,
    /// The schema cannot be used (malformed, or it points outside itself); the server decides.
    Unchecked(String),
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
            Some(name) if render::is_plain_name(name) => Ok(Self {
                name: ToolName::from(name),
                weight: definition.get("inputSchema").map_or(0, weight),
                definition,
                validator: OnceLock::new(),
            }),
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

    /// The schema of the tool's arguments; an object that accepts anything if it has none.
    pub fn input_schema(&self) -> Value {
        match self.definition.get("inputSchema") {
            Some(schema @ Value::Object(_)) => schema.clone(),
            _ => json!({"type": "object"}),
        }
    }

    /// Whether what is done with the schema takes no time worth a thread.
    pub fn is_small(&self) -> bool {
        const SMALL: usize = 2_000;
        self.weight <= SMALL
    }

    /// The definition as it was sent.
    pub fn definition(&self) -> &Map<String, Value> {
        &self.definition
    }

    /// The tool as other systems hand it on: name, description, schema, as they were sent.
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

    /// Checks arguments against the schema. Only `$ref` within the schema are followed.
    ///
    /// # Errors
    /// What is wrong with the arguments, one clause per fault, at most three.
    pub fn check(&self, arguments: &Value) -> Result<Checked, String> {
        match self.validator.get_or_init(|| compile(&self.input_schema())) {
            Err(reason) => Ok(Checked::Unchecked(reason.clone())),
            Ok(validator) => {
                let faults: Vec<String> =
                    validator.iter_errors(arguments).take(3).map(|fault| clause(&fault)).collect();
                if faults.is_empty() { Ok(Checked::Valid) } else { Err(faults.join("; ")) }
            }
        }
    }
}

fn weight(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(weight).sum::<usize>(),
        Value::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

/// Patterns in schemas come from servers; the linear engine cannot be made to backtrack.
fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(|error| cut(&error.to_string()))
}

fn clause(fault: &jsonschema::ValidationError<'_>) -> String {
    let place = fault.instance_path().to_string();
    let place = if place.is_empty() { "args".to_owned() } else { format!("args{place}") };
    format!("`{place}`: {}", cut(&fault.to_string()))
}

/// Faults quote the offending value, which may be large.
fn cut(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// All tools of one server, in the server's order, each name once.
#[derive(Debug, Default)]
pub struct Catalogue {
    tools: Vec<Arc<Tool>>,
    by_name: HashMap<ToolName, usize>,
}

impl Catalogue {
    /// A catalogue of these tools; of several with one name the first counts.
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
    pub fn tool(&self, name: &ToolName) -> Option<&Tool> {
        self.by_name.get(name).and_then(|&index| self.tools.get(index)).map(Arc::as_ref)
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
    fn a_schema_that_cannot_be_used_leaves_the_check_to_the_server() {
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
