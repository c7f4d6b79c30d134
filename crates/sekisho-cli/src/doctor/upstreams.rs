//! What is guarded: each upstream starts, shakes hands and lists tools with names that clients take
//! (64 characters of letters, digits, `_`, `.` and `-`).

use std::sync::Arc;
use std::time::Duration;

use sekisho::gateway::GuardedServer;
use sekisho::mcp::{CallError, Context, McpService};
use sekisho::protocol::mcp::{McpError, ProtocolVersion};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::timeout;

use super::finding::Finding;
use crate::behind::Behind;
use crate::config::{Config, Server, Upstream};

/// Longest that one upstream may take: a program may be fetched before it starts.
const UPSTREAM_WAIT: Duration = Duration::from_secs(60);
/// Pages of `tools/list` that are read.
const PAGES_MAX: usize = 50;
/// Longest name of a tool that all clients take.
const NAME_CHARS_MAX: usize = 64;
/// Names that are told in a line.
const NAMES_TOLD_MAX: usize = 3;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let behind = Behind::default();
    let each = config.servers.iter().map(async |server| of(server, &behind).await);
    let found = futures::future::join_all(each).await;
    behind.end().await;
    found.into_iter().flatten().collect()
}

async fn of(server: &Server, behind: &Behind) -> Vec<Finding> {
    let about = format!("upstream of {}", server.resource.name);
    let service = behind.service(&server.upstream);
    match timeout(UPSTREAM_WAIT, tools(&service)).await {
        Ok(Ok(tools)) => {
            let unfit: Vec<_> = tools.iter().filter(|name| !is_fit(name)).collect();
            let mut found = vec![Finding::ok(
                about.as_str(),
                format!("it answers and lists {} tools", tools.len()),
            )];
            found.extend(told(&about, &unfit));
            found
        }
        Ok(Err(error)) => {
            vec![Finding::problem(about, error.to_string(), remedy(&server.upstream))]
        }
        Err(_) => vec![Finding::problem(
            about,
            format!("it has not listed its tools after {} s", UPSTREAM_WAIT.as_secs()),
            "look why it hangs: it must answer initialize and tools/list",
        )],
    }
}

fn remedy(upstream: &Upstream) -> &'static str {
    match upstream {
        Upstream::Guarded { server, .. } => match server.as_ref() {
            GuardedServer::Command(_) => {
                "run what upstream.command says by hand, and read what it says on standard error"
            }
            GuardedServer::Remote(_) => {
                "start what should answer at upstream.url, and read in the log why it cannot be used"
            }
        },
        Upstream::Fortune => "this is built in: report it",
        #[cfg(feature = "conformance")]
        Upstream::Conformance => "this is built in: report it",
    }
}

fn told(about: &str, unfit: &[&String]) -> Option<Finding> {
    if unfit.is_empty() {
        return None;
    }
    let shown: Vec<_> = unfit.iter().take(NAMES_TOLD_MAX).map(|name| format!("{name:?}")).collect();
    let more = unfit.len().saturating_sub(NAMES_TOLD_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(Finding::warning(
        about,
        format!("some clients refuse these names of tools: {}{more}", shown.join(", ")),
        format!(
            "name them there with at most {NAME_CHARS_MAX} letters, digits, \"_\", \".\" and \"-\""
        ),
    ))
}

fn is_fit(name: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.bytes().all(is_sign)
}

#[derive(Deserialize)]
struct Page {
    tools: Vec<Named>,
    #[serde(rename = "nextCursor")]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// The names of all tools; none where the server says that it has no tools.
async fn tools(service: &Arc<dyn McpService>) -> Result<Vec<String>, CallError> {
    let context = Context::new(None, ProtocolVersion::LATEST_WITH_HANDSHAKE);
    let info = service.info(&context).await?;
    let capabilities: serde_json::Value =
        serde_json::from_str(info.capabilities.get()).unwrap_or_default();
    let mut names = Vec::new();
    if capabilities.get("tools").is_none() {
        return Ok(names);
    }
    let mut cursor: Option<Box<RawValue>> = None;
    for _ in 0..PAGES_MAX {
        let page = service.call("tools/list", cursor.as_deref(), &context).await?;
        let page: Page = serde_json::from_str(page.get()).map_err(|_| McpError::internal())?;
        names.extend(page.tools.into_iter().map(|tool| tool.name));
        match page.next_cursor {
            None => break,
            Some(next) => cursor = to_raw_value(&serde_json::json!({ "cursor": next })).ok(),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_some_clients_refuse_is_known() {
        let long = "a".repeat(65);
        let rows = [
            ("fortune", true, "a word"),
            ("a_b-c.D1", true, "every sign"),
            ("", false, "nothing"),
            ("two words", false, "a space"),
            ("a/b", false, "a slash"),
            ("占い", false, "not ASCII"),
            (long.as_str(), false, "65 characters"),
            (&long[1..], true, "64 characters"),
        ];
        for (name, expected, reason) in rows {
            assert_eq!(is_fit(name), expected, "{reason}: {name}");
        }
    }
}
