//! Spans: what took how long in one request, and on whose behalf (W3C Trace Context, Level 1).
//!
//! ```text
//! traceparent ─▶ request ─┬─▶ question to the provider ─▶ its traceparent
//!  or _meta of a call ────┴─▶ call to a server ─────────▶ its traceparent
//!                each, when it ends ─▶ the sink
//! ```
//!
//! Nothing is made before somebody gives a sink. Names, keys and values are words of ours, names from the
//! settings or ids that we minted: no URL, query, header, body, person or client. What a caller says of its own
//! trace is passed on if it is well formed, and decides nothing but where its spans hang.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::future::Either;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;

use super::table::Value;
use crate::mint;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Longest `tracestate` that is passed on: what everybody has to take (W3C Trace Context §3.3.1.5).
const TRACESTATE_BYTES_MAX: usize = 512;
/// Attributes of one span.
const ATTRIBUTES_MAX: usize = 16;

/// Something that took its time.
#[derive(Debug, Clone)]
pub struct Span {
    /// Of which trace.
    pub trace_id: u128,
    /// Its own name there.
    pub span_id: u64,
    /// What it is part of.
    pub parent: Option<Parent>,
    /// Another span that it belongs to: trace and span.
    pub link: Option<(u128, u64)>,
    /// What the caller's system says of the trace, as it came.
    pub state: Option<Arc<str>>,
    /// What was done.
    pub name: Cow<'static, str>,
    /// Whose part it is.
    pub side: Side,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
    /// Whether it came to nothing for a reason of ours or of whom we asked.
    pub is_failed: bool,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Known)>,
}

/// The span above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Its name.
    pub span_id: u64,
    /// Whether somebody else made it.
    pub is_remote: bool,
}

/// Who asks and who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Somebody asked us.
    Server,
    /// We asked somebody.
    Client,
}

/// What an attribute says.
#[derive(Debug, Clone)]
pub enum Known {
    /// A word of ours, or a name from the settings.
    Text(Value),
    /// An id that we minted.
    Id(String),
    /// A number.
    Number(i64),
}

/// Takes spans as they end. It must not wait.
type Sink = Box<dyn Fn(Span) + Send + Sync>;

static SINK: OnceLock<(u8, Sink)> = OnceLock::new();

tokio::task_local! {
    static HERE: Option<Arc<Here>>;
}

/// Where we are in a trace.
#[derive(Debug)]
pub(crate) struct Here {
    trace_id: u128,
    span_id: u64,
    is_recorded: bool,
    /// Whether the caller said by a header where it hangs.
    is_told: bool,
    state: Option<Arc<str>>,
    attributes: Mutex<Vec<(&'static str, Known)>>,
}

/// A span that has not ended. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Open {
    here: Arc<Here>,
    span: Option<Span>,
}

/// From now on spans go to `sink`, of so many traces in a hundred; `false` if they go somewhere already.
/// Which traces depends on their ids alone, so that a trace is there whole or not at all.
pub fn send_spans_to(percent: u8, sink: impl Fn(Span) + Send + Sync + 'static) -> bool {
    SINK.set((percent, Box::new(sink))).is_ok()
}

/// Keeps something about the request that this is part of.
pub(crate) fn note(key: &'static str, known: Known) {
    // Outside of requests there is nothing to keep it with.
    _ = HERE.try_with(|here| {
        if let Some(here) = here {
            here.note(key, known);
        }
    });
}

/// Puts where we are on a question to somebody else.
pub(crate) fn tell(headers: &mut HeaderMap) {
    _ = HERE.try_with(|here| {
        if let Some(here) = here {
            here.tell(headers);
        }
    });
}

/// Runs `future` as what `open` measures. What is not measured by itself is still part of what it is in.
pub(crate) fn within<F: Future>(
    open: Option<&Open>,
    future: F,
) -> Either<TaskLocalFuture<Option<Arc<Here>>, F>, F> {
    match open {
        Some(open) => Either::Left(HERE.scope(Some(Arc::clone(&open.here)), future)),
        None => Either::Right(future),
    }
}

fn current() -> Option<Arc<Here>> {
    HERE.try_with(Clone::clone).ok().flatten()
}

impl Open {
    /// A request to us, in the trace of that id, which is the caller's where it sent one.
    pub(crate) fn request(
        trace_id: u128,
        headers: &HeaderMap,
        name: impl FnOnce() -> String,
    ) -> Option<Self> {
        let (percent, _) = SINK.get()?;
        let told = one(headers, &TRACEPARENT).and_then(Told::parse);
        let told = told.filter(|told| told.trace_id == trace_id);
        let state = told.as_ref().and_then(|_| one(headers, &TRACESTATE)).filter(|state| {
            state.len() <= TRACESTATE_BYTES_MAX && state.bytes().all(|b| matches!(b, 0x20..=0x7e))
        });
        let is_recorded =
            told.as_ref().is_none_or(|told| told.is_sampled) && is_chosen(trace_id, *percent);
        let here = Here {
            trace_id,
            span_id: fresh(),
            is_recorded,
            is_told: told.is_some(),
            state: state.map(Arc::from),
            attributes: Mutex::default(),
        };
        let parent = told.map(|told| Parent { span_id: told.span_id, is_remote: true });
        Some(Self::begin(here, parent, None, || name().into(), Side::Server))
    }

