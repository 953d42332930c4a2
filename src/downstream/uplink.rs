//! The way back to the client whose call is in flight: progress, and questions to the user.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Map, Value};
use tokio::sync::{Notify, oneshot};

use crate::domain::refusal::RpcError;

/// This much progress may wait for a client that does not keep up; then newer replaces the newest.
const MOST_WAITING: usize = 1_024;

/// The server's end.
#[derive(Clone, Debug)]
pub struct Uplink {
    shared: Arc<Shared>,
    /// Whether the client takes questions.
    asks: bool,
}

/// The client's end.
#[derive(Debug)]
pub struct Downlink(Arc<Shared>);

/// What a server says in the middle of a call.
#[derive(Debug)]
pub enum News {
    /// The params of a progress notification, as they came.
    Progress(Map<String, Value>),
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
struct Shared {
    waiting: Mutex<VecDeque<News>>,
    arrived: Notify,
}

impl Uplink {
    /// Both ends, for one call. `asks` says whether the client takes questions.
    pub fn new(asks: bool) -> (Self, Downlink) {
        let shared = Arc::<Shared>::default();
        (Self { shared: shared.clone(), asks }, Downlink(shared))
    }

    /// An uplink that nobody listens to.
    pub fn deaf() -> Self {
        Self::new(false).0
    }

    /// Whether the client takes questions.
    pub(super) fn asks(&self) -> bool {
        self.asks
    }

    /// Passes progress on; never waits.
    pub(super) fn tell(&self, params: Map<String, Value>) {
        if Arc::strong_count(&self.shared) > 1 {
            self.push(News::Progress(params));
        }
    }

    /// The client's answer to a question; None if there is nobody who answers.
    pub(super) async fn ask(&self, params: Value) -> Option<Result<Value, RpcError>> {
        if !self.asks {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.push(News::Question(Question { params, answer }));
        answered.await.ok()
    }

    fn push(&self, news: News) {
        let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let full = waiting.len() >= MOST_WAITING;
        match (full, waiting.back_mut(), &news) {
            (true, Some(newest @ News::Progress(_)), News::Progress(_)) => *newest = news,
            // One more question than there is room for is not answered.
            (true, _, _) => return,
            _ => waiting.push_back(news),
        }
        drop(waiting);
        self.shared.arrived.notify_one();
    }
}

impl Downlink {
    /// The next news, in the order in which the server sent them.
    pub async fn next(&mut self) -> News {
        loop {
            if let Some(news) = self.ready() {
                return news;
            }
            self.0.arrived.notified().await;
        }
    }

    /// The next news, if there are any by now.
    pub fn ready(&mut self) -> Option<News> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
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
    use serde_json::{Map, Value};

    use super::{MOST_WAITING, News, Uplink};

    fn step(number: usize) -> Map<String, Value> {
        Map::from_iter([("progress".to_owned(), Value::from(number))])
    }

    #[test]
    fn progress_beyond_what_may_wait_replaces_the_newest_and_keeps_the_order() {
        let (up, mut down) = Uplink::new(false);
        (0..MOST_WAITING + 500).for_each(|number| up.tell(step(number)));
        let told: Vec<u64> = std::iter::from_fn(|| down.ready())
            .map(|news| match news {
                News::Progress(params) => params["progress"].as_u64().unwrap(),
                News::Question(_) => panic!("a question"),
            })
            .collect();
        assert_eq!(told.len(), MOST_WAITING);
        assert!(told.is_sorted());
        assert_eq!(told.last(), Some(&(MOST_WAITING as u64 + 499)));
    }
}
