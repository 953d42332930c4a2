//! The nouns of a call: which agent, which server, which tool.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as it was written; names are case-sensitive and never trimmed.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(name: &str) -> Self {
                Self(name.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name! {
    /// An agent as the rules name it.
    AgentId
}
name! {
    /// A downstream MCP server as the settings name it.
    ServerName
}
name! {
    /// A tool as its server names it.
    ToolName
}

impl ServerName {
    /// The name of the server that is built in. No other can have it.
    pub const BUILT_IN: &str = "gateway";

    /// Whether this is the server that is built in.
    pub fn is_built_in(&self) -> bool {
        self.as_str() == Self::BUILT_IN
    }
}

impl AgentId {
    /// The agent that acts for callers who give no id, where the rules allow that.
    pub fn fallback() -> Self {
        Self::from("default")
    }

    /// Whether `text` can name an agent: `[A-Za-z0-9_.:-]{1,128}`.
    pub fn is_well_formed(text: &str) -> bool {
        (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b))
    }
}
