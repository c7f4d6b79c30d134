//! The headers that seal every page and every redirect (RFC 9700 §4.2, §4.12, §4.16).
//!
//! `form-action` is never among them: Chromium applies it to the whole redirect chain after a
//! POST, so it would stop the way back to the client.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

/// What a browser may tell the next page about this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Referrer {
    /// Nothing: for pages without a form, and for redirects.
    None,
    /// Our own address, to ourselves: for pages with a form, whose `Origin` would else be `null`.
    SameOrigin,
}

/// Forbids storing, framing, sniffing and loading; replaces what was set before.
pub fn secure_headers(headers: &mut HeaderMap, referrer: Referrer) {
    let referrer = match referrer {
        Referrer::None => "no-referrer",
        Referrer::SameOrigin => "same-origin",
    };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static(referrer));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
}

/// The one stylesheet, as it stands between `<style>` and `</style>`.
pub(super) const STYLE: &str = include_str!("../../templates/style.css");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; frame-ancestors 'none'; base-uri 'none'"
    );
    // Base64 is visible ASCII, so this is always a header; were it not, nothing may load at all.
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    ))
});
