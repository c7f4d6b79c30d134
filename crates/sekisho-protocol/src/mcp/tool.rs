//! `tools/call`: what is asked and what is answered.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::McpError;

/// The parameters of `tools/call`. A member named twice is refused, so that nobody downstream
/// can read another tool's name out of the same text.
#[derive(Debug, Deserialize)]
pub struct ToolCallParams<'a> {
    /// Which tool.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// An object as it came, or nothing: both an absent member and `null`.
    #[serde(borrow, default)]
    pub arguments: Option<&'a RawValue>,
}

impl<'a> ToolCallParams<'a> {
    /// Reads them; −32602 without a name, with anything named twice, or when the arguments are
    /// no object.
    pub fn parse(params: Option<&'a RawValue>) -> Result<Self, McpError> {
        // An array could be read as the members in their order, which nobody else does.
        let text = params.map(RawValue::get).filter(|text| text.starts_with('{'));
        let read: Option<Self> = text.and_then(|text| serde_json::from_str(text).ok());
        read.filter(|call| call.arguments.is_none_or(|given| given.get().starts_with('{')))
            .ok_or_else(Self::wrong)
    }

    pub(super) fn wrong() -> McpError {
        McpError::invalid_params("tools/call needs params with one name and an object of arguments")
    }
}

/// The result of `tools/call`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolResult {
    content: Vec<Content>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
}

/// One piece of what a tool answers or a prompt says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum Content {
    /// Words.
    Text {
        /// Themselves.
        text: String,
    },
    /// A picture.
    Image {
        /// In Base64.
        data: String,
        /// Such as `image/png`.
        mime_type: String,
    },
    /// A sound.
    Audio {
        /// In Base64.
        data: String,
        /// Such as `audio/wav`.
        mime_type: String,
    },
    /// A resource, put in whole.
    Resource {
        /// What reading it would give.
        resource: ResourceContents,
    },
}

/// What a resource holds (`resources/read`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceContents {
    uri: String,
    mime_type: String,
    #[serde(flatten)]
    body: ResourceBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum ResourceBody {
    Text(String),
    Blob(String),
}

impl ResourceContents {
    /// One that is text.
    pub fn text(
        uri: impl Into<String>,
        mime_type: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        let body = ResourceBody::Text(text.into());
        Self { uri: uri.into(), mime_type: mime_type.into(), body }
    }

    /// One that is not: its bytes in Base64.
    pub fn blob(
        uri: impl Into<String>,
        mime_type: impl Into<String>,
        base64: impl Into<String>,
    ) -> Self {
        let body = ResourceBody::Blob(base64.into());
        Self { uri: uri.into(), mime_type: mime_type.into(), body }
    }
}

impl Content {
    /// Words.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

impl ToolResult {
    /// Any pieces, in order.
    pub fn new(content: impl IntoIterator<Item = Content>) -> Self {
        Self { content: content.into_iter().collect(), is_error: false }
    }

    /// One piece of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new([Content::text(text)])
    }

    /// The tool ran and failed, in words that a model can act upon.
    pub fn failure(text: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::text(text) }
    }

    /// As JSON, ready to be a `result`.
    pub fn to_raw(&self) -> Result<Box<RawValue>, McpError> {
        serde_json::value::to_raw_value(self).map_err(|_| McpError::internal())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_call_names_one_tool_and_its_arguments_are_an_object() {
        let rows = [
            (r#"{"name":"fortune"}"#, true, "arguments may be left out"),
            (r#"{"name":"fortune","arguments":{}}"#, true, "or empty"),
            (r#"{"name":"fortune","arguments":null}"#, true, "some clients write null"),
            (r#"{"name":"fortune","_meta":{"x":1}}"#, true, "other members are not ours"),
            (r#"{"name":"fortune","arguments":[1]}"#, false, "an array has no names"),
            (r#"{"name":"fortune","arguments":"x"}"#, false, "text has none either"),
            (r#"{"name":"a","name":"b"}"#, false, "two names"),
            (r#"{"name":"a","na\u006de":"b"}"#, false, "two names, one in disguise"),
            (r#"{"name":"a","arguments":{},"arguments":{}}"#, false, "two sets of arguments"),
            (r#"{"name":1}"#, false, "a name is text"),
            (r"{}", false, "no name"),
            ("[]", false, "no object"),
            (r#"["fortune",{}]"#, false, "no object, though its items fit"),
        ];
        for (text, accepted, reason) in rows {
            let params: &RawValue = serde_json::from_str(text).unwrap();
            assert_eq!(ToolCallParams::parse(Some(params)).is_ok(), accepted, "{text}: {reason}");
        }
        assert!(ToolCallParams::parse(None).is_err(), "no params at all");
    }

    #[test]
    fn a_result_has_its_pieces_in_order_and_says_that_it_failed_only_if_it_did() {
        let rows = [
            (ToolResult::text("吉"), r#"{"content":[{"type":"text","text":"吉"}]}"#),
            (
                ToolResult::failure("no"),
                r#"{"content":[{"type":"text","text":"no"}],"isError":true}"#,
            ),
            (
                ToolResult::new([
                    Content::Image { data: "AA==".to_owned(), mime_type: "image/png".to_owned() },
                    Content::Audio { data: "AA==".to_owned(), mime_type: "audio/wav".to_owned() },
                    Content::Resource {
                        resource: ResourceContents::text("a:b", "text/plain", "c"),
                    },
                    Content::Resource { resource: ResourceContents::blob("a:d", "a/b", "AA==") },
                ]),
                r#"{"content":[{"type":"image","data":"AA==","mimeType":"image/png"},{"type":"audio","data":"AA==","mimeType":"audio/wav"},{"type":"resource","resource":{"uri":"a:b","mimeType":"text/plain","text":"c"}},{"type":"resource","resource":{"uri":"a:d","mimeType":"a/b","blob":"AA=="}}]}"#,
            ),
        ];
        for (result, json) in rows {
            assert_eq!(result.to_raw().unwrap().get(), json);
        }
    }
}
