//! The calls in flight on one connection: whose progress a notification tells, whom a question is
//! for, and how long each may still take.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use rmcp::model::{ErrorData, ProgressToken, RequestId};
use serde_json::Value;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{backlog::Backlog, client_channel::ClientChannel, findings::Finding};
use crate::{
    domain::{json::RawJson, refusal::RpcError},
    host::clock,
};

/// Progress extends a timeout up to this many times its length.
const MOST_EXTENSION: u32 = 10;

/// How long a user may think about a question.
const ANSWER_DEADLINE: Duration = Duration::from_secs(600);

/// The ids of calls that do not go through rmcp begin here; rmcp counts its own from zero.
const FIRST_ID: i64 = 1_000_000_000;

/// The clock of a call stands still for so long in all, or a server could keep the call for ever by
/// asking again and again.
const MOST_STILL: Duration = Duration::from_secs(3_600);

/// All calls in flight on one connection.
#[derive(Debug, Default)]
pub(super) struct PendingCalls {
    departed: AtomicI64,
    table: Mutex<Table>,
    /// Told when the last one has landed.
    empty: Notify,
}

#[derive(Debug, Default)]
struct Table {
    by_id: HashMap<RequestId, Arc<PendingCall>>,
    by_token: HashMap<ProgressToken, Arc<PendingCall>>,
    /// Who waits for the answers to calls that do not go through rmcp.
    waiting: HashMap<RequestId, Waiting>,
    /// Nothing is read any more.
    ended: bool,
}

/// What comes back of a call.
#[derive(Debug)]
pub(super) enum Reply {
    /// The server's result.
    Result(RawJson),
    /// The server's own error.
    Error(ErrorData),
    /// What the gateway found out instead.
    Finding(Finding),
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) struct Waiting(oneshot::Sender<Reply>);

impl Waiting {
    pub(super) fn answer(self, reply: Reply) {
        // One who gave up does not take it.
        let _ = self.0.send(reply);
    }
}

/// A call that is on its way, as long as this lives.
pub(super) struct Registered<'a> {
    pending_calls: &'a PendingCalls,
    flight: Arc<PendingCall>,
    id: i64,
    reply: Option<oneshot::Receiver<Reply>>,
}

impl Registered<'_> {
    /// The id of the request, and its progress token.
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    /// Waits for the answer; None if the connection ends without one.
    pub(super) async fn reply(&mut self) -> Option<Reply> {
        self.reply.take()?.await.ok()
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        let id = RequestId::Number(self.id);
        self.pending_calls.complete(&self.flight, &id, &ProgressToken(id.clone()));
    }
}

/// One call in flight. Through rmcp it travels with the request to the transport, which is the first
/// to know its id and progress token.
#[derive(Debug)]
pub(super) struct PendingCall {
    channel: ClientChannel,
    timeout: Duration,
    clock: Mutex<Clock>,
    /// Set when it has ended, which may be before rmcp hands it to the transport.
    over: AtomicBool,
    /// What a call that is asked again says to the earlier questions, as it came.
    pub(super) answers: Option<Value>,
    /// The arguments of a call that goes through rmcp, where they are too many for its types.
    pub(super) arguments: Option<RawJson>,
    /// What came back of a call that went through rmcp, which sees at most that something did.
    reply: Mutex<Option<Reply>>,
}

#[derive(Debug)]
struct Clock {
    /// When the call began; moved on by the time that questions took.
    begun: Instant,
    /// When the server last showed that it is at work.
    heard: Instant,
    /// Since when a question is open, and how many are.
    asking: Option<(Instant, usize)>,
    /// How long it has stood still, up to the last answer.
    still: Duration,
}

