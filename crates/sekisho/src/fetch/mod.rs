//! Fetches small JSON documents that strangers point us to: documents about clients, and clients'
//! keys.
//!
//! Only by https, only from hosts with a name, only from public addresses: a name is looked up
//! once, every address is checked, and the connection goes to one of those that were checked. Never
//! follows a redirect, never uses a proxy from the environment, never keeps a connection, never
//! reads more than it was told, and never waits longer than [`FETCH_PATIENCE`] in all.

mod address;
mod cached;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use url::{Host, Url};

pub(crate) use self::cached::{Cached, Standing};

/// Longest that a fetch takes, whatever the other side does.
pub const FETCH_PATIENCE: Duration = Duration::from_secs(5);

/// How long a document is believed that says nothing about it.
const FRESH_FOR_DEFAULT: Duration = Duration::from_mins(5);
/// How long a document is believed at least: as long as a person and a few clicks need.
const FRESH_FOR_LEAST: Duration = Duration::from_secs(30);
/// How long a document is believed at most.
const FRESH_FOR_MOST: Duration = Duration::from_hours(24);

/// Who can be reached.
#[derive(Clone, Default)]
pub struct Reach(Option<Arc<Stage>>);

impl Reach {
    /// The public internet by https: the only reach there is outside of tests.
    pub fn internet() -> Self {
        Self(None)
    }

    /// A stage for tests instead of the internet. No setting leads here.
    pub fn stage(stage: Stage) -> Self {
        Self(Some(Arc::new(stage)))
    }

    fn patience(&self) -> Duration {
        self.0.as_ref().map_or(FETCH_PATIENCE, |stage| stage.patience)
    }

    async fn look_up(&self, name: &str) -> Result<Vec<SocketAddr>, std::io::Error> {
        match &self.0 {
            None => Ok(tokio::net::lookup_host((name, 0)).await?.collect()),
            Some(stage) => Ok((stage.names)(name)),
        }
    }

    /// One special address among several is enough to refuse a name: who answers so is broken, or
    /// tries which one we take.
    fn is_open(&self, addresses: &[SocketAddr]) -> bool {
        let on_stage = |address| self.0.as_ref().is_some_and(|stage| stage.open.contains(address));
        !addresses.is_empty()
            && addresses.iter().all(|address| address::is_public(address.ip()) || on_stage(address))
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Reach(a stage)" } else { "Reach(internet)" })
    }
}

/// What tests have instead of the internet: names that they resolve, plain http instead of https,
/// and addresses that are open though they are special. Every other rule holds as it always does.
pub struct Stage {
    /// Looks a name up. An address with a port is connected to at that port.
    pub names: Box<dyn Fn(&str) -> Vec<SocketAddr> + Send + Sync>,
    /// Addresses that may be connected to beside public ones.
    pub open: Vec<SocketAddr>,
    /// Instead of [`FETCH_PATIENCE`].
    pub patience: Duration,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("open", &self.open).finish_non_exhaustive()
    }
}

/// Why there is no document. Cloneable, since everybody who waited for it is told the same.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it is not at an https URL with the name of a host")]
    NotAllowed,
    #[error("it cannot be reached")]
    Unreachable(#[source] Arc<reqwest::Error>),
    #[error("it took longer than {0:?}")]
    TooSlow(Duration),
    #[error("it was answered with {0}, not with 200")]
    Status(StatusCode),
    #[error("it is not JSON by its Content-Type")]
    NotJson,
    #[error("it is compressed")]
    Compressed,
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    #[error("it cannot be used: {0}")]
    Unusable(String),
    #[error("too many documents are being fetched")]
    Busy,
    #[error("too many documents are fetched for this address")]
    TooMany(Duration),
}

/// A name that leads to an address nobody may be sent to.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address, or one that is not public")]
struct NotPublic;

/// A document as it came.
#[derive(Debug)]
struct Fetched {
    body: Vec<u8>,
    fresh_for: Duration,
}

/// The one way out to strangers. The HTTP client is made when it is first needed.
#[derive(Debug, Clone)]
struct Fetcher {
    reach: Reach,
    client: Arc<OnceLock<Result<reqwest::Client, Arc<reqwest::Error>>>>,
}

impl Fetcher {
    fn new(reach: Reach) -> Self {
        Self { reach, client: Arc::default() }
    }

    async fn get(&self, url: &Url, bytes_max: usize) -> Result<Fetched, Fault> {
        // The resolver is not asked for addresses, so that they would come past the check.
        if url.scheme() != "https" || !matches!(url.host(), Some(Host::Domain(_))) {
            return Err(Fault::NotAllowed);
        }
        let patience = self.reach.patience();
        tokio::time::timeout(patience, self.exchange(url.clone(), bytes_max))
            .await
            .unwrap_or(Err(Fault::TooSlow(patience)))
    }

    async fn exchange(&self, mut url: Url, bytes_max: usize) -> Result<Fetched, Fault> {
        let unreachable =
            |reason: reqwest::Error| Fault::Unreachable(Arc::new(reason.without_url()));
        let client = self.client.get_or_init(|| self.make_client().map_err(Arc::new));
        let client = client.as_ref().map_err(|reason| Fault::Unreachable(Arc::clone(reason)))?;
        if self.reach.0.is_some() {
            url.set_scheme("http").map_err(|()| Fault::NotAllowed)?;
        }
        let request = client.get(url).header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(Fault::Status(response.status()));
        }
        check_form(response.headers())?;
        let fresh_for = fresh_for(response.headers());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > bytes_max {
                return Err(Fault::TooLarge(bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Fetched { body, fresh_for })
    }

    fn make_client(&self) -> Result<reqwest::Client, reqwest::Error> {
        let builder = reqwest::Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(0)
            .dns_resolver(CheckedNames(self.reach.clone()))
            .user_agent(concat!("sekisho/", env!("CARGO_PKG_VERSION")));
        match self.reach.0 {
            None => builder.https_only(true).build(),
            Some(_) => builder.tls_certs_only([]).build(),
        }
    }
}

/// Looks a name up and lets only checked addresses through, which are the ones connected to.
struct CheckedNames(Reach);

impl Resolve for CheckedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let found = reach.look_up(name.as_str()).await?;
            if reach.is_open(&found) {
                Ok(Box::new(found.into_iter()) as Addrs)
            } else {
                Err(NotPublic.into())
            }
        })
    }
}

