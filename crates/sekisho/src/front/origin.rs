//! Which web pages may call us: one list that drives both the Origin check of the MCP endpoints
//! (MCP "Transports": present and not listed is 403) and CORS (Fetch §3.2).
//!
//! Browsers send `Origin`, other clients need not, so an absent one is fine. `null` and foreign
//! origins are refused before anyone is authenticated. Credentials are never allowed by CORS:
//! clients send a bearer token, and cookies are for our own pages only.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use sekisho_protocol::oauth::Issuer;

/// The origins whose pages may call us: our own, any on loopback, and those the operator lists.
#[derive(Debug, Clone)]
pub struct OriginPolicy {
    listed: Vec<String>,
}

/// A configured origin is not `scheme://host` or `scheme://host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedOrigin {
    /// Everybody, or nobody in particular.
    #[error("it would let any page call: list the origins one by one")]
    NotOne,
    /// Something an `Origin` header never contains.
    #[error(
        "it is not an origin: write for example \"https://app.example.com\", no path behind it"
    )]
    NotAnOrigin,
}

/// Which paths are called by scripts of other origins, and how.
#[derive(Debug, Clone, Default)]
pub struct Surfaces {
    mcp: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surface {
    /// An MCP endpoint: a foreign origin is refused.
    Mcp,
    /// An endpoint of the authorization server that clients call: CORS for listed origins.
    Client,
    /// A public document: CORS for everybody.
    Document,
    /// Pages for people, health: no CORS at all.
    Page,
}

/// What an answer must carry, so that the calling page may read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cors {
    /// Nothing.
    None,
    /// The answer differs by origin, and this one may not read it.
    Vary,
    /// Any page may read it.
    Any,
    /// This origin's pages may read it.
    Origin(HeaderValue),
}

impl OriginPolicy {
    /// Lists the origin of `public_url` and those of `allowed`, compared as text in lower case.
    ///
    /// # Errors
    /// When an entry of `allowed` is no origin, or is `*` or `null`.
    pub fn new(public_url: &Issuer, allowed: &[String]) -> Result<Self, MalformedOrigin> {
        let mut listed = vec![public_url.as_str().to_owned()];
        for origin in allowed {
            listed.push(checked(origin)?);
        }
        Ok(Self { listed })
    }

    /// Whether the pages of this origin may call us.
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(text) = origin.to_str() else { return false };
        self.listed.iter().any(|listed| listed == text) || is_loopback_origin(text)
    }

    /// Refuses, answers a preflight, or says what CORS headers the answer needs.
    pub(super) fn judge(
        &self,
        surfaces: &Surfaces,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Cors, Box<Response>> {
        let surface = surfaces.of(path);
        if surface == Surface::Page {
            return Ok(Cors::None);
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            return Ok(if surface == Surface::Document { Cors::Any } else { Cors::Vary });
        };
        let is_preflight = method == Method::OPTIONS
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let cors = match surface {
            Surface::Document => Cors::Any,
            Surface::Mcp | Surface::Client | Surface::Page => {
                if origins.next().is_none() && self.allows(origin) {
                    Cors::Origin(origin.clone())
                } else if surface == Surface::Mcp || is_preflight {
                    tracing::info!(
                        ?origin,
                        "refused: if pages of this origin may call, add it to allowed_origins"
                    );
                    return Err(Box::new(refusal(surface)));
                } else {
                    Cors::Vary
                }
            }
        };
        if is_preflight { Err(Box::new(preflight(surface, cors, headers))) } else { Ok(cors) }
    }
}

impl Surfaces {
    /// `mcp` are the paths of all MCP endpoints, for instance `/mcp`, `/sse`, `/messages`.
    pub fn new(mcp: impl IntoIterator<Item = String>) -> Self {
        Self { mcp: mcp.into_iter().collect() }
    }

    /// Whether it is an endpoint of a guarded server.
    pub(super) fn is_mcp(&self, path: &str) -> bool {
        self.mcp.iter().any(|endpoint| endpoint == path)
    }

    fn of(&self, path: &str) -> Surface {
        if self.is_mcp(path) {
            Surface::Mcp
        } else if path.starts_with("/.well-known/") || path == "/jwks.json" {
            Surface::Document
        } else if matches!(path, "/token" | "/register" | "/revoke") {
            Surface::Client
        } else {
            Surface::Page
        }
    }
}

