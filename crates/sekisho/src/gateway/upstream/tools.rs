//! What is known of a server's tools in one conversation: which of their arguments are said once more in
//! headers (`x-mcp-header`, 2026-07-28), and which tools say so in a way that nobody can follow.
//!
//! Known from the lists that pass by; where a call comes first, from a list that is asked for once. What
//! the server says has changed is forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sekisho_protocol::mcp::{METHOD_NOT_FOUND, MirroredParam, mirrored_params, result_with_tools};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::Upstream;

/// How many pages of tools are read to know what is repeated, and how long anybody waits for it.
const PAGES_MAX: u32 = 20;
const LIST_WAIT: Duration = Duration::from_secs(10);
/// Bytes of the definitions of tools that anything is remembered of, in all. What is beyond it is not
/// remembered: such arguments are not held against headers.
const REMEMBERED_BYTES_MAX: usize = 1024 * 1024;
const ANNOTATION: &str = "x-mcp-header";

/// What is known of all tools.
#[derive(Debug, Default)]
pub(super) struct KnownTools {
    table: Mutex<Table>,
    /// Held while the tools are asked for: one asks, the others wait.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Table {
    /// Whoever is not in it, has nothing to repeat.
    is_whole: bool,
    repeating: HashMap<String, Arc<[MirroredParam]>>,
    /// Whose annotations are none.
    wrong: HashSet<String>,
    bytes: usize,
}

/// One page of a list, as far as anybody here reads it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow, default)]
    tools: Vec<&'a RawValue>,
    #[serde(default)]
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    name: String,
    #[serde(default)]
    input_schema: serde_json::Value,
}

impl KnownTools {
    /// Which arguments of a tool are repeated; nothing if nobody knows.
    pub(super) fn repeated(&self, tool: &str) -> Option<Arc<[MirroredParam]>> {
        let table = self.lock();
        let known = table.repeating.get(tool).cloned();
        known.or_else(|| table.is_whole.then(Arc::default))
    }

    /// Whether nobody can call it over HTTP (2026-07-28 "x-mcp-header").
    fn is_wrong(&self, tool: &RawValue) -> bool {
        let table = self.lock();
        if table.wrong.is_empty() {
            return false;
        }
        let tool: Option<Tool> = serde_json::from_str(tool.get()).ok();
        tool.is_some_and(|tool| table.wrong.contains(&tool.name))
    }

    /// Whether any tool is such a one.
    fn has_wrong(&self) -> bool {
        !self.lock().wrong.is_empty()
    }

    /// Nothing is known any more.
    pub(super) fn forget(&self) {
        *self.lock() = Table::default();
    }

    /// All pages were read, or as many as anybody reads.
    fn is_all(&self) {
        self.lock().is_whole = true;
    }

