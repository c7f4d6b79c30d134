//! The table: every metric with its kind, its labels and what it says.

use metrics::{Counter, Gauge, Histogram, Label, SharedString, counter, gauge, histogram};

/// Something that is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name, with the unit and `_total` as Prometheus wants them.
    pub name: &'static str,
    /// How it is measured.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in a line.
    pub help: &'static str,
}

/// How something is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only grows, by whole numbers.
    Counter,
    /// It only grows, and somebody else counts it: it is set.
    SampledCounter,
    /// It goes up and down.
    Gauge,
    /// How many were at most so large; the bounds, ascending.
    Histogram(&'static [f64]),
}

/// A label's value: a word of ours, or a name from the settings.
#[derive(Debug, Clone)]
pub struct Value(SharedString);

impl Value {
    /// A name that the operator wrote.
    pub fn configured(name: &str) -> Self {
        Self(SharedString::from(name.to_owned()))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&'static str> for Value {
    fn from(word: &'static str) -> Self {
        Self(SharedString::const_str(word))
    }
}

impl Metric {
    /// The counter with these values, in the order of [`Metric::labels`].
    pub fn counter<const N: usize>(&self, values: [Value; N]) -> Counter {
        counter!(self.name, self.labelled(values))
    }

    /// The gauge with these values, as [`Metric::counter`].
    pub fn gauge<const N: usize>(&self, values: [Value; N]) -> Gauge {
        gauge!(self.name, self.labelled(values))
    }

    /// The histogram with these values, as [`Metric::counter`].
    pub fn histogram<const N: usize>(&self, values: [Value; N]) -> Histogram {
        histogram!(self.name, self.labelled(values))
    }

    fn labelled<const N: usize>(&self, values: [Value; N]) -> Vec<Label> {
        debug_assert_eq!(N, self.labels.len(), "{}", self.name);
        self.labels
            .iter()
            .zip(values)
            .map(|(name, Value(value))| Label::new(*name, value))
            .collect()
    }
}

/// From half a millisecond, which a call of a guarded server on the same machine takes, to the half
/// minute in which a client gives up: about a factor of two between any two, so that no quantile is off by
/// more, and three hundred series for all routes together.
const REQUEST_BOUNDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// What goes over a network to somebody else: nothing below a millisecond is of interest.
const CALL_BOUNDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// A read from a page in memory takes microseconds, a commit that waits for the disk milliseconds, and 5 s is
/// what a verb waits at most. Few, since there are many verbs.
const STORE_BOUNDS: &[f64] = &[0.0001, 0.0005, 0.002, 0.01, 0.05, 0.25, 1.0, 5.0];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels, help }
}

const fn seconds(
    name: &'static str,
    bounds: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram(bounds), labels, help }
}

pub(super) const REQUESTS: Metric = counter(
    "sekisho_requests_total",
    &["route", "method", "status"],
    "Requests by what was asked for, how, and the first digit of the answer's status",
);
pub(super) const REQUEST_SECONDS: Metric = seconds(
    "sekisho_request_seconds",
    REQUEST_BOUNDS,
    &["route"],
    "From a request's head to its answer's head",
);
pub(crate) const EVENTS: Metric =
    counter("sekisho_audit_events_total", &["event"], "Lines of the audit trail by event");
pub(crate) const REFUSALS: Metric =
    counter("sekisho_refusals_total", &["reason"], "Somebody turned away, by reason");
pub(crate) const SIGN_INS: Metric = counter(
    "sekisho_sign_ins_total",
    &["outcome"],
    "People who logged in, and attempts that came to nothing",
);
pub(crate) const LOGIN_STEPS: Metric = counter(
    "sekisho_login_steps_total",
    &["step"],
    "How far logins come: every step of every login, also of those that are not kept",
);
pub(crate) const MCP_STREAMS: Metric =
    gauge("sekisho_mcp_streams", &["transport"], "Streams of events that are open");
pub(crate) const UPSTREAM_CALLS: Metric = counter(
    "sekisho_upstream_calls_total",
    &["server", "outcome"],
    "Calls to a guarded server by how they came out",
);
pub(crate) const UPSTREAM_CALL_SECONDS: Metric = seconds(
    "sekisho_upstream_call_seconds",
    CALL_BOUNDS,
    &["server"],
    "From a call to a guarded server to its answer",
);
pub(crate) const UPSTREAM_CONVERSATIONS: Metric = gauge(
    "sekisho_upstream_conversations",
    &["server"],
    "Conversations with a guarded server that are open; for a command each is a process",
);
pub(crate) const UPSTREAM_STARTS: Metric = counter(
    "sekisho_upstream_starts_total",
    &["server", "outcome"],
    "Conversations with a guarded server that began or could not",
);
pub(crate) const PROVIDER_SECONDS: Metric = seconds(
    "sekisho_provider_seconds",
    CALL_BOUNDS,
    &["endpoint", "outcome"],
    "From a question to a server that is trusted by its issuer (who logs people in, or issues tokens) to its \
     answer",
);
pub(crate) const STORE_SECONDS: Metric = seconds(
    "sekisho_store_seconds",
    STORE_BOUNDS,
    &["verb", "outcome"],
    "What a verb of the store took; tokens that are in memory cost none",
);
pub(super) const PLACES: Metric =
    gauge("sekisho_places", &["limit"], "Places that a limit has, over all who share it");
pub(super) const PLACES_TAKEN: Metric =
    gauge("sekisho_places_taken", &["limit"], "Places of a limit that are taken");
pub(super) const TURNED_AWAY: Metric = counter(
    "sekisho_turned_away_total",
    &["limit"],
    "Turned away because a limit had no place left",
);

/// Every metric that there is, in the order in which they are shown.
pub const METRICS: &[Metric] = &[
    REQUESTS,
    REQUEST_SECONDS,
    EVENTS,
    REFUSALS,
    SIGN_INS,
    LOGIN_STEPS,
    MCP_STREAMS,
    UPSTREAM_CALLS,
    UPSTREAM_CALL_SECONDS,
    UPSTREAM_CONVERSATIONS,
    UPSTREAM_STARTS,
    PROVIDER_SECONDS,
    STORE_SECONDS,
    PLACES,
    PLACES_TAKEN,
    TURNED_AWAY,
    gauge("sekisho_build_info", &["version"], "1, with the version of what runs"),
    Metric {
        name: "process_cpu_seconds_total",
        kind: Kind::SampledCounter,
        labels: &[],
        help: "Time of processors that was used",
    },
    gauge("process_resident_memory_bytes", &[], "Memory that is in use"),
    gauge("process_open_fds", &[], "Files and connections that are open"),
    gauge("process_max_fds", &[], "Files and connections that may be open"),
    gauge("process_start_time_seconds", &[], "When the process began, in seconds since 1970"),
];
