//! Whether streams come through the reverse proxy as they are sent: asks our own server for a slow one
//! (`/healthz/stream`) and looks at when its events arrive. What becomes of `Host` and
//! `X-Forwarded-For` on the way is told in its first event.

use std::time::Duration;

use axum::http::StatusCode;
use sekisho::front::{
    SLOW_STREAM_EVENTS, SLOW_STREAM_LONG_PAUSE, SLOW_STREAM_PATH, SLOW_STREAM_PAUSE,
};
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::finding::Finding;
use super::metadata::KEEP_HOST;
use super::outside::{EXCHANGE_WAIT, Outside};
use crate::config::Config;
use crate::telemetry::chain;

const ABOUT: &str = "stream";

/// Largest stream that is read, in bytes.
const STREAM_BYTES_MAX: usize = 16 * 1024;

/// How long a silence of the stream is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Half a second.
    Short,
    /// Longer than any silence of our own streams.
    Long,
}

/// What the first event says of the request that arrived.
#[derive(Debug, Default, Deserialize)]
struct Arrived {
    host: String,
    forwarded_for: String,
}

/// What was seen.
#[derive(Debug, Default)]
struct Seen {
    events: u8,
    first_at: Option<Instant>,
    last_at: Option<Instant>,
    arrived: Option<Arrived>,
    /// Why it ended before its end, if somebody said so.
    broken: Option<String>,
}

pub(super) async fn examine(
    config: &Config,
    outside: &Outside<'_>,
    patience: Patience,
) -> Vec<Finding> {
    let (query, longest) = match patience {
        Patience::Short => ("", SLOW_STREAM_PAUSE),
        Patience::Long => ("?patient", SLOW_STREAM_LONG_PAUSE),
    };
    let pauses = SLOW_STREAM_PAUSE * u32::from(SLOW_STREAM_EVENTS.saturating_sub(2)) + longest;
    let request = outside.get(&format!("{SLOW_STREAM_PATH}{query}"));
    let seen = timeout(pauses + EXCHANGE_WAIT, read(request.header("accept", "text/event-stream")));
    match seen.await {
        Err(_) => vec![Finding::problem(
            ABOUT,
            format!("{SLOW_STREAM_PATH} does not end in time"),
            "look at what the proxy does with text/event-stream",
        )],
        Ok(Err(finding)) => vec![*finding],
        Ok(Ok(seen)) => {
            let mut found = vec![judge(&seen, pauses)];
            found.extend(seen.arrived.iter().flat_map(|arrived| on_the_way(config, arrived)));
            found
        }
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<Seen, Box<Finding>> {
    let failed = |error: reqwest::Error| {
        let what =
            format!("{SLOW_STREAM_PATH} cannot be reached ({})", chain(&error.without_url()));
        Box::new(Finding::problem(ABOUT, what, "look at the log of the proxy"))
    };
    let mut response = request.send().await.map_err(failed)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::TOO_MANY_REQUESTS => {
            let what = format!("{SLOW_STREAM_PATH} is asked too often at this moment");
            return Err(Box::new(Finding::warning(ABOUT, what, "ask again in some seconds")));
        }
        status => {
            let what = format!(
                "{SLOW_STREAM_PATH} answers {status}: whether streams come through is \
                                not known"
            );
            let fix = "have the proxy pass this path on, at least while the doctor asks";
            return Err(Box::new(Finding::warning(ABOUT, what, fix)));
        }
    }
    let (mut seen, mut text) = (Seen::default(), String::new());
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) if text.len() < STREAM_BYTES_MAX => chunk,
            Ok(_) => break,
            Err(error) => {
                seen.broken = Some(chain(&error.without_url()));
                break;
            }
        };
        text.push_str(&String::from_utf8_lossy(&chunk));
        seen.events = u8::try_from(text.matches("\n\n").count()).unwrap_or(u8::MAX);
        if seen.events > 0 {
            let now = Instant::now();
            seen.first_at.get_or_insert(now);
            seen.last_at = Some(now);
        }
    }
    let first = text.split("\n\n").next().and_then(|event| event.strip_prefix("data: "));
    seen.arrived = first.and_then(|data| serde_json::from_str(data).ok());
    Ok(seen)
}

fn judge(seen: &Seen, pauses: Duration) -> Finding {
    if seen.events < SLOW_STREAM_EVENTS {
        let why = seen.broken.as_ref().map(|said| format!(" ({said})")).unwrap_or_default();
        return Finding::problem(
            ABOUT,
            format!("it is cut after {} of {SLOW_STREAM_EVENTS} events{why}", seen.events),
            "raise what the proxy allows a stream (nginx: proxy_read_timeout 1h; HAProxy: timeout \
             server and timeout tunnel; AWS: idle timeout)",
        );
    }
    let took = match (seen.first_at, seen.last_at) {
        (Some(first), Some(last)) => last.duration_since(first),
        _ => Duration::ZERO,
    };
    // Held back, all events come together; sent on, they come nearly as far apart as they were sent.
    if took < pauses / 2 {
        return Finding::problem(
            ABOUT,
            "the proxy holds events back and sends them together",
            "switch buffering off (nginx: proxy_buffering off, and no proxy_ignore_headers \
             X-Accel-Buffering; no compression of text/event-stream)",
        );
    }
    Finding::ok(ABOUT, format!("{SLOW_STREAM_EVENTS} events came as they were sent"))
}

/// What happened to the request before it arrived.
fn on_the_way(config: &Config, arrived: &Arrived) -> Vec<Finding> {
    let mut found = Vec::new();
    let own = config.public_url.authority();
    if !arrived.host.eq_ignore_ascii_case(own) {
        found.push(Finding::warning(
            ABOUT,
            format!("the proxy passes Host {:?} on, and was asked as {own:?}", arrived.host),
            KEEP_HOST,
        ));
    }
    if arrived.forwarded_for == "ignored" {
        found.push(Finding::warning(
            ABOUT,
            "X-Forwarded-For is sent by an address that is not in trusted_proxies: all callers count \
             as that one",
            "name the address of the proxy in trusted_proxies",
        ));
    }
    if arrived.forwarded_for == "absent" && !config.proxies.is_empty() {
        found.push(Finding::warning(
            ABOUT,
            "trusted_proxies is set, and no X-Forwarded-For arrives: all callers count as the proxy",
            "have the proxy send it (nginx: proxy_set_header X-Forwarded-For \
             $proxy_add_x_forwarded_for)",
        ));
    }
    found
}
