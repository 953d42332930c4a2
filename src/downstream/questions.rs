//! The open questions of one server: a limited number, each under an id of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rmcp::{
    RoleClient,
    model::{ErrorData, JsonRpcMessage, RequestId, ServerNotification},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// At most this many questions of a server wait for their answers.
const MOST: usize = 64;

/// The requests that a server has made of us and that are not answered yet.
#[derive(Debug)]
pub(super) struct Questions {
    room: Arc<Semaphore>,
    open: Mutex<HashMap<RequestId, Open>>,
}

/// Room for one question.
pub(super) type Room = OwnedSemaphorePermit;

#[derive(Debug)]
struct Open {
    /// Given back when the question is no longer open.
    _room: Room,
    /// Its answer is being written, so taking the question back changes nothing any more.
    answering: bool,
}

/// What becomes of a message that arrived.
#[derive(Debug)]
pub(super) enum Heard {
    /// It is passed on.
    Passed,
    /// It is a request under an id that is open; the room is for writing the refusal.
    Repeated(RequestId, Room),
    /// It is dropped: a question for which there is no room, or the withdrawal of one whose answer
    /// is being written.
    Dropped,
}

/// What becomes of a message of ours.
#[derive(Debug)]
pub(super) enum Said {
    /// It answers no question.
    Plain,
    /// It answers a question, which is open until this is dropped.
    Answer(Answering),
    /// It answers a question that is not open any more, and is not written.
    TooLate,
}

/// The answer to a question, while it is written. The question is open until this is dropped.
#[derive(Debug)]
pub(super) struct Answering {
    questions: Arc<Questions>,
    id: RequestId,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.questions.lock().remove(&self.id);
    }
}

impl Questions {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { room: Arc::new(Semaphore::new(MOST)), open: Mutex::default() })
    }

    /// Waits until one more may be open. Never returns None, as nothing closes the semaphore.
    pub(super) async fn room(&self) -> Option<Room> {
        self.room.clone().acquire_owned().await.ok()
    }

    /// Room, if there is any.
    pub(super) fn room_now(&self) -> Option<Room> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// Takes note of a message that arrived. A question is open until its answer is written, or until
    /// it is taken back before that.
    pub(super) fn heard(
        &self,
        message: &RxJsonRpcMessage<RoleClient>,
        room: Option<Room>,
    ) -> Heard {
        match message {
            JsonRpcMessage::Request(request) => {
                let Some(room) = room else { return Heard::Dropped };
                let mut open = self.lock();
                if open.contains_key(&request.id) {
                    return Heard::Repeated(request.id.clone(), room);
                }
                open.insert(request.id.clone(), Open { _room: room, answering: false });
                Heard::Passed
            }
            JsonRpcMessage::Notification(notification) => match &notification.notification {
                ServerNotification::CancelledNotification(cancelled) => {
                    self.take_back(cancelled.params.request_id.as_ref())
                }
                _ => Heard::Passed,
            },
            _ => Heard::Passed,
        }
    }

    /// A withdrawal of something else ends a subscription of ours, which rmcp knows.
    fn take_back(&self, id: Option<&RequestId>) -> Heard {
        let Some(id) = id else { return Heard::Dropped };
        let mut open = self.lock();
        match open.get(id).map(|question| question.answering) {
            Some(true) => Heard::Dropped,
            Some(false) => {
                open.remove(id);
                Heard::Passed
            }
            None => Heard::Passed,
        }
    }

    /// Takes note of a message of ours that is about to be written.
    pub(super) fn said(self: &Arc<Self>, message: &TxJsonRpcMessage<RoleClient>) -> Said {
        let id = match message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        let Some(id) = id else { return Said::Plain };
        match self.lock().get_mut(id).filter(|question| !question.answering) {
            Some(question) => {
                question.answering = true;
                Said::Answer(Answering { questions: self.clone(), id: id.clone() })
            }
            None => Said::TooLate,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a request under an id that is open.
pub(super) fn repeated(id: RequestId) -> TxJsonRpcMessage<RoleClient> {
    let error = ErrorData::invalid_request(
        "a request with this id is still open; give each request an id of its own",
        None,
    );
    JsonRpcMessage::error(error, Some(id))
}
