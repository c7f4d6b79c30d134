//! The conversation with one server: messages both ways, many calls at once, whatever carries them.
//!
//! ```text
//! begin ─▶ queue (bounded) ─▶ a transport: lines, streamable_http, http_sse ─▶ the server
//! begin ─▶ past the queue, where each call has a way of its own (streamable_http) ─▶ the server
//! exchange ◀─ by the id of the answer ◀─ hear ◀──────── the same transport ◀─ the server
//! ```
//!
//! A transport takes what is queued, or a call by itself, and says what it hears. What it hears may
//! belong to a call by the way it came (an answer to a POST). Where it does not, as over stdio,
//! progress names its call, and all else is taken as part of the call that was begun last.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use sekisho_protocol::mcp::{
    INTERNAL_ERROR, Incoming, McpError, Message, Notification, ProtocolVersion, Request, Response,
    progress_token_in, subscription_id_in, write_error, write_notification, write_request,
    write_result,
};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::limits::GatewayLimits;
use super::super::owners::Per;
use super::exchange::{Notice, Question};
use super::news::{Hearer, Teller, news};
use super::remote::{Call, Link};
use super::tools::KnownTools;
use crate::mcp::Changes;
use crate::principal::Principal;

/// Messages that wait to be sent; who has more to say waits.
pub(super) const QUEUE_MAX: usize = 64;
/// Texts that are no messages, of which the log says so, for each conversation.
const STRAYS_TOLD: u32 = 5;

/// An open conversation.
#[derive(Debug)]
pub(in crate::gateway) struct Connection {
    queue: mpsc::Sender<Outgoing>,
    /// What carries each call by itself, past the queue.
    direct: OnceLock<Weak<Link>>,
    calls: Mutex<Calls>,
    calls_max: usize,
    answer_wait: Duration,
    message_bytes_max: usize,
    changes: Changes,
    tools: Arc<KnownTools>,
    /// Between people, of whom none may hear what is another's.
    is_shared: bool,
    version: OnceLock<ProtocolVersion>,
    strays: AtomicU32,
    /// Who called last, and so speaks for what is no call.
    caller: Mutex<Option<Arc<Principal>>>,
    /// The server has forgotten the conversation, and a new one may be begun.
    forgotten: CancellationToken,
    /// Nothing more is sent.
    closing: CancellationToken,
    /// Nothing more is heard.
    closed: CancellationToken,
}

/// A call being carried by whoever made it. Dropped, it is given up.
pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A message on its way to the server.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) message: Bytes,
    /// What goes beside it where there are headers.
    pub(super) headers: HeaderMap,
    /// The call it begins, if it does.
    pub(super) call: Option<Called>,
    /// For whom it is said.
    pub(super) caller: Option<Arc<Principal>>,
}

/// A call for a transport.
#[derive(Debug)]
pub(super) struct Called {
    pub(super) id: u64,
    /// Nobody waits for its answer any more.
    pub(super) given_up: CancellationToken,
}

#[derive(Debug)]
struct Calls {
    last_id: u64,
    open: BTreeMap<u64, OpenCall>,
    is_over: bool,
    /// Something was answered since the greeting.
    has_served: bool,
    used_at: Instant,
}

#[derive(Debug)]
struct OpenCall {
    events: Teller,
    answer: oneshot::Sender<Ending>,
    kind: Kind,
}

/// How long a call is meant to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Until its answer.
    Passing,
    /// As long as somebody listens; it keeps nothing open by itself.
    Standing,
}

/// How a call ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// With a result, as it came.
    Result(Box<RawValue>),
    /// The server did not do it: it says so in an error of its own, or by this status.
    Refused { error: McpError, status: Option<StatusCode> },
    /// The server did not even get to hear of it, or does not let us in.
    Unreached(McpError),
    /// Nobody knows whether it was done.
    Failed(McpError),
}

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
    pub(super) events: Hearer,
    pub(super) answer: oneshot::Receiver<Ending>,
    caller: Option<Arc<Principal>>,
    /// For what carries the call, if that is not whoever made it.
    given_up: OnceLock<CancellationToken>,
}

impl Connection {
    /// A conversation, and what a transport has to send of it.
    pub(super) fn open(
        limits: &GatewayLimits,
        changes: Changes,
        per: Per,
        caller: Option<Arc<Principal>>,
    ) -> (Arc<Self>, mpsc::Receiver<Outgoing>) {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let connection = Self {
            queue,
            direct: OnceLock::new(),
            calls: Mutex::new(Calls {
                last_id: 0,
                open: BTreeMap::new(),
                is_over: false,
                has_served: false,
                used_at: Instant::now(),
            }),
            calls_max: limits.calls_max,
            answer_wait: limits.answer_wait,
            message_bytes_max: limits.message_bytes_max,
            changes,
            tools: Arc::default(),
            is_shared: matches!(per, Per::Process),
            version: OnceLock::new(),
            strays: AtomicU32::new(0),
            caller: Mutex::new(caller),
            forgotten: CancellationToken::new(),
            closing: CancellationToken::new(),
            closed: CancellationToken::new(),
        };
        (Arc::new(connection), queued)
    }

