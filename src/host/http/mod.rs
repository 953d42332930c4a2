//! The guarded HTTP client: it reaches only the addresses that it may, follows redirects only within
//! an origin, and asks no proxy.
//!
//! A server may close an idle connection at any time, so a request can cross its closing on the way.
//! Then it is unknown whether the server has read it. This is made rare: connections are kept idle
//! for less time than servers keep them, and a server that breaks one gets a new connection for each
//! request from then on.

mod guard;

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use reqwest::redirect;
pub use reqwest::{Client, RequestBuilder, Response};

pub use guard::Guard;
use guard::REFUSED;

/// How long a connection may take to be made.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// A connection that was idle for this long is not used again. Common servers close theirs after 2
/// to 75 s.
const LONGEST_IDLE: Duration = Duration::from_secs(1);

/// This many redirects within a server's own origin are followed.
const MOST_REDIRECTS: usize = 3;

/// A client for one server.
#[derive(Clone)]
pub struct GuardedClient {
    kept: Client,
    /// Makes a connection for each request.
    fresh: Client,
    /// Set when a connection broke before the answer came.
    breaks: Arc<AtomicBool>,
}

/// Whether the server may have acted on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The request was not sent.
    No,
    /// The server was reached and did not act on it.
    Refused,
    /// The server may have acted on it.
    Maybe,
}

/// Why a request got no answer at all.
#[derive(Debug)]
pub struct NoAnswer {
    pub cause: &'static str,
    pub reached: Reached,
}

impl GuardedClient {
    pub fn new(guard: Guard) -> Result<Self, String> {
        let guard = Arc::new(guard);
        Ok(Self {
            kept: client(guard.clone(), usize::MAX)?,
            fresh: client(guard, 0)?,
            breaks: Arc::default(),
        })
    }

    /// Sends a request. If the connection breaks before the answer comes, sends it once more over a
    /// new one, if that does no harm or if the server cannot have read the request.
    pub async fn send(
        &self,
        request: impl Fn(&Client) -> RequestBuilder,
        may_repeat: bool,
    ) -> Result<Response, NoAnswer> {
        let breaks = self.breaks.load(Ordering::Relaxed);
        let first = if breaks { &self.fresh } else { &self.kept };
        let error = match request(first).send().await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        if !is_broken(&error) {
            return Err(no_answer(error));
        }
        self.breaks.store(true, Ordering::Relaxed);
        match may_repeat || was_not_read(&error) {
            true => request(&self.fresh).send().await.map_err(no_answer),
            false => Err(no_answer(error)),
        }
    }
}

fn client(guard: Arc<Guard>, most_idle: usize) -> Result<Client, String> {
    Client::builder()
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_DEADLINE)
        .pool_idle_timeout(LONGEST_IDLE)
        .pool_max_idle_per_host(most_idle)
        .dns_resolver(guard)
        .redirect(redirect::Policy::custom(same_origin))
        .no_proxy()
        .build()
        .map_err(|_| "the HTTP client cannot be made; is TLS set up on this host?".to_owned())
}

/// Only what stays with the server's own origin and repeats the request as it is.
fn same_origin(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let own =
        attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    let same_method = [StatusCode::TEMPORARY_REDIRECT, StatusCode::PERMANENT_REDIRECT]
        .contains(&attempt.status());
    match own && same_method && attempt.previous().len() <= MOST_REDIRECTS {
        true => attempt.follow(),
        false => attempt.stop(),
    }
}

/// Whether a connection was made and then broke.
fn is_broken(error: &reqwest::Error) -> bool {
    error.is_request() && !error.is_connect() && !error.is_timeout()
}

/// Whether a request cannot have been read: a pipe that breaks takes none of what is written to it,
/// so the request did not arrive whole.
fn was_not_read(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn no_answer(error: reqwest::Error) -> NoAnswer {
    let refused = causes(&error).any(|cause| cause.to_string() == REFUSED);
    let (cause, reached) = match (error.is_connect(), refused) {
        (_, true) => (REFUSED, Reached::No),
        (true, _) => ("it cannot be connected to", Reached::No),
        _ if was_not_read(&error) => ("it closed the connection", Reached::No),
        _ => ("the connection broke before it answered", Reached::Maybe),
    };
    tracing::debug!(error = %error.without_url(), "an HTTP request failed");
    NoAnswer { cause, reached }
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = Some(error as &(dyn Error + 'static));
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// A body of at most `limit` bytes; None if it is longer, or breaks off.
pub async fn body(mut response: Response, limit: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > limit {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}
