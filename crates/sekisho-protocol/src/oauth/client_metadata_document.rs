//! Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document §3, §4): the client's
//! id is the https URL of a JSON document about it.
//!
//! Knows which URLs and which documents count. Never fetches: see who calls it.

use std::fmt;

use serde_json::{Map, Value};
use url::{Host, Url};

use super::registration::{refused, text, understand};
use super::{ClientId, ClientMetadata, OAuthError, ScopeSet, TokenEndpointAuthMethod};

/// Largest document that is read (§6.6 of the draft: 5 KB).
pub const CLIENT_METADATA_DOCUMENT_BYTES_MAX: usize = 5 * 1024;

/// Longest URL that is a client's id, in bytes.
const CLIENT_ID_URL_BYTES_MAX: usize = 1024;

/// A client id that is the URL of its document, in the one spelling that counts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientIdUrl {
    url: Url,
    host: String,
}

/// Why an id that begins like a URL names no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientIdUrlError {
    /// Longer than 1 KiB.
    #[error("the client_id is too long")]
    TooLong,
    /// Not a URL, or one that a browser would spell otherwise, so that it has two names.
    #[error("the client_id is not a URL in its plain spelling")]
    OddSpelling,
    /// A document is believed because TLS says whose it is.
    #[error("the client_id is not an https URL")]
    NotHttps,
    /// Draft §3: a host alone names no document.
    #[error("the client_id has no path")]
    NoPath,
    /// Draft §3.
    #[error("the client_id has a fragment")]
    Fragment,
    /// Draft §3; it only serves to disguise the host.
    #[error("the client_id has a user name or password")]
    Userinfo,
    /// Draft §3: read differently by different parsers.
    #[error("the client_id has dot segments")]
    DotSegments,
    /// A number tells a person nothing about who asks, and reaches hosts that have no name.
    #[error("the client_id names no host but an address")]
    Address,
}

impl ClientIdUrl {
    /// Whether an id is meant to be a URL. Ids of our own never look so.
    pub fn is_meant_by(client_id: &ClientId) -> bool {
        let text = client_id.as_str();
        ["https:", "http:"].iter().any(|scheme| {
            text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        })
    }

    /// Checks an id.
    ///
    /// # Errors
    /// One [`ClientIdUrlError`] for each way to name no document.
    pub fn parse(text: &str) -> Result<Self, ClientIdUrlError> {
        if text.len() > CLIENT_ID_URL_BYTES_MAX {
            return Err(ClientIdUrlError::TooLong);
        }
        if text.contains('#') {
            return Err(ClientIdUrlError::Fragment);
        }
        if has_dot_segments(text) {
            return Err(ClientIdUrlError::DotSegments);
        }
        let url = Url::parse(text).map_err(|_| ClientIdUrlError::OddSpelling)?;
        if url.scheme() != "https" {
            return Err(ClientIdUrlError::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return Err(ClientIdUrlError::Userinfo);
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.ends_with('.') => name.to_owned(),
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => return Err(ClientIdUrlError::Address),
            Some(Host::Domain(_)) | None => return Err(ClientIdUrlError::OddSpelling),
        };
        if url.path() == "/" {
            return Err(ClientIdUrlError::NoPath);
        }
        // The document is compared with this text, byte by byte: a spelling that the parser
        // changes would be fetched as another than it is compared as.
        if url.as_str() != text {
            return Err(ClientIdUrlError::OddSpelling);
        }
        Ok(Self { url, host })
    }

    /// What to fetch.
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// The host (without a port), which is the client's identity as far as people can judge it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The text, which is the client's id.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }
}

impl fmt::Debug for ClientIdUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientIdUrl({})", self.url)
    }
}

fn has_dot_segments(text: &str) -> bool {
    let path = text.split(['?', '#']).next().unwrap_or(text);
    path.split(['/', '\\']).any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    })
}

/// Reads a document. `known` are all scopes here and `defaults` what a client that names none may
/// ask for.
///
/// # Errors
/// The first thing that is wrong, in words for whoever made the document.
pub fn parse_client_metadata_document(
    client_id: &ClientIdUrl,
    body: &[u8],
    known: &ScopeSet,
    defaults: &ScopeSet,
) -> Result<ClientMetadata, OAuthError> {
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| refused("the document is not a JSON object"))?;
    if text(&fields, "client_id")? != Some(client_id.as_str()) {
        return Err(refused("the document's client_id is not the URL it was fetched from"));
    }
    if text(&fields, "client_name")?.is_none_or(|name| name.trim().is_empty()) {
        return Err(refused("the document has no client_name"));
    }
    // Draft §4.1: nothing that is published can be a shared secret.
    for name in ["client_secret", "client_secret_expires_at"] {
        if fields.contains_key(name) {
            return Err(refused(&format!("the document has a {name}")));
        }
    }
    understand(&fields, auth_method(&fields)?, known, defaults)
}