    /// A question of ours to somebody else, as part of the request that it is for.
    pub(crate) fn question(name: &'static str) -> Option<Self> {
        let above = current()?;
        let parent = Parent { span_id: above.span_id, is_remote: false };
        let here = Here {
            trace_id: above.trace_id,
            span_id: fresh(),
            is_recorded: above.is_recorded,
            is_told: above.is_told,
            state: above.state.clone(),
            attributes: Mutex::default(),
        };
        Some(Self::begin(here, Some(parent), None, || name.into(), Side::Client))
    }

    /// The same for a call whose client may say by `_meta.traceparent` where it hangs; the header counts
    /// first. The request that brought the call is then linked.
    pub(crate) fn call(
        name: &'static str,
        traceparent: impl FnOnce() -> Option<String>,
    ) -> Option<Self> {
        let above = current()?;
        let told = if above.is_told { None } else { traceparent() };
        let Some(told) = told.as_deref().and_then(Told::parse) else { return Self::question(name) };
        let link = Some((above.trace_id, above.span_id));
        let here = Here {
            trace_id: told.trace_id,
            span_id: fresh(),
            is_recorded: above.is_recorded && told.is_sampled,
            is_told: true,
            state: None,
            attributes: Mutex::default(),
        };
        let parent = Parent { span_id: told.span_id, is_remote: true };
        Some(Self::begin(here, Some(parent), link, || name.into(), Side::Client))
    }

    fn begin(
        here: Here,
        parent: Option<Parent>,
        link: Option<(u128, u64)>,
        name: impl FnOnce() -> Cow<'static, str>,
        side: Side,
    ) -> Self {
        let span = here.is_recorded.then(|| Span {
            trace_id: here.trace_id,
            span_id: here.span_id,
            parent,
            link,
            state: here.state.clone(),
            name: name(),
            side,
            began: Instant::now(),
            took: Duration::ZERO,
            is_failed: false,
            attributes: Vec::new(),
        });
        Self { here: Arc::new(here), span }
    }

    /// Keeps something about it.
    pub(crate) fn note(&self, key: &'static str, known: Known) {
        self.here.note(key, known);
    }

    /// It came to nothing.
    pub(crate) fn fail(&mut self) {
        if let Some(span) = &mut self.span {
            span.is_failed = true;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(mut span) = self.span.take() else { return };
        span.took = span.began.elapsed();
        span.attributes = std::mem::take(&mut *self.here.attributes());
        if let Some((_, sink)) = SINK.get() {
            sink(span);
        }
    }
}

impl Here {
    fn note(&self, key: &'static str, known: Known) {
        let mut attributes = self.attributes();
        if self.is_recorded && attributes.len() < ATTRIBUTES_MAX {
            attributes.push((key, known));
        }
    }

    fn attributes(&self) -> std::sync::MutexGuard<'_, Vec<(&'static str, Known)>> {
        self.attributes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, headers: &mut HeaderMap) {
        let flags = u8::from(self.is_recorded);
        let text = format!("00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id);
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(TRACEPARENT, value);
        }
        if let Some(Ok(state)) = self.state.as_deref().map(HeaderValue::from_str) {
            headers.insert(TRACESTATE, state);
        }
    }
}

impl From<&'static str> for Known {
    fn from(word: &'static str) -> Self {
        Self::Text(word.into())
    }
}

/// What a `traceparent` says: `00-<trace>-<parent>-<flags>`; later versions may carry more behind it.
pub(crate) struct Told {
    pub(crate) trace_id: u128,
    span_id: u64,
    is_sampled: bool,
}

impl Told {
    /// Nothing, unless every part is as the paper has it (W3C Trace Context §3.2).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, parent, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_version_ok = version != "ff" && (version != "00" || parts.next().is_none());
        let is_hex = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16);
        if !is_version_ok || !is_hex || !self::is_hex(flags, 2) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(parent, 16).ok().filter(|id| *id != 0)?;
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
        Some(Self { trace_id, span_id, is_sampled })
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

/// By the last digits, which others make by chance too.
fn is_chosen(trace_id: u128, percent: u8) -> bool {
    trace_id % 100 < u128::from(percent)
}

fn fresh() -> u64 {
    u64::from_ne_bytes(mint::bytes::<8>()).max(1)
}