impl Surface {
    const fn methods(self) -> &'static str {
        match self {
            Self::Mcp => "GET, POST, DELETE, OPTIONS",
            Self::Client => "POST, OPTIONS",
            Self::Document | Self::Page => "GET, HEAD, OPTIONS",
        }
    }
}

impl Cors {
    /// Puts the headers on an answer.
    pub(super) fn apply(self, headers: &mut HeaderMap) {
        match self {
            Self::None => {}
            Self::Vary => vary_by_origin(headers),
            Self::Any => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Self::Origin(origin) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
                vary_by_origin(headers);
            }
        }
    }
}

fn vary_by_origin(headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// 403: for an MCP endpoint with a JSON-RPC error that answers no particular request.
fn refusal(surface: Surface) -> Response {
    const MESSAGE: &str = r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"this origin may not call this server"}}"#;
    match surface {
        Surface::Mcp => {
            let json = [(header::CONTENT_TYPE, "application/json")];
            (StatusCode::FORBIDDEN, json, MESSAGE).into_response()
        }
        Surface::Client | Surface::Document | Surface::Page => {
            (StatusCode::FORBIDDEN, "this origin may not call this server\n").into_response()
        }
    }
}

/// 204 with what the page may send; answered before authentication, as browsers send no token here.
fn preflight(surface: Surface, cors: Cors, asked: &HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(surface.methods()));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    cors.apply(headers);
    response
}

/// The fixed list, and any `Mcp-Param-…` that was asked for: those are named by the tools.
fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    let mut allowed = ALLOWED_HEADERS.to_owned();
    let asked = asked
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    for name in asked.split(',').map(|name| name.trim().to_ascii_lowercase()) {
        if name.starts_with("mcp-param-") && name.parse::<HeaderName>().is_ok() {
            allowed.push_str(", ");
            allowed.push_str(&name);
        }
    }
    HeaderValue::try_from(allowed).unwrap_or_else(|_| HeaderValue::from_static(ALLOWED_HEADERS))
}

/// An `http` or `https` origin on this machine, with any port.
fn is_loopback_origin(text: &str) -> bool {
    let Some(authority) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"))
    else {
        return false;
    };
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        authority.strip_prefix(name).is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix(':').is_some_and(|port| {
                    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
                })
        })
    })
}

/// An origin as browsers serialise it (RFC 6454 §6.2), also of schemes such as
/// `chrome-extension` and `vscode-webview`.
fn checked(text: &str) -> Result<String, MalformedOrigin> {
    if text == "*" || text == "null" {
        return Err(MalformedOrigin::NotOne);
    }
    let (scheme, authority) = text.split_once("://").ok_or(MalformedOrigin::NotAnOrigin)?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        });
    let is_authority = !authority.is_empty()
        && authority.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte)
        });
    let has_default_port = (scheme == "https" && authority.ends_with(":443"))
        || (scheme == "http" && authority.ends_with(":80"));
    if is_scheme && is_authority && !has_default_port {
        Ok(text.to_owned())
    } else {
        Err(MalformedOrigin::NotAnOrigin)
    }
}

const ALLOWED_HEADERS: &str = "authorization, content-type, accept, last-event-id, \
     mcp-session-id, mcp-protocol-version, mcp-method, mcp-name";
/// What a client acts upon: who gives tokens, its session, when to come again, what to report.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "www-authenticate, mcp-session-id, mcp-protocol-version, retry-after, x-trace-id",
);