/// RFC 7591's default is a shared secret, which cannot be meant here: who says nothing is public.
fn auth_method(fields: &Map<String, Value>) -> Result<TokenEndpointAuthMethod, OAuthError> {
    match text(fields, "token_endpoint_auth_method")? {
        None | Some("none") => Ok(TokenEndpointAuthMethod::None),
        Some("private_key_jwt") => Ok(TokenEndpointAuthMethod::PrivateKeyJwt),
        Some(_) => Err(refused("token_endpoint_auth_method must be none or private_key_jwt")),
    }
}

/// Hosts by name: `app.example`, or `*.app.example` for everything below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostList(Vec<String>);

impl HostList {
    /// Checks what an operator wrote.
    ///
    /// # Errors
    /// The entry that is no host name.
    pub fn parse(entries: &[String]) -> Result<Self, String> {
        entries
            .iter()
            .map(|entry| {
                let name = entry.strip_prefix("*.").unwrap_or(entry);
                let is_name = !name.is_empty()
                    && Url::parse(&format!("https://{name}/"))
                        .is_ok_and(|url| url.host_str() == Some(name) && url.port().is_none());
                if is_name { Ok(entry.clone()) } else { Err(entry.clone()) }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an entry names this host.
    pub fn contains(&self, host: &str) -> bool {
        self.0.iter().any(|entry| match entry.strip_prefix("*.") {
            Some(above) => host.strip_suffix(above).is_some_and(|below| below.ends_with('.')),
            None => entry == host,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
    use serde_json::json;

    use super::*;

    const ID: &str = "https://app.example/oauth/client.json";

    #[test]
    fn a_client_id_is_a_plain_https_url_of_a_named_host() {
        use ClientIdUrlError::*;
        let long = format!("https://app.example/{}", "x".repeat(1024));
        let rows = [
            (ID, None, "the usual one"),
            ("https://app.example/client?v=1", None, "a query is allowed"),
            ("https://app.example:8443/client", None, "a port"),
            ("https://app.example/a..b", None, "dots within a segment"),
            ("http://app.example/client", Some(NotHttps), "plain"),
            ("http://localhost/client", Some(NotHttps), "plain, on loopback"),
            ("https://app.example", Some(NoPath), "no path"),
            ("https://app.example/", Some(NoPath), "a slash is no path"),
            ("https://app.example/?x=1", Some(NoPath), "a query is no path"),
            ("https://app.example/c#f", Some(Fragment), "a fragment"),
            ("https://app.example/c#", Some(Fragment), "an empty fragment"),
            ("https://u@app.example/c", Some(Userinfo), "a user"),
            ("https://u:p@app.example/c", Some(Userinfo), "a password"),
            ("https://@app.example/c", Some(Userinfo), "an empty user"),
            ("https://app.example/../c", Some(DotSegments), "up"),
            ("https://app.example/a/./c", Some(DotSegments), "stay"),
            ("https://app.example/%2e%2E/c", Some(DotSegments), "up, encoded"),
            ("https://app.example/.%2e/c", Some(DotSegments), "up, half encoded"),
            ("https://app.example\\..\\c", Some(DotSegments), "up, by backslash"),
            ("https://app.example\\c", Some(OddSpelling), "a backslash"),
            ("HTTPS://app.example/c", Some(OddSpelling), "upper case scheme"),
            ("https://App.example/c", Some(OddSpelling), "upper case host"),
            ("https://app.example:443/c", Some(OddSpelling), "the default port"),
            ("https://app.example./c", Some(OddSpelling), "a dot at the end of the host"),
            ("https://app.example/a b", Some(OddSpelling), "a space"),
            ("https://app.example/c\tc", Some(OddSpelling), "a tab that parsers drop"),
            (" https://app.example/c", Some(OddSpelling), "a space in front"),
            ("https://äpp.example/c", Some(OddSpelling), "a host not in ASCII"),
            ("https:app.example/c", Some(OddSpelling), "no slashes"),
            ("https://127.0.0.1/c", Some(Address), "an address"),
            ("https://[::1]/c", Some(Address), "an address, IPv6"),
            ("https://[::ffff:127.0.0.1]/c", Some(Address), "an address in another"),
            ("https://2130706433/c", Some(Address), "an address as a number"),
            ("https://0x7f.1/c", Some(Address), "an address in hex"),
            ("https://0177.0.0.1/c", Some(Address), "an address in octal"),
            ("https://8.8.8.8/c", Some(Address), "a public address tells nobody who it is"),
            ("https:///c", Some(NoPath), "no host, and so read as the host c"),
            ("https://", Some(OddSpelling), "nothing"),
            (&long, Some(TooLong), "1 KiB"),
        ];
        for (text, expected, reason) in rows {
            assert_eq!(ClientIdUrl::parse(text).err(), expected, "{reason}: {text}");
        }
        for (id, expected) in
            [("https://x", true), ("HTTP:x", true), ("httpsx", false), ("a1b2", false), ("", false)]
        {
            assert_eq!(ClientIdUrl::is_meant_by(&ClientId::new(id)), expected, "{id}");
        }
    }

    #[test]
    fn a_document_is_about_its_own_url_and_holds_no_secret() {
        let good = json!({
            "client_id": ID, "client_name": "App", "redirect_uris": ["https://app.example/cb"],
        });
        let with = |name: &str, value: Value| {
            let mut document = good.clone();
            document[name] = value;
            document
        };
        let key = json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": "x", "y": "y" }] });
        let signing = |document: Value| {
            let mut document = document;
            document["token_endpoint_auth_method"] = json!("private_key_jwt");
            document
        };
        let rows = [
            (good.clone(), true, "the least there can be"),
            (with("token_endpoint_auth_method", json!("none")), true, "public"),
            (signing(with("jwks", key.clone())), true, "signs, keys within"),
            (signing(with("jwks_uri", json!("https://app.example/k"))), true, "signs, keys beside"),
            (
                with("grant_types", json!(["authorization_code", "urn:x"])),
                true,
                "grants we do not know",
            ),
            (
                with("redirect_uris", json!(["http://127.0.0.1/cb", "http://localhost/cb"])),
                true,
                "loopback",
            ),
            (with("client_id", json!("https://app.example/oauth/Client.json")), false, "case"),
            (with("client_id", json!("https://app.example:443/oauth/client.json")), false, "port"),
            (with("client_id", json!(format!("{ID}/"))), false, "a slash"),
            (with("client_id", json!("https://other.example/c")), false, "another's"),
            (with("client_id", Value::Null), false, "no client_id"),
            (with("client_name", Value::Null), false, "no name"),
            (with("client_name", json!("  ")), false, "an empty name"),
            (with("redirect_uris", Value::Null), false, "no redirect URIs"),
            (with("redirect_uris", json!([])), false, "an empty list"),
            (with("redirect_uris", json!(["javascript:alert(1)"])), false, "a script"),
            (with("redirect_uris", json!(["http://app.example/cb"])), false, "plain http"),
            (with("client_secret", json!("s")), false, "a published secret"),
            (with("client_secret_expires_at", json!(0)), false, "half a secret"),
            (with("token_endpoint_auth_method", json!("client_secret_basic")), false, "shared"),
            (with("token_endpoint_auth_method", json!("client_secret_post")), false, "shared"),
            (with("token_endpoint_auth_method", json!("client_secret_jwt")), false, "shared"),
            (signing(good.clone()), false, "signs without a key"),
            (signing(with("jwks_uri", json!("http://app.example/k"))), false, "keys by plain http"),
            (signing(with("jwks", json!({ "keys": [{ "d": "x" }] }))), false, "a private key"),
            (with("logo_uri", json!("javascript:alert(1)")), false, "a script for a logo"),
            (json!([good.clone()]), false, "an array"),
        ];
        let id = ClientIdUrl::parse(ID).unwrap();
        let scopes = ScopeSet::of(["fortune"]);
        for (document, expected, reason) in rows {
            let body = document.to_string();
            let parsed = parse_client_metadata_document(&id, body.as_bytes(), &scopes, &scopes);
            assert_eq!(parsed.is_ok(), expected, "{reason}: {parsed:?}");
        }
        let parsed = parse_client_metadata_document(&id, b"{", &scopes, &scopes);
        assert!(parsed.is_err(), "no JSON");
    }

    #[test]
    fn a_list_of_hosts_names_hosts() {
        let entries =
            |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let list = HostList::parse(&entries(&["app.example", "*.corp.example"])).unwrap();
        let rows = [
            ("app.example", true, "itself"),
            ("www.app.example", false, "below it, not asked for"),
            ("a.corp.example", true, "below"),
            ("a.b.corp.example", true, "further below"),
            ("corp.example", false, "the name itself is not below it"),
            ("evilcorp.example", false, "only the same ending"),
            ("app.example.evil.example", false, "only the same beginning"),
        ];
        for (host, expected, reason) in rows {
            assert_eq!(list.contains(host), expected, "{reason}: {host}");
        }
        for wrong in ["https://app.example", "app.example/x", "App.example", "a b", "", "*.", "a:1"]
        {
            assert!(HostList::parse(&entries(&[wrong])).is_err(), "{wrong}");
        }
    }
}
