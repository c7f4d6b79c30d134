//! Keeps what becomes of logins, step by step, so that somebody with a trace id in hand can be told why
//! theirs did not work (`sekisho flows`).
//!
//! ```text
//! request ─▶ within ─▶ handler: begin | resume, note, note ─▶ queue ─▶ FlowWriter ─▶ store
//! ```
//!
//! Nobody waits for it and nothing depends on it: what does not fit into the queue is lost. A step never
//! holds a token, a code, a state or a cookie; what others wrote in it is cut.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Extensions;
use sekisho_protocol::oauth::ClientId;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::clock::Clock;
use crate::front::TraceId;
use crate::front::rate::PerAddress;
use crate::grant::{FlowId, GrantId};
use crate::measure::spans::{self, Known as KnownOfSpan};
use crate::measure::{LOGIN_STEPS, Limit, Places, SIGN_INS};
use crate::mint;
use crate::store::{FlowNote, FlowOf, FlowStep, Store};

/// Steps that wait to be written.
const QUEUED_MAX: usize = 1_024;
/// Steps that are written in one transaction.
const WRITTEN_AT_ONCE_MAX: usize = 64;
/// How long the writer gathers steps, so that many logins cost few transactions.
const GATHERED_FOR: Duration = Duration::from_millis(200);
/// Flows of one address that are kept in a minute: an office logs in, a flood does not fill the table.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();
/// Longest detail, in characters.
const DETAIL_CHARS_MAX: usize = 200;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A client sent a browser to `/authorize`.
    Asked,
    /// Somebody was asked.
    ConsentShown,
    Approved,
    /// Approved before, so nobody was asked.
    Remembered,
    Denied,
    SentToProvider,
    CameBack,
    /// What the provider did wrong, in our words.
    ProviderFailed,
    CodeGiven,
    TokenGiven,
    /// Turned away, by a page, by a redirect, or at `/token`.
    Refused,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "authorize",
            Self::ConsentShown => "consent shown",
            Self::Approved => "approved",
            Self::Remembered => "approved before",
            Self::Denied => "denied",
            Self::SentToProvider => "sent to provider",
            Self::CameBack => "came back",
            Self::ProviderFailed => "provider failed",
            Self::CodeGiven => "code given",
            Self::TokenGiven => "token given",
            Self::Refused => "refused",
        }
    }

    const fn is_approval(self) -> bool {
        match self {
            Self::Approved | Self::Remembered => true,
            Self::Asked
            | Self::ConsentShown
            | Self::Denied
            | Self::SentToProvider
            | Self::CameBack
            | Self::ProviderFailed
            | Self::CodeGiven
            | Self::TokenGiven
            | Self::Refused => false,
        }
    }
}

/// Where steps go.
pub(super) struct Flows {
    queue: Sender<FlowNote>,
    waiting: Mutex<Option<Receiver<FlowNote>>>,
    clock: Arc<dyn Clock>,
    begun: PerAddress,
    _places: Places,
}

impl Flows {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let (queue, waiting) = channel(QUEUED_MAX);
        let places = Limit::FlowNotes.has(QUEUED_MAX);
        let waiting = Mutex::new(Some(waiting));
        Arc::new(Self {
            queue,
            waiting,
            clock,
            begun: PerAddress::new(PER_MINUTE),
            _places: places,
        })
    }

    /// Who writes, for the first who asks.
    pub(super) fn writer(&self, store: Arc<dyn Store>) -> FlowWriter {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        FlowWriter { waiting, store }
    }
}

impl fmt::Debug for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flows")
    }
}

/// Writes the steps of logins into the store.
#[derive(Debug)]
pub struct FlowWriter {
    waiting: Option<Receiver<FlowNote>>,
    store: Arc<dyn Store>,
}

impl FlowWriter {
    /// Writes for as long as it is polled. What the store does not take is lost, and said.
    pub async fn follow(mut self) {
        let Some(mut waiting) = self.waiting.take() else { return };
        let mut notes = Vec::with_capacity(WRITTEN_AT_ONCE_MAX);
        while waiting.recv_many(&mut notes, WRITTEN_AT_ONCE_MAX).await > 0 {
            tokio::time::sleep(GATHERED_FOR).await;
            Limit::FlowNotes.is_taken(waiting.len());
            while notes.len() < WRITTEN_AT_ONCE_MAX {
                let Ok(note) = waiting.try_recv() else { break };
                notes.push(note);
            }
            if let Err(error) = self.store.note_flows(&notes).await {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "steps of logins could not be written");
            }
            notes.clear();
        }
    }
}

tokio::task_local! {
    static REQUEST: Request;
}

struct Request {
    flows: Arc<Flows>,
    trace_id: String,
    address: Option<IpAddr>,
    course: RefCell<Course>,
}

