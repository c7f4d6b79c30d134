//! The name of an authorization server (RFC 8414 §2), kept and compared as text, and where its
//! endpoints are. It may have a path: a base path, below which all of them are.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use url::Url;

/// Our own issuer: an https URL, or http on loopback, without trailing slash, query or fragment.
///
/// It is compared as text wherever OAuth compares it (RFC 9207 §2.4), so the text is kept exactly
/// as the operator wrote it; [`Url`] only looks inside.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Issuer(String);

impl Issuer {
    /// Checks what an operator wrote.
    ///
    /// # Errors
    /// One [`IssuerError`] for each way to be unusable, worded with its remedy.
    pub fn parse(text: &str) -> Result<Self, IssuerError> {
        if let Some(remedy) = text.strip_suffix('/') {
            return Err(IssuerError::TrailingSlash { remedy: remedy.trim_end_matches('/').into() });
        }
        let url = Url::parse(text).map_err(|_| IssuerError::NotAUrl)?;
        if url.query().is_some() || url.fragment().is_some() || text.contains(['?', '#']) {
            return Err(IssuerError::QueryOrFragment);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(IssuerError::Userinfo);
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => return Err(IssuerError::PlainHttp),
            _ => return Err(IssuerError::NotAUrl),
        }
        if url.path() != "/" && !is_base_path(url.path()) {
            return Err(IssuerError::Path);
        }
        if text != url.as_str().trim_end_matches('/') {
            let remedy = url.as_str().trim_end_matches('/').to_owned();
            return Err(IssuerError::OddSpelling { remedy });
        }
        Ok(Self(text.to_owned()))
    }

    /// The text, as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether browsers reach us over TLS, which decides how cookies are named and flagged.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Host and port as a `Host` header spells them.
    pub fn authority(&self) -> &str {
        self.origin().split_once("://").map_or("", |(_, rest)| rest)
    }

    /// The same without the base path, as an `Origin` header spells it.
    pub fn origin(&self) -> &str {
        self.0.strip_suffix(self.base_path()).unwrap_or(&self.0)
    }

    /// The path below which all endpoints are: `/tools`, or nothing.
    pub fn base_path(&self) -> &str {
        let (_, rest) = self.0.split_once("://").unwrap_or_default();
        rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or_default()
    }

    /// The URL of one of our own endpoints; `path` starts with a slash and knows of no base path.
    /// That of a well-known document stands behind the document's name (RFC 8414 §3.1, RFC 9728
    /// §3.1).
    pub fn endpoint(&self, path: &str) -> String {
        let base = self.base_path();
        match well_known(path) {
            Some((name, below)) => format!("{}{name}{base}{below}", self.origin()),
            None => format!("{}{path}", self.0),
        }
    }

    /// The reverse: which endpoint a request's path means, if it is below the base path.
    pub fn path_inside<'a>(&self, path: &'a str) -> Option<Cow<'a, str>> {
        let base = self.base_path();
        if base.is_empty() {
            return Some(path.into());
        }
        let below_base = |path: &'a str| {
            path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match well_known(path) {
            Some((name, below)) => below_base(below).map(|rest| format!("{name}{rest}").into()),
            None => below_base(path).map(|rest| if rest.is_empty() { "/" } else { rest }.into()),
        }
    }
}

/// The path of a well-known document: up to its name, and what it is about.
fn well_known(path: &str) -> Option<(&str, &str)> {
    const PREFIX: &str = "/.well-known/";
    let name = path.strip_prefix(PREFIX)?;
    path.split_at_checked(PREFIX.len() + name.find('/').unwrap_or(name.len()))
}

/// Of plain segments, so that nobody spells it in two ways, and none that the host has for others.
fn is_base_path(path: &str) -> bool {
    let is_plain = |segment: &str| {
        !matches!(segment, "" | "." | ".." | ".well-known")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    path.strip_prefix('/').is_some_and(|inside| inside.split('/').all(is_plain))
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({})", self.0)
    }
}

/// Why a text cannot be an issuer, with the remedy in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssuerError {
    /// Not an absolute http or https URL.
    #[error("it is not an http or https URL: write for example \"https://mcp.example.com\"")]
    NotAUrl,
    /// Clients compare issuers as text, so a trailing slash makes a second name.
    #[error("it ends with a slash: write \"{remedy}\"")]
    TrailingSlash {
        /// The same without the slash.
        remedy: String,
    },
    /// Browsers and clients would spell it otherwise than the operator did.
    #[error("browsers spell it otherwise: write \"{remedy}\"")]
    OddSpelling {
        /// The spelling browsers use.
        remedy: String,
    },
    /// RFC 8414 §2 forbids both.
    #[error("it has a query or a fragment: leave them out")]
    QueryOrFragment,
    /// Credentials do not belong in a public name.
    #[error("it has a user name or password: leave them out")]
    Userinfo,
    /// A base path that has two spellings, or is not ours.
    #[error(
        "its path is not plain: write letters, digits, dashes and slashes, as in \"https://example.com/tools\""
    )]
    Path,
    /// OAuth 2.1 §1.5: TLS everywhere but on loopback.
    #[error(
        "plain http is for loopback only: use https, with a reverse proxy that ends TLS in front"
    )]
    PlainHttp,
}