impl PendingCalls {
    /// A call is about to be written past rmcp; None if nothing is read any more.
    pub(super) fn register(&self, flight: &Arc<PendingCall>) -> Option<Registered<'_>> {
        let number = FIRST_ID + self.departed.fetch_add(1, Ordering::Relaxed);
        let (send, receive) = oneshot::channel();
        let mut table = self.lock();
        if table.ended {
            return None;
        }
        let id = RequestId::Number(number);
        table.waiting.insert(id.clone(), Waiting(send));
        table.insert(&id, Some(ProgressToken(id.clone())), flight);
        Some(Registered {
            pending_calls: self,
            flight: flight.clone(),
            id: number,
            reply: Some(receive),
        })
    }

    /// Who waits for the answer with this id. Some servers answer a number with the same number as a
    /// string.
    pub(super) fn waiting_for(&self, id: &Value) -> Option<Waiting> {
        let number = id.as_i64().or_else(|| id.as_str()?.parse().ok())?;
        self.lock().waiting.remove(&RequestId::Number(number))
    }

    /// Nothing is read any more: nobody waits on.
    pub(super) fn end(&self) {
        let mut table = self.lock();
        table.ended = true;
        table.waiting.clear();
    }

    /// The call is about to be written, unless it has ended already.
    pub(super) fn begin(
        &self,
        id: &RequestId,
        token: Option<ProgressToken>,
        flight: &Arc<PendingCall>,
    ) {
        let mut table = self.lock();
        if !flight.over.load(Ordering::Acquire) {
            table.insert(id, token, flight);
        }
    }

    /// The call has ended, one way or the other.
    pub(super) fn complete(&self, flight: &PendingCall, id: &RequestId, token: &ProgressToken) {
        let mut table = self.lock();
        // Under the lock, as a call that is begun after this would never land.
        flight.over.store(true, Ordering::Release);
        table.by_id.remove(id);
        table.by_token.remove(token);
        table.waiting.remove(id);
        if table.by_id.is_empty() {
            self.empty.notify_waiters();
        }
    }

    /// Waits until no call is in flight.
    pub(super) async fn landed(&self) {
        loop {
            let empty = self.empty.notified();
            if self.lock().by_id.is_empty() {
                return;
            }
            empty.await;
        }
    }

    /// The call with this id.
    pub(super) fn get(&self, id: &RequestId) -> Option<Arc<PendingCall>> {
        self.lock().by_id.get(id).cloned()
    }

    /// The one call in flight, if it is only one.
    pub(super) fn only(&self) -> Option<Arc<PendingCall>> {
        let table = self.lock();
        let mut pending_calls = table.by_id.values();
        pending_calls.next().filter(|_| table.by_id.len() == 1).cloned()
    }

    /// Progress as the server sent it; of a call that has ended it is passed over, and so is what
    /// there is no room for.
    pub(super) fn progress(&self, params: RawJson, backlog: &Backlog) {
        let token = params.member("progressToken").and_then(|token| token.tree(1).ok());
        let Some(token) = token.and_then(|token| serde_json::from_value(token).ok()) else {
            return;
        };
        let Some(flight) = self.lock().by_token.get(&token).cloned() else { return };
        flight.heard();
        if let Some(room) = backlog.room_now(params.length()) {
            flight.channel.tell(params.guarded_by(room));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn insert(&mut self, id: &RequestId, token: Option<ProgressToken>, flight: &Arc<PendingCall>) {
        self.by_token.extend(token.map(|token| (token, flight.clone())));
        self.by_id.insert(id.clone(), flight.clone());
    }
}

impl PendingCall {
    pub(super) fn new(channel: ClientChannel, timeout: Duration) -> Self {
        let now = clock::tokio_instant();
        let clock =
            Mutex::new(Clock { begun: now, heard: now, asking: None, still: Duration::ZERO });
        Self {
            channel,
            timeout,
            clock,
            over: AtomicBool::new(false),
            answers: None,
            arguments: None,
            reply: Mutex::default(),
        }
    }

    /// Keeps what came back; of several the first.
    pub(super) fn put(&self, reply: Reply) {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reply);
    }

    pub(super) fn take_reply(&self) -> Option<Reply> {
        self.reply.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn heard(&self) {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner).heard = clock::tokio_instant();
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
        let clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        match clock.asking {
            Some((since, _)) => {
                let left = MOST_STILL.saturating_sub(clock.still);
                (clock::tokio_instant() + self.timeout).min(since + left)
            }
            None => (clock.heard + self.timeout).min(clock.begun + self.timeout * MOST_EXTENSION),
        }
    }

    /// Puts a question to the user; None if there is nobody who answers.
    pub(super) async fn ask(&self, params: Value) -> Option<Result<Value, RpcError>> {
        if !self.channel.asks() {
            return None;
        }
        let _open = OpenQuestion::new(&self.clock);
        tokio::time::timeout(ANSWER_DEADLINE, self.channel.ask(params)).await.ok().flatten()
    }
}

/// Stops the clock as long as it lives.
struct OpenQuestion<'a>(&'a Mutex<Clock>);

impl<'a> OpenQuestion<'a> {
    fn new(clock: &'a Mutex<Clock>) -> Self {
        let mut now = clock.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, open) = now.asking.unwrap_or((clock::tokio_instant(), 0));
        now.asking = Some((since, open + 1));
        drop(now);
        Self(clock)
    }
}

impl Drop for OpenQuestion<'_> {
    fn drop(&mut self) {
        let mut clock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

    async fn lasts(flight: &PendingCall, alive: impl Fn(u64) -> bool) -> u64 {
        let begun = clock::tokio_instant();
        let life = async {
            for second in 0.. {
                if alive(second) {
                    flight.heard();
                }
                tokio::time::sleep(SECOND).await;
            }
        };
        tokio::select! { () = flight.expired() => {}, () = life => {} }
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn progress_extends_a_timeout_up_to_ten_times() {
        let flight = || PendingCall::new(ClientChannel::disconnected(), SECOND * 5);
        assert_eq!(lasts(&flight(), |_| false).await, 5);
        assert_eq!(lasts(&flight(), |second| second <= 12).await, 17);
        assert_eq!(lasts(&flight(), |_| true).await, 50);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_stands_still_while_a_question_is_open() {
        let flight = PendingCall::new(ClientChannel::disconnected(), SECOND * 5);
        let begun = clock::tokio_instant();
        let question = OpenQuestion::new(&flight.clock);
        let answered = async {
            tokio::time::sleep(SECOND * 300).await;
            drop(question);
            std::future::pending::<()>().await
        };
        tokio::select! { () = flight.expired() => {}, () = answered => {} }
        assert_eq!(begun.elapsed().as_secs(), 305);
    }

    #[tokio::test(start_paused = true)]
    async fn endless_questions_do_not_extend_a_call_forever() {
        for overlapping in [false, true] {
            let flight = PendingCall::new(ClientChannel::disconnected(), SECOND * 5);
            let begun = clock::tokio_instant();
            let asking = async {
                let mut open = Vec::new();
                loop {
                    open.push(OpenQuestion::new(&flight.clock));
                    tokio::time::sleep(SECOND * 600).await;
                    if overlapping && open.len() == 1 {
                        continue;
                    }
                    open.remove(0);
                }
            };
            let bounded = async {
                tokio::select! { () = flight.expired() => {}, () = asking => {} }
            };
            assert!(tokio::time::timeout(SECOND * 100_000, bounded).await.is_ok());
            let lasted = begun.elapsed().as_secs();
            assert!((3_600..=3_610).contains(&lasted), "{lasted}");
        }
    }
}