/// `application/json` or a type that ends in `+json`, as it is: we asked for no compression, and a
/// bomb is small until it is opened.
fn check_form(headers: &HeaderMap) -> Result<(), Fault> {
    let is_plain = headers.get(CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    if !is_plain {
        return Err(Fault::Compressed);
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let is_json = media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"));
    if is_json { Ok(()) } else { Err(Fault::NotJson) }
}

/// How long a document is believed (RFC 9111 §5.2.2), within our bounds.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut max_age = None;
    for directive in values.flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        match directive.split_once('=') {
            None if matches!(directive.as_str(), "no-store" | "no-cache") => {
                return FRESH_FOR_LEAST;
            }
            Some(("max-age", seconds)) => {
                let seconds = seconds.trim_matches('"').parse().unwrap_or(0);
                max_age = Some(Duration::from_secs(seconds));
            }
            Some(_) | None => {}
        }
    }
    max_age.unwrap_or(FRESH_FOR_DEFAULT).clamp(FRESH_FOR_LEAST, FRESH_FOR_MOST)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_document_is_believed_as_long_as_it_says_within_our_bounds() {
        let minute = Duration::from_mins(1);
        let rows: &[(&[&str], Duration, &str)] = &[
            (&[], FRESH_FOR_DEFAULT, "says nothing"),
            (&["max-age=60"], minute, "a minute"),
            (&["public, Max-Age=60"], minute, "among others, in any case"),
            (&["max-age=\"60\""], minute, "quoted"),
            (&["public", "max-age=60"], minute, "two headers"),
            (&["max-age=0"], FRESH_FOR_LEAST, "at once stale"),
            (&["max-age=31536000"], FRESH_FOR_MOST, "a year"),
            (&["max-age=99999999999999999999999"], FRESH_FOR_LEAST, "no number"),
            (&["max-age=x"], FRESH_FOR_LEAST, "no number"),
            (&["no-store"], FRESH_FOR_LEAST, "not to be kept"),
            (&["max-age=600, no-cache"], FRESH_FOR_LEAST, "the stricter one counts"),
            (&["private"], FRESH_FOR_DEFAULT, "we are no shared cache for others"),
        ];
        for (values, expected, reason) in rows {
            let mut headers = HeaderMap::new();
            for value in *values {
                headers.append(CACHE_CONTROL, value.parse().unwrap());
            }
            assert_eq!(fresh_for(&headers), *expected, "{reason}");
        }
    }

    #[test]
    fn only_plain_json_is_read() {
        let rows = [
            (Some("application/json"), None, true, "JSON"),
            (Some("Application/JSON; charset=utf-8"), None, true, "in any case, with a charset"),
            (Some("application/oauth-client+json"), None, true, "a kind of JSON"),
            (Some("application/json"), Some("identity"), true, "said to be as it is"),
            (Some("text/html"), None, false, "a page"),
            (Some("text/plain"), None, false, "text"),
            (Some("application/jsonp"), None, false, "nearly"),
            (Some("x/y+json"), None, false, "another tree"),
            (None, None, false, "nothing said"),
            (Some("application/json"), Some("gzip"), false, "a bomb, maybe"),
        ];
        for (content_type, coding, expected, reason) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in [(CONTENT_TYPE, content_type), (CONTENT_ENCODING, coding)] {
                headers.extend(value.map(|value| (name, value.parse().unwrap())));
            }
            assert_eq!(check_form(&headers).is_ok(), expected, "{reason}");
        }
    }

    #[tokio::test]
    async fn what_is_no_name_of_a_host_is_not_even_looked_up() {
        let fetcher = Fetcher::new(Reach::internet());
        for url in ["http://app.example/", "https://127.0.0.1/", "https://[::1]/", "https://1/"] {
            let refused = fetcher.get(&Url::parse(url).unwrap(), 10).await;
            assert!(matches!(refused, Err(Fault::NotAllowed)), "{url}: {refused:?}");
        }
        assert!(fetcher.client.get().is_none(), "nobody was asked");
        // The name that every machine has for itself.
        let refused = fetcher.get(&Url::parse("https://localhost/").unwrap(), 10).await;
        assert!(matches!(refused, Err(Fault::Unreachable(_))), "{refused:?}");
    }

    #[test]
    fn one_special_address_closes_a_name() {
        let reach = Reach::internet();
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect()
        };
        let rows: &[(&[&str], bool, &str)] = &[
            (&["8.8.8.8"], true, "public"),
            (&["8.8.8.8", "2606:4700::1111"], true, "both public"),
            (&["8.8.8.8", "127.0.0.1"], false, "mixed"),
            (&["2606:4700::1111", "fd00::1"], false, "mixed, IPv6"),
            (&["127.0.0.1"], false, "loopback"),
            (&[], false, "nowhere"),
        ];
        for (texts, expected, reason) in rows {
            assert_eq!(reach.is_open(&addresses(texts)), *expected, "{reason}");
        }
    }
}
