//! The open questions of one server: a limited number, each under an id of its own.

use std::{
    collections::{HashMap, hash_map},
    sync::Arc,
};

use rmcp::model::RequestId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::host::mutex::Mutex;

/// At most this many questions of a server wait for their answers.
const MOST: usize = 64;

/// The requests of a server that are not answered yet.
#[derive(Debug)]
pub(super) struct Questions {
    room: Arc<Semaphore>,
    open: Mutex<HashMap<RequestId, QuestionState>>,
}

/// Room for one question.
pub(super) type QuestionRoom = OwnedSemaphorePermit;

#[derive(Debug)]
struct QuestionState {
    withdrawn: CancellationToken,
    /// The answer is being written; it is too late to withdraw the question.
    answering: bool,
}

/// A question that is open as long as this lives.
#[derive(Debug)]
pub(super) struct ServerQuestion {
    questions: Arc<Questions>,
    id: RequestId,
    withdrawn: CancellationToken,
    _room: QuestionRoom,
}

impl Questions {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { room: Arc::new(Semaphore::new(MOST)), open: Mutex::default() })
    }

    /// Waits until one more may be open. Never returns None, as nothing closes the semaphore.
    pub(super) async fn room(&self) -> Option<QuestionRoom> {
        self.room.clone().acquire_owned().await.ok()
    }

    /// Room, if there is any.
    pub(super) fn room_now(&self) -> Option<QuestionRoom> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// Opens a question. Returns the room if one with this id is still open.
    pub(super) fn open(
        self: &Arc<Self>,
        id: &RequestId,
        room: QuestionRoom,
    ) -> Result<ServerQuestion, QuestionRoom> {
        match self.open.lock().entry(id.clone()) {
            hash_map::Entry::Occupied(_) => Err(room),
            hash_map::Entry::Vacant(place) => {
                let withdrawn = CancellationToken::new();
                place.insert(QuestionState { withdrawn: withdrawn.clone(), answering: false });
                Ok(ServerQuestion {
                    questions: self.clone(),
                    id: id.clone(),
                    withdrawn,
                    _room: room,
                })
            }
        }
    }

    /// Closes a question that the server withdraws. Returns whether there is one with this id.
    pub(super) fn withdraw(&self, id: &RequestId) -> bool {
        let mut open = self.open.lock();
        let Some(question) = open.get(id) else { return false };
        if !question.answering {
            question.withdrawn.cancel();
            open.remove(id);
        }
        true
    }
}

impl ServerQuestion {
    /// Waits until the server withdraws the question.
    pub(super) async fn withdrawn(&self) {
        self.withdrawn.cancelled().await;
    }

    /// The answer is about to be written; false if the question was withdrawn.
    pub(super) fn begin_answer(&self) -> bool {
        let mut open = self.questions.open.lock();
        if self.withdrawn.is_cancelled() {
            return false;
        }
        open.get_mut(&self.id).is_some_and(|question| {
            question.answering = true;
            true
        })
    }
}

impl Drop for ServerQuestion {
    fn drop(&mut self) {
        let mut open = self.questions.open.lock();
        // Another question may have the id of one that was withdrawn.
        if !self.withdrawn.is_cancelled() {
            open.remove(&self.id);
        }
    }
}
