//! The documents by which clients find everything (RFC 8414, RFC 9728), fetched at `public_url`: each
//! must be what the settings make, in every place where clients look, and readable by pages.

use axum::http::StatusCode;
use futures::StreamExt as _;
use sekisho::authorization_server;
use sekisho::resource_server;
use serde_json::Value;

use super::finding::Finding;
use super::outside::{Answer, ORIGIN, Outside, exchange, values};
use crate::config::{Config, IdentityConfig};

const ABOUT: &str = "metadata";

/// Documents that are fetched at once.
const FETCHES_AT_ONCE_MAX: usize = 8;
/// Members that are named in a line.
const MEMBERS_TOLD_MAX: usize = 3;

/// What to do where a proxy passes another name on than it was asked by.
pub(super) const KEEP_HOST: &str = "have the proxy keep the name (nginx: proxy_set_header Host \
                                    $host; Apache: ProxyPreserveHost On)";

pub(super) async fn examine(config: &Config, outside: &Outside<'_>) -> Vec<Finding> {
    let documents = documents(config);
    let count = documents.len();
    let examined = futures::stream::iter(documents).map(async |(place, expected)| {
        let request = outside.get(&place).header("origin", ORIGIN);
        let flaw = match exchange(request).await {
            Err(unanswered) => Some((unanswered.what(), unanswered.fix().to_owned())),
            Ok(answer) => flaw(&answer, &expected, config),
        };
        (place, flaw)
    });
    let examined: Vec<_> = examined.buffered(FETCHES_AT_ONCE_MAX).collect().await;
    let mut flaws: Vec<(Vec<String>, (String, String))> = Vec::new();
    for (place, flaw) in examined {
        let Some(flaw) = flaw else { continue };
        match flaws.iter_mut().find(|(_, known)| *known == flaw) {
            Some((places, _)) => places.push(place),
            None => flaws.push((vec![place], flaw)),
        }
    }
    if flaws.is_empty() {
        return vec![Finding::ok(
            ABOUT,
            format!("all {count} documents are as the settings make them"),
        )];
    }
    let told = flaws.into_iter().map(|(places, (what, fix))| {
        Finding::problem(ABOUT, format!("{} {what}", places.join(", ")), fix)
    });
    told.collect()
}

/// Every document by its path.
fn documents(config: &Config) -> Vec<(String, Value)> {
    let settings = &config.authorization;
    let (mut documents, issuer) = match &config.identity {
        IdentityConfig::External(other) => (Vec::new(), other.issuer.as_str()),
        IdentityConfig::Providers(_) => {
            (authorization_server::metadata_documents(settings), config.public_url.as_str())
        }
    };
    documents.extend(resource_server::metadata_documents(
        &config.public_url,
        &settings.servers,
        issuer,
    ));
    let parsed = documents
        .into_iter()
        .map(|(place, document)| (place, serde_json::from_slice(&document).unwrap_or_default()));
    parsed.collect()
}

/// What is wrong with an answer, and what to do.
fn flaw(answer: &Answer, expected: &Value, config: &Config) -> Option<(String, String)> {
    let status = answer.status;
    let pass_on = || {
        format!(
            "have the proxy pass every path below /.well-known/ on as it is (nginx: location \
             /.well-known/ {{ proxy_pass http://{}; }})",
            config.listen
        )
    };
    if status == StatusCode::NOT_FOUND {
        return Some(("is not found (404)".to_owned(), pass_on()));
    }
    if status == StatusCode::MISDIRECTED_REQUEST {
        return Some((
            "is refused (421): the proxy passes another Host on".to_owned(),
            KEEP_HOST.to_owned(),
        ));
    }
    if status.is_redirection() {
        let to = values(&answer.headers, "location").join("");
        let what = format!("redirects ({status}) to {to:?}, and clients do not follow");
        return Some((
            what,
            "answer there itself; correct public_url if that is where it is".to_owned(),
        ));
    }
    if status != StatusCode::OK {
        return Some((format!("answers {status}"), pass_on()));
    }
    let Ok(found) = serde_json::from_slice::<Value>(&answer.body) else {
        return Some(("answers something that is not JSON".to_owned(), pass_on()));
    };
    if found != *expected {
        let what = format!("is not what the settings make: {}", differences(&found, expected));
        let fix = "restart the server with these settings, or have the proxy pass on to it and not \
                   to another";
        return Some((what, fix.to_owned()));
    }
    match values(&answer.headers, "access-control-allow-origin").as_slice() {
        ["*"] => None,
        [] => {
            let what = "has no Access-Control-Allow-Origin, so that pages cannot read it";
            Some((what.to_owned(), "have the proxy pass our CORS headers on".to_owned()))
        }
        [_] | [_, _, ..] => {
            let what = "has an Access-Control-Allow-Origin of the proxy's, which browsers refuse \
                        beside ours";
            Some((what.to_owned(), "take CORS headers out of the proxy's settings".to_owned()))
        }
    }
}

fn differences(found: &Value, expected: &Value) -> String {
    let (Value::Object(found), Value::Object(expected)) = (found, expected) else {
        return "it is no object".to_owned();
    };
    let changed = expected.iter().filter(|(name, value)| found.get(*name) != Some(value));
    let changed = changed.map(|(name, value)| match found.get(name) {
        Some(other) => format!("{name} is {other}, not {value}"),
        None => format!("{name} is missing"),
    });
    let added = found.keys().filter(|name| !expected.contains_key(*name));
    let added = added.map(|name| format!("{name} is too much"));
    let all: Vec<_> = changed.chain(added).collect();
    let more = all.len().saturating_sub(MEMBERS_TOLD_MAX);
    let told = all.into_iter().take(MEMBERS_TOLD_MAX).collect::<Vec<_>>().join("; ");
    if more > 0 { format!("{told}; and {more} more") } else { told }
}
