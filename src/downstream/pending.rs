//! Requests that wait for their answers on one connection. A tool call among them also has a
//! deadline, which progress and questions extend, and a way back to its client.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    client_channel::ClientChannel,
    failure::{Failed, Unusable},
};
use crate::{
    domain::{json::RawJson, refusal::RpcError},
    host::{clock, mutex::Mutex},
};

/// Progress extends a timeout up to this many times its length.
const MOST_EXTENSION: u32 = 10;

/// How long a user may think about a question.
const ANSWER_DEADLINE: Duration = Duration::from_secs(600);

/// The clock of a call stands still for at most this long in all, or a server could keep the call
/// for ever by asking again and again.
const MOST_STILL: Duration = Duration::from_secs(3_600);

/// All requests of one connection that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct PendingRequests {
    last_id: AtomicI64,
    table: Mutex<Table>,
    /// Notified when the last call has ended.
    no_calls: Notify,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<i64, PendingRequest>,
    /// Nothing is read any more.
    ended: bool,
}

#[derive(Debug)]
struct PendingRequest {
    /// None once it was answered.
    reply: Option<oneshot::Sender<Reply>>,
    /// None for requests of the gateway's own.
    call: Option<Arc<PendingCall>>,
}

/// What comes back of a request.
#[derive(Debug)]
pub(super) enum Reply {
    /// The server's result.
    Result(RawJson),
    /// The server's own error.
    Error(RpcError),
    /// There is no answer.
    Failed(Failed),
    /// There is one that cannot be used.
    Unusable(Unusable),
}

/// A request that is pending as long as this lives.
pub(super) struct AwaitedReply<'a> {
    requests: &'a PendingRequests,
    id: i64,
    reply: Option<oneshot::Receiver<Reply>>,
}

impl AwaitedReply<'_> {
    /// The id of the request, and its progress token.
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// Waits for the answer; None if the connection ends without one.
    pub(super) async fn reply(&mut self) -> Option<Reply> {
        self.reply.take()?.await.ok()
    }
}

impl Drop for AwaitedReply<'_> {
    fn drop(&mut self) {
        let mut table = self.requests.table.lock();
        table.by_id.remove(&self.id);
        if table.calls().next().is_none() {
            self.requests.no_calls.notify_waiters();
        }
    }
}

impl PendingRequests {
    /// Registers a request that is about to be sent; None if nothing is read any more.
    pub(super) fn register(&self, call: Option<Arc<PendingCall>>) -> Option<AwaitedReply<'_>> {
        let id = 1 + self.last_id.fetch_add(1, Ordering::Relaxed);
        let (send, receive) = oneshot::channel();
        let mut table = self.table.lock();
        if table.ended {
            return None;
        }
        table.by_id.insert(id, PendingRequest { reply: Some(send), call });
        Some(AwaitedReply { requests: self, id, reply: Some(receive) })
    }

    /// Hands the answer to whoever waits for it; of several only the first.
    pub(super) fn complete(&self, id: i64, reply: Reply) {
        let waiting = self.table.lock().by_id.get_mut(&id).and_then(|entry| entry.reply.take());
        if let Some(waiting) = waiting {
            // One who gave up does not take it.
            let _ = waiting.send(reply);
        }
    }

    /// The request will get no answer, unless it has one.
    pub(super) fn abandon(&self, id: i64) {
        if let Some(entry) = self.table.lock().by_id.get_mut(&id) {
            entry.reply = None;
        }
    }

    /// The server ends one of the gateway's own requests; calls are ended by their answers only.
    pub(super) fn abandon_own(&self, id: i64) {
        if let Some(entry) =
            self.table.lock().by_id.get_mut(&id).filter(|entry| entry.call.is_none())
        {
            entry.reply = None;
        }
    }

    /// Nothing is read any more: no request gets an answer.
    pub(super) fn end(&self) {
        let mut table = self.table.lock();
        table.ended = true;
        table.by_id.values_mut().for_each(|entry| entry.reply = None);
    }

    pub(super) fn is_ended(&self) -> bool {
        self.table.lock().ended
    }

    /// Waits until no call is pending.
    pub(super) async fn no_calls(&self) {
        loop {
            let none = self.no_calls.notified();
            if self.table.lock().calls().next().is_none() {
                return;
            }
            none.await;
        }
    }

    /// The call with this id.
    pub(super) fn call(&self, id: i64) -> Option<Arc<PendingCall>> {
        self.table.lock().by_id.get(&id)?.call.clone()
    }

    /// The one pending call, if it is only one.
    pub(super) fn only_call(&self) -> Option<Arc<PendingCall>> {
        let table = self.table.lock();
        let mut calls = table.calls();
        calls.next().filter(|_| calls.next().is_none()).cloned()
    }
}

impl Table {
    fn calls(&self) -> impl Iterator<Item = &Arc<PendingCall>> {
        self.by_id.values().filter_map(|entry| entry.call.as_ref())
    }
}

/// A call that waits for its answer.
#[derive(Debug)]
pub(super) struct PendingCall {
    channel: ClientChannel,
    timeout: Duration,
    clock: Mutex<CallClock>,
}

