//! One HTTP request each: how it is sent, and what its answer means.
//!
//! A request that fails is answered with [`Reply::Failed`], whatever went wrong, so that whoever
//! waits for it learns at once why. Only an expired session is left to rmcp's worker, which renews
//! it and tries once more.

use std::{collections::HashMap, ops::RangeInclusive, sync::Arc, time::Duration};

use ::http::{HeaderName, HeaderValue, StatusCode, header};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, GetExtensions, JsonRpcMessage},
    transport::streamable_http_client::{
        SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse as Posted,
    },
};
use serde_json::Value;
use sse_stream::Sse;

use super::{
    answers::{Answers, Waits, is_answer, text},
    events::{READ_AHEAD, StreamEvent, events},
    mirrored::Judged,
};
use crate::{
    domain::{
        frame::MAX_MESSAGE_BYTES,
        json::{MOST_VALUES, RawJson},
        settings::Remote,
    },
    downstream::{
        backlog::{Backlog, Room},
        failure::{Failed, ServerUnavailable, Unusable},
        peer::{Peer, own_id},
        pending::Reply,
    },
    host::http::{self, Guard, GuardedClient, NoAnswer, Reached, RequestBuilder, Response},
};

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Of an answer that reports an error no more than this is read.
const MOST_ERROR_BYTES: usize = 64 * 1024;

/// How soon, and how late, a server may have its stream opened again, in milliseconds.
const RETRY_MS: RangeInclusive<u64> = 100..=300_000;

/// How long to wait before a stream that could not be opened is tried again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

type SendResult<T> = Result<T, StreamableHttpError<SendFailure>>;
type Headers = HashMap<HeaderName, HeaderValue>;

/// Why a message was not sent, where no one waits for an answer to it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::downstream) struct SendFailure(String);

/// The body of a request, where it is not what rmcp would make of the message.
#[derive(Clone)]
pub(in crate::downstream) struct Body(pub(in crate::downstream) Bytes);

/// Sends requests to one server.
#[derive(Clone)]
pub(super) struct HttpClient {
    http: GuardedClient,
    answers: Answers,
}

/// Why there is no answer to hand on.
enum Trouble {
    /// The session is not known to the server any more.
    Expired,
    Failed(Failed),
}

impl HttpClient {
    pub(super) fn new(
        remote: &Remote,
        peer: Arc<Peer>,
        judged: Arc<Judged>,
    ) -> Result<Self, String> {
        let guard = Guard(remote.allow_private.clone());
        guard.check(&remote.url)?;
        Ok(Self { http: GuardedClient::new(guard)?, answers: Answers { peer, judged } })
    }

    async fn exchange(
        &self,
        url: &str,
        message: &ClientJsonRpcMessage,
        session: Option<&str>,
        headers: Headers,
    ) -> Result<Posted, Trouble> {
        let body = body_of(message).map_err(|_| maybe("the request cannot be written"))?;
        let request = |http: &http::Client| {
            let request = http.post(url).header(header::CONTENT_TYPE, JSON).body(body.clone());
            prepared(request, session, headers.clone())
        };
        let response = self.http.send(request, may_repeat(message)).await.map_err(not_sent)?;
        let renewed = text_of(&response, &SESSION);
        let (status, waits) = (response.status(), Waits::of(message));
        match status {
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT => match waits {
                None => Ok(Posted::Accepted),
                Some(_) => Err(maybe("it took the request and did not answer it (HTTP 202)")),
            },
            status if status.is_success() => self.answer(response, waits, renewed).await,
            _ => self.error_answer(response, waits, session.is_some(), renewed).await,
        }
    }

    /// A successful answer: a JSON message, or a stream of events.
    async fn answer(
        &self,
        response: Response,
        waits: Option<Waits>,
        session: Option<String>,
    ) -> Result<Posted, Trouble> {
        let kind = kind_of(&response);
        if kind.starts_with(EVENTS) {
            let stream = self.sorted(response, waits);
            return Ok(Posted::Sse(stream.boxed(), session));
        }
        let Some(waits) = waits else { return Ok(Posted::Accepted) };
        if !kind.starts_with(JSON) {
            let kind: String = kind.chars().filter(|c| !c.is_control()).take(60).collect();
            return Err(maybe(&match kind.as_str() {
                "" => "its answer is empty".to_owned(),
                kind => format!(
                    "it answered with {kind} instead of an MCP message (is the address right?)"
                ),
            }));
        }
        let Some((body, room)) =
            long_body(response, &self.answers.peer.backlog).await.map_err(maybe)?
        else {
            return Ok(Posted::Json(self.answers.unusable(&waits, Unusable::TooLong), session));
        };
        let Ok(message) = RawJson::parse(body).map(|message| message.guarded_by(room)) else {
            return Ok(Posted::Json(self.answers.unusable(&waits, Unusable::Unreadable), session));
        };
        let message = self.answers.read(&message, Some(&waits), &mut false);
        match message.filter(is_answer) {
            Some(message) => Ok(Posted::Json(message, session)),
            None => Err(maybe("its answer does not belong to the request")),
        }
    }