/// Whether a URL's host is this machine: `localhost`, `127.0.0.0/8` or `[::1]`.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_what_the_operator_wrote_or_a_remedy() {
        let rows: &[(&str, bool, &str)] = &[
            ("http://localhost:8000", true, "loopback may be plain"),
            ("http://127.0.0.1:8000", true, "loopback address"),
            ("http://[::1]:8000", true, "loopback, IPv6"),
            ("https://mcp.example.com", true, "the usual one"),
            ("https://mcp.example.com/", false, "trailing slash"),
            ("https://mcp.example.com//", false, "trailing slashes"),
            ("http://mcp.example.com", false, "plain http off loopback"),
            ("http://127.0.0.1.evil.example", false, "a name that only looks like loopback"),
            ("https://example.com/tools", true, "a base path"),
            ("http://localhost:8000/a/b.c", true, "of two parts, on loopback"),
            ("https://example.com/tools/", false, "a base path with a trailing slash"),
            ("https://example.com//tools", false, "an empty segment"),
            ("https://example.com/a/../tools", false, "a way back"),
            ("https://example.com/t%6Fols", false, "another spelling"),
            ("https://example.com/道具", false, "which browsers spell otherwise"),
            ("https://example.com/a b", false, "a space"),
            ("https://example.com/.well-known", false, "the host's own"),
            ("https://example.com/tools?", false, "an empty query"),
            ("https://mcp.example.com?x", false, "a query"),
            ("https://mcp.example.com#x", false, "a fragment"),
            ("https://u@mcp.example.com", false, "userinfo"),
            ("https://MCP.example.com", false, "upper case, which browsers lower"),
            ("https://mcp.example.com:443", false, "the default port, which browsers drop"),
            ("mcp.example.com", false, "no scheme"),
            ("ftp://mcp.example.com", false, "another scheme"),
            ("", false, "nothing"),
        ];
        for (text, accepted, reason) in rows {
            let parsed = Issuer::parse(text);
            assert_eq!(parsed.is_ok(), *accepted, "{text}: {reason}: {parsed:?}");
            if let Ok(issuer) = parsed {
                assert_eq!(issuer.as_str(), *text, "the text is kept");
            }
        }
    }

    #[test]
    fn a_slash_is_refused_with_the_remedy() {
        let refused = Issuer::parse("https://mcp.example.com/").map_err(|error| error.to_string());
        assert_eq!(refused, Err("it ends with a slash: write \"https://mcp.example.com\"".into()));
    }

    #[test]
    fn endpoints_are_below_the_base_path_and_documents_name_it() {
        let rows = [
            ("https://example.com", "/token", "https://example.com/token"),
            ("https://example.com", "/.well-known/x/mcp", "https://example.com/.well-known/x/mcp"),
            ("https://example.com/tools", "/token", "https://example.com/tools/token"),
            ("https://example.com/tools", "/a/mcp", "https://example.com/tools/a/mcp"),
            (
                "https://example.com/tools",
                "/.well-known/x",
                "https://example.com/.well-known/x/tools",
            ),
            (
                "https://example.com/a/b",
                "/.well-known/x/mcp",
                "https://example.com/.well-known/x/a/b/mcp",
            ),
            ("http://[::1]:8000/tools", "/mcp", "http://[::1]:8000/tools/mcp"),
        ];
        for (issuer, path, expected) in rows {
            let Ok(issuer) = Issuer::parse(issuer) else { unreachable!("{issuer}") };
            assert_eq!(issuer.endpoint(path), expected);
            let asked = expected.strip_prefix(issuer.origin()).unwrap_or_default();
            assert_eq!(issuer.path_inside(asked).as_deref(), Some(path), "{asked}, and back");
        }
    }

    #[test]
    fn what_is_beside_the_base_path_is_nobodys() {
        let Ok(issuer) = Issuer::parse("https://example.com/tools") else { unreachable!() };
        assert_eq!((issuer.origin(), issuer.authority()), ("https://example.com", "example.com"));
        let rows = [
            ("/tools", Some("/"), "the welcome page"),
            ("/tools/", Some("/"), "with a slash"),
            ("/tools/mcp", Some("/mcp"), "an endpoint"),
            ("/tools/.well-known/x", Some("/.well-known/x"), "where OpenID puts documents"),
            ("/.well-known/x/tools", Some("/.well-known/x"), "where OAuth puts them"),
            ("/.well-known/x/tools/sse", Some("/.well-known/x/sse"), "of an endpoint"),
            ("/", None, "the host's own page"),
            ("/mcp", None, "without it"),
            ("/toolshed/mcp", None, "a name that only begins so"),
            ("/Tools/mcp", None, "paths have case"),
            ("/t%6Fols/mcp", None, "another spelling"),
            ("//tools/mcp", None, "an empty segment"),
            ("/.well-known/x", None, "the host's own document"),
            ("/.well-known/x/toolshed", None, "somebody else's document"),
            ("/.well-known/", None, "no document"),
            ("/.well-known", None, "no document either"),
        ];
        for (path, expected, reason) in rows {
            assert_eq!(issuer.path_inside(path).as_deref(), expected, "{reason}: {path}");
        }
    }
}
