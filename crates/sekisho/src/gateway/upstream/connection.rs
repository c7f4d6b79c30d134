//! The conversation with one process: a message a line, both ways, many calls at once.
//!
//! ```text
//! begin ─▶ queue (bounded) ─▶ writer ─▶ the process reads
//! exchange ◀─ by the id of the answer ◀─ reader ◀─ the process writes
//! ```
//!
//! What the process tells or asks belongs to no call by its form. Progress names its call; all
//! else is taken as part of the call that was begun last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sekisho_protocol::mcp::{
    INTERNAL_ERROR, Incoming, McpError, Message, Notification, Request, Response,
    progress_token_in, write_error, write_notification, write_request, write_result,
};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::children::Per;
use super::super::limits::GatewayLimits;
use super::exchange::{Notice, Question};
use crate::mcp::{Changes, keep_on_one_line};

/// Messages that wait to be written; who has more to say waits.
const QUEUE_MAX: usize = 64;
/// What one call is told before it looks; more is dropped, or refused if it is a question.
const EVENTS_MAX: usize = 64;
/// Lines that are no messages, of which the log says so, for each process.
const STRAY_LINES_TOLD: u32 = 5;

/// An open conversation.
#[derive(Debug)]
pub(in crate::gateway) struct Connection {
    queue: mpsc::Sender<Bytes>,
    calls: Mutex<Calls>,
    calls_max: usize,
    answer_wait: Duration,
    changes: Changes,
    /// Between people, of whom none may hear what is another's.
    is_shared: bool,
    /// Nothing more is written.
    closing: CancellationToken,
    /// Nothing more is read.
    closed: CancellationToken,
}

#[derive(Debug)]
struct Calls {
    last_id: u64,
    open: BTreeMap<u64, OpenCall>,
    is_over: bool,
    used_at: Instant,
}

#[derive(Debug)]
struct OpenCall {
    events: mpsc::Sender<Event>,
    answer: oneshot::Sender<Outcome>,
}

/// A result, or an error, as it came.
pub(super) type Outcome = Result<Box<RawValue>, Box<RawValue>>;

/// What a call hears before its answer.
#[derive(Debug)]
pub(super) enum Event {
    Question(Question),
    Notice(Notice),
}

/// The end of a call that hears. Dropped before its answer, the server hears that the call is
/// cancelled.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) connection: Arc<Connection>,
    pub(super) id: u64,
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) answer: oneshot::Receiver<Outcome>,
}

