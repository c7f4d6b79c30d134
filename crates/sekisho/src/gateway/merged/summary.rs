//! What several servers together say of themselves: what any of them can, and how each wants to be used.

use std::fmt::Write as _;

use sekisho_protocol::mcp::{McpError, MemberName};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use crate::gateway::upstream::CARRIED;
use crate::mcp::ServerInfo;

/// Most bytes of one member's instructions that are passed on.
const INSTRUCTIONS_BYTES_MAX: usize = 16 * 1024;

/// One of them.
pub(super) struct Part<'a> {
    pub(super) name: &'a MemberName,
    /// What it can; nothing if nobody knows.
    pub(super) capabilities: Option<Box<RawValue>>,
    pub(super) instructions: Option<&'a str>,
}

/// All of them. Lists change as members come and go, whether or not a member ever says so.
pub(super) fn of<'a>(
    name: &str,
    parts: impl Iterator<Item = Part<'a>>,
) -> Result<ServerInfo, McpError> {
    let mut all = Map::new();
    let mut instructions = String::new();
    for part in parts {
        let its: Map<String, Value> = match &part.capabilities {
            Some(capabilities) => serde_json::from_str(capabilities.get()).unwrap_or_default(),
            // As nearly every server does. Who did not answer yet may do so soon.
            None => Map::from_iter([("tools".to_owned(), json!({}))]),
        };
        its.into_iter()
            .filter(|(name, _)| CARRIED.contains(&name.as_str()))
            .for_each(|(name, value)| unite(&mut all, name, value));
        if let Some(text) = part.instructions.filter(|text| !text.trim().is_empty()) {
            add_instructions(&mut instructions, part.name, text);
        }
    }
    for list in ["tools", "prompts", "resources"] {
        if let Some(Value::Object(its)) = all.get_mut(list) {
            its.insert("listChanged".to_owned(), true.into());
        }
    }
    Ok(ServerInfo {
        capabilities: to_raw_value(&all).map_err(|_| McpError::internal())?,
        server_info: server_info(name)?,
        instructions: (!instructions.is_empty()).then_some(instructions),
    })
}

/// What they are called together.
pub(super) fn server_info(name: &str) -> Result<Box<RawValue>, McpError> {
    let info = json!({ "name": name, "version": env!("CARGO_PKG_VERSION") });
    to_raw_value(&info).map_err(|_| McpError::internal())
}

/// What one or the other can. Where they say what cannot be united, the first counts.
fn unite(all: &mut Map<String, Value>, name: String, value: Value) {
    match (all.get_mut(&name), value) {
        (None, value) => {
            all.insert(name, value);
        }
        (Some(Value::Object(there)), Value::Object(more)) => {
            more.into_iter().for_each(|(name, value)| unite(there, name, value));
        }
        (Some(there @ Value::Bool(false)), Value::Bool(true)) => *there = true.into(),
        (Some(_), _) => {}
    }
}

/// Adds how one member wants to be used, under what its things are called.
fn add_instructions(all: &mut String, name: &MemberName, text: &str) {
    let end = text.floor_char_boundary(INSTRUCTIONS_BYTES_MAX);
    let text = text.get(..end).unwrap_or_default().trim();
    if !all.is_empty() {
        all.push_str("\n\n");
    }
    let (names, uris) = (name.name("…"), name.uri("…"));
    // Writing into memory does not fail.
    let _ = write!(all, "About what is called {names} and {uris}:\n{text}");
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn part<'a>(
        name: &'a MemberName,
        capabilities: Option<&Value>,
        instructions: Option<&'a str>,
    ) -> Part<'a> {
        let capabilities = capabilities.map(|said| to_raw_value(said).unwrap());
        Part { name, capabilities, instructions }
    }

    #[test]
    fn together_servers_can_what_any_of_them_can_and_lists_may_change() {
        let [one, other] = ["one", "other"].map(|name| MemberName::parse(name).unwrap());
        let rows = [
            (
                Some(json!({ "tools": {}, "tasks": {}, "experimental": { "x": {} } })),
                Some(json!({ "prompts": { "listChanged": false }, "logging": {} })),
                json!({
                    "tools": { "listChanged": true }, "prompts": { "listChanged": true }, "logging": {},
                }),
                "of what is carried",
            ),
            (
                Some(json!({ "resources": { "subscribe": false, "x": { "a": 1 } } })),
                Some(json!({ "resources": { "subscribe": true, "x": { "a": 2, "b": 3 } } })),
                json!({
                    "resources": { "subscribe": true, "listChanged": true, "x": { "a": 1, "b": 3 } },
                }),
                "members of members too",
            ),
            (
                Some(json!({ "completions": {} })),
                None,
                json!({ "completions": {}, "tools": { "listChanged": true } }),
                "one of whom nothing is known may have tools",
            ),
        ];
        for (first, second, expected, reason) in rows {
            let parts = [part(&one, first.as_ref(), None), part(&other, second.as_ref(), None)];
            let info = of("all", parts.into_iter()).unwrap();
            let told: Value = serde_json::from_str(info.capabilities.get()).unwrap();
            assert_eq!(told, expected, "{reason}");
            assert_eq!(info.instructions, None);
        }
    }

    #[test]
    fn each_says_for_itself_how_it_wants_to_be_used() {
        let [one, other] = ["one", "other"].map(|name| MemberName::parse(name).unwrap());
        let long = "é".repeat(INSTRUCTIONS_BYTES_MAX);
        let parts = [
            part(&one, None, Some(" Ask first.\n")),
            part(&other, None, Some(" ")),
            part(&other, None, Some(&long)),
        ];
        let told = of("all", parts.into_iter()).unwrap().instructions.unwrap();
        let expected = "About what is called one_… and one+…:\nAsk first.\n\n\
                        About what is called other_… and other+…:\né";
        assert!(told.starts_with(expected), "{told}");
        assert!(told.len() < INSTRUCTIONS_BYTES_MAX + 200, "no more than its share");
    }
}
