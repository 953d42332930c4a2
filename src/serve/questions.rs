//! Questions to the client (elicitation): requests of ours, each with an id of its own.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicI64, Ordering},
};

use rmcp::model::RequestId;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{message::CANCELLED, outbox::Outbox};
use crate::{
    domain::refusal::RpcError,
    downstream::{ELICITATION, Question},
    host::mutex::Mutex,
};

type ClientAnswer = Result<Value, RpcError>;

/// The questions that the client has not answered yet.
#[derive(Default)]
pub(super) struct OpenQuestions {
    next_id: AtomicI64,
    open: Mutex<HashMap<i64, oneshot::Sender<ClientAnswer>>>,
}

impl OpenQuestions {
    /// Asks the client and hands its answer to the server; withdraws the question when the call is
    /// over.
    pub(super) async fn ask(&self, outbox: &Outbox, question: Question, over: CancellationToken) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.open.lock().insert(id, answer);
        let request =
            json!({"jsonrpc": "2.0", "id": id, "method": ELICITATION, "params": question.params});
        // Written whole, even if the call ends meanwhile.
        let asked = outbox.message(&request).await.is_ok();
        tokio::select! {
            outcome = answered, if asked => {
                if let Ok(outcome) = outcome {
                    question.answer(outcome);
                }
            }
            () = over.cancelled(), if asked => {
                self.open.lock().remove(&id);
                let params = json!({"requestId": id, "reason": "the call is over"});
                let note = json!({"jsonrpc": "2.0", "method": CANCELLED, "params": params});
                // A client that is gone has no question open.
                let _ = outbox.message(&note).await;
            }
            // The client is gone. A question that is dropped counts as not answered.
            else => drop(self.open.lock().remove(&id)),
        }
    }

    /// Takes an answer of the client; some clients write numeric ids as strings.
    pub(super) fn answered(&self, id: &RequestId, outcome: ClientAnswer) {
        let id = match id {
            RequestId::Number(id) => Some(*id),
            RequestId::String(id) => id.parse().ok(),
        };
        if let Some(question) = id.and_then(|id| self.open.lock().remove(&id)) {
            // The call may have ended meanwhile.
            let _ = question.send(outcome);
        }
    }
}
