//! The requests of the client that are not answered yet: how many there may be, of how many bytes,
//! and which the client has withdrawn.

use std::{collections::HashMap, sync::Arc};

use rmcp::model::RequestId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::message::{INVALID_REQUEST, error};
use crate::{
    domain::{json::RawJson, refusal::RpcError},
    host::mutex::Mutex,
};

/// The most calls in flight. Further ones are refused, and everything else is still answered.
const MOST_CALLS: usize = 1024;

/// The most bytes that the arguments of calls in flight may take; those of one message always fit.
const MOST_ARGUMENT_BYTES: usize = 64 * 1024 * 1024;

/// The most answers that are ready or will be at once. When there are as many, nothing is read until
/// the client has taken some.
const MOST_ANSWERS: usize = 1024;

/// What a client hears that has too much in flight.
const LIMITED: i32 = -32004;

/// All requests that are not answered yet.
pub(super) struct InFlight {
    open: Mutex<HashMap<RequestId, OpenRequest>>,
    answers: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    argument_bytes: Arc<Semaphore>,
}

/// The right to one answer, held until it is written.
pub(super) type AnswerSlot = OwnedSemaphorePermit;

struct OpenRequest {
    cancel: CancellationToken,
    /// Whether the client has withdrawn it: it gets no answer then.
    withdrawn: bool,
}

impl InFlight {
    pub(super) fn new() -> Self {
        Self {
            open: Mutex::default(),
            answers: Arc::new(Semaphore::new(MOST_ANSWERS)),
            calls: Arc::new(Semaphore::new(MOST_CALLS)),
            argument_bytes: Arc::new(Semaphore::new(MOST_ARGUMENT_BYTES)),
        }
    }

    /// Waits until one more answer may be owed.
    pub(super) async fn answer_slot(&self) -> Option<AnswerSlot> {
        self.answers.clone().acquire_owned().await.ok()
    }

    /// Registers a request under its id; `cancel` is cancelled when the client withdraws it.
    pub(super) fn register(
        &self,
        id: &RequestId,
        cancel: CancellationToken,
    ) -> Result<(), RpcError> {
        let mut open = self.open.lock();
        if open.contains_key(id) {
            return Err(error(
                INVALID_REQUEST,
                "a request with this `id` is in flight, and its answer follows under this `id`; give every request an id of its own",
            ));
        }
        open.insert(id.clone(), OpenRequest { cancel, withdrawn: false });
        Ok(())
    }

    /// The slot of a call in flight, which replaces the one for its answer. Its share of the bytes for
    /// arguments is held as long as they are.
    pub(super) fn admit(&self, arguments: &mut RawJson) -> Result<AnswerSlot, RpcError> {
        let busy = |what| error(LIMITED, what);
        let slot = self.calls.clone().try_acquire_owned();
        let slot =
            slot.map_err(|_| busy("1024 calls are in flight; wait for answers, or cancel some"))?;
        let bytes = u32::try_from(arguments.length()).unwrap_or(u32::MAX);
        let bytes = self.argument_bytes.clone().try_acquire_many_owned(bytes).map_err(|_| {
            busy("the arguments of calls in flight take more than 64 MiB; wait for answers")
        })?;
        *arguments = arguments.clone().guarded_by(bytes);
        Ok(slot)
    }

    /// A request that is withdrawn gets no answer. Its id is free when its work has ended.
    pub(super) fn withdraw(&self, id: &RequestId) {
        if let Some(request) = self.open.lock().get_mut(id) {
            request.withdrawn = true;
            request.cancel.cancel();
        }
    }

    /// Frees the id of a request whose work has ended; says whether its answer is to be written.
    pub(super) fn complete(&self, id: &RequestId) -> bool {
        self.open.lock().remove(id).is_some_and(|request| !request.withdrawn)
    }
}
