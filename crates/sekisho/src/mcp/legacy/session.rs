//! One session of the revisions with a handshake: who began it, what was agreed upon, what runs.
//!
//! It belongs to a person, client and grant, never to the bytes of a token, so a refresh
//! continues it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{AbortHandle, Abortable, abortable};
use sekisho_protocol::mcp::{LogLevel, McpError, ProtocolVersion, RequestId, write_notification};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::event_stream::EventStream;
use super::limits::SessionLimits;
use super::questions::Questions;
use crate::clock::Timestamp;
use crate::mcp::changes::{Audience, Change, Whose};
use crate::mcp::input::InputRequest;
use crate::mcp::refusal::Refusal;
use crate::mcp::service::Subscription;
use crate::principal::Principal;

/// How a session's messages travel. A session never changes transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mcp) enum Transport {
    StreamableHttp,
    HttpSse,
    Stdio,
}

/// One client's conversation, from `initialize` to its end.
#[derive(Debug)]
pub(in crate::mcp) struct Session {
    id: Box<str>,
    transport: Transport,
    /// Who began it, with the newest token seen; nobody where nothing guards the server.
    principal: Option<Mutex<Arc<Principal>>>,
    version: OnceLock<ProtocolVersion>,
    client_capabilities: OnceLock<Box<RawValue>>,
    log_level: AtomicU8,
    followed: Mutex<HashMap<String, Subscription>>,
    followed_max: usize,
    questions: Questions,
    is_greeted: AtomicBool,
    is_initialized: AtomicBool,
    used_at: AtomicI64,
    streams: Mutex<Streams>,
    streams_max: usize,
    running: Mutex<HashMap<RequestId, AbortHandle>>,
    room: Arc<Semaphore>,
    calls_max: usize,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct Streams {
    last_number: u64,
    /// Streams for what no request asked for.
    listening: Vec<Arc<EventStream>>,
    /// Streams that end with an answer.
    answering: Vec<Arc<EventStream>>,
}

impl Session {
    pub(in crate::mcp) fn new(
        id: String,
        transport: Transport,
        principal: Option<Arc<Principal>>,
        limits: &SessionLimits,
        now: Timestamp,
    ) -> Arc<Self> {
        let calls_max = limits.calls_per_session_max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            id: id.into(),
            transport,
            principal: principal.map(Mutex::new),
            version: OnceLock::new(),
            client_capabilities: OnceLock::new(),
            log_level: AtomicU8::new(LOG_LEVEL_AT_FIRST),
            followed: Mutex::default(),
            followed_max: limits.subscriptions_max,
            questions: Questions::new(limits.questions_per_session_max, limits.answer_wait),
            is_greeted: AtomicBool::new(false),
            is_initialized: AtomicBool::new(false),
            used_at: AtomicI64::new(now.unix_seconds()),
            streams: Mutex::default(),
            streams_max: limits.streams_per_session_max,
            running: Mutex::default(),
            room: Arc::new(Semaphore::new(calls_max)),
            calls_max,
            ended: CancellationToken::new(),
        })
    }

    /// Hex digits.
    pub(in crate::mcp) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// Who began it, with the newest token seen.
    pub(in crate::mcp) fn principal(&self) -> Option<Arc<Principal>> {
        let principal = self.principal.as_ref()?;
        Some(Arc::clone(&principal.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(super) fn belongs_to(&self, caller: Option<&Arc<Principal>>) -> bool {
        match (self.principal(), caller) {
            (None, None) => true,
            (Some(owner), Some(caller)) => {
                Arc::ptr_eq(&owner, caller) || caller.may_continue(&owner)
            }
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// Remembers the caller's token if it lasts longer than the one known, so that streams live on
    /// after a refresh, and a late request with the old token does not end them.
    pub(super) fn renew(&self, caller: &Arc<Principal>) {
        let Some(principal) = &self.principal else { return };
        let mut known = principal.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&known, caller) && caller.expires_at >= known.expires_at {
            *known = Arc::clone(caller);
        }
    }

    /// The version agreed upon; nothing before `initialize` was answered.
    pub(in crate::mcp) fn version(&self) -> Option<ProtocolVersion> {
        self.version.get().copied().filter(|_| self.is_greeted.load(Ordering::Relaxed))
    }

    /// Settles the version and what the client can do; `false` if that was settled before. A client
    /// whose `initialize` failed may say the same once more.
    pub(super) fn agree_on(
        &self,
        version: ProtocolVersion,
        client_capabilities: Option<&RawValue>,
    ) -> bool {
        if self.version.set(version).is_err() {
            let said =
                |capabilities: Option<&RawValue>| capabilities.map(|raw| raw.get().to_owned());
            return !self.is_greeted.load(Ordering::Relaxed)
                && self.version.get() == Some(&version)
                && said(self.client_capabilities()) == said(client_capabilities);
        }
        if let Some(capabilities) = client_capabilities {
            // The version was settled by nobody else, so neither were these.
            let _ = self.client_capabilities.set(capabilities.to_owned());
        }
        true
    }

    /// From now on the session is one: its client knows what was agreed upon.
    pub(super) fn set_greeted(&self) {
        self.is_greeted.store(true, Ordering::Relaxed);
    }

    /// What the client said in `initialize` that it can do.
    pub(in crate::mcp) fn client_capabilities(&self) -> Option<&RawValue> {
        self.client_capabilities.get().map(AsRef::as_ref)
    }

    /// From which level on the client wants log messages.
    pub(in crate::mcp) fn log_level(&self) -> LogLevel {
        let place = usize::from(self.log_level.load(Ordering::Relaxed));
        LogLevel::ALL.get(place).copied().unwrap_or(LogLevel::Emergency)
    }

    pub(super) fn set_log_level(&self, level: LogLevel) {
        self.log_level.store(level as u8, Ordering::Relaxed);
    }

    /// Asks the client on the stream of a request of its own.
    pub(in crate::mcp) async fn ask(
        &self,
        stream: &Arc<EventStream>,
        requests: &[InputRequest],
    ) -> Result<Vec<Box<RawValue>>, McpError> {
        self.questions.ask(stream, requests).await
    }

    pub(super) fn answered(&self, id: &RequestId, outcome: Result<&RawValue, &RawValue>) {
        self.questions.answered(id, outcome);
    }

    pub(super) fn has_room_for_subscription(&self) -> bool {
        lock(&self.followed).len() < self.followed_max
    }

    pub(super) fn follow(&self, uri: String, subscription: Subscription) {
        lock(&self.followed).insert(uri, subscription);
    }

    pub(super) fn unfollow(&self, uri: &str) {
        let subscription = lock(&self.followed).remove(uri);
        drop(subscription);
    }

    pub(super) fn set_initialized(&self) {
        self.is_initialized.store(true, Ordering::Relaxed);
    }

    pub(in crate::mcp) fn touch(&self, now: Timestamp) {
        self.used_at.store(now.unix_seconds(), Ordering::Relaxed);
    }

    pub(super) fn used_at(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.used_at.load(Ordering::Relaxed))
    }

    pub(super) fn is_idle(&self, now: Timestamp, idle: Duration) -> bool {
        self.used_at().plus(idle).is_over(now)
    }

    /// Whether a request is being worked on.
    pub(super) fn is_busy(&self) -> bool {
        !lock(&self.running).is_empty()
    }

    /// Completes when the session ends.
    pub(in crate::mcp) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Ends the streams and what is being worked on.
    pub(in crate::mcp) fn end(&self) {
        self.ended.cancel();
        lock(&self.followed).clear();
        for (_, call) in lock(&self.running).drain() {
            call.abort();
        }
    }

    /// Takes in a stream for what no request asked for; `false` if there is no room for it, once those
    /// that are through or that nobody reads are gone.
    #[must_use]
    pub(in crate::mcp) fn listen_on(&self, stream: &Arc<EventStream>) -> bool {
        self.take_in(stream, |streams| &mut streams.listening)
    }

    /// Takes in a stream that ends with an answer, so that a client can come back for it; `false` if
    /// there is no room for it.
    #[must_use]
    pub(in crate::mcp) fn answer_on(&self, stream: &Arc<EventStream>) -> bool {
        self.take_in(stream, |streams| &mut streams.answering)
    }

    fn take_in(
        &self,
        stream: &Arc<EventStream>,
        among: impl FnOnce(&mut Streams) -> &mut Vec<Arc<EventStream>>,
    ) -> bool {
        let mut streams = lock(&self.streams);
        let has_room = streams.make_room(self.streams_max);
        if has_room {
            streams.name(stream);
            among(&mut streams).push(Arc::clone(stream));
        }
        has_room
    }

    /// Whether this stream is for what no request asked for.
    pub(in crate::mcp) fn listens_on(&self, stream: &Arc<EventStream>) -> bool {
        lock(&self.streams).listening.iter().any(|known| Arc::ptr_eq(known, stream))
    }

    /// The stream of this number, if it can still be read.
    pub(in crate::mcp) fn stream(&self, number: u64) -> Option<Arc<EventStream>> {
        let streams = lock(&self.streams);
        streams.all().find(|stream| stream.number() == number).cloned()
    }

    /// Says something that no request asked for, on exactly one stream.
    pub(in crate::mcp) fn tell(&self, message: Bytes) -> bool {
        if !self.is_initialized.load(Ordering::Relaxed) {
            return false;
        }
        let stream = {
            let streams = lock(&self.streams);
            let mut listening = streams.listening.iter();
            listening.clone().find(|stream| stream.is_read()).or_else(|| listening.next()).cloned()
        };
        stream.is_some_and(|stream| stream.push(message))
    }

    /// Lets `work` go on without whoever asked for it. A request can be cancelled by its id
    /// meanwhile: its work is dropped.
    pub(in crate::mcp) fn continue_in_background(
        self: &Arc<Self>,
        id: Option<RequestId>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Refusal> {
        let (place, work) = self.place(id, work)?;
        let running_work = async move {
            // It is over, however that came.
            let _ = work.await;
            drop(place);
        };
        tokio::spawn(running_work.in_current_span());
        Ok(())
    }

    /// A place for `work`, which ends early when its request is cancelled by its id.
    pub(in crate::mcp) fn place<W: Future>(
        self: &Arc<Self>,
        id: Option<RequestId>,
        work: W,
    ) -> Result<(Place, Abortable<W>), Refusal> {
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            return Err(Refusal::TooManyCalls);
        };
        let (work, cancel) = abortable(work);
        if let Some(id) = &id {
            match lock(&self.running).entry(id.clone()) {
                Entry::Occupied(_) => return Err(Refusal::IdInUse),
                Entry::Vacant(vacant) => vacant.insert(cancel),
            };
        }
        Ok((Place { session: Arc::clone(self), id, _permit: permit }, work))
    }

    /// Waits until nothing is being worked on, but not longer than `most`.
    pub(in crate::mcp) async fn settle(&self, most: Duration) {
        let everything = u32::try_from(self.calls_max).unwrap_or(u32::MAX);
        // Whether time ran out changes nothing: the caller ends the session next.
        let _ = tokio::time::timeout(most, self.room.acquire_many(everything)).await;
    }

    /// Stops the request of this id, if it still runs.
    pub(super) fn cancel(&self, id: &RequestId) {
        // The lock is given back first: what is dropped by the abort takes it again.
        let call = lock(&self.running).remove(id);
        if let Some(call) = call {
            call.abort();
        }
    }
}

impl Audience for Session {
    fn hear(&self, change: Change<'_>, whose: &Whose) {
        if !whose.concerns(self.principal().as_ref(), Some(&self.id)) {
            return;
        }
        let params = match change {
            Change::Resource(uri) if !lock(&self.followed).contains_key(uri) => return,
            Change::Resource(uri) => to_raw_value(&serde_json::json!({ "uri": uri })).ok(),
            Change::Tools | Change::Prompts | Change::Resources => None,
        };
        self.tell(Bytes::from(write_notification(change.method(), params.as_deref())));
    }
}

/// What a request takes up while it runs; given back however it ends.
#[derive(Debug)]
pub(in crate::mcp) struct Place {
    session: Arc<Session>,
    id: Option<RequestId>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            lock(&self.session.running).remove(id);
        }
    }
}

impl Streams {
    fn name(&mut self, stream: &EventStream) {
        self.last_number += 1;
        stream.set_number(self.last_number);
    }

    fn all(&self) -> impl Iterator<Item = &Arc<EventStream>> {
        self.listening.iter().chain(&self.answering)
    }

    fn make_room(&mut self, max: usize) -> bool {
        let is_needed = |stream: &Arc<EventStream>| stream.is_read() || !stream.is_done();
        self.listening.retain(is_needed);
        self.answering.retain(is_needed);
        while self.all().count() >= max {
            let Some(oldest) =
                (self.all().filter(|stream| !stream.is_read())).map(|stream| stream.number()).min()
            else {
                return false;
            };
            self.listening.retain(|stream| stream.number() != oldest);
            self.answering.retain(|stream| stream.number() != oldest);
        }
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What clients hear that never asked for a level.
const LOG_LEVEL_AT_FIRST: u8 = LogLevel::Info as u8;