/// Which flow the request is part of.
enum Course {
    Unknown,
    Known(FlowOf),
    /// Too many began at this address.
    NotKept,
}

/// Runs `future` as a request whose steps are kept.
pub(super) async fn within<F: Future>(
    flows: &Arc<Flows>,
    extensions: &Extensions,
    address: Option<IpAddr>,
    future: F,
) -> F::Output {
    let trace_id = extensions.get().map_or_else(String::new, TraceId::to_string);
    let course = RefCell::new(Course::Unknown);
    let request = Request { flows: Arc::clone(flows), trace_id, address, course };
    REQUEST.scope(request, future).await
}

/// The request begins a flow, unless it is part of one.
pub(super) fn begin() {
    of_request(|request| {
        let mut course = request.course.borrow_mut();
        if matches!(*course, Course::Unknown) {
            let counted =
                request.address.map_or(Ok(()), |address| request.flows.begun.count(address));
            *course = match counted {
                Ok(()) => {
                    let flow = FlowId::new(mint::id());
                    tell_trace(&flow);
                    Course::Known(FlowOf::Flow(flow))
                }
                Err(_) => Course::NotKept,
            };
        }
    });
}

/// The request goes on with a flow that began before, if it was kept.
pub(super) fn resume(flow: Option<&FlowId>) {
    flow.inspect(|flow| tell_trace(flow));
    go_on(flow.map(|flow| FlowOf::Flow(flow.clone())));
}

/// The request goes on with the flow that became this grant.
pub(super) fn resume_by_grant(grant: &GrantId) {
    go_on(Some(FlowOf::Grant(grant.clone())));
}

/// The requests of a login are traces of their own: this is what they have in common.
fn tell_trace(flow: &FlowId) {
    spans::note("sekisho.flow", KnownOfSpan::Id(flow.as_str().to_owned()));
}

fn go_on(flow: Option<FlowOf>) {
    of_request(|request| {
        *request.course.borrow_mut() = flow.map_or(Course::NotKept, Course::Known);
    });
}

/// The flow that the request began or goes on with.
pub(super) fn current() -> Option<FlowId> {
    let known = REQUEST.try_with(|request| match &*request.course.borrow() {
        Course::Known(FlowOf::Flow(flow)) => Some(flow.clone()),
        Course::Known(FlowOf::Grant(_)) | Course::Unknown | Course::NotKept => None,
    });
    known.ok().flatten()
}

/// What is known of a step.
#[derive(Default)]
pub(super) struct Known<'a> {
    pub(super) client: Option<&'a ClientId>,
    pub(super) grant: Option<&'a GrantId>,
    pub(super) detail: Option<&'a dyn fmt::Display>,
}

/// Counts a step, and keeps it as one of the request's flow, if it has one.
pub(super) fn note(step: Step, known: &Known<'_>) {
    count(step);
    of_request(|request| {
        let Course::Known(of) = &*request.course.borrow() else { return };
        let note = FlowNote {
            of: of.clone(),
            client_id: known.client.map(|id| ClientId::new(cut(id.as_str()))),
            grant_id: known.grant.cloned(),
            is_approved: step.is_approval(),
            step: FlowStep {
                at: request.flows.clock.now(),
                what: step.as_str().to_owned(),
                trace_id: request.trace_id.clone(),
                detail: known.detail.map(|detail| cut(&detail.to_string())),
            },
        };
        // Full, or nobody writes: it is lost.
        if request.flows.queue.try_send(note).is_err() {
            Limit::FlowNotes.turn_away();
        }
        Limit::FlowNotes.is_taken(QUEUED_MAX - request.flows.queue.capacity());
    });
}

/// Keeps why the request was turned away; it begins a flow if it is part of none, so that the trace id
/// on its page is found.
pub(super) fn refused_by_page(detail: &dyn fmt::Display) {
    begin();
    note(Step::Refused, &Known { detail: Some(detail), ..Known::default() });
}

fn count(step: Step) {
    LOGIN_STEPS.counter([step.as_str().into()]).increment(1);
    match step {
        Step::Denied => SIGN_INS.counter(["denied".into()]).increment(1),
        Step::ProviderFailed => SIGN_INS.counter(["provider_failed".into()]).increment(1),
        Step::Asked
        | Step::ConsentShown
        | Step::Approved
        | Step::Remembered
        | Step::SentToProvider
        | Step::CameBack
        | Step::CodeGiven
        | Step::TokenGiven
        | Step::Refused => {}
    }
}

fn of_request(act: impl FnOnce(&Request)) {
    // Outside of the endpoints that log people in there is nothing to keep.
    _ = REQUEST.try_with(act);
}

/// What others wrote is cut, and stays on its line.
fn cut(text: &str) -> String {
    let shown = text.chars().take(DETAIL_CHARS_MAX);
    shown.map(|one| if one.is_control() { ' ' } else { one }).collect()
}