    /// What an answer with an error status means.
    async fn error_answer(
        &self,
        response: Response,
        waits: Option<Waits>,
        in_session: bool,
        session: Option<String>,
    ) -> Result<Posted, Trouble> {
        let status = response.status();
        let mut failed = failed_by(status, text_of(&response, &header::RETRY_AFTER));
        let body = http::body(response, MOST_ERROR_BYTES).await.unwrap_or_default();
        let raw = RawJson::parse(body).unwrap_or_else(|_| Value::Null.into());
        let message = raw.tree(MOST_VALUES).unwrap_or_default();
        let no_session = is_expired(status, &message, waits.as_ref());
        if no_session && in_session {
            return Err(Trouble::Expired);
        }
        if no_session && status == StatusCode::BAD_REQUEST {
            // Another server, of the other era, by now; it did not take the request.
            failed.reached = Reached::No;
            return Err(Trouble::Failed(failed));
        }
        let is_error = message.get("error").is_some_and(Value::is_object);
        let unauthorised = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
        let (Some(waits), true, false) = (waits, is_error, unauthorised) else {
            return Err(Trouble::Failed(failed));
        };
        let message = self.answers.read(&raw, Some(&waits), &mut false);
        match message.filter(is_answer) {
            Some(message) => Ok(Posted::Json(message, session)),
            None => Err(Trouble::Failed(failed)),
        }
    }

    /// The events of a stream as rmcp's worker is to read them. `waits` is None for a stream that
    /// answers no request of its own.
    fn sorted(
        &self,
        response: Response,
        waits: Option<Waits>,
    ) -> impl Stream<Item = Result<Sse, SseError>> + Send + use<> {
        let answers = self.answers.clone();
        let mut answered = false;
        events(response, self.answers.peer.backlog.clone()).map(move |event| match event {
            StreamEvent::Sse(mut event, room) => {
                event.retry =
                    event.retry.map(|retry| retry.clamp(*RETRY_MS.start(), *RETRY_MS.end()));
                let data = event.data.take();
                event.data =
                    data.and_then(|data| answers.data(data, room, waits.as_ref(), &mut answered));
                Ok(event)
            }
            StreamEvent::TooLong => Ok(Sse {
                data: waits
                    .as_ref()
                    .and_then(|waits| text(&answers.unusable(waits, Unusable::TooLong))),
                ..Sse::default()
            }),
            StreamEvent::Broken => {
                Err(SseError::Body(Box::new(SendFailure("the stream broke".into()))))
            }
        })
    }
}

fn body_of(message: &ClientJsonRpcMessage) -> serde_json::Result<Bytes> {
    let body = match message {
        JsonRpcMessage::Request(request) => request.request.extensions().get::<Body>(),
        _ => None,
    };
    match body {
        Some(body) => Ok(body.0.clone()),
        None => Ok(serde_json::to_vec(message)?.into()),
    }
}

impl StreamableHttpClient for HttpClient {
    type Error = SendFailure;

    async fn post_message(
        &self,
        url: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        _auth: Option<String>,
        headers: Headers,
    ) -> SendResult<Posted> {
        match self.exchange(&url, &message, session.as_deref(), headers).await {
            Ok(posted) => Ok(posted),
            Err(Trouble::Expired) => Err(StreamableHttpError::SessionExpired),
            Err(Trouble::Failed(failed)) => match Waits::of(&message) {
                Some(waits) => {
                    let known = self.answers.deliver(Some(&waits), waits.id, Reply::Failed(failed));
                    Ok(Posted::Json(known, None))
                }
                None => Err(StreamableHttpError::Client(SendFailure(failed.unavailable.cause))),
            },
        }
    }

    async fn delete_session(
        &self,
        url: Arc<str>,
        session: Arc<str>,
        _auth: Option<String>,
        headers: Headers,
    ) -> SendResult<()> {
        // A session that cannot be ended ends by itself.
        let request =
            |http: &http::Client| prepared(http.delete(&*url), Some(&session), headers.clone());
        let _ = self.http.send(request, true).await;
        Ok(())
    }