impl Connection {
    /// Begins to read `input` and to write `output`.
    pub(in crate::gateway) fn open(
        input: impl AsyncRead + Unpin + Send + 'static,
        output: impl AsyncWrite + Unpin + Send + 'static,
        limits: &GatewayLimits,
        changes: Changes,
        per: Per,
    ) -> Arc<Self> {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let connection = Arc::new(Self {
            queue,
            calls: Mutex::new(Calls {
                last_id: 0,
                open: BTreeMap::new(),
                is_over: false,
                used_at: Instant::now(),
            }),
            calls_max: limits.calls_max,
            answer_wait: limits.answer_wait,
            changes,
            is_shared: matches!(per, Per::Process),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        });
        let closing = connection.closing.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = write_lines(queued, output) => {}
                () = closing.cancelled() => {}
            }
        });
        let reading = Arc::clone(&connection);
        let line_bytes_max = limits.line_bytes_max;
        tokio::spawn(async move {
            tokio::select! {
                () = reading.read_lines(BufReader::new(input), line_bytes_max) => {}
                () = reading.closed.cancelled() => {}
            }
            reading.end();
        });
        connection
    }

    /// Ends the process's input, which asks it to end.
    pub(in crate::gateway) fn close_input(&self) {
        self.closing.cancel();
    }

    /// Completes when the process says nothing more.
    pub(in crate::gateway) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Lets every call know that there will be no answer.
    pub(in crate::gateway) fn end(&self) {
        self.closing.cancel();
        let mut calls = self.lock();
        calls.is_over = true;
        calls.open.clear();
        drop(calls);
        self.closed.cancel();
    }

    /// Whether no call is open.
    pub(super) fn is_at_rest(&self) -> bool {
        self.lock().open.is_empty()
    }

    /// When a call was last begun or ended.
    pub(in crate::gateway) fn used_at(&self) -> Instant {
        self.lock().used_at
    }

    pub(super) fn answer_wait(&self) -> Duration {
        self.answer_wait
    }

    /// A place for a call, which hears from now on.
    pub(super) fn listen(self: &Arc<Self>) -> Result<Ear, McpError> {
        let (events, hears) = mpsc::channel(EVENTS_MAX);
        let (answer, answered) = oneshot::channel();
        let mut calls = self.lock();
        if calls.is_over {
            return Err(ended());
        }
        if calls.open.len() >= self.calls_max {
            return Err(McpError::new(
                INTERNAL_ERROR,
                "too many calls wait for the server behind this one: try again later",
            ));
        }
        calls.last_id += 1;
        calls.used_at = Instant::now();
        let id = calls.last_id;
        calls.open.insert(id, OpenCall { events, answer });
        let connection = Arc::clone(self);
        Ok(Ear { connection, id, events: hears, answer: answered })
    }

    /// Sends a message when there is room; `false` if the conversation is over, or there is no room
    /// for so long that the process has stopped reading.
    pub(super) async fn send(&self, message: Bytes) -> bool {
        tokio::select! {
            sent = self.queue.send(message) => sent.is_ok(),
            () = self.closed.cancelled() => false,
            () = tokio::time::sleep(self.answer_wait) => false,
        }
    }

    /// Sends a notification if there is room, for those who cannot wait.
    pub(super) fn tell(&self, method: &str, params: Option<&RawValue>) {
        if self.queue.try_send(write_notification(method, params).into()).is_err() {
            tracing::debug!(mcp.method = method, "the server behind us is not told: no room");
        }
    }

    /// Asks something of our own; what is told meanwhile is of no interest.
    pub(super) async fn ask(
        self: &Arc<Self>,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, McpError> {
        let mut ear = self.listen()?;
        ear.events.close();
        let asked = async {
            if !self.send(write_request(ear.id, method, params).into()).await {
                return Err(ended());
            }
            match (&mut ear.answer).await {
                Ok(outcome) => outcome.map_err(McpError::forwarded),
                Err(_) => Err(ended()),
            }
        };
        tokio::time::timeout(self.answer_wait, asked).await.unwrap_or_else(|_| Err(silent()))
    }

    async fn read_lines(&self, mut input: impl AsyncBufRead + Unpin, line_bytes_max: usize) {
        let mut line = Vec::new();
        let mut strays = 0_u32;
        let most = u64::try_from(line_bytes_max).unwrap_or(u64::MAX);
        loop {
            line.clear();
            match (&mut input).take(most).read_until(b'\n', &mut line).await {
                Ok(0) => return,
                Ok(_) if line.len() == line_bytes_max && line.last() != Some(&b'\n') => {
                    tracing::error!(line_bytes_max, "the server behind us wrote too long a line");
                    return;
                }
                Ok(_) => {}
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the server behind us cannot be read");
                    return;
                }
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            match Incoming::parse(&line) {
                Ok(Incoming::Single(message)) => self.take(message),
                Ok(Incoming::Batch(messages)) => {
                    messages.into_iter().flatten().for_each(|message| self.take(message));
                }
                Err(error) => {
                    strays += 1;
                    if strays <= STRAY_LINES_TOLD {
                        tracing::warn!(%error, "the server behind us wrote what is no message");
                    }
                }
            }
        }
    }

    fn take(&self, message: Message<'_>) {
        match message {
            Message::Response(response) => self.take_answer(&response),
            Message::Request(request) => self.take_question(request),
            Message::Notification(notification) => self.take_notice(&notification),
        }
    }

    fn take_answer(&self, response: &Response<'_>) {
        let id = response.id.as_ref().and_then(|id| id.as_json().parse::<u64>().ok());
        let mut calls = self.lock();
        calls.used_at = Instant::now();
        if let Some(call) = id.and_then(|id| calls.open.remove(&id)) {
            let outcome = response.outcome.map(ToOwned::to_owned).map_err(ToOwned::to_owned);
            // Whoever asked may have given up just now.
            let _ = call.answer.send(outcome);
        }
    }

    fn take_question(&self, request: Request<'_>) {
        let id = request.id.clone();
        let answer = if request.method == "ping" {
            write_result(&id, "{}")
        } else if let Some(question) = Question::of(request) {
            if self.tell_latest(Event::Question(question)) {
                return;
            }
            let nobody = McpError::new(INTERNAL_ERROR, "no call is open whose client can be asked");
            write_error(Some(&id), &nobody)
        } else {
            write_error(Some(&id), &McpError::method_not_found("of a client"))
        };
        if self.queue.try_send(answer.into()).is_err() {
            tracing::debug!("the server behind us asks and does not read");
        }
    }

    fn take_notice(&self, notification: &Notification<'_>) {
        #[derive(Deserialize)]
        struct Updated {
            uri: String,
        }
        let params = notification.params;
        match notification.method.as_ref() {
            "notifications/tools/list_changed" => self.changes.tools_changed(),
            "notifications/prompts/list_changed" => self.changes.prompts_changed(),
            "notifications/resources/list_changed" => self.changes.resources_changed(),
            "notifications/resources/updated" => {
                let updated = params.and_then(|params| serde_json::from_str(params.get()).ok());
                if let Some(Updated { uri }) = updated {
                    self.changes.resource_updated(&uri);
                }
            }
            method => {
                let notice = Notice::new(method, params);
                match params.filter(|_| method == "notifications/progress").map(progress_token_in) {
                    None => {
                        self.tell_latest(Event::Notice(notice));
                    }
                    Some(Some(id)) => {
                        if let Some(call) = self.lock().open.get(&id) {
                            // Progress that nobody takes in time is out of date.
                            let _ = call.events.try_send(Event::Notice(notice));
                        }
                    }
                    Some(None) => {}
                }
            }
        }
    }

    /// Tells the call that was begun last; `false` if there is none, or it does not listen, or it
    /// may be meant for somebody else.
    fn tell_latest(&self, event: Event) -> bool {
        let calls = self.lock();
        if self.is_shared && calls.open.len() > 1 {
            return false;
        }
        let latest = calls.open.values().next_back();
        latest.is_some_and(|call| call.events.try_send(event).is_ok())
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut calls = self.connection.lock();
        calls.used_at = Instant::now();
        let was_open = calls.open.remove(&self.id).is_some();
        drop(calls);
        if was_open {
            let params = to_raw_value(&serde_json::json!({ "requestId": self.id })).ok();
            self.connection.tell("notifications/cancelled", params.as_deref());
        }
    }
}

async fn write_lines(mut queued: mpsc::Receiver<Bytes>, mut output: impl AsyncWrite + Unpin) {
    while let Some(message) = queued.recv().await {
        let mut line = Vec::from(message);
        keep_on_one_line(&mut line);
        line.push(b'\n');
        // A process that reads no more is about to end, which the reader sees.
        if output.write_all(&line).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}

/// The process is gone, and what it was asked with it. Nothing is asked twice by us.
pub(super) fn ended() -> McpError {
    McpError::new(INTERNAL_ERROR, "the server behind this one ended before it answered")
}

/// It is there, and says nothing.
pub(super) fn silent() -> McpError {
    McpError::new(INTERNAL_ERROR, "the server behind this one does not answer")
}