/// Whether a form was posted by a page of ours: no other site may act for a person.
///
/// `Sec-Fetch-Site` is sent by every current browser; `Origin` by older ones too. A request with
/// neither comes from no browser, and still needs the cookie.
pub(crate) fn is_posted_by_our_page(headers: &HeaderMap, issuer: &Issuer) -> bool {
    let are_ours = |name: HeaderName, is_ours: &dyn Fn(&str) -> bool| {
        headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(is_ours))
    };
    are_ours(SEC_FETCH_SITE, &|site| matches!(site, "same-origin" | "none"))
        && are_ours(header::ORIGIN, &|origin| origin == issuer.as_str())
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn policy() -> OriginPolicy {
        let issuer = Issuer::parse("https://mcp.example.com").unwrap();
        OriginPolicy::new(&issuer, &["https://app.example".into(), "vscode-webview://x1".into()])
            .unwrap()
    }

    #[test]
    fn only_listed_origins_may_call() {
        let rows = [
            ("https://mcp.example.com", true, "our own"),
            ("https://app.example", true, "listed"),
            ("vscode-webview://x1", true, "listed, another scheme"),
            ("http://localhost:6274", true, "loopback, any port"),
            ("http://localhost", true, "loopback, default port"),
            ("https://127.0.0.1:8443", true, "loopback address"),
            ("http://[::1]:3000", true, "loopback, IPv6"),
            ("null", false, "a sandboxed frame or a redirect"),
            ("https://evil.example", false, "a stranger"),
            ("http://mcp.example.com", false, "http for https"),
            ("https://mcp.example.com:444", false, "another port"),
            ("https://app.example.evil", false, "a listed name and more"),
            ("https://evil.app.example", false, "a name below a listed one"),
            ("https://app.example/", false, "no browser sends a slash"),
            ("HTTPS://app.example", false, "no browser sends upper case"),
            ("http://localhost.evil.example", false, "a look-alike of loopback"),
            ("http://localhost:80@evil.example", false, "loopback as userinfo"),
            ("http://localhost:99999", false, "no such port"),
            ("http://localhost:", false, "an empty port"),
            ("http://127.0.0.1.evil.example", false, "a look-alike of loopback"),
            ("ftp://localhost", false, "another scheme"),
            ("https://app.example, https://evil.example", false, "two in one header"),
            ("", false, "empty"),
        ];
        for (origin, expected, reason) in rows {
            assert_eq!(policy().allows(&origin.parse().unwrap()), expected, "{reason}: {origin}");
        }
    }

    #[test]
    fn a_listed_origin_is_written_as_browsers_send_it() {
        let issuer = Issuer::parse("https://mcp.example.com").unwrap();
        let rows = [
            ("https://app.example", true, "the usual one"),
            ("http://app.internal:8080", true, "with a port"),
            ("chrome-extension://abcdef", true, "an extension"),
            ("*", false, "everybody"),
            ("null", false, "nobody in particular"),
            ("app.example", false, "no scheme"),
            ("https://", false, "no host"),
            ("https://app.example/", false, "a slash"),
            ("https://app.example/x", false, "a path"),
            ("https://App.example", false, "upper case never matches"),
            ("https://app.example:443", false, "browsers drop the default port"),
            ("https://u@app.example", false, "userinfo"),
            ("https://*.example", false, "a wildcard"),
            ("", false, "empty"),
        ];
        for (origin, expected, reason) in rows {
            let parsed = OriginPolicy::new(&issuer, &[origin.to_owned()]);
            assert_eq!(parsed.is_ok(), expected, "{reason}: {origin}");
        }
    }

    #[test]
    fn a_preflight_allows_what_mcp_clients_send() {
        let mut asked = HeaderMap::new();
        let names = "authorization, x-other, Mcp-Param-Region, mcp-param-\"x";
        asked.insert(header::ACCESS_CONTROL_REQUEST_HEADERS, names.parse().unwrap());
        let allowed = allowed_headers(&asked);
        assert_eq!(allowed.to_str().unwrap(), format!("{ALLOWED_HEADERS}, mcp-param-region"));
    }

    #[test]
    fn only_our_own_page_posts_a_form() {
        let issuer = Issuer::parse("http://localhost:8000").unwrap();
        let rows: &[(&[(&'static str, &str)], bool, &str)] = &[
            (&[], true, "no browser"),
            (&[("origin", "http://localhost:8000")], true, "ours"),
            (&[("origin", "http://evil.example")], false, "another origin"),
            (&[("origin", "null")], false, "an opaque origin"),
            (&[("origin", "http://localhost:8001")], false, "another port"),
            (&[("sec-fetch-site", "same-origin")], true, "ours by metadata"),
            (&[("sec-fetch-site", "cross-site")], false, "cross-site"),
            (&[("sec-fetch-site", "same-site")], false, "a sibling"),
            (
                &[("sec-fetch-site", "same-origin"), ("origin", "http://evil.example")],
                false,
                "one lies",
            ),
        ];
        for (lines, expected, reason) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in *lines {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(is_posted_by_our_page(&headers, &issuer), *expected, "{reason}");
        }
    }
}
