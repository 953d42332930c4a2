//! All tools of a server, page by page, within bounds.

use std::time::Duration;

use rmcp::model::{
    ClientRequest, ErrorCode, ListToolsRequest, PaginatedRequestParams, RequestMetaObject,
};
use serde_json::{Map, Value};

use super::{backlog::size, failure::ServerUnavailable, peer::Peer, pending::Reply};
use crate::domain::{
    call::ServerName,
    catalog::{Catalogue, Tool},
    json::MOST_VALUES,
    render::visible,
};

/// The most values in an answer that is not the result of a call: a page of tools may have many.
pub(super) const MOST_LISTED: usize = 8 * MOST_VALUES;

/// The most pages of tools that are followed.
const MAX_PAGES: usize = 200;

/// The most tools one server may offer.
const MAX_TOOLS: usize = 10_000;

/// The most bytes that the definitions of one server may take.
const MAX_DEFINITION_BYTES: usize = 16 * 1024 * 1024;

/// The tools of a server, and how long it says that they stay as they are.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) catalogue: Catalogue,
    pub(super) ttl: Option<Duration>,
}

/// Lists all tools, page by page, within bounds.
///
/// # Errors
/// Why there is no list.
pub(super) async fn list(
    server: &ServerName,
    peer: &Peer,
    meta: Option<RequestMetaObject>,
) -> Result<Listing, ServerUnavailable> {
    let mut gathered = Gathered::default();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let Some(page) = page(peer, meta.clone(), cursor.clone()).await? else {
            return Ok(Listing::default());
        };
        match gathered.take(server, page)? {
            None => return Ok(gathered.listing()),
            Some(next) if cursor.as_ref() == Some(&next) => {
                return Err(ServerUnavailable::because(
                    "its list of tools repeats the same page without end",
                ));
            }
            next => cursor = next,
        }
    }
    Err(ServerUnavailable::because(format!("its list of tools has more than {MAX_PAGES} pages")))
}

/// What the pages so far hold.
#[derive(Default)]
struct Gathered {
    tools: Vec<Tool>,
    unusable: usize,
    bytes: usize,
    ttl: Option<Duration>,
}

impl Gathered {
    /// Takes the tools of a page; answers the cursor of the next.
    fn take(
        &mut self,
        server: &ServerName,
        mut page: Map<String, Value>,
    ) -> Result<Option<String>, ServerUnavailable> {
        for definition in take_array(&mut page, "tools") {
            self.bytes += size(&definition);
            match Tool::parse(definition) {
                Ok(tool) => self.tools.push(tool),
                Err(fault) => {
                    if self.unusable == 0 {
                        tracing::warn!(%server, "a tool was passed over: {fault}");
                    }
                    self.unusable += 1;
                }
            }
            if self.tools.len() + self.unusable > MAX_TOOLS {
                return Err(ServerUnavailable::because(format!(
                    "it offers more than {MAX_TOOLS} tools"
                )));
            }
            if self.bytes > MAX_DEFINITION_BYTES {
                let message =
                    format!("its tool definitions take more than {MAX_DEFINITION_BYTES} bytes");
                return Err(ServerUnavailable::because(message));
            }
        }
        let ttl = page.get("ttlMs").and_then(Value::as_u64).map(Duration::from_millis);
        self.ttl = self.ttl.into_iter().chain(ttl).min();
        Ok(page.get("nextCursor").and_then(Value::as_str).map(str::to_owned))
    }

    fn listing(self) -> Listing {
        Listing { catalogue: Catalogue::new(self.tools), ttl: self.ttl }
    }
}

/// One page of tools; None from a server that has no tools at all.
async fn page(
    peer: &Peer,
    meta: Option<RequestMetaObject>,
    cursor: Option<String>,
) -> Result<Option<Map<String, Value>>, ServerUnavailable> {
    let params = PaginatedRequestParams::default().with_cursor(cursor);
    let mut request = ListToolsRequest::with_param(params);
    if let Some(meta) = meta {
        request.extensions.insert(meta);
    }
    match peer.request(ClientRequest::ListToolsRequest(request)).await {
        Some(Reply::Result(result)) => match result.tree(MOST_LISTED) {
            Ok(Value::Object(page)) => Ok(Some(page)),
            Ok(_) => Err(ServerUnavailable::because("its list of tools is not an object")),
            Err(_) => Err(ServerUnavailable::because(
                "its list of tools is too long, or nested too deeply",
            )),
        },
        Some(Reply::Error(error)) if ErrorCode(error.code) == ErrorCode::METHOD_NOT_FOUND => {
            Ok(None)
        }
        Some(Reply::Error(error)) => Err(ServerUnavailable::because(format!(
            "it did not list its tools: {}",
            cut(&error.message)
        ))),
        Some(Reply::Failed(failed)) => Err(failed.unavailable),
        Some(Reply::Unusable(_)) => {
            Err(ServerUnavailable::because("its list of tools is too long, or nested too deeply"))
        }
        None => Err(ServerUnavailable::because("it ended while it listed its tools")),
    }
}

fn take_array(object: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match object.get_mut(key).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// A server's own words, as far as they are worth repeating.
pub(super) fn cut(message: &str) -> String {
    const LONGEST: usize = 300;
    visible(message).chars().take(LONGEST).collect()
}
