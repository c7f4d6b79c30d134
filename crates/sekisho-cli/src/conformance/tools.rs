//! Tools that answer, tell and fail by themselves.

use std::time::Duration;

use async_trait::async_trait;
use sekisho::mcp::{CallError, Changes, Context, Tool, Tools};
use sekisho::protocol::mcp::{Content, LogLevel, ResourceContents, ToolResult};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{RED_POINT, object, text_in};

/// Four samples of silence and noise: a WAV in Base64.
const NOISE: &str = "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQgAAAAAAEAfAADA4A==";

/// How long tools that work step by step take for one.
const STEP: Duration = Duration::from_millis(50);
/// When a client that polls may come back.
const POLL: Duration = Duration::from_millis(100);
/// How long the tool for such clients works.
const LONG: Duration = Duration::from_millis(300);

/// Adds them.
pub(super) fn all(tools: Tools, changes: &Changes) -> Tools {
    let tools = KINDS.into_iter().fold(tools, |tools, kind| tools.with(Scripted { kind }));
    let trigger = |name, say| Trigger { name, say, changes: changes.clone() };
    tools
        .with(trigger("test_trigger_tool_change", Changes::tools_changed))
        .with(trigger("test_trigger_prompt_change", Changes::prompts_changed))
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Image,
    Audio,
    Resource,
    Mixed,
    Error,
    Progress,
    Logging,
    LoggingOfStatelessEra,
    Reconnection,
    Schema,
    Header,
}

const KINDS: [Kind; 12] = [
    Kind::Text,
    Kind::Image,
    Kind::Audio,
    Kind::Resource,
    Kind::Mixed,
    Kind::Error,
    Kind::Progress,
    Kind::Logging,
    Kind::LoggingOfStatelessEra,
    Kind::Reconnection,
    Kind::Schema,
    Kind::Header,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "test_simple_text",
            Self::Image => "test_image_content",
            Self::Audio => "test_audio_content",
            Self::Resource => "test_embedded_resource",
            Self::Mixed => "test_multiple_content_types",
            Self::Error => "test_error_handling",
            Self::Progress => "test_tool_with_progress",
            Self::Logging => "test_tool_with_logging",
            Self::LoggingOfStatelessEra => "test_logging_tool",
            Self::Reconnection => "test_reconnection",
            Self::Schema => "json_schema_2020_12_tool",
            Self::Header => "test_mirrored_header",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Text => "Answers with text",
            Self::Image => "Answers with a picture",
            Self::Audio => "Answers with a sound",
            Self::Resource => "Answers with a resource",
            Self::Mixed => "Answers with text, a picture and a resource",
            Self::Error => "Fails",
            Self::Progress => "Tells how far it got",
            Self::Logging | Self::LoggingOfStatelessEra => "Tells what it does",
            Self::Reconnection => "Has its client come back for the answer",
            Self::Schema => "Tool with JSON Schema 2020-12 features",
            Self::Header => "Wants an argument repeated in a header",
        }
    }

    fn schema(self) -> Value {
        match self {
            Self::Schema => schema_2020_12(),
            Self::Header => json!({
                "type": "object",
                "properties": { "region": { "type": "string", "x-mcp-header": "Region" } },
                "required": ["region"],
            }),
            Self::Text
            | Self::Image
            | Self::Audio
            | Self::Resource
            | Self::Mixed
            | Self::Error
            | Self::Progress
            | Self::Logging
            | Self::LoggingOfStatelessEra
            | Self::Reconnection => json!({ "type": "object", "properties": {} }),
        }
    }
}

#[derive(Debug)]
struct Scripted {
    kind: Kind,
}

#[async_trait]
impl Tool for Scripted {
    fn definition(&self) -> Value {
        json!({
            "name": self.kind.name(),
            "description": self.kind.description(),
            "inputSchema": self.kind.schema(),
        })
    }

    async fn call(
        &self,
        arguments: Option<&RawValue>,
        context: &Context,
    ) -> Result<ToolResult, CallError> {
        Ok(match self.kind {
            Kind::Text => ToolResult::text("This is a simple text response for testing."),
            Kind::Image => ToolResult::new([image()]),
            Kind::Audio => ToolResult::new([Content::Audio {
                data: NOISE.to_owned(),
                mime_type: "audio/wav".to_owned(),
            }]),
            Kind::Resource => ToolResult::new([resource(
                "test://embedded-resource",
                "text/plain",
                "This is an embedded resource content.",
            )]),
            Kind::Mixed => ToolResult::new([
                Content::text("Multiple content types test:"),
                image(),
                resource(
                    "test://mixed-content-resource",
                    "application/json",
                    r#"{"test":"data","value":123}"#,
                ),
            ]),
            Kind::Error => {
                ToolResult::failure("This tool intentionally returns an error for testing")
            }
            Kind::Progress => {
                for (step, done) in [0.0, 50.0, 100.0].into_iter().enumerate() {
                    pause_before(step).await;
                    context.progress(done, Some(100.0), None);
                }
                ToolResult::text("Told how far it got.")
            }
            Kind::Logging | Kind::LoggingOfStatelessEra => {
                let steps =
                    ["Tool execution started", "Tool processing data", "Tool execution completed"];
                for (step, words) in steps.into_iter().enumerate() {
                    pause_before(step).await;
                    context.log(LogLevel::Info, Some("conformance"), &words);
                }
                ToolResult::text("Told what it did.")
            }
            Kind::Reconnection => {
                context.let_client_poll(POLL);
                tokio::time::sleep(LONG).await;
                ToolResult::text("The client came back.")
            }
            Kind::Schema => of_the_schema(&object(arguments)),
            Kind::Header => ToolResult::text(format!(
                "The region is {}.",
                text_in(&object(arguments), "region")?
            )),
        })
    }
}

async fn pause_before(step: usize) {
    if step > 0 {
        tokio::time::sleep(STEP).await;
    }
}

fn image() -> Content {
    Content::Image { data: RED_POINT.to_owned(), mime_type: "image/png".to_owned() }
}

fn resource(uri: &str, mime_type: &str, text: &str) -> Content {
    Content::Resource { resource: ResourceContents::text(uri, mime_type, text) }
}

/// Holds arguments against the types of [`schema_2020_12`].
fn of_the_schema(arguments: &Value) -> ToolResult {
    let fits = |(name, value): (&String, &Value)| match name.as_str() {
        "name" | "contactMethod" | "phone" | "email" => value.is_string(),
        "address" => value.is_object(),
        _ => false,
    };
    if arguments.as_object().is_some_and(|members| members.iter().all(fits)) {
        ToolResult::text(format!("Called with {arguments}."))
    } else {
        ToolResult::failure("The arguments are not what the schema says.")
    }
}

/// Words of JSON Schema that must reach the client as they are.
fn schema_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
            },
        },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": {
            "properties": { "contactMethod": { "const": "phone" } },
            "required": ["contactMethod"],
        },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    })
}

/// Says that a list changed.
#[derive(Debug)]
struct Trigger {
    name: &'static str,
    say: fn(&Changes),
    changes: Changes,
}

#[async_trait]
impl Tool for Trigger {
    fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "description": "Says that a list changed",
            "inputSchema": { "type": "object", "properties": {} },
        })
    }

    async fn call(&self, _: Option<&RawValue>, _: &Context) -> Result<ToolResult, CallError> {
        (self.say)(&self.changes);
        Ok(ToolResult::text("Said so."))
    }
}
