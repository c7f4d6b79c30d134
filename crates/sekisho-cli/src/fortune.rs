//! The built-in server: one tool, `fortune`, that draws an omikuji.

use std::cell::RefCell;

use async_trait::async_trait;
use sekisho::mcp::{CallError, Context, ServerInfo, Tool, Tools};
use sekisho::protocol::mcp::{McpError, ToolResult};
use serde_json::value::RawValue;

/// The seven fortunes, best first.
const FORTUNES: [&str; 7] = ["大吉", "中吉", "小吉", "吉", "末吉", "凶", "大凶"];

/// The server as `initialize` presents it.
pub(crate) fn service() -> Tools {
    let mut info = ServerInfo::with_tools("fortune", env!("CARGO_PKG_VERSION"));
    info.instructions = Some("Call the tool `fortune` to draw today's fortune.".to_owned());
    Tools::new(info).with(Fortune)
}

/// How many random bytes are asked of the system at once.
const RANDOM_BYTES_AT_ONCE: usize = 64;

#[derive(Debug)]
struct Fortune;

#[async_trait]
impl Tool for Fortune {
    fn definition(&self) -> serde_json::Value {
        serde_json::json!({
            "name": "fortune",
            "title": "Today's fortune / 今日の運勢",
            "description": "Draws today's fortune at random, from 大吉 (great luck) to 大凶 (great \
                            misfortune). / 今日の運勢をおみくじで占います。",
            "inputSchema": { "type": "object", "properties": {} },
            "annotations": { "title": "Today's fortune / 今日の運勢", "readOnlyHint": true },
        })
    }

    async fn call(
        &self,
        _arguments: Option<&RawValue>,
        _context: &Context,
    ) -> Result<ToolResult, CallError> {
        let fortune = draw().ok_or_else(McpError::internal)?;
        Ok(ToolResult::text(["今日の運勢は: ", fortune].concat()))
    }
}

/// Draws one, all equally likely; nothing without randomness from the system.
fn draw() -> Option<&'static str> {
    thread_local! {
        /// Random bytes asked for in one go, since asking costs more than the rest of a draw.
        static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    BYTES.with_borrow_mut(|bytes| {
        loop {
            if bytes.is_empty() {
                bytes.resize(RANDOM_BYTES_AT_ONCE, 0);
                getrandom::fill(bytes).ok()?;
            }
            if let Some(fortune) = bytes.pop().and_then(fortune_of) {
                return Some(fortune);
            }
        }
    })
}

/// Maps a random byte to a fortune. 256 is no multiple of seven, so the last four bytes are drawn
/// again: else the first four fortunes came more often.
fn fortune_of(byte: u8) -> Option<&'static str> {
    let byte = usize::from(byte);
    (byte < 252).then(|| FORTUNES.get(byte % FORTUNES.len()).copied()).flatten()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use std::collections::HashMap;

    use sekisho::mcp::McpService;
    use sekisho::protocol::mcp::ProtocolVersion;

    use super::*;

    #[test]
    fn every_fortune_is_equally_likely() {
        let mut counts = HashMap::new();
        for fortune in (0..=u8::MAX).filter_map(fortune_of) {
            *counts.entry(fortune).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 7);
        assert!(counts.values().all(|&count| count == 36), "{counts:?}");
    }

    #[tokio::test]
    async fn a_fortune_is_told_whatever_the_arguments() {
        let context = Context::new(None, ProtocolVersion::LATEST_WITH_HANDSHAKE);
        for params in [
            r#"{"name":"fortune"}"#,
            r#"{"name":"fortune","arguments":{}}"#,
            r#"{"name":"fortune","arguments":{"unasked":1}}"#,
        ] {
            let params: &RawValue = serde_json::from_str(params).unwrap();
            let result = service().call("tools/call", Some(params), &context).await.unwrap();
            let result: serde_json::Value = serde_json::from_str(result.get()).unwrap();
            let text = result["content"][0]["text"].as_str().unwrap();
            let fortune = text.strip_prefix("今日の運勢は: ").unwrap();
            assert!(FORTUNES.contains(&fortune), "{text}");
            assert_eq!(result.get("isError"), None);
        }
    }

    #[tokio::test]
    async fn another_tool_is_an_error_of_the_call() {
        let context = Context::new(None, ProtocolVersion::LATEST_WITH_HANDSHAKE);
        let params: &RawValue = serde_json::from_str(r#"{"name":"misfortune"}"#).unwrap();
        let error = service().call("tools/call", Some(params), &context).await.unwrap_err();
        assert!(error.to_string().contains("-32602"), "{error}");
    }
}
