//! The way back to the client whose call is in flight: progress, and questions to the user.

use std::{collections::VecDeque, sync::Arc};

use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use super::backlog::size;
use crate::{
    domain::{json::RawJson, refusal::RpcError},
    host::mutex::Mutex,
};

/// At most this many events wait for a client that does not keep up; then progress replaces the
/// newest.
const MOST_WAITING: usize = 1_024;

/// Also limits total bytes; the last event may exceed the limit.
const MOST_WAITING_BYTES: usize = 1024 * 1024;

/// The server's end.
#[derive(Clone, Debug)]
pub struct ClientChannel {
    shared: Arc<EventQueue>,
    /// Whether the client takes questions.
    asks: bool,
}

/// The client's end.
#[derive(Debug)]
pub struct ClientEvents(Arc<EventQueue>);

/// What a server sends during a call.
#[derive(Debug)]
pub enum ClientEvent {
    /// The params of a progress notification, as they came.
    Progress(RawJson),
    /// A question to the user.
    Question(Question),
}

/// A question to the user (MCP elicitation); one that is dropped counts as not answered.
#[derive(Debug)]
pub struct Question {
    /// The params of `elicitation/create`, as they came.
    pub params: Value,
    answer: oneshot::Sender<Result<Value, RpcError>>,
}

#[derive(Debug, Default)]
struct EventQueue {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// Events that the client has not taken yet.
#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<(ClientEvent, usize)>,
    bytes: usize,
}

impl Waiting {
    /// Takes an event, unless it is a question and there is no room.
    fn push(&mut self, event: ClientEvent) {
        let bytes = event.size();
        if self.events.len() >= MOST_WAITING || self.bytes >= MOST_WAITING_BYTES {
            match (self.events.back(), &event) {
                (Some((ClientEvent::Progress(_), _)), ClientEvent::Progress(_)) => self.pop_back(),
                _ => return,
            }
        }
        self.bytes += bytes;
        self.events.push_back((event, bytes));
    }

    fn pop(&mut self) -> Option<ClientEvent> {
        let (event, bytes) = self.events.pop_front()?;
        self.bytes -= bytes;
        Some(event)
    }

    fn pop_back(&mut self) {
        if let Some((_, bytes)) = self.events.pop_back() {
            self.bytes -= bytes;
        }
    }
}

impl ClientEvent {
    /// In bytes of JSON.
    fn size(&self) -> usize {
        match self {
            Self::Progress(params) => params.length(),
            Self::Question(question) => size(&question.params),
        }
    }
}

impl ClientChannel {
    /// Both ends, for one call. `asks` says whether the client takes questions.
    pub fn new(asks: bool) -> (Self, ClientEvents) {
        let shared = Arc::<EventQueue>::default();
        (Self { shared: shared.clone(), asks }, ClientEvents(shared))
    }

    /// A channel without a client.
    pub fn disconnected() -> Self {
        Self::new(false).0
    }

    /// Whether the client takes questions.
    pub(super) fn asks(&self) -> bool {
        self.asks
    }

    /// Passes progress on; never waits.
    pub(super) fn tell(&self, params: RawJson) {
        if Arc::strong_count(&self.shared) > 1 {
            self.push(ClientEvent::Progress(params));
        }
    }

    /// The client's answer to a question; None if it cannot be asked or does not answer.
    pub(super) async fn ask(&self, params: Value) -> Option<Result<Value, RpcError>> {
        if !self.asks {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.push(ClientEvent::Question(Question { params, answer }));
        answered.await.ok()
    }

    fn push(&self, event: ClientEvent) {
        self.shared.waiting.lock().push(event);
        self.shared.arrived.notify_one();
    }
}

impl ClientEvents {
    /// The next event, in the order in which the server sent them.
    pub async fn next(&mut self) -> ClientEvent {
        loop {
            if let Some(event) = self.ready() {
                return event;
            }
            self.0.arrived.notified().await;
        }
    }

    /// The next event, if there is one by now.
    pub fn ready(&mut self) -> Option<ClientEvent> {
        self.0.waiting.lock().pop()
    }
}

impl Question {
    /// Hands the client's answer to the server that asked.
    pub fn answer(self, answer: Result<Value, RpcError>) {
        // A server that is gone needs no answer.
        let _ = self.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{ClientChannel, ClientEvent, MOST_WAITING, MOST_WAITING_BYTES, RawJson};

    fn step(number: usize) -> RawJson {
        json!({ "progress": number }).into()
    }

    #[test]
    fn excess_progress_replaces_the_newest_and_keeps_order() {
        let (up, mut down) = ClientChannel::new(false);
        (0..MOST_WAITING + 500).for_each(|number| up.tell(step(number)));
        let told: Vec<u64> = std::iter::from_fn(|| down.ready())
            .map(|event| match event {
                ClientEvent::Progress(params) => {
                    params.member("progress").unwrap().as_str().parse().unwrap()
                }
                ClientEvent::Question(_) => panic!("a question"),
            })
            .collect();
        assert_eq!(told.len(), MOST_WAITING);
        assert!(told.is_sorted());
        assert_eq!(told.last(), Some(&(MOST_WAITING as u64 + 499)));
    }

    #[test]
    fn what_waits_is_bounded_in_bytes() {
        let (up, mut down) = ClientChannel::new(false);
        let long = |number: usize| {
            let message = "x".repeat(MOST_WAITING_BYTES / 4);
            json!({"progress": number, "message": message}).into()
        };
        (0..100).for_each(|number| up.tell(long(number)));
        let told = std::iter::from_fn(|| down.ready()).count();
        assert!((1..=5).contains(&told), "{told}");
        up.tell(long(0));
        assert!(down.ready().is_some(), "what was taken makes room");
    }
}
