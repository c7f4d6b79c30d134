//! Where an answer may be sent (OAuth 2.1 §2.3, RFC 8252 §7, MCP: https or loopback).
//!
//! A [`RedirectUri`] exists only as the result of finding an asked URI among a client's registered
//! ones, so nothing else can be redirected to.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Longest redirect URI that is read, in bytes.
pub const REDIRECT_URI_BYTES_MAX: usize = 2 * 1024;

/// Schemes that make a browser run, show or open something of the page that redirects.
const DANGEROUS_SCHEMES: [&str; 13] = [
    "about",
    "blob",
    "chrome",
    "data",
    "file",
    "filesystem",
    "ftp",
    "intent",
    "javascript",
    "jar",
    "vbscript",
    "view-source",
    "ws",
];

/// A redirect URI that a client may register: https, http on loopback, or a private-use scheme.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegisteredRedirectUri(String);

/// Why a redirect URI cannot be registered (`invalid_redirect_uri`, RFC 7591 §3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// Not an absolute URI, or with characters that browsers silently drop.
    #[error("it is not an absolute URI")]
    Malformed,
    /// Longer than [`REDIRECT_URI_BYTES_MAX`].
    #[error("it is too long")]
    TooLong,
    /// RFC 6749 §3.1.2.
    #[error("it has a fragment")]
    Fragment,
    /// A user name in a URL only serves to disguise the host.
    #[error("it has a user name or password")]
    Userinfo,
    /// A `.` or `..` segment, plain or percent-encoded, is read differently by different parsers.
    #[error("it has dot segments")]
    DotSegments,
    /// MCP: redirect URIs are https or loopback.
    #[error("plain http is for loopback only: use https")]
    PlainHttp,
    /// A scheme that would run a script or open a file.
    #[error("its scheme is not allowed")]
    DangerousScheme,
}

impl RegisteredRedirectUri {
    /// Checks one entry of `redirect_uris`; the text is kept as it came.
    ///
    /// # Errors
    /// One [`RedirectUriError`] for each way to be unusable.
    pub fn parse(text: &str) -> Result<Self, RedirectUriError> {
        if text.len() > REDIRECT_URI_BYTES_MAX {
            return Err(RedirectUriError::TooLong);
        }
        // The URL parser trims and drops these without a word, so what is shown and compared
        // would not be what the browser opens.
        let is_odd = |character: char| {
            !character.is_ascii()
                || character.is_whitespace()
                || character.is_control()
                || matches!(character, '\\' | '<' | '>' | '"')
        };
        if text.contains(is_odd) {
            return Err(RedirectUriError::Malformed);
        }
        let url = Url::parse(text).map_err(|_| RedirectUriError::Malformed)?;
        if DANGEROUS_SCHEMES.contains(&url.scheme()) {
            return Err(RedirectUriError::DangerousScheme);
        }
        if text.contains('#') {
            return Err(RedirectUriError::Fragment);
        }
        // Empty ones too, of which the URL parser says nothing.
        let authority = authority(text, url.scheme());
        let has_userinfo = authority.is_some_and(|authority| authority.contains('@'));
        if has_userinfo || !url.username().is_empty() || url.password().is_some() {
            return Err(RedirectUriError::Userinfo);
        }
        if has_dot_segments(text) {
            return Err(RedirectUriError::DotSegments);
        }
        match url.scheme() {
            "https" if authority.is_some_and(|authority| !authority.is_empty()) => {}
            "https" => return Err(RedirectUriError::Malformed),
            "http" if is_written_loopback(text) => {}
            "http" => return Err(RedirectUriError::PlainHttp),
            _ => {}
        }
        Ok(Self(text.to_owned()))
    }

    /// The text as registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The asked URI, if it is this one: the same text, or, for http on loopback, the same text
    /// but for the port (RFC 8252 §7.3: a native app cannot know its port in advance).
    pub fn find(&self, asked: &str) -> Option<RedirectUri> {
        let same = asked == self.0
            || matches!(
                (LoopbackUri::parse(&self.0), LoopbackUri::parse(asked)),
                (Some(registered), Some(asked)) if registered == asked
            );
        same.then(|| RedirectUri(asked.to_owned()))
    }

