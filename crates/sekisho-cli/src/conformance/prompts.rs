//! Prompts, and completions of their arguments.
#![expect(clippy::indexing_slicing, reason = "a JSON value answers null for what is not there")]

use sekisho::mcp::{CallError, Context, InputRequest};
use sekisho::protocol::mcp::{Content, McpError, ResourceContents};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{RED_POINT, object, raw, text_in};

/// What the first argument of `test_prompt_with_arguments` may be.
const WORDS: [&str; 3] = ["paris", "park", "party"];

/// `prompts/list`.
pub(super) fn list() -> Box<RawValue> {
    let prompt = |name: &str, arguments: &[&str]| {
        let arguments: Vec<Value> = arguments
            .iter()
            .map(|name| json!({ "name": name, "description": name, "required": true }))
            .collect();
        json!({ "name": name, "description": "A prompt for testing", "arguments": arguments })
    };
    raw(&json!({
        "prompts": [
            prompt("test_simple_prompt", &[]),
            prompt("test_prompt_with_arguments", &["arg1", "arg2"]),
            prompt("test_prompt_with_embedded_resource", &["resourceUri"]),
            prompt("test_prompt_with_image", &[]),
            prompt("test_input_required_result_prompt", &[]),
        ],
    }))
}

/// `prompts/get`.
pub(super) async fn get(
    params: Option<&RawValue>,
    context: &Context,
) -> Result<Box<RawValue>, CallError> {
    let params = object(params);
    let arguments = &params["arguments"];
    let said = match text_in(&params, "name")?.as_str() {
        "test_simple_prompt" => vec![Content::text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (first, second) = (text_in(arguments, "arg1")?, text_in(arguments, "arg2")?);
            vec![Content::text(format!("Prompt with arguments: arg1='{first}', arg2='{second}'"))]
        }
        "test_prompt_with_embedded_resource" => {
            let uri = text_in(arguments, "resourceUri")?;
            let text = "Embedded resource content for testing.";
            vec![
                Content::Resource { resource: ResourceContents::text(uri, "text/plain", text) },
                Content::text("Please process the embedded resource above."),
            ]
        }
        "test_prompt_with_image" => vec![
            Content::Image { data: RED_POINT.to_owned(), mime_type: "image/png".to_owned() },
            Content::text("Please analyze the image above."),
        ],
        "test_input_required_result_prompt" => {
            let schema = json!({
                "type": "object",
                "properties": { "context": { "type": "string" } },
                "required": ["context"],
            });
            let question = "What context should the prompt use?";
            let asked = InputRequest::elicitation("user_context", question, &schema);
            let answer = context.ask(asked).await?;
            vec![Content::text(format!("Use this context: {}", answer.get()))]
        }
        other => {
            return Err(McpError::invalid_params(format!("there is no prompt {other:?}")).into());
        }
    };
    let messages: Vec<Value> =
        said.iter().map(|content| json!({ "role": "user", "content": content })).collect();
    Ok(raw(&json!({ "messages": messages })))
}

/// `completion/complete`.
pub(super) fn complete(params: Option<&RawValue>) -> Result<Box<RawValue>, McpError> {
    let params = object(params);
    let begun = text_in(&params["argument"], "value")?;
    let is_known = params["ref"]["name"] == "test_prompt_with_arguments"
        && params["argument"]["name"] == "arg1";
    let values: Vec<&str> =
        WORDS.into_iter().filter(|word| is_known && word.starts_with(&begun)).collect();
    Ok(raw(&json!({
        "completion": { "total": values.len(), "values": values, "hasMore": false },
    })))
}
