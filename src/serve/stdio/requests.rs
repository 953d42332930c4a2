//! The requests of the client that are not answered yet: how many there may be, of how many bytes,
//! and where their results are put.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use rmcp::{
    RoleServer,
    model::{
        ClientNotification, ClientRequest, ErrorCode, GetExtensions, JsonRpcMessage, RequestId,
    },
    service::RxJsonRpcMessage,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::read::Fault;
use crate::serve::carried::{Came, RawArguments, Slot};

/// The most calls in flight. Further ones are refused, and everything else is still answered.
pub(super) const MOST_CALLS: usize = 1024;

/// The most bytes that the arguments of calls in flight may take; those of one message always fit.
const MOST_ARGUMENT_BYTES: usize = 64 * 1024 * 1024;

/// The most answers that are ready or will be at once. When there are as many, nothing is read until
/// the client has taken some.
const MOST_ANSWERS: usize = 1024;

/// All requests that are not answered yet.
#[derive(Clone)]
pub(super) struct Requests {
    open: Arc<Mutex<HashMap<RequestId, Open>>>,
    answers: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    argument_bytes: Arc<Semaphore>,
    /// How many requests came.
    came: Arc<AtomicU64>,
}

/// Room for one answer, until it is written.
pub(super) type Room = OwnedSemaphorePermit;

/// A request that is not answered yet.
struct Open {
    slot: Slot,
    room: Room,
    /// Whether it is still worked on.
    running: bool,
    /// Whether the client has withdrawn it: it gets no answer then.
    withdrawn: bool,
}

/// In the extensions of a request as long as it is worked on.
#[derive(Clone)]
struct Running(#[expect(dead_code, reason = "it is there to be dropped")] Arc<UntilDropped>);

struct UntilDropped {
    requests: Requests,
    id: RequestId,
}

impl Drop for UntilDropped {
    fn drop(&mut self) {
        let mut open = self.requests.lock();
        if let Some(request) = open.get_mut(&self.id) {
            request.running = false;
            if request.withdrawn {
                open.remove(&self.id);
            }
        }
    }
}

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            open: Arc::default(),
            answers: Arc::new(Semaphore::new(MOST_ANSWERS)),
            calls: Arc::new(Semaphore::new(MOST_CALLS)),
            argument_bytes: Arc::new(Semaphore::new(MOST_ARGUMENT_BYTES)),
            came: Arc::default(),
        }
    }

    /// Waits for room for one more answer.
    pub(super) async fn room(&self) -> Option<Room> {
        self.answers.clone().acquire_owned().await.ok()
    }

    /// Takes note of a message before rmcp has it.
    ///
    /// # Errors
    /// A request that cannot be taken, with the room for the answer that says so.
    pub(super) fn note(
        &self,
        message: &mut RxJsonRpcMessage<RoleServer>,
        room: Room,
    ) -> Result<(), (Fault, Room)> {
        match message {
            JsonRpcMessage::Request(request) => self.begin(&request.id, &mut request.request, room),
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    self.withdraw(id);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn begin(
        &self,
        id: &RequestId,
        request: &mut ClientRequest,
        room: Room,
    ) -> Result<(), (Fault, Room)> {
        let mut open = self.lock();
        if open.contains_key(id) {
            return Err((Fault::in_flight(id), room));
        }
        let room = match request {
            ClientRequest::CallToolRequest(_) => match self.room_for_call(request) {
                Ok(room) => room,
                Err(cause) => return Err((Fault::busy(cause, id), room)),
            },
            _ => room,
        };
        let slot = Slot::default();
        let running = UntilDropped { requests: self.clone(), id: id.clone() };
        request.extensions_mut().insert(slot.clone());
        request.extensions_mut().insert(Running(Arc::new(running)));
        request.extensions_mut().insert(Came(self.came.fetch_add(1, Ordering::Relaxed)));
        open.insert(id.clone(), Open { slot, room, running: true, withdrawn: false });
        Ok(())
    }

    /// Room for a call in flight; that for its arguments is held as long as they are.
    fn room_for_call(&self, request: &mut ClientRequest) -> Result<Room, &'static str> {
        let room = self.calls.clone().try_acquire_owned();
        let room =
            room.map_err(|_| "1024 calls are in flight; wait for answers, or cancel some")?;
        if let Some(RawArguments(arguments)) = request.extensions_mut().get_mut::<RawArguments>() {
            let bytes = u32::try_from(arguments.length()).unwrap_or(u32::MAX);
            let bytes = self.argument_bytes.clone().try_acquire_many_owned(bytes);
            let bytes = bytes.map_err(
                |_| "the arguments of calls in flight take more than 64 MiB; wait for answers",
            )?;
            *arguments = arguments.clone().guarded_by(bytes);
        }
        Ok(room)
    }

    /// A request that is withdrawn gets no answer. Its id is free when it is not worked on any more.
    fn withdraw(&self, id: &RequestId) {
        let mut open = self.lock();
        match open.get_mut(id) {
            Some(request) if request.running => request.withdrawn = true,
            _ => drop(open.remove(id)),
        }
    }

    /// A request is about to be answered: its result, if it was put for us, and what is to be held
    /// until the answer is written.
    pub(super) fn answered(&self, id: &RequestId) -> Option<(Option<Vec<Bytes>>, Room)> {
        let request = self.lock().remove(id)?;
        Some((request.slot.take(), request.room))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fault {
    fn in_flight(id: &RequestId) -> Self {
        let message = "a request with this `id` is in flight, and its answer follows under this `id`; give every request an id of its own";
        Self::because(message, serde_json::to_value(id).ok())
    }

    fn busy(cause: &str, id: &RequestId) -> Self {
        const LIMITED: ErrorCode = ErrorCode(-32004);
        Self { code: LIMITED, ..Self::because(cause, serde_json::to_value(id).ok()) }
    }
}
