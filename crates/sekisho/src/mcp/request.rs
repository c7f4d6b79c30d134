//! What both HTTP transports read from a request before its message: headers, body, caller.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::FutureExt as _;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::{Extensions, HeaderMap, HeaderName};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::legacy::SessionLimits;
use super::refusal::Refusal;
use crate::principal::Principal;

/// Which forms of answer a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accepts {
    pub(super) json: bool,
    pub(super) event_stream: bool,
}

impl Accepts {
    /// Reads `Accept`. Without it anything goes.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut accepts = Self { json: false, event_stream: false };
        let mut is_absent = true;
        for value in headers.get_all(ACCEPT) {
            is_absent = false;
            // What the specification shows, and nearly every client sends to the letter.
            if value == "application/json, text/event-stream" {
                accepts = Self { json: true, event_stream: true };
                continue;
            }
            for range in value.to_str().unwrap_or_default().split(',') {
                accepts.add(range);
            }
        }
        if is_absent { Self { json: true, event_stream: true } } else { accepts }
    }

    fn add(&mut self, range: &str) {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        // RFC 9110 §12.4.2: a weight of 0 means "not acceptable".
        let is_refused = parts.any(|parameter| {
            let weight = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="));
            weight.and_then(|weight| weight.parse::<f32>().ok()).is_some_and(|weight| weight <= 0.0)
        });
        if is_refused {
            return;
        }
        let is = |wanted: &str| media_type.eq_ignore_ascii_case(wanted);
        self.json |= is("application/json") || is("application/*") || is("*/*");
        self.event_stream |= is("text/event-stream") || is("text/*") || is("*/*");
    }
}

/// Refuses what a browser may send to another site without asking first (forms, plain text), and
/// what would first have to be unpacked, into who knows how much.
pub(super) fn require_json(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = only(headers, &CONTENT_TYPE, "Content-Type")?.unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::NotJson);
    }
    if headers.get_all(CONTENT_ENCODING).iter().any(|coding| coding != "identity") {
        return Err(Refusal::Packed);
    }
    Ok(())
}

/// The one value of a header.
pub(super) fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    spelling: &'static str,
) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::HeaderTwice(spelling));
    }
    value.to_str().map(Some).map_err(|_| Refusal::HeaderTwice(spelling))
}

/// The whole body, within the limits of size and patience.
pub(super) async fn read_body(body: Body, limits: &SessionLimits) -> Result<Bytes, Refusal> {
    let bytes_max = limits.body_bytes_max;
    if usize::try_from(body.size_hint().lower()).map_or(true, |bytes| bytes > bytes_max) {
        return Err(Refusal::BodyTooLarge { bytes_max });
    }
    let mut arriving = Limited::new(body, bytes_max).collect();
    // Most bodies are there with their head. A timer for the others is boxed: inside this future it
    // would make every future around it large and over-aligned, which allocators are slow at.
    let arrived = match (&mut arriving).now_or_never() {
        Some(arrived) => Ok(arrived),
        None => Box::pin(tokio::time::timeout(limits.body_wait, arriving)).await,
    };
    match arrived {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::BodyTooLarge { bytes_max })
        }
        Ok(Err(_)) => Err(Refusal::BodyBroken),
        Err(_) => Err(Refusal::BodyTooSlow),
    }
}

/// Who the guard in front let in; nobody where there is no guard.
pub(super) fn caller(extensions: &Extensions) -> Option<&Arc<Principal>> {
    extensions.get::<Arc<Principal>>()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn accept_says_which_forms_of_answer_are_taken() {
        let rows = [
            (None, true, true, "no header: anything"),
            (Some("application/json, text/event-stream"), true, true, "as the protocol demands"),
            (Some("application/json"), true, false, "JSON only"),
            (Some("text/event-stream"), false, true, "streams only"),
            (Some("TEXT/Event-Stream; charset=utf-8"), false, true, "case and parameters"),
            (Some("*/*"), true, true, "curl"),
            (Some("application/*;q=0.1"), true, false, "a range with a weight"),
            (Some("text/event-stream, application/json;q=0"), false, true, "weight 0 is a no"),
            (Some("text/html"), false, false, "a browser"),
            (Some(""), false, false, "nothing"),
        ];
        for (accept, json, event_stream, reason) in rows {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            let expected = Accepts { json, event_stream };
            assert_eq!(Accepts::of(&headers), expected, "{accept:?}: {reason}");
        }
    }
}
