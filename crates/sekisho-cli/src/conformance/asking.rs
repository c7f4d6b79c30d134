//! Tools that ask their client for something before they answer.
#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what is not there")]

use async_trait::async_trait;
use sekisho::mcp::{CallError, Context, InputRequest, InputRequired, Tool, Tools};
use sekisho::protocol::mcp::{McpError, ToolResult};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{object, raw, text_in};

/// Adds them.
pub(super) fn all(tools: Tools) -> Tools {
    KINDS.into_iter().fold(tools, |tools, kind| tools.with(Asking { kind }))
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Sampling,
    Elicitation,
    Defaults,
    Enums,
    MissingCapability,
    StreamingElicitation,
    Name,
    Capital,
    Roots,
    State,
    TamperedState,
    ThreeAtOnce,
    TwoRounds,
    WhatIsDeclared,
}

const KINDS: [Kind; 14] = [
    Kind::Sampling,
    Kind::Elicitation,
    Kind::Defaults,
    Kind::Enums,
    Kind::MissingCapability,
    Kind::StreamingElicitation,
    Kind::Name,
    Kind::Capital,
    Kind::Roots,
    Kind::State,
    Kind::TamperedState,
    Kind::ThreeAtOnce,
    Kind::TwoRounds,
    Kind::WhatIsDeclared,
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sampling => "test_sampling",
            Self::Elicitation => "test_elicitation",
            Self::Defaults => "test_elicitation_sep1034_defaults",
            Self::Enums => "test_elicitation_sep1330_enums",
            Self::MissingCapability => "test_missing_capability",
            Self::StreamingElicitation => "test_streaming_elicitation",
            Self::Name => "test_input_required_result_elicitation",
            Self::Capital => "test_input_required_result_sampling",
            Self::Roots => "test_input_required_result_list_roots",
            Self::State => "test_input_required_result_request_state",
            Self::TamperedState => "test_input_required_result_tampered_state",
            Self::ThreeAtOnce => "test_input_required_result_multiple_inputs",
            Self::TwoRounds => "test_input_required_result_multi_round",
            Self::WhatIsDeclared => "test_input_required_result_capabilities",
        }
    }

    /// The one argument it needs.
    fn argument(self) -> Option<&'static str> {
        match self {
            Self::Sampling => Some("prompt"),
            Self::Elicitation => Some("message"),
            Self::Defaults
            | Self::Enums
            | Self::MissingCapability
            | Self::StreamingElicitation
            | Self::Name
            | Self::Capital
            | Self::Roots
            | Self::State
            | Self::TamperedState
            | Self::ThreeAtOnce
            | Self::TwoRounds
            | Self::WhatIsDeclared => None,
        }
    }
}

#[derive(Debug)]
struct Asking {
    kind: Kind,
}

#[async_trait]
impl Tool for Asking {
    fn definition(&self) -> Value {
        let properties = self.kind.argument().map(|name| (name, json!({ "type": "string" })));
        json!({
            "name": self.kind.name(),
            "description": "Asks its client before it answers",
            "inputSchema": {
                "type": "object",
                "properties": properties.into_iter().collect::<Value>(),
                "required": self.kind.argument().as_slice(),
            },
        })
    }