    /// Whether the answer goes to a program on the person's own machine, by http on loopback.
    pub fn is_loopback(&self) -> bool {
        LoopbackUri::parse(&self.0).is_some()
    }

    /// This very URI as the place of an answer, for a request that names none
    /// (allowed when exactly one is registered).
    pub fn as_redirect_uri(&self) -> RedirectUri {
        RedirectUri(self.0.clone())
    }
}

impl fmt::Debug for RegisteredRedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegisteredRedirectUri({})", self.0)
    }
}

/// An http loopback URI without its port: what RFC 8252 §7.3 lets us compare.
#[derive(PartialEq, Eq)]
struct LoopbackUri<'a> {
    host: &'a str,
    rest: &'a str,
}

impl<'a> LoopbackUri<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let after_scheme = text.strip_prefix("http://")?;
        let host = ["127.0.0.1", "[::1]", "localhost"]
            .into_iter()
            .find(|host| after_scheme.starts_with(host))?;
        let (host, after_host) = after_scheme.split_at(host.len());
        let rest = match after_host.strip_prefix(':') {
            None => after_host,
            Some(with_port) => {
                let digits = with_port.bytes().take_while(u8::is_ascii_digit).count();
                let (port, rest) = with_port.split_at(digits);
                port.parse::<u16>().ok()?;
                rest
            }
        };
        (rest.is_empty() || rest.starts_with(['/', '?'])).then_some(Self { host, rest })
    }
}

fn is_written_loopback(text: &str) -> bool {
    LoopbackUri::parse(text).is_some()
}

/// What is written between `//` and the path.
fn authority<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    text.get(scheme.len()..)?.strip_prefix("://")?.split(['/', '?']).next()
}

fn has_dot_segments(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or(text);
    path.split('/').any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    })
}

/// A place an answer may go to, exactly as the client asked for it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RedirectUri(String);

impl RedirectUri {
    /// The text as asked.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host a person is shown; for a private-use scheme, the scheme itself (`cursor:`).
    pub fn shown_host(&self) -> String {
        match Url::parse(&self.0) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => match (url.host(), url.port()) {
                (Some(Host::Domain(name)), None) => name.to_owned(),
                (Some(host), None) => host.to_string(),
                (Some(host), Some(port)) => format!("{host}:{port}"),
                (None, _) => String::new(),
            },
            Ok(url) => format!("{}:", url.scheme()),
            Err(_) => String::new(),
        }
    }

    /// Whether the answer goes to a program on the person's own machine, by http on loopback.
    pub fn is_loopback(&self) -> bool {
        LoopbackUri::parse(&self.0).is_some()
    }

    /// The URI by which a yes is remembered: on loopback without the port, which a native app
    /// picks anew each time (RFC 8252 §7.3).
    pub fn without_loopback_port(&self) -> String {
        LoopbackUri::parse(&self.0)
            .map_or_else(|| self.0.clone(), |uri| format!("http://{}{}", uri.host, uri.rest))
    }

    /// The URI with parameters added to its query. Parameters of the same names that the client
    /// registered are dropped, so that exactly one `code`, `state`, `iss` or `error` arrives.
    pub fn with_query(&self, parameters: &[(&str, &str)]) -> String {
        let (base, query) = self.0.split_once('?').unwrap_or((&self.0, ""));
        let kept = query.split('&').filter(|pair| !pair.is_empty() && !is_ours(pair));
        let mut pairs: Vec<String> = kept.map(str::to_owned).collect();
        pairs.extend(parameters.iter().map(|(name, value)| {
            form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
        }));
        format!("{base}?{}", pairs.join("&"))
    }
}

/// Names that only the authorization server may put on an answer (RFC 6749 §4.1.2, RFC 9207).
const RESPONSE_PARAMETERS: [&str; 8] =
    ["code", "state", "iss", "error", "error_description", "error_uri", "access_token", "id_token"];

fn is_ours(pair: &str) -> bool {
    form_urlencoded::parse(pair.as_bytes())
        .any(|(name, _)| RESPONSE_PARAMETERS.contains(&name.as_ref()))
}

