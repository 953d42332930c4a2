//! All tools of a server, page by page, within bounds.

use std::{io, time::Duration};

use rmcp::{
    RoleClient,
    model::{
        ClientRequest, ErrorCode, ListToolsRequest, PaginatedRequestParams, RequestId, ServerResult,
    },
    service::{Peer, PeerRequestOptions, ServiceError},
};
use serde_json::{Map, Value};

use super::{
    calling::withdraw,
    failure::Unavailable,
    findings::{Finding, Findings},
};
use crate::domain::{
    call::ServerName,
    catalog::{Catalogue, Tool},
    render::visible,
};

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

/// Lists all tools, page by page, within bounds. `findings` are those of the same connection.
///
/// # Errors
/// Why there is no list.
pub(super) async fn list(
    server: &ServerName,
    peer: &Peer<RoleClient>,
    findings: &Findings,
) -> Result<Listing, Unavailable> {
    let mut gathered = Gathered::default();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let Some(page) = page(peer, findings, cursor.clone()).await? else {
            return Ok(Listing::default());
        };
        match gathered.take(server, page)? {
            None => return Ok(gathered.listing()),
            Some(next) if cursor.as_ref() == Some(&next) => {
                return Err(because("its list of tools repeats the same page without end"));
            }
            next => cursor = next,
        }
    }
    Err(because(&format!("its list of tools has more than {MAX_PAGES} pages")))
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
    ) -> Result<Option<String>, Unavailable> {
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
                return Err(because(&format!("it offers more than {MAX_TOOLS} tools")));
            }
            if self.bytes > MAX_DEFINITION_BYTES {
                let message =
                    format!("its tool definitions take more than {MAX_DEFINITION_BYTES} bytes");
                return Err(because(&message));
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
    peer: &Peer<RoleClient>,
    findings: &Findings,
    cursor: Option<String>,
) -> Result<Option<Map<String, Value>>, Unavailable> {
    let params = PaginatedRequestParams::default().with_cursor(cursor);
    let request = ClientRequest::ListToolsRequest(ListToolsRequest::with_param(params));
    let sent = peer.send_cancellable_request(request, PeerRequestOptions::no_options()).await;
    let Ok(handle) = sent else { return Err(because("it ended before it listed its tools")) };
    let awaited = Awaited { peer, findings, id: Some(handle.id.clone()) };
    let answer = handle.await_response().await;
    match awaited.finding() {
        Some(Finding::Failed(failed)) => return Err(failed.unavailable),
        Some(Finding::Unusable(_)) => {
            return Err(because("its list of tools is too long, or nested too deeply"));
        }
        None => {}
    }
    match answer {
        Ok(ServerResult::CustomResult(result)) => match result.0 {
            Value::Object(page) => Ok(Some(page)),
            _ => Err(because("its list of tools is not an object")),
        },
        Err(ServiceError::McpError(error)) if error.code == ErrorCode::METHOD_NOT_FOUND => Ok(None),
        Err(ServiceError::McpError(error)) => {
            Err(because(&format!("it did not list its tools: {}", cut(&error.message))))
        }
        _ => Err(because("it ended while it listed its tools")),
    }
}

/// A request for a page. If it is given up, it is withdrawn: over HTTP it would hold one of the few
/// places for requests as long as the session lives.
struct Awaited<'a> {
    peer: &'a Peer<RoleClient>,
    findings: &'a Findings,
    id: Option<RequestId>,
}

impl Awaited<'_> {
    /// It was answered: what the gateway itself found out about it.
    fn finding(mut self) -> Option<Finding> {
        self.findings.take(&self.id.take()?)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.findings.take(&id);
            withdraw(self.peer, id, "it took too long");
        }
    }
}

fn because(cause: &str) -> Unavailable {
    Unavailable::because(cause.to_owned())
}

fn take_array(object: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match object.get_mut(key).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// The length of a value as JSON text, without writing it.
pub(super) fn size(value: &impl serde::Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Writing to a counter cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// A server's own words, as far as they are worth repeating.
pub(super) fn cut(message: &str) -> String {
    const LONGEST: usize = 300;
    visible(message).chars().take(LONGEST).collect()
}