    async fn call(
        &self,
        arguments: Option<&RawValue>,
        context: &Context,
    ) -> Result<ToolResult, CallError> {
        let arguments = object(arguments);
        match self.kind {
            Kind::Sampling => {
                let asked = sampling("answer", &text_in(&arguments, "prompt")?, 100);
                let answer = asked_once(context, asked).await?;
                told(format!("LLM response: {}", answer["content"]["text"]))
            }
            Kind::Elicitation => {
                let message = text_in(&arguments, "message")?;
                elicited(context, "User response", &message, &contact()).await
            }
            Kind::Defaults => {
                elicited(context, "Elicitation completed", "Check these.", &defaults()).await
            }
            Kind::Enums => elicited(context, "Elicitation completed", "Choose.", &choices()).await,
            Kind::MissingCapability => {
                context.require("sampling")?;
                told("The client can sample.".to_owned())
            }
            Kind::StreamingElicitation => {
                context.progress(1.0, None, Some("asking"));
                elicited(context, "User response", "Who are you?", &contact()).await
            }
            Kind::Name => {
                let answer = asked_once(context, name("user_name", "What is your name?")).await?;
                told(format!("Hello, {}!", text_in(&answer["content"], "name")?))
            }
            Kind::Capital => {
                let asked = sampling("capital_question", "What is the capital of France?", 100);
                told(asked_once(context, asked).await?["content"]["text"].to_string())
            }
            Kind::Roots => {
                let answer = asked_once(context, InputRequest::roots("client_roots")).await?;
                told(format!("The client works in {}.", answer["roots"]))
            }
            Kind::State | Kind::TamperedState => with_state(context).await,
            Kind::ThreeAtOnce => {
                let asked = vec![
                    name("user_name", "What is your name?"),
                    sampling("greeting", "Generate a greeting", 50),
                    InputRequest::roots("client_roots"),
                ];
                let answers = context.ask_all(asked).await?;
                told(format!("{} answers.", answers.len()))
            }
            Kind::TwoRounds => {
                asked_once(context, name("step1", "Step 1: What is your name?")).await?;
                let schema = json!({
                    "type": "object",
                    "properties": { "color": { "type": "string" } },
                    "required": ["color"],
                });
                let second = InputRequest::elicitation(
                    "step2",
                    "Step 2: What is your favorite color?",
                    &schema,
                );
                asked_once(context, second).await?;
                told("Two rounds.".to_owned())
            }
            Kind::WhatIsDeclared => {
                let mut asked = Vec::new();
                if context.client_can("elicitation") {
                    asked.push(name("user_name", "What is your name?"));
                }
                if context.client_can("sampling") {
                    asked.push(sampling("greeting", "Generate a greeting", 50));
                }
                let answers = context.ask_all(asked).await?;
                told(format!("{} answers.", answers.len()))
            }
        }
    }
}

/// Leaves itself a word, and says whether it came back.
async fn with_state(context: &Context) -> Result<ToolResult, CallError> {
    let schema = json!({
        "type": "object",
        "properties": { "ok": { "type": "boolean" } },
        "required": ["ok"],
    });
    let confirm = InputRequest::elicitation("confirm", "Please confirm", &schema);
    match context.state() {
        None => {
            let state = Some(raw(&json!("kept")));
            let needed = InputRequired { requests: vec![confirm], state, is_held: false };
            Err(CallError::InputRequired(needed))
        }
        Some(state) => {
            context.ask(confirm).await?;
            told(if state.get() == r#""kept""# { "state-ok" } else { "state lost" }.to_owned())
        }
    }
}

async fn elicited(
    context: &Context,
    prefix: &str,
    message: &str,
    schema: &Value,
) -> Result<ToolResult, CallError> {
    let asked = InputRequest::elicitation("answer", message, schema);
    let answer = asked_once(context, asked).await?;
    let action = answer["action"].as_str().unwrap_or("none");
    told(format!("{prefix}: action={action}, content={}", answer["content"]))
}

async fn asked_once(context: &Context, request: InputRequest) -> Result<Value, CallError> {
    let answer = context.ask(request).await?;
    let answer = serde_json::from_str(answer.get()).map_err(|_| McpError::internal())?;
    Ok(answer)
}

#[expect(clippy::unnecessary_wraps, reason = "it ends every arm of a match of results")]
fn told(text: String) -> Result<ToolResult, CallError> {
    Ok(ToolResult::text(text))
}

fn name(key: &'static str, message: &str) -> InputRequest {
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string" } },
        "required": ["name"],
    });
    InputRequest::elicitation(key, message, &schema)
}

fn sampling(key: &'static str, prompt: &str, tokens_max: u32) -> InputRequest {
    InputRequest::sampling(
        key,
        &json!({
            "messages": [{ "role": "user", "content": { "type": "text", "text": prompt } }],
            "maxTokens": tokens_max,
        }),
    )
}

fn contact() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" },
        },
        "required": ["username", "email"],
    })
}

fn defaults() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "default": "John Doe" },
            "age": { "type": "integer", "default": 30 },
            "score": { "type": "number", "default": 95.5 },
            "status": {
                "type": "string",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": { "type": "boolean", "default": true },
        },
        "required": [],
    })
}

fn choices() -> Value {
    let titled = |values: [&str; 3], titles: [&str; 3]| -> Value {
        values
            .into_iter()
            .zip(titles)
            .map(|(value, title)| json!({ "const": value, "title": title }))
            .collect()
    };
    let options = ["option1", "option2", "option3"];
    let values = ["value1", "value2", "value3"];
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": { "type": "string", "enum": options },
            "titledSingle": {
                "type": "string",
                "oneOf": titled(values, ["First Option", "Second Option", "Third Option"]),
            },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": { "type": "array", "items": { "type": "string", "enum": options } },
            "titledMulti": {
                "type": "array",
                "items": { "anyOf": titled(values, ["First Choice", "Second Choice", "Third Choice"]) },
            },
        },
        "required": [],
    })
}
