//! Which of two protocols a request speaks: the one with a handshake (up to 2025-11-25), or the
//! stateless one (2026-07-28). Decided here and nowhere else: by `_meta` and the version header,
//! never by the method, except that a bare `initialize` is always a handshake. Authorization
//! stands before both.

use http::{HeaderMap, HeaderName};
use sekisho_protocol::mcp::{Json, McpError, ParamsOutline, ProtocolVersion, Request, RequestMeta};

/// Names the revision: the agreed one from 2025-06-18 on, that of the request in 2026-07-28.
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// What is asked for, said once more (2026-07-28).
pub(crate) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// The tool or prompt that is meant, or the resource, said once more.
pub(crate) const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// What a request speaks.
#[derive(Debug)]
pub(super) enum Era<'a> {
    Handshake,
    Stateless(ParamsOutline<'a>),
}

/// The era of a request. Without HTTP there are no headers, and `_meta` alone decides.
pub(super) fn of_request<'a>(
    headers: Option<&HeaderMap>,
    request: &Request<'a>,
) -> Result<Era<'a>, McpError> {
    let by_header = headers.is_some_and(is_stateless);
    // Most requests of older clients have nothing alike.
    let says_more = || request.params.is_some_and(|params| Json::from(params).may_say("_meta"));
    if !by_header && !says_more() {
        return Ok(Era::Handshake);
    }
    let outline = match ParamsOutline::parse(request.params) {
        Ok(outline) => outline,
        Err(error) => {
            // Older clients put into `_meta` what they like.
            let meta = request.params.and_then(RequestMeta::of_unclear);
            let is_stateless = by_header || meta.is_some_and(|meta| meta.is_of_stateless_era());
            return if is_stateless { Err(error) } else { Ok(Era::Handshake) };
        }
    };
    let is_handshake =
        !outline.meta.is_of_stateless_era() && (request.method == "initialize" || !by_header);
    Ok(if is_handshake { Era::Handshake } else { Era::Stateless(outline) })
}

/// Whether the header names a revision without a handshake, for what has no `_meta`.
pub(super) fn is_stateless(headers: &HeaderMap) -> bool {
    let version = headers.get(PROTOCOL_VERSION).and_then(|value| value.to_str().ok());
    version.is_some_and(|version| ProtocolVersion::is_named_stateless(version.trim()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

    use sekisho_protocol::mcp::{Incoming, Message};

    use super::*;

    #[test]
    fn the_era_is_told_by_meta_and_header_never_by_the_method() {
        const META: &str = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}"#;
        const OLD_META: &str = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/clientCapabilities":{}}}"#;
        const HIDDEN: &str =
            r#"{"\u005fmeta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
        const BROKEN: &str = r#"{"_meta":1}"#;
        const TWO_STATES: &str = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"requestState":"a","requestState":"b"}"#;
        const TWO_NAMES: &str = r#"{"_meta":{"progressToken":1},"name":"a","name":"b"}"#;
        let rows = [
            (None, "tools/list", "{}", "handshake", "as ever"),
            (Some("2025-11-25"), "tools/list", "{}", "handshake", "the header of older revisions"),
            (Some("2025-11-25"), "tools/list", META, "stateless", "what the body says, counts"),
            (None, "tools/list", META, "stateless", "the header is missing: an error of that era"),
            (Some("2026-07-28"), "tools/list", META, "stateless", "both"),
            (Some("2026-07-28"), "tools/list", "{}", "stateless", "by the header alone"),
            (Some("2099-01-01"), "tools/list", "{}", "stateless", "of a time to come"),
            (Some("2026-07-28"), "initialize", META, "stateless", "an unknown method there"),
            (
                Some("2026-07-28"),
                "initialize",
                "{}",
                "handshake",
                "a bare one, whatever its header",
            ),
            (None, "initialize", r#"{"protocolVersion":"2026-07-28"}"#, "handshake", "bare too"),
            (None, "ping", OLD_META, "stateless", "of this shape, though it names an older one"),
            (None, "tools/call", r#"{"_meta":{"progressToken":1}}"#, "handshake", "known to both"),
            (None, "tools/list", HIDDEN, "stateless", "a name written with escapes"),
            (None, "tools/list", BROKEN, "handshake", "older clients put there what they like"),
            (Some("2026-07-28"), "tools/list", BROKEN, "error", "a newer one must not"),
            (Some("latest"), "tools/list", "{}", "handshake", "no revision at all"),
            (None, "tools/call", TWO_STATES, "error", "no way round the checks of that era"),
            (None, "tools/call", TWO_NAMES, "handshake", "for whoever answers that to judge"),
        ];
        for (header, method, params, expected, reason) in rows {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(PROTOCOL_VERSION, header.parse().unwrap());
            }
            let text =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
            let Ok(Incoming::Single(Message::Request(request))) = Incoming::parse(text.as_bytes())
            else {
                panic!("{text} is a request");
            };
            let era = match of_request(Some(&headers), &request) {
                Ok(Era::Handshake) => "handshake",
                Ok(Era::Stateless(_)) => "stateless",
                Err(_) => "error",
            };
            assert_eq!(era, expected, "{header:?} {text}: {reason}");
        }
    }
}