    async fn get_stream(
        &self,
        url: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        _auth: Option<String>,
        mut headers: Headers,
    ) -> SendResult<BoxStream<'static, Result<Sse, SseError>>> {
        let last_event = last_event.filter(|id| !id.is_empty());
        if let Some(Ok(id)) = last_event.map(|id| HeaderValue::from_str(&id)) {
            headers.insert(LAST_EVENT, id);
        }
        let request =
            |http: &http::Client| prepared(http.get(&*url), session.as_deref(), headers.clone());
        // rmcp gives up on a stream whose first request fails.
        let mut pause = FIRST_PAUSE;
        let response = loop {
            match self.http.send(&request, true).await {
                Ok(response) if !may_recover(response.status()) => break response,
                _ => tokio::time::sleep(pause).await,
            }
            pause = LONGEST_PAUSE.min(pause * 2);
        };
        if response.status().is_success() && kind_of(&response).starts_with(EVENTS) {
            Ok(self.sorted(response, None).boxed())
        } else {
            Err(StreamableHttpError::ServerDoesNotSupportSse)
        }
    }
}

/// An answer of at most [`MAX_MESSAGE_BYTES`], and its room; None if it is longer. A long one waits
/// for room for all that may come: several that each have some and wait for more would wait for ever.
async fn long_body(
    mut response: Response,
    backlog: &Backlog,
) -> Result<Option<(Vec<u8>, Option<Room>)>, &'static str> {
    const BROKEN: &str = "the connection broke in the middle of its answer";
    let (mut body, mut room) = (Vec::new(), None);
    while let Some(chunk) = response.chunk().await.map_err(|_| BROKEN)? {
        let length = body.len() + chunk.len();
        if length > MAX_MESSAGE_BYTES {
            return Ok(None);
        }
        if room.is_none() && length > READ_AHEAD {
            room = backlog.room(MAX_MESSAGE_BYTES).await;
        }
        body.extend_from_slice(&chunk);
    }
    let room = room.and_then(|room| Backlog::part(room, body.len()));
    Ok(Some((body, room)))
}

/// Whether a server that answers so may answer otherwise later.
fn may_recover(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
}

/// Whether a message may be sent again when the server may have read it. A call may have run.
fn may_repeat(message: &ClientJsonRpcMessage) -> bool {
    match message {
        JsonRpcMessage::Request(request) => {
            !matches!(request.request, ClientRequest::CallToolRequest(_))
        }
        _ => true,
    }
}

fn prepared(request: RequestBuilder, session: Option<&str>, headers: Headers) -> RequestBuilder {
    let request = request.header(header::ACCEPT, "application/json, text/event-stream");
    let request = match session {
        Some(session) => request.header(SESSION, session),
        None => request,
    };
    request.headers(headers.into_iter().collect())
}

/// Whether the server knows of no session where it wants one. It should say so with 404, and some do
/// with 400; both may as well be its answer to this very request.
fn is_expired(status: StatusCode, message: &Value, waits: Option<&Waits>) -> bool {
    let id = message.get("id").and_then(own_id);
    let own = waits.zip(id).is_some_and(|(waits, id)| waits.id == id);
    let words = message.pointer("/error/message").and_then(Value::as_str);
    let words = words.unwrap_or_default().to_ascii_lowercase();
    let about_session = words.contains("session") || words.contains("initialized");
    match status {
        StatusCode::NOT_FOUND => about_session || !own,
        StatusCode::BAD_REQUEST => about_session && !own,
        _ => false,
    }
}

fn failed_by(status: StatusCode, retry_after: Option<String>) -> Failed {
    let reached = if status.is_server_error() { Reached::Maybe } else { Reached::Refused };
    let cause = match status {
        StatusCode::UNAUTHORIZED => "it answered HTTP 401".to_owned(),
        status if status.is_redirection() => format!(
            "it redirects elsewhere (HTTP {}); give the final address as `url`",
            status.as_u16()
        ),
        status => format!("it answered HTTP {status}"),
    };
    let seconds = retry_after.and_then(|after| after.trim().parse::<u64>().ok());
    let unavailable = ServerUnavailable {
        cause,
        retry_after_ms: seconds.map(|seconds| seconds.saturating_mul(1_000)),
        needs_login: status == StatusCode::UNAUTHORIZED,
    };
    Failed { unavailable, reached }
}

/// A request that got no answer at all.
fn not_sent(error: NoAnswer) -> Trouble {
    let NoAnswer { cause, reached } = error;
    Trouble::Failed(Failed { unavailable: ServerUnavailable::because(cause), reached })
}

fn maybe(cause: &str) -> Trouble {
    let unavailable = ServerUnavailable::because(cause);
    Trouble::Failed(Failed { unavailable, reached: Reached::Maybe })
}

fn text_of(response: &Response, name: &HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// The media type, and what follows it; it is written in either case.
fn kind_of(response: &Response) -> String {
    text_of(response, &header::CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase()
}
