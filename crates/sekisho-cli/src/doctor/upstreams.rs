//! What is guarded: each upstream starts, shakes hands and lists tools with names that clients take
//! (64 characters of letters, digits, `_`, `.` and `-`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sekisho::gateway::GuardedServer;
use sekisho::mcp::{CallError, Context, McpService};
use sekisho::protocol::mcp::{McpError, ProtocolVersion, TOOL_NAME_CHARS_MAX};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::finding::Finding;
use crate::behind::{Behind, Guarded};
use crate::config::{Config, Server, Upstream};

/// Longest that one upstream may take: a program may be fetched before it starts.
const UPSTREAM_WAIT: Duration = Duration::from_secs(60);
/// Pages of `tools/list` that are read.
const PAGES_MAX: usize = 50;
/// Names that are told in a line.
const NAMES_TOLD_MAX: usize = 3;
/// What is said of a server that wants to hear who calls.
const NOT_ASKED: &str = "it hears who calls, and the doctor is nobody: it was not asked";

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let behind = Behind::default();
    let (services, _) = behind.services(config, None, &Guarded::new(), |_, service| service);
    let each = config.every_server().map(async |server| {
        // What it is made of is asked by itself.
        let service = services.get(server.resource.name.as_str());
        let service = service.filter(|_| !server.upstream.is_merged())?;
        Some((
            server,
            match service {
                Ok(service) => Some(timeout(UPSTREAM_WAIT, tools(service)).await),
                // Nobody calls, and it wants to hear who does.
                Err(_) => None,
            },
        ))
    });
    let asked: Vec<_> = futures::future::join_all(each).await.into_iter().flatten().collect();
    behind.end().await;
    let listed: HashMap<&str, &[String]> = asked
        .iter()
        .filter_map(|(server, tools)| match tools {
            Some(Ok(Ok(tools))) => Some((server.resource.name.as_str(), tools.as_slice())),
            Some(Ok(Err(_)) | Err(_)) | None => None,
        })
        .collect();
    let merged = config.every_server().filter(|server| server.upstream.is_merged());
    let merged = merged.flat_map(|server| together(server, &listed));
    let alone = asked.iter().flat_map(|(server, tools)| match tools {
        Some(tools) => of(server, tools),
        None => vec![Finding::ok(about(server), NOT_ASKED)],
    });
    alone.chain(merged).collect()
}

fn of(server: &Server, tools: &Result<Result<Vec<String>, CallError>, Elapsed>) -> Vec<Finding> {
    let about = about(server);
    match tools {
        Ok(Ok(tools)) => {
            let unfit: Vec<_> = tools.iter().filter(|name| !is_fit(name)).collect();
            let mut found = vec![Finding::ok(
                about.as_str(),
                format!("it answers and lists {} tools", tools.len()),
            )];
            if !unfit.is_empty() {
                found.push(Finding::warning(
                    about,
                    format!("some clients refuse these names of tools: {}", some_of(&unfit)),
                    format!(
                        "name them there with at most {TOOL_NAME_CHARS_MAX} letters, digits, \"_\", \
                         \".\" and \"-\""
                    ),
                ));
            }
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

/// What a server has that is made of others: all that they list and whose names are not too long.
fn together(server: &Server, listed: &HashMap<&str, &[String]>) -> Vec<Finding> {
    let members = server.upstream.members();
    let of_all = members.iter().flat_map(|member| {
        let tools = listed.get(member.as_str()).copied().unwrap_or_default();
        tools.iter().map(|own| (member.name(own), member.tool_name(own).is_some()))
    });
    let (fit, long): (Vec<_>, Vec<_>) = of_all.partition(|(_, is_fit)| *is_fit);
    let here = members.iter().filter(|member| listed.contains_key(member.as_str())).count();
    let mut found = vec![Finding::ok(
        about(server),
        format!("{here} of its {} servers answer, with {} tools", members.len(), fit.len()),
    )];
    if !long.is_empty() {
        let names: Vec<_> = long.iter().map(|(name, _)| name).collect();
        found.push(Finding::warning(
            about(server),
            format!("these tools are left out, their names are too long here: {}", some_of(&names)),
            format!(
                "give what begins them, the name of their [[server]], fewer letters: with it and \"_\" \
                 a tool may have {TOOL_NAME_CHARS_MAX}"
            ),
        ));
    }
    found
}

fn about(server: &Server) -> String {
    format!("upstream of {}", server.resource.name)
}

fn some_of(names: &[&String]) -> String {
    let shown: Vec<_> = names.iter().take(NAMES_TOLD_MAX).map(|name| format!("{name:?}")).collect();
    let more = names.len().saturating_sub(NAMES_TOLD_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
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
        Upstream::Fortune | Upstream::Merged { .. } => "this is built in: report it",
        #[cfg(feature = "conformance")]
        Upstream::Conformance => "this is built in: report it",
    }
}

fn is_fit(name: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.is_empty() && name.len() <= TOOL_NAME_CHARS_MAX && name.bytes().all(is_sign)
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
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use sekisho::protocol::mcp::MemberName;
    use sekisho::protocol::oauth::{Issuer, ProtectedResource, ScopeSet};

    use super::*;

    #[test]
    fn tools_that_a_merged_server_leaves_out_are_told_of() {
        let issuer = Issuer::parse("http://localhost:8000").unwrap();
        let resource = ProtectedResource::new(&issuer, "all", "/", ScopeSet::of(["all"]));
        let members = ["files", "mail"].map(|name| MemberName::parse(name).unwrap());
        let upstream = Upstream::Merged { members: members.into() };
        let server = Server { resource, rules: None, upstream };
        let tools = ["read".to_owned(), "x".repeat(58), "y".repeat(59)];
        let found = together(&server, &HashMap::from([("files", &tools[..])]));
        let lines: Vec<String> = found.iter().map(Finding::line).collect();
        let [first, second] = <[String; 2]>::try_from(lines).unwrap();
        assert!(first.contains("1 of its 2 servers answer, with 2 tools"), "{first}");
        let left_out =
            format!("are left out, their names are too long here: \"files_{}\"", "y".repeat(59));
        assert!(second.starts_with("warning ") && second.contains(&left_out), "{second}");
    }

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