#[derive(Debug)]
struct CallClock {
    /// When the call began; moved on by the time that questions took.
    begun: Instant,
    /// When the server last showed that it is at work.
    heard: Instant,
    /// Since when a question is open, and how many are.
    asking: Option<(Instant, usize)>,
    /// How long it has stood still, up to the last answer.
    still: Duration,
}

impl PendingCall {
    pub(super) fn new(channel: ClientChannel, timeout: Duration) -> Self {
        let now = clock::tokio_instant();
        let clock = CallClock { begun: now, heard: now, asking: None, still: Duration::ZERO };
        Self { channel, timeout, clock: Mutex::new(clock) }
    }

    /// The server is at work on the call.
    pub(super) fn heard(&self) {
        self.clock.lock().heard = clock::tokio_instant();
    }

    /// Passes progress on to the client.
    pub(super) fn pass_progress(&self, params: RawJson) {
        self.channel.tell(params);
    }

    /// Returns when the call has taken too long: its timeout after the last sign of life, and ten
    /// times its timeout at most. The clock stands still while a question is open, for an hour in
    /// all.
    pub(super) async fn expired(&self) {
        loop {
            let until = self.deadline();
            if until <= clock::tokio_instant() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn deadline(&self) -> Instant {
        let clock = self.clock.lock();
        match clock.asking {
            Some((since, _)) => {
                let left = MOST_STILL.saturating_sub(clock.still);
                (clock::tokio_instant() + self.timeout).min(since + left)
            }
            None => (clock.heard + self.timeout).min(clock.begun + self.timeout * MOST_EXTENSION),
        }
    }

    /// Puts a question to the user; None if the client cannot be asked or does not answer.
    pub(super) async fn ask(&self, params: Value) -> Option<Result<Value, RpcError>> {
        if !self.channel.asks() {
            return None;
        }
        let _open = OpenQuestion::new(&self.clock);
        tokio::time::timeout(ANSWER_DEADLINE, self.channel.ask(params)).await.ok().flatten()
    }
}

/// Stops the clock as long as it lives.
struct OpenQuestion<'a>(&'a Mutex<CallClock>);

impl<'a> OpenQuestion<'a> {
    fn new(clock: &'a Mutex<CallClock>) -> Self {
        let mut now = clock.lock();
        let (since, open) = now.asking.unwrap_or((clock::tokio_instant(), 0));
        now.asking = Some((since, open + 1));
        drop(now);
        Self(clock)
    }
}

impl Drop for OpenQuestion<'_> {
    fn drop(&mut self) {
        let mut clock = self.0.lock();
        let Some((since, open)) = clock.asking else { return };
        clock.asking = (open > 1).then_some((since, open - 1));
        if clock.asking.is_none() {
            clock.heard = clock::tokio_instant();
            let still = since.elapsed();
            clock.still += still;
            clock.begun += still;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::host::clock;

    use super::{ClientChannel, OpenQuestion, PendingCall};

    const SECOND: Duration = Duration::from_secs(1);

    async fn lasts(call: &PendingCall, alive: impl Fn(u64) -> bool) -> u64 {
        let begun = clock::tokio_instant();
        let life = async {
            for second in 0.. {
                if alive(second) {
                    call.heard();
                }
                tokio::time::sleep(SECOND).await;
            }
        };
        tokio::select! { () = call.expired() => {}, () = life => {} }
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn progress_extends_a_timeout_up_to_ten_times() {
        let call = || PendingCall::new(ClientChannel::disconnected(), SECOND * 5);
        assert_eq!(lasts(&call(), |_| false).await, 5);
        assert_eq!(lasts(&call(), |second| second <= 12).await, 17);
        assert_eq!(lasts(&call(), |_| true).await, 50);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_still_while_a_question_is_open() {
        let call = PendingCall::new(ClientChannel::disconnected(), SECOND * 5);
        let begun = clock::tokio_instant();
        let question = OpenQuestion::new(&call.clock);
        let answered = async {
            tokio::time::sleep(SECOND * 300).await;
            drop(question);
            std::future::pending::<()>().await
        };
        tokio::select! { () = call.expired() => {}, () = answered => {} }
        assert_eq!(begun.elapsed().as_secs(), 305);
    }

    #[tokio::test(start_paused = true)]
    async fn endless_questions_do_not_extend_a_call_forever() {
        for overlapping in [false, true] {
            let call = PendingCall::new(ClientChannel::disconnected(), SECOND * 5);
            let begun = clock::tokio_instant();
            let asking = async {
                let mut open = Vec::new();
                loop {
                    open.push(OpenQuestion::new(&call.clock));
                    tokio::time::sleep(SECOND * 600).await;
                    if overlapping && open.len() == 1 {
                        continue;
                    }
                    open.remove(0);
                }
            };
            let bounded = async {
                tokio::select! { () = call.expired() => {}, () = asking => {} }
            };
            assert!(tokio::time::timeout(SECOND * 100_000, bounded).await.is_ok());
            let lasted = begun.elapsed().as_secs();
            assert!((3_600..=3_610).contains(&lasted), "{lasted}");
        }
    }
}
