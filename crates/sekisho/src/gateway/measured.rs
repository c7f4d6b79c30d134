//! What is measured of one server behind us, under the name that the operator gave it. One without a name
//! is not measured.

use std::fmt;

use metrics::{Counter, Gauge, Histogram};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::mcp::CallError;
use crate::measure::spans::{Known, Open};
use crate::measure::{
    Held, UPSTREAM_CALL_SECONDS, UPSTREAM_CALLS, UPSTREAM_CONVERSATIONS, UPSTREAM_STARTS, Value,
};

/// The series of one server, looked up once.
pub(super) struct Measured {
    name: Option<Value>,
    answered: Counter,
    asked_back: Counter,
    failed: Counter,
    seconds: Histogram,
    begun: Counter,
    not_begun: Counter,
    conversations: Gauge,
}

impl Measured {
    pub(super) fn new(name: Option<&str>) -> Self {
        let Some(name) = name else { return Self::nothing() };
        let server = || Value::configured(name);
        Self {
            name: Some(server()),
            answered: UPSTREAM_CALLS.counter([server(), "answered".into()]),
            asked_back: UPSTREAM_CALLS.counter([server(), "asked_back".into()]),
            failed: UPSTREAM_CALLS.counter([server(), "failed".into()]),
            seconds: UPSTREAM_CALL_SECONDS.histogram([server()]),
            begun: UPSTREAM_STARTS.counter([server(), "begun".into()]),
            not_begun: UPSTREAM_STARTS.counter([server(), "failed".into()]),
            conversations: UPSTREAM_CONVERSATIONS.gauge([server()]),
        }
    }

    fn nothing() -> Self {
        Self {
            name: None,
            answered: Counter::noop(),
            asked_back: Counter::noop(),
            failed: Counter::noop(),
            seconds: Histogram::noop(),
            begun: Counter::noop(),
            not_begun: Counter::noop(),
            conversations: Gauge::noop(),
        }
    }

    /// A call begins, as a trace tells it.
    pub(super) fn span(&self, method: &str, params: Option<&RawValue>) -> Option<Open> {
        let method = METHODS.iter().find(|known| **known == method).copied().unwrap_or("other");
        let span = Open::call(method, || traceparent_in(params))?;
        span.note("mcp.method.name", method.into());
        if let Some(name) = &self.name {
            span.note("peer.service", Known::Text(name.clone()));
        }
        Some(span)
    }

    /// A call came out so.
    pub(super) fn called<T>(
        &self,
        at: Instant,
        span: Option<Open>,
        outcome: &Result<T, CallError>,
    ) {
        if let (Some(mut span), Err(CallError::Failed(_))) = (span, outcome) {
            span.fail();
        }
        let counter = match outcome {
            Ok(_) => &self.answered,
            Err(CallError::InputRequired(_)) => &self.asked_back,
            Err(CallError::Failed(_)) => &self.failed,
        };
        counter.increment(1);
        self.seconds.record(at.elapsed());
    }

    /// A conversation was begun, or could not be.
    pub(super) fn begun<T, E>(&self, outcome: &Result<T, E>) {
        let counter = if outcome.is_ok() { &self.begun } else { &self.not_begun };
        counter.increment(1);
    }

    /// A conversation is open for as long as this is held.
    pub(super) fn conversation(&self) -> Held {
        Held::of(self.conversations.clone())
    }
}

/// What a client says of its trace in the request itself, where other transports than HTTP can carry it too.
fn traceparent_in(params: Option<&RawValue>) -> Option<String> {
    #[derive(Deserialize)]
    struct Params {
        #[serde(rename = "_meta")]
        meta: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        traceparent: String,
    }
    serde_json::from_str(params?.get()).ok().map(|params: Params| params.meta.traceparent)
}

/// What clients ask for, as MCP has it.
const METHODS: [&str; 9] = [
    "tools/call",
    "tools/list",
    "prompts/get",
    "prompts/list",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "completion/complete",
    "logging/setLevel",
];

impl fmt::Debug for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measured")
    }
}