    /// Lets calls be carried by those who make them.
    pub(super) fn set_direct(&self, link: &Arc<Link>) {
        // A conversation has one transport.
        let _ = self.direct.set(Arc::downgrade(link));
    }

    /// Settles what is spoken, after the greeting.
    pub(super) fn agree_on(&self, version: ProtocolVersion) {
        // A conversation is begun once, by one greeting.
        let _ = self.version.set(version);
    }

    /// What is spoken; nothing before the greeting was answered.
    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        self.version.get().copied()
    }

    /// Takes note of who calls: always the same person, by the client and token they use now.
    pub(in crate::gateway) fn speak_for(&self, caller: Option<&Arc<Principal>>) {
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = caller.cloned();
    }

    /// Who called last.
    pub(super) fn caller(&self) -> Option<Arc<Principal>> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there are calls, and nothing else that either side could say to the other.
    pub(super) fn is_stateless(&self) -> bool {
        self.version().is_some_and(ProtocolVersion::is_stateless)
    }

    pub(super) fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    /// What is known of the server's tools.
    pub(super) fn tools(&self) -> &Arc<KnownTools> {
        &self.tools
    }

    /// Sends nothing more, which asks a process to end.
    pub(super) fn close(&self) {
        self.closing.cancel();
    }

    /// Completes when nothing more is sent.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Completes when the server says nothing more.
    pub(in crate::gateway) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Lets every call know that there will be no answer.
    pub(super) fn end(&self) {
        self.closing.cancel();
        let mut calls = self.lock();
        calls.is_over = true;
        calls.open.clear();
        drop(calls);
        self.closed.cancel();
    }

    /// Takes note that the server does not know the conversation any more, as it said to `refused` if
    /// it was a call that found out. Other calls have their own answers yet to come.
    pub(super) fn forget(&self, refused: Option<(u64, Ending)>) {
        if self.is_usable() {
            tracing::info!("the server behind us has forgotten its session");
        }
        self.forgotten.cancel();
        if let Some((id, ending)) = refused {
            self.finish(id, ending);
        }
    }

    /// Whether a call can be begun.
    pub(in crate::gateway) fn is_usable(&self) -> bool {
        // It closes before it is closed: a session is parted from, a process is given a second.
        !self.closing.is_cancelled() && !self.is_forgotten()
    }

    /// Whether the server has forgotten it.
    pub(in crate::gateway) fn is_forgotten(&self) -> bool {
        self.forgotten.is_cancelled()
    }

    /// Whether it was good for anything beyond its greeting.
    pub(in crate::gateway) fn has_served(&self) -> bool {
        self.lock().has_served
    }

    /// When the last call ended; nothing while one is open.
    pub(super) fn at_rest_since(&self) -> Option<Instant> {
        let calls = self.lock();
        let is_at_rest = calls.open.values().all(|call| call.kind == Kind::Standing);
        is_at_rest.then_some(calls.used_at)
    }

    pub(super) fn answer_wait(&self) -> Duration {
        self.answer_wait
    }

    /// A place for a call of ours, which hears from now on.
    pub(super) fn listen(self: &Arc<Self>, kind: Kind) -> Result<Ear, McpError> {
        self.listen_for(kind, self.caller())
    }

    /// A place for a call of `caller`'s.
    pub(super) fn listen_for(
        self: &Arc<Self>,
        kind: Kind,
        caller: Option<Arc<Principal>>,
    ) -> Result<Ear, McpError> {
        let (events, hears) = news();
        let (answer, answered) = oneshot::channel();
        let mut calls = self.lock();
        if calls.is_over || self.is_forgotten() {
            return Err(ended());
        }
        if calls.open.len() >= self.calls_max {
            return Err(McpError::new(
                INTERNAL_ERROR,
                "too many calls wait for the server behind this one: try again later",
            ));
        }
        calls.last_id += 1;
        let id = calls.last_id;
        calls.open.insert(id, OpenCall { events, answer, kind });
        let connection = Arc::clone(self);
        let given_up = OnceLock::new();
        Ok(Ear { connection, id, events: hears, answer: answered, caller, given_up })
    }

    /// Sends a message that begins no call. See [`send`](Self::send).
    pub(super) async fn say(&self, message: Vec<u8>) -> bool {
        self.say_for(self.caller(), message).await
    }

    async fn say_for(&self, caller: Option<Arc<Principal>>, message: Vec<u8>) -> bool {
        let message = Bytes::from(message);
        self.send(Outgoing { message, headers: HeaderMap::new(), call: None, caller }).await
    }

    /// Sends a message when there is room; `false` if the conversation is over, or there is no room
    /// for so long that the server has stopped reading.
    async fn send(&self, outgoing: Outgoing) -> bool {
        let outgoing = match self.queue.try_send(outgoing) {
            Ok(()) => return true,
            Err(TrySendError::Closed(_)) => return false,
            Err(TrySendError::Full(outgoing)) => outgoing,
        };
        let waited = tokio::time::timeout(self.answer_wait, async {
            tokio::select! {
                sent = self.queue.send(outgoing) => sent.is_ok(),
                () = self.closed.cancelled() => false,
            }
        });
        Box::pin(waited).await.unwrap_or(false)
    }

    /// Sends a notification if there is room, for those who cannot wait.
    pub(super) fn tell(&self, method: &str, params: Option<&RawValue>) {
        self.try_say(write_notification(method, params));
    }

    fn try_say(&self, message: Vec<u8>) {
        let message = Bytes::from(message);
        let caller = self.caller();
        let outgoing = Outgoing { message, headers: HeaderMap::new(), call: None, caller };
        if self.queue.try_send(outgoing).is_err() {
            tracing::debug!("the server behind us does not read: something is not said");
        }
    }

    /// Asks something of our own; what is told meanwhile is of no interest.
    pub(super) async fn ask(
        self: &Arc<Self>,
        method: &str,
        params: Option<&RawValue>,
        headers: HeaderMap,
    ) -> Ending {
        let mut ear = match self.listen(Kind::Passing) {
            Ok(ear) => ear,
            Err(error) => return Ending::Failed(error),
        };
        ear.events.close();
        let asked = async {
            if !ear.call(write_request(ear.id, method, params.map(RawValue::get)), headers).await {
                return Ending::Failed(ended());
            }
            (&mut ear.answer).await.unwrap_or_else(|_| Ending::Failed(ended()))
        };
        let answered = tokio::time::timeout(self.answer_wait, asked).await;
        answered.unwrap_or_else(|_| Ending::Failed(silent()))
    }

    /// Takes what a transport has heard: by the call's own way if it came by one.
    pub(super) fn hear(&self, text: &[u8], of: Option<u64>) {
        match Incoming::parse(text) {
            Ok(Incoming::Single(message)) => self.take(message, of),
            Ok(Incoming::Batch(messages)) => {
                messages.into_iter().flatten().for_each(|message| self.take(message, of));
            }
            Err(error) => {
                if self.strays.fetch_add(1, Ordering::Relaxed) < STRAYS_TOLD {
                    tracing::warn!(%error, "the server behind us wrote what is no message");
                }
            }
        }
    }

    fn take(&self, message: Message<'_>, of: Option<u64>) {
        match message {
            Message::Response(response) => self.take_answer(&response),
            Message::Request(request) => self.take_question(request, of),
            Message::Notification(notification) => self.take_notice(&notification, of),
        }
    }

    fn take_answer(&self, response: &Response<'_>) {
        let id = response.id.as_ref().and_then(|id| id.as_json().parse::<u64>().ok());
        if let Some(id) = id {
            self.finish(
                id,
                match response.outcome {
                    Ok(result) => Ending::Result(result.to_owned()),
                    Err(error) => {
                        let error = McpError::forwarded(error.to_owned());
                        Ending::Refused { error, status: None }
                    }
                },
            );
        }
    }

    /// Ends a call, if it is still open.
    pub(super) fn finish(&self, id: u64, ending: Ending) {
        let is_greeted = self.version().is_some();
        let mut calls = self.lock();
        calls.used_at = Instant::now();
        if let Some(call) = calls.open.remove(&id) {
            calls.has_served |= is_greeted && matches!(ending, Ending::Result(_));
            // Whoever asked may have given up just now.
            let _ = call.answer.send(ending);
        }
    }

    /// Whether a call of this id waits for its answer.
    pub(super) fn is_open(&self, id: u64) -> bool {
        self.lock().open.contains_key(&id)
    }

    fn take_question(&self, request: Request<'_>, of: Option<u64>) {
        if self.is_stateless() {
            tracing::debug!(mcp.method = %request.method, "a server without sessions asks in vain");
            return;
        }
        let id = request.id.clone();
        let answer = if request.method == "ping" {
            write_result(&id, "{}")
        } else if let Some(question) = Question::of(request) {
            if self.tell_one(Event::Question(question), of) {
                return;
            }
            let nobody = McpError::new(INTERNAL_ERROR, "no call is open whose client can be asked");
            write_error(Some(&id), &nobody)
        } else {
            write_error(Some(&id), &McpError::method_not_found("of a client"))
        };
        self.try_say(answer);
    }

    fn take_notice(&self, notification: &Notification<'_>, of: Option<u64>) {
        #[derive(Deserialize)]
        struct Updated {
            uri: String,
        }
        let params = notification.params;
        match notification.method.as_ref() {
            "notifications/tools/list_changed" => {
                self.tools.forget();
                self.changes.tools_changed();
            }
            "notifications/prompts/list_changed" => self.changes.prompts_changed(),
            "notifications/resources/list_changed" => self.changes.resources_changed(),
            "notifications/resources/updated" => {
                let updated = params.and_then(|params| serde_json::from_str(params.get()).ok());
                if let Some(Updated { uri }) = updated {
                    self.changes.resource_updated(&uri);
                }
            }
            "notifications/subscriptions/acknowledged" => {
                // Where all comes on one line, it says itself whose it is.
                let of = of.or_else(|| params.and_then(subscription_id_in));
                let notice = Event::Notice(Notice::new(&notification.method, params));
                self.tell_one(notice, of);
            }
            method => {
                let notice = Event::Notice(Notice::new(method, params));
                let progress = params.filter(|_| method == "notifications/progress");
                let of = match progress.map(progress_token_in) {
                    None => of,
                    Some(Some(id)) => Some(id),
                    Some(None) => return,
                };
                self.tell_one(notice, of);
            }
        }
    }

    /// Tells the call that something came for; where nobody knows, the one that was begun last.
    /// `false` if there is none, or it does not listen, or it may be meant for somebody else.
    fn tell_one(&self, event: Event, of: Option<u64>) -> bool {
        let mut calls = self.lock();
        let passing = || calls.open.values().filter(|call| call.kind == Kind::Passing);
        let call = match of {
            Some(id) => calls.open.get(&id),
            None if self.is_shared && passing().count() > 1 => None,
            None => passing().next_back(),
        };
        let Some(call) = call else { return false };
        // Who listens for changes and is told something, is served.
        let is_served = call.kind == Kind::Standing;
        let is_told = call.events.tell(event);
        calls.has_served |= is_served;
        is_told
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear {
    /// Begins the call: answers what there is to do for it by whoever waits, where each call is on a
    /// way of its own; puts it into the queue where all share one.
    pub(super) async fn begin(
        &self,
        message: Vec<u8>,
        headers: HeaderMap,
    ) -> Result<Option<Work>, McpError> {
        let direct = self.connection.direct.get().and_then(Weak::upgrade);
        if let Some(link) = direct {
            let (message, caller) = (Bytes::from(message), self.caller.clone());
            return Ok(Some(link.carry(Call { message, headers, id: self.id, caller })));
        }
        if self.call(message, headers).await { Ok(None) } else { Err(ended()) }
    }

    /// Sends the request that this hears of; `false` as with every message.
    pub(super) async fn call(&self, message: Vec<u8>, headers: HeaderMap) -> bool {
        let given_up = self.given_up.get_or_init(CancellationToken::new).clone();
        let call = Called { id: self.id, given_up };
        let message = Bytes::from(message);
        let caller = self.caller.clone();
        self.connection.send(Outgoing { message, headers, call: Some(call), caller }).await
    }

    /// Says something that belongs to the call.
    pub(super) async fn say(&self, message: Vec<u8>) -> bool {
        self.connection.say_for(self.caller.clone(), message).await
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(given_up) = self.given_up.get() {
            given_up.cancel();
        }
        let mut calls = self.connection.lock();
        let open = calls.open.remove(&self.id);
        if open.as_ref().is_some_and(|call| call.kind == Kind::Passing) {
            calls.used_at = Instant::now();
        }
        drop(calls);
        // A greeting is never cancelled.
        if open.is_some() && self.connection.version().is_some() {
            let params = to_raw_value(&serde_json::json!({ "requestId": self.id })).ok();
            self.connection.tell("notifications/cancelled", params.as_deref());
        }
    }
}

impl Ending {
    /// The result, or what to say instead of one.
    pub(super) fn into_result(self) -> Result<Box<RawValue>, McpError> {
        match self {
            Self::Result(result) => Ok(result),
            Self::Refused { error, .. } | Self::Unreached(error) | Self::Failed(error) => {
                Err(error)
            }
        }
    }
}

/// The server is gone, and what it was asked with it. Nothing is asked twice by us.
pub(super) fn ended() -> McpError {
    McpError::new(INTERNAL_ERROR, "the server behind this one ended before it answered")
}

/// It is there, and says nothing.
pub(super) fn silent() -> McpError {
    McpError::new(INTERNAL_ERROR, "the server behind this one does not answer")
}
