//! The tools of servers, kept between runs: discovery does not wait for a cold start, and what was
//! counted once is not counted again.
//!
//! One file per server and settings; a server whose settings change has another file. A file is only
//! ever a copy: what it says is checked against the server at the next connection, and one that
//! cannot be read is as good as none.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::handshake::{Era, LONGEST_ABOUT};
use crate::{
    domain::{
        call::ServerName,
        catalog::{Catalogue, Tool},
        record::hex,
        render::{self, first_sentence},
        rendered::RenderedCatalog,
        settings::ServerSpec,
        tokens::Encoding,
    },
    host::files::{keep_newest, read, write_private},
};

/// Beyond this many files the oldest go.
const MOST_FILES: usize = 256;

/// Where the tools of servers are kept.
#[derive(Clone, Debug)]
pub struct SchemaCache {
    /// None where the user has no place for caches: nothing is kept then.
    dir: Option<PathBuf>,
    encoding: Encoding,
}

/// A file. The form of the counts `C` depends on its version.
#[derive(Serialize, Deserialize)]
struct Stored<C> {
    version: u32,
    encoding: String,
    /// How the server is spoken to.
    #[serde(default)]
    era: Option<Era>,
    /// What the server says of itself.
    #[serde(default)]
    about: Option<String>,
    tools: Vec<StoredTool<C>>,
}

/// Notes on a server that are kept beside its tools.
#[derive(Debug, Deserialize, PartialEq)]
pub(super) struct ServerNotes {
    /// The era that it spoke.
    #[serde(default)]
    pub(super) era: Option<Era>,
    /// What it said of itself.
    #[serde(default)]
    pub(super) about: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StoredTool<C> {
    definition: Value,
    costs: C,
}

impl SchemaCache {
    /// A cache in `dir`, for counts in one encoding.
    pub fn new(dir: Option<PathBuf>, encoding: Encoding) -> Self {
        Self { dir, encoding }
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Whether anything is kept of this server.
    pub(super) fn has(&self, spec: &ServerSpec) -> bool {
        self.path(spec).is_some_and(|path| path.is_file())
    }

    /// The tools that were kept; blocks on the disk.
    pub(super) fn load(&self, spec: &ServerSpec) -> Option<RenderedCatalog> {
        let stored: Stored<Value> = serde_json::from_str(&read(&self.path(spec)?).ok()??).ok()?;
        if stored.version > render::VERSION || stored.encoding != self.encoding.as_str() {
            return None;
        }
        let tools_stored = stored.tools.len();
        let mut counts = HashMap::new();
        let mut tools = Vec::new();
        for StoredTool { definition, costs } in stored.tools {
            let tool = Tool::parse(definition).ok()?;
            // Of an earlier version, the tools are known and their counts are not.
            if stored.version == render::VERSION {
                counts.insert(tool.name().clone(), serde_json::from_value(costs).ok()?);
            }
            tools.push(tool);
        }
        let catalogue = Arc::new(Catalogue::new(tools));
        if catalogue.tools().len() != tools_stored {
            return None;
        }
        let known = |tool: &Tool| counts.get(tool.name()).cloned();
        Some(RenderedCatalog::new(&spec.name, catalogue, self.encoding, known))
    }

    /// The notes that were kept beside the tools; blocks on the disk.
    pub(super) fn notes(&self, spec: &ServerSpec) -> Option<ServerNotes> {
        let notes: ServerNotes = serde_json::from_str(&read(&self.path(spec)?).ok()??).ok()?;
        // Whoever can write the file is not the one who says what agents see.
        let about = notes.about.map(|about| first_sentence(&about, LONGEST_ABOUT));
        Some(ServerNotes { about: about.filter(|about| !about.is_empty()), ..notes })
    }

    /// Keeps the tools of a server, and what belongs beside them; blocks on the disk. A failure is only
    /// worth a line in the log.
    pub(super) fn store(&self, spec: &ServerSpec, rendered: &RenderedCatalog, notes: &ServerNotes) {
        let Some(path) = self.path(spec) else { return };
        let stored = Stored {
            version: render::VERSION,
            encoding: rendered.encoding().as_str().to_owned(),
            era: notes.era,
            about: notes.about.clone(),
            tools: rendered
                .tools()
                .iter()
                .map(|tool| StoredTool {
                    definition: Value::Object(tool.tool().definition().clone()),
                    costs: tool.costs().clone(),
                })
                .collect(),
        };
        let written = serde_json::to_vec(&stored)
            .map_err(io::Error::from)
            .and_then(|text| write_private(&path, &text))
            // Files of settings that have long changed would stay for ever.
            .and_then(|()| path.parent().map_or(Ok(()), |dir| keep_newest(dir, MOST_FILES)));
        if let Err(error) = written {
            tracing::warn!(server = %spec.name, "its tools cannot be kept on disk: {error}");
        }
    }

    fn path(&self, spec: &ServerSpec) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?;
        Some(dir.join(format!("{}-{}.json", file_name(&spec.name), fingerprint(&spec.identity))))
    }
}

/// A digest, so that a file named by it tells nothing of the secrets among the settings.
fn fingerprint(identity: &str) -> String {
    hex(&Sha256::digest(identity)).chars().take(32).collect()
}

/// For people who look into the directory; the fingerprint is what tells files apart.
fn file_name(server: &ServerName) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    server.as_str().chars().take(40).map(plain).collect()
}