    /// Takes note of a page, which is the whole list if it is the first and the last; answers where the
    /// next one begins.
    fn learn(&self, page: &RawValue, is_first: bool) -> Option<String> {
        let Page { tools, next_cursor }: Page<'_> = serde_json::from_str(page.get()).ok()?;
        let mut table = self.lock();
        let before = table.wrong.clone();
        if is_first && next_cursor.is_none() {
            *table = Table { is_whole: true, ..Table::default() };
        }
        for tool in tools {
            table.learn(tool, &before);
        }
        next_cursor
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    /// Which arguments of a tool are repeated in headers. Where no list has passed by yet, the server is
    /// asked for one.
    pub(in crate::gateway) async fn repeated(&self, tool: &str) -> Arc<[MirroredParam]> {
        let known = self.connection.tools();
        if let Some(params) = known.repeated(tool) {
            return params;
        }
        let learned = async {
            let _asking = known.asking.lock().await;
            if known.repeated(tool).is_none() {
                self.list_tools().await;
            }
        };
        if Box::pin(tokio::time::timeout(LIST_WAIT, learned)).await.is_err() {
            tracing::warn!("the server behind us takes too long to list its tools");
        }
        // A server that lists no tools says of none what is repeated.
        known.repeated(tool).unwrap_or_default()
    }

    /// Learns anew what is repeated: what was known is wrong.
    pub(in crate::gateway) async fn learn_headers(&self, tool: &str) {
        self.connection.tools().forget();
        self.repeated(tool).await;
    }

    async fn list_tools(&self) {
        let known = self.connection.tools();
        let mut cursor: Option<String> = None;
        for turn in 0..PAGES_MAX {
            let params = cursor.map(|cursor| serde_json::json!({ "cursor": cursor }));
            let params = params.and_then(|params| to_raw_value(&params).ok());
            match self.ask("tools/list", params.as_deref()).await {
                Ok(page) => cursor = known.learn(&page, turn == 0),
                Err(error) if error.code() == Some(METHOD_NOT_FOUND) => cursor = None,
                // It may be better next time.
                Err(_) => return,
            }
            if cursor.is_none() {
                break;
            }
        }
        known.is_all();
    }

    /// Takes note of a list of tools that passes by; answers what a client sees of it: not those that
    /// nobody can call (2026-07-28 "x-mcp-header").
    pub(in crate::gateway) fn passing_list(
        &self,
        params: Option<&RawValue>,
        result: Box<RawValue>,
    ) -> Box<RawValue> {
        let known = self.connection.tools();
        known.learn(&result, is_first_page(params));
        let needs_headers = self.words.as_ref().is_some_and(|words| words.needs_headers());
        if !needs_headers || !known.has_wrong() {
            return result;
        }
        result_with_tools(&result, |tool| !known.is_wrong(tool)).unwrap_or(result)
    }
}

/// Whether a list is asked for from its beginning. Who could ask for a part of it as if it were all would
/// decide what is known for others.
fn is_first_page(params: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Asked<'a> {
        #[serde(borrow, default)]
        cursor: Option<&'a RawValue>,
    }
    let Some(params) = params else { return true };
    serde_json::from_str(params.get()).is_ok_and(|asked: Asked<'_>| asked.cursor.is_none())
}

impl Table {
    fn learn(&mut self, definition: &RawValue, complained_of: &HashSet<String>) {
        let text = definition.get();
        // A name may hide behind escapes.
        let is_plain = !text.contains(ANNOTATION) && !text.contains('\\');
        if is_plain && self.repeating.is_empty() && self.wrong.is_empty() {
            return;
        }
        let Ok(Tool { name, input_schema }) = serde_json::from_str::<Tool>(text) else { return };
        self.repeating.remove(&name);
        self.wrong.remove(&name);
        let found = mirrored_params(&input_schema);
        if found.as_ref().is_ok_and(Vec::is_empty) {
            return;
        }
        self.bytes = self.bytes.saturating_add(text.len());
        if self.bytes > REMEMBERED_BYTES_MAX {
            tracing::warn!(
                mcp.tool = name,
                "too many tools of the server behind us repeat arguments"
            );
            return;
        }
        match found {
            Ok(params) => {
                self.repeating.insert(name, params.into());
            }
            Err(reason) => {
                if !complained_of.contains(&name) {
                    tracing::warn!(
                        mcp.tool = name,
                        reason,
                        "the server behind us lists a tool that no client may call over HTTP"
                    );
                }
                self.wrong.insert(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn tool(name: &str, annotation: &str) -> String {
        format!(
            r#"{{"name":"{name}","inputSchema":{{"properties":{{"a":{{"type":"string"{annotation}}}}}}}}}"#
        )
    }

    fn page(tools: &[String], next: Option<&str>) -> Box<RawValue> {
        let next = next.map(|next| format!(r#","nextCursor":"{next}""#)).unwrap_or_default();
        RawValue::from_string(format!(r#"{{"tools":[{}]{next}}}"#, tools.join(","))).unwrap()
    }

    const REPEATS: &str = r#","x-mcp-header":"A""#;
    const IN_DISGUISE: &str = r#","x-mcp\u002dheader":"A""#;
    const WRONG: &str = r#","x-mcp-header":"a b""#;

    fn count(known: &KnownTools, name: &str) -> Option<usize> {
        known.repeated(name).map(|params| params.len())
    }

    #[test]
    fn what_is_known_is_what_was_last_listed() {
        let known = KnownTools::default();
        assert_eq!(count(&known, "a"), None, "nothing was listed");
        let (a, b) = (tool("a", REPEATS), tool("b", IN_DISGUISE));
        assert_eq!(known.learn(&page(&[a.clone(), b], None), true), None);
        assert_eq!([count(&known, "a"), count(&known, "b")], [Some(1), Some(1)]);
        assert_eq!(count(&known, "x"), Some(0), "it is not there at all");

        known.learn(&page(&[tool("a", "")], None), true);
        assert_eq!([count(&known, "a"), count(&known, "b")], [Some(0), Some(0)], "it has changed");
        known.forget();
        assert_eq!(count(&known, "a"), None, "it may have changed");

        let next = known.learn(&page(&[a], Some("2")), true);
        assert_eq!(next.as_deref(), Some("2"));
        assert_eq!([count(&known, "a"), count(&known, "c")], [Some(1), None], "half of it");
        known.learn(&page(&[tool("c", REPEATS)], None), false);
        assert_eq!([count(&known, "c"), count(&known, "d")], [Some(1), None], "who knows");
        known.is_all();
        assert_eq!(count(&known, "d"), Some(0));
    }

    #[test]
    fn what_nobody_can_follow_is_known_too() {
        let known = KnownTools::default();
        let (right, wrong) = (tool("right", REPEATS), tool("wrong", WRONG));
        known.learn(&page(&[right.clone(), wrong.clone()], None), true);
        assert!(known.has_wrong());
        let [right, wrong] = [right, wrong].map(|text| RawValue::from_string(text).unwrap());
        assert_eq!([known.is_wrong(&right), known.is_wrong(&wrong)], [false, true]);
        assert_eq!(count(&known, "wrong"), Some(0), "nothing is said of it in headers");
        known.learn(&page(&[tool("wrong", REPEATS)], None), true);
        assert!(!known.has_wrong(), "it was mended");
    }

    #[test]
    fn what_is_remembered_has_a_limit() {
        let known = KnownTools::default();
        let filling = "x".repeat(REMEMBERED_BYTES_MAX / 4);
        let long = |name| tool(name, &format!(r#"{REPEATS},"title":"{filling}""#));
        known.learn(&page(&["a", "b", "c", "d", "e"].map(long), None), true);
        let counts = ["a", "b", "c", "d", "e"].map(|name| count(&known, name).unwrap());
        assert_eq!(counts, [1, 1, 1, 0, 0]);
    }
}
