//! Requests that go from the server to a client with a session, and wait for its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sekisho_protocol::mcp::{
    INTERNAL_ERROR, McpError, RequestId, write_notification, write_request,
};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::oneshot;

use super::event_stream::{EventStream, Offered};
use crate::mcp::input::{InputRequest, unreachable_client};

/// `result` or `error`, as the client sent it.
type Answer = Result<Box<RawValue>, Box<RawValue>>;

/// What one session has been asked and has not answered.
#[derive(Debug)]
pub(super) struct Questions {
    open: Mutex<Open>,
    most: usize,
    wait: Duration,
}

#[derive(Debug, Default)]
struct Open {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

impl Questions {
    pub(super) fn new(most: usize, wait: Duration) -> Self {
        Self { open: Mutex::default(), most, wait }
    }

    /// Asks on `stream`, one thing after the other is sent, and waits for all answers.
    pub(super) async fn ask(
        &self,
        stream: &Arc<EventStream>,
        requests: &[InputRequest],
    ) -> Result<Vec<Box<RawValue>>, McpError> {
        let mut asked = Vec::new();
        for request in requests {
            let (question, answer) = self.open(stream)?;
            let message = write_request(question.id, &request.method, Some(request.params.get()));
            match stream.offer(Bytes::from(message)) {
                Offered::Taken => asked.push((question, answer)),
                Offered::NoRoom(_) | Offered::Over => return Err(unreachable_client()),
            }
        }
        let all = async {
            let mut answers = Vec::new();
            for (question, answer) in asked {
                let answer = answer.await.map_err(|_| unreachable_client())?;
                question.close();
                answers.push(answer.map_err(McpError::forwarded)?);
            }
            Ok(answers)
        };
        tokio::time::timeout(self.wait, all).await.unwrap_or_else(|_| {
            Err(McpError::new(INTERNAL_ERROR, "the client took too long to answer"))
        })
    }

    /// Takes the client's answer. One that nobody waits for is dropped.
    pub(super) fn answered(&self, id: &RequestId, outcome: Result<&RawValue, &RawValue>) {
        let Ok(id) = id.as_json().parse() else { return };
        let waiting = self.lock().waiting.remove(&id);
        if let Some(waiting) = waiting {
            // Whoever asked may have given up just now.
            let _ = waiting.send(outcome.map(ToOwned::to_owned).map_err(ToOwned::to_owned));
        }
    }

    fn open(
        &self,
        stream: &Arc<EventStream>,
    ) -> Result<(Question<'_>, oneshot::Receiver<Answer>), McpError> {
        let mut open = self.lock();
        if open.waiting.len() >= self.most {
            return Err(McpError::new(
                INTERNAL_ERROR,
                "the client has too many questions to answer already",
            ));
        }
        open.last_id += 1;
        let id = open.last_id;
        let (sender, receiver) = oneshot::channel();
        open.waiting.insert(id, sender);
        Ok((Question { questions: self, stream: Arc::clone(stream), id, is_open: true }, receiver))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request on its way. Given up, its client is told that nobody waits any more.
struct Question<'a> {
    questions: &'a Questions,
    stream: Arc<EventStream>,
    id: u64,
    is_open: bool,
}

impl Question<'_> {
    fn close(mut self) {
        self.is_open = false;
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        self.questions.lock().waiting.remove(&self.id);
        let params = serde_json::json!({
            "requestId": self.id,
            "reason": "the call that asked is over",
        });
        if let Ok(params) = to_raw_value(&params) {
            let message = write_notification("notifications/cancelled", Some(&params));
            self.stream.offer(Bytes::from(message));
        }
    }
}
