//! The name of an authorization server (RFC 8414 §2), kept and compared as text.

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
        // A path needs routes below it, which the program does not serve yet.
        if url.path() != "/" {
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
        self.0.split_once("://").map_or("", |(_, rest)| rest)
    }

    /// The URL of one of our own endpoints; `path` starts with a slash.
    pub fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
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
    /// A base path is reserved for later.
    #[error("it has a path, which is not supported yet: give sekisho a host name of its own")]
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
            ("https://mcp.example.com/base", false, "a path"),
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
}
