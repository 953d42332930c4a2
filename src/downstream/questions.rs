//! The questions of one server that are open: so many at a time and no more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::{
    RoleClient,
    model::{JsonRpcMessage, RequestId, ServerNotification},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// This many questions of a server may wait for their answers.
const MOST: usize = 64;

/// The requests that a server has made of us and that are not answered yet.
#[derive(Debug)]
pub(super) struct Questions {
    room: Arc<Semaphore>,
    open: Mutex<HashMap<RequestId, Room>>,
}

/// Room for one question.
pub(super) type Room = OwnedSemaphorePermit;

impl Questions {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { room: Arc::new(Semaphore::new(MOST)), open: Mutex::default() })
    }

    /// Waits until one more may be open. None is never the answer, as nothing closes the semaphore.
    pub(super) async fn room(&self) -> Option<Room> {
        self.room.clone().acquire_owned().await.ok()
    }

    /// Room, if there is any.
    pub(super) fn room_now(&self) -> Option<Room> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// A question is open until it is answered or taken back; one that is taken back never is
    /// answered.
    pub(super) fn heard(&self, message: &RxJsonRpcMessage<RoleClient>, room: Option<Room>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            // A server that gives two the same id gets one answer.
            JsonRpcMessage::Request(request) => {
                open.extend(room.map(|room| (request.id.clone(), room)));
            }
            JsonRpcMessage::Notification(notification) => {
                if let ServerNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    open.remove(id);
                }
            }
            _ => {}
        }
    }

    /// The answer has been sent, or cannot be.
    pub(super) fn answered(&self, id: &RequestId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

/// Which question a message of ours answers.
pub(super) fn answered_by(message: &TxJsonRpcMessage<RoleClient>) -> Option<RequestId> {
    match message {
        JsonRpcMessage::Response(response) => Some(response.id.clone()),
        JsonRpcMessage::Error(error) => error.id.clone(),
        _ => None,
    }
}
