//! `traces_endpoint`: sends spans to a collector of OpenTelemetry (OTLP over HTTP, as protobuf).
//!
//! Nobody waits for it. What the queue has no room for is dropped and counted; a collector that does not
//! answer costs a line of the log a minute, and what it would have got.

use std::borrow::Cow;
use std::time::{Duration, Instant, UNIX_EPOCH};

use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use sekisho::clock::since_1970;
use sekisho::measure::spans::{Known, Side, Span, send_spans_to};
use sekisho::measure::{Limit, Places};
use tokio::sync::mpsc::{Receiver, channel};
use tokio_util::sync::CancellationToken;

use crate::config::TracesConfig;
use crate::outcome::Failure;

/// Spans that wait to be sent.
const QUEUED_MAX: usize = 4_096;
/// Spans that are sent at once.
const SENT_AT_ONCE_MAX: usize = 512;
/// How long spans are gathered, so that few messages carry many.
const GATHERED_FOR: Duration = Duration::from_secs(1);
/// Longest that the collector may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How often it is said that it does not answer.
const SAID_EVERY: Duration = Duration::from_mins(1);
/// What we are called there.
const SERVICE: &str = "sekisho";

/// Where spans go.
pub(crate) struct Traces {
    waiting: Receiver<Span>,
    exporter: SpanExporter,
    scope: InstrumentationScope,
    said_at: Option<Instant>,
    _places: Places,
}

impl Traces {
    /// Begins to trace, if there is a collector.
    ///
    /// # Errors
    /// When nothing can be sent to its address from this machine.
    pub(crate) fn begin(config: Option<&TracesConfig>) -> Result<Option<Self>, Failure> {
        let Some(config) = config else { return Ok(None) };
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(ANSWER_WAIT)
            .build()
            .map_err(|error| Failure::because(&error))?;
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(config.endpoint.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(ANSWER_WAIT)
            .build()
            .map_err(|error| Failure::because(&error))?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder_empty().with_service_name(SERVICE);
        exporter.set_resource(&resource.with_attribute(version).build());
        let (queue, waiting) = channel(QUEUED_MAX);
        let places = Limit::Spans.has(QUEUED_MAX);
        send_spans_to(config.percent, move |span| {
            if queue.try_send(span).is_err() {
                Limit::Spans.turn_away();
            }
        });
        let scope = InstrumentationScope::builder(SERVICE).build();
        Ok(Some(Self { waiting, exporter, scope, said_at: None, _places: places }))
    }

    /// Sends them for as long as we run, and what is there when we stop.
    pub(crate) async fn send(mut self, stopping: CancellationToken) {
        let mut spans = Vec::with_capacity(SENT_AT_ONCE_MAX);
        while self.waiting.recv_many(&mut spans, SENT_AT_ONCE_MAX).await > 0 {
            tokio::select! {
                () = tokio::time::sleep(GATHERED_FOR) => {}
                // Soon nobody will be there to send it.
                () = stopping.cancelled() => {}
            }
            Limit::Spans.is_taken(self.waiting.len());
            while spans.len() < SENT_AT_ONCE_MAX {
                let Ok(span) = self.waiting.try_recv() else { break };
                spans.push(span);
            }
            let batch = spans.drain(..).map(|span| self.written(span)).collect();
            if let Err(error) = self.exporter.export(batch).await {
                self.say(&error);
            }
        }
    }

    fn say(&mut self, error: &(dyn std::error::Error + 'static)) {
        if self.said_at.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            self.said_at = Some(Instant::now());
            tracing::warn!(
                error,
                "traces_endpoint: the collector does not take spans: they are lost until it does"
            );
        }
    }

    fn written(&self, span: Span) -> SpanData {
        let start = UNIX_EPOCH + since_1970().saturating_sub(span.began.elapsed());
        let mut links = SpanLinks::default();
        links.links.extend(span.link.map(|(trace, span)| {
            Link::with_context(context(trace, span, TraceState::default(), true))
        }));
        let state = span.state.as_deref().and_then(|state| state.parse().ok());
        SpanData {
            span_context: context(span.trace_id, span.span_id, state.unwrap_or_default(), false),
            parent_span_id: SpanId::from(span.parent.map_or(0, |parent| parent.span_id)),
            parent_span_is_remote: span.parent.is_some_and(|parent| parent.is_remote),
            span_kind: match span.side {
                Side::Server => SpanKind::Server,
                Side::Client => SpanKind::Client,
            },
            name: span.name,
            start_time: start,
            end_time: start + span.took,
            attributes: span
                .attributes
                .into_iter()
                .map(|(key, known)| attribute(key, known))
                .collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: if span.is_failed {
                Status::Error { description: Cow::Borrowed("") }
            } else {
                Status::Unset
            },
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn context(trace_id: u128, span_id: u64, state: TraceState, is_remote: bool) -> SpanContext {
    let (trace_id, span_id) = (TraceId::from(trace_id), SpanId::from(span_id));
    SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, is_remote, state)
}

fn attribute(key: &'static str, known: Known) -> KeyValue {
    let value: Value = match known {
        Known::Text(text) => text.to_string().into(),
        Known::Id(id) => id.into(),
        Known::Number(number) => number.into(),
    };
    KeyValue::new(key, value)
}
