//! The MCP endpoints as a client meets them first: the challenge (RFC 9728 §5.1), the same with a
//! token that is none, and the preflight of a page.

use axum::http::StatusCode;
use sekisho::protocol::oauth::{ChallengeReason, ProtectedResource, challenge};
use serde_json::json;

use super::finding::Finding;
use super::metadata::KEEP_HOST;
use super::outside::{Answer, ORIGIN, Outside, exchange, values};
use crate::config::{Config, Server};

/// What no server ever gave out.
const NO_TOKEN_OF_OURS: &str =
    "mcp_0000000000000000000000000000000000000000000000000000000000000000";

const PASS_CORS: &str =
    "have the proxy pass OPTIONS and our CORS headers on, and add none of its own";

pub(super) async fn examine(config: &Config, outside: &Outside<'_>) -> Vec<Finding> {
    let each = config.servers.iter().map(async |server| of(config, server, outside).await);
    futures::future::join_all(each).await.into_iter().flatten().collect()
}

async fn of(config: &Config, server: &Server, outside: &Outside<'_>) -> Vec<Finding> {
    let resource = &server.resource;
    let about = format!("server {}", resource.name);
    let (mcp, sse, token, preflight) = tokio::join!(
        challenged(config, resource, "mcp", outside),
        challenged(config, resource, "sse", outside),
        token_arrives(resource, outside),
        preflight(resource, outside),
    );
    let flaws: Vec<_> = [mcp, sse, token, preflight].into_iter().filter_map(Result::err).collect();
    if flaws.is_empty() {
        let at = config.public_url.endpoint(&format!("{}mcp", resource.path));
        return vec![Finding::ok(
            about,
            format!("{at} sends clients to log in, and lets pages ask"),
        )];
    }
    flaws
        .into_iter()
        .map(|Flaw { what, fix }| Finding::problem(about.as_str(), what, fix))
        .collect()
}

/// What is wrong, and what to do.
struct Flaw {
    what: String,
    fix: String,
}

impl Flaw {
    fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// A call without a token.
async fn challenged(
    config: &Config,
    resource: &ProtectedResource,
    endpoint: &str,
    outside: &Outside<'_>,
) -> Result<(), Flaw> {
    let path = format!("{}{endpoint}", resource.path);
    let request =
        if endpoint == "mcp" { outside.post(&path).json(&ping()) } else { outside.get(&path) };
    let request = request.header("accept", "application/json, text/event-stream");
    let answer = ask(&path, request.header("origin", ORIGIN)).await?;
    refuse_others(&path, &answer)?;
    let metadata = resource.metadata_url(&config.public_url, endpoint);
    let expected = challenge(ChallengeReason::NoToken, &metadata, &resource.scopes);
    match values(&answer.headers, "www-authenticate").as_slice() {
        [] => Err(Flaw::new(
            format!(
                "{path} answers 401 without WWW-Authenticate, so that clients cannot find where \
                     to log in"
            ),
            "have the proxy pass WWW-Authenticate on (nginx: no proxy_hide_header, no error_page for \
             401 with proxy_intercept_errors)",
        )),
        [one] if *one == expected => Ok(()),
        others => Err(Flaw::new(
            format!("{path} answers 401 with another WWW-Authenticate: {:?}", others.join(", ")),
            "restart the server with these settings, and have no authentication of the proxy's in \
             front of it",
        )),
    }?;
    if values(&answer.headers, "access-control-allow-origin") != [ORIGIN] {
        let what = format!("{path} answers a page without our CORS headers, or with others");
        return Err(Flaw::new(what, PASS_CORS));
    }
    let exposed = values(&answer.headers, "access-control-expose-headers").join(",");
    if exposed.to_ascii_lowercase().contains("www-authenticate") {
        return Ok(());
    }
    Err(Flaw::new(format!("{path} hides WWW-Authenticate from pages"), PASS_CORS))
}

/// A token that is none must be seen, and refused as such.
async fn token_arrives(resource: &ProtectedResource, outside: &Outside<'_>) -> Result<(), Flaw> {
    let path = format!("{}mcp", resource.path);
    let request = outside.post(&path).json(&ping()).bearer_auth(NO_TOKEN_OF_OURS);
    let answer =
        ask(&path, request.header("accept", "application/json, text/event-stream")).await?;
    // Whether it is refused for another reason is told by the call without a token.
    let said = values(&answer.headers, "www-authenticate").join(", ");
    if answer.status != StatusCode::UNAUTHORIZED
        || said.is_empty()
        || said.contains("invalid_token")
    {
        return Ok(());
    }
    Err(Flaw::new(
        format!("{path} never sees the Authorization header"),
        "have the proxy pass Authorization on (nginx: no proxy_set_header Authorization \"\"; Apache: \
         CGIPassAuth On)",
    ))
}

async fn preflight(resource: &ProtectedResource, outside: &Outside<'_>) -> Result<(), Flaw> {
    let path = format!("{}mcp", resource.path);
    let request = outside
        .options(&path)
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, content-type");
    let answer = ask(&path, request).await?;
    let allows = |name: &str, wanted: &str| {
        let values = values(&answer.headers, name).join(",").to_ascii_lowercase();
        values.split(',').any(|value| value.trim() == wanted)
    };
    let is_answered = answer.status.is_success()
        && values(&answer.headers, "access-control-allow-origin") == [ORIGIN]
        && allows("access-control-allow-methods", "post")
        && allows("access-control-allow-headers", "authorization");
    if is_answered {
        return Ok(());
    }
    let what = format!(
        "{path} does not answer the preflight of a page as sekisho does ({})",
        answer.status
    );
    Err(Flaw::new(what, PASS_CORS))
}

async fn ask(path: &str, request: reqwest::RequestBuilder) -> Result<Answer, Flaw> {
    exchange(request)
        .await
        .map_err(|unanswered| Flaw::new(format!("{path} {}", unanswered.what()), unanswered.fix()))
}

/// Anything but 401 is not ours.
fn refuse_others(path: &str, answer: &Answer) -> Result<(), Flaw> {
    match answer.status {
        StatusCode::UNAUTHORIZED => Ok(()),
        StatusCode::MISDIRECTED_REQUEST => Err(Flaw::new(
            format!("{path} is refused (421): the proxy passes another Host on"),
            KEEP_HOST,
        )),
        StatusCode::FORBIDDEN => Err(Flaw::new(
            format!(
                "{path} answers 403 to a call without a token: a firewall or the proxy does, in \
                     front of sekisho"
            ),
            "let POST and GET with JSON bodies pass to this path",
        )),
        status => Err(Flaw::new(
            format!("{path} answers {status} to a call without a token, not 401"),
            "have the proxy pass this path on as it is",
        )),
    }
}

fn ping() -> serde_json::Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })
}