impl fmt::Debug for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedirectUri({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn only_https_loopback_and_private_use_schemes_can_be_registered() {
        use RedirectUriError::*;
        let rows: &[(&str, Result<(), RedirectUriError>, &str)] = &[
            ("https://app.example/cb", Ok(()), "https"),
            ("https://app.example:8443/cb?x=1", Ok(()), "https with port and query"),
            ("http://127.0.0.1/cb", Ok(()), "loopback without port"),
            ("http://127.0.0.1:33418/", Ok(()), "loopback with port"),
            ("http://[::1]:1/cb", Ok(()), "loopback, IPv6"),
            ("http://localhost:6274/oauth/callback", Ok(()), "localhost"),
            ("cursor://anysphere.cursor-mcp/oauth/callback", Ok(()), "private use, as Cursor"),
            ("com.example.app:/oauth", Ok(()), "private use, reverse domain"),
            ("https://@app.example/cb", Err(Userinfo), "credentials, empty"),
            ("attp://@", Err(Userinfo), "empty credentials of nobody"),
            ("https:@app.example/cb", Err(Malformed), "no host in its place"),
            ("https:///app.example/cb", Err(Malformed), "nor here"),
            ("app:/cb?to=me@here://x@y", Ok(()), "an address in a query"),
            ("http://evil.example/cb", Err(PlainHttp), "plain http off loopback"),
            ("http://127.0.0.1.evil.example/cb", Err(PlainHttp), "looks like loopback"),
            ("http://localhost.evil.example/cb", Err(PlainHttp), "looks like localhost"),
            ("http://127.0.0.1@evil.example/cb", Err(Userinfo), "userinfo disguise"),
            ("http://2130706433/cb", Err(PlainHttp), "decimal loopback"),
            ("http://0x7f.1/cb", Err(PlainHttp), "hexadecimal loopback"),
            ("http://[::ffff:127.0.0.1]/cb", Err(PlainHttp), "mapped loopback"),
            ("http://LOCALHOST/cb", Err(PlainHttp), "another spelling"),
            ("http://127.0.0.1:99999/cb", Err(Malformed), "no such port"),
            ("https://app.example/cb#f", Err(Fragment), "fragment"),
            ("https://app.example/cb#", Err(Fragment), "empty fragment"),
            ("https://user@app.example/cb", Err(Userinfo), "user name"),
            ("https://app.example/a/../cb", Err(DotSegments), "dot segments"),
            ("https://app.example/a/%2e%2E/cb", Err(DotSegments), "encoded dot segments"),
            ("javascript:alert(1)", Err(DangerousScheme), "script"),
            ("JaVaScRiPt:alert(1)", Err(DangerousScheme), "script in mixed case"),
            ("data:text/html,x", Err(DangerousScheme), "data"),
            ("file:///etc/passwd", Err(DangerousScheme), "file"),
            ("vbscript:x", Err(DangerousScheme), "vbscript"),
            ("blob:https://app.example/x", Err(DangerousScheme), "blob"),
            ("about:blank", Err(DangerousScheme), "about"),
            ("view-source:https://app.example", Err(DangerousScheme), "view-source"),
            (" javascript:alert(1)", Err(Malformed), "leading space"),
            ("java\tscript:alert(1)", Err(Malformed), "inner tab, which browsers drop"),
            ("java\nscript:alert(1)", Err(Malformed), "inner newline, which browsers drop"),
            ("\0javascript:alert(1)", Err(Malformed), "leading NUL"),
            ("https://app.example\\@evil.example/", Err(Malformed), "backslash"),
            ("//app.example/cb", Err(Malformed), "no scheme"),
            ("/cb", Err(Malformed), "relative"),
            ("", Err(Malformed), "empty"),
            ("https://", Err(Malformed), "no host"),
            ("https://app.example/é", Err(Malformed), "not ASCII, which no header can carry"),
        ];
        for (text, expected, reason) in rows {
            assert_eq!(
                RegisteredRedirectUri::parse(text).map(|_| ()),
                *expected,
                "{text}: {reason}"
            );
        }
        let long = format!("https://app.example/{}", "a".repeat(REDIRECT_URI_BYTES_MAX));
        assert_eq!(RegisteredRedirectUri::parse(&long).map(|_| ()), Err(TooLong));
    }

    #[test]
    fn a_redirect_uri_is_found_by_its_text_and_on_loopback_without_its_port() {
        let rows: &[(&str, &str, bool, &str)] = &[
            ("https://app.example/cb", "https://app.example/cb", true, "same"),
            ("https://app.example/cb", "https://app.example/cb/", false, "trailing slash"),
            ("https://app.example/cb", "https://app.example/CB", false, "path case"),
            ("https://app.example/cb", "https://APP.example/cb", false, "host case"),
            ("https://app.example/cb", "https://app.example/cb?x=1", false, "added query"),
            ("https://app.example/cb", "https://app.example/x/../cb", false, "dot segments"),
            ("https://app.example/cb", "https://app.example/%63b", false, "percent-encoding"),
            ("https://app.example/cb", "https://app.example/%2e/cb", false, "encoded dot"),
            ("https://app.example/cb", "https://u@app.example/cb", false, "userinfo"),
            ("https://app.example/cb", "https://app.example:443/cb", false, "default port"),
            ("https://app.example/cb", "https://app.example:8443/cb", false, "port on https"),
            ("https://app.example/cb", "http://app.example/cb", false, "scheme"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:49152/cb", true, "any port"),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:49152/cb", true, "another port"),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1/cb", true, "no port"),
            ("http://[::1]/cb", "http://[::1]:49152/cb", true, "any port, IPv6"),
            ("http://localhost/cb", "http://localhost:49152/cb", true, "any port, localhost"),
            ("http://localhost/cb", "http://127.0.0.1:1/cb", false, "host swapped"),
            ("http://127.0.0.1/cb", "http://[::1]/cb", false, "host swapped, IPv6"),
            ("http://127.0.0.1/cb", "https://127.0.0.1/cb", false, "https"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1/other", false, "other path"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1/cb?x=1", false, "added query"),
            ("http://127.0.0.1/cb", "http://127.0.0.1.evil/cb", false, "longer host"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1@evil/cb", false, "userinfo for port"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:/cb", false, "empty port"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:99999/cb", false, "no such port"),
            ("http://127.0.0.1/cb", "http://[::ffff:127.0.0.1]/cb", false, "mapped address"),
            ("http://127.0.0.1/cb", "http://2130706433/cb", false, "decimal address"),
            ("cursor://x/cb", "cursor://x:1/cb", false, "port on a private-use scheme"),
            ("cursor://x/cb", "cursor://x/cb", true, "private use"),
        ];
        for (registered, asked, expected, reason) in rows {
            let found = RegisteredRedirectUri::parse(registered).unwrap().find(asked);
            assert_eq!(found.is_some(), *expected, "{registered} / {asked}: {reason}");
            if let Some(found) = found {
                assert_eq!(found.as_str(), *asked, "the text asked for is the one used");
            }
        }
    }

    #[test]
    fn an_answer_carries_each_of_our_parameters_once() {
        let uri = |text: &str| RegisteredRedirectUri::parse(text).unwrap().as_redirect_uri();
        let answer = [("code", "c&d"), ("state", "s")];
        let rows = [
            ("https://a.example/cb", "https://a.example/cb?code=c%26d&state=s", "no query"),
            ("https://a.example/cb?", "https://a.example/cb?code=c%26d&state=s", "empty query"),
            ("https://a.example/cb?k=v", "https://a.example/cb?k=v&code=c%26d&state=s", "kept"),
            (
                "https://a.example/cb?iss=x&code=y&k=v&st%61te=z",
                "https://a.example/cb?k=v&code=c%26d&state=s",
                "ours are dropped, encoded or not",
            ),
            ("cursor://x/cb", "cursor://x/cb?code=c%26d&state=s", "private use"),
        ];
        for (registered, expected, reason) in rows {
            assert_eq!(uri(registered).with_query(&answer), expected, "{reason}");
        }
    }

    #[test]
    fn a_person_sees_where_the_answer_goes() {
        let shown =
            |text: &str| RegisteredRedirectUri::parse(text).unwrap().as_redirect_uri().shown_host();
        assert_eq!(shown("https://app.example/cb"), "app.example");
        assert_eq!(shown("http://127.0.0.1:6274/cb"), "127.0.0.1:6274");
        assert_eq!(shown("http://[::1]:6274/cb"), "[::1]:6274");
        assert_eq!(shown("cursor://anysphere/cb"), "cursor:");
        assert_eq!(
            shown("https://xn--pple-43d.com/cb"),
            "xn--pple-43d.com",
            "never the look-alike"
        );
    }
}
