//! Resources: text, bytes, one that is followed, and a template.

use sekisho::protocol::mcp::{McpError, ResourceContents};
use serde_json::json;
use serde_json::value::RawValue;

use super::{RED_POINT, object, raw, text_in};

/// `resources/list`.
pub(super) fn list() -> Box<RawValue> {
    let resource = |name: &str, mime_type: &str| {
        json!({
            "uri": format!("test://{name}"),
            "name": name,
            "description": "A resource for testing",
            "mimeType": mime_type,
        })
    };
    raw(&json!({
        "resources": [
            resource("static-text", "text/plain"),
            resource("static-binary", "image/png"),
            resource("watched-resource", "text/plain"),
        ],
    }))
}

/// `resources/templates/list`.
pub(super) fn templates() -> Box<RawValue> {
    raw(&json!({
        "resourceTemplates": [{
            "uriTemplate": "test://template/{id}/data",
            "name": "template",
            "description": "Data by its id",
            "mimeType": "application/json",
        }],
    }))
}

/// `resources/read`.
pub(super) fn read(params: Option<&RawValue>) -> Result<Box<RawValue>, McpError> {
    let contents = find(&text_in(&object(params), "uri")?)?;
    Ok(raw(&json!({ "contents": [contents] })))
}

/// What the resource of this URI holds.
pub(super) fn find(uri: &str) -> Result<ResourceContents, McpError> {
    let text = |text: &str| ResourceContents::text(uri, "text/plain", text);
    let template = || {
        let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
        (!id.is_empty() && !id.contains('/')).then_some(id)
    };
    match uri {
        "test://static-text" => Ok(text("This is the content of the static text resource.")),
        "test://static-binary" => Ok(ResourceContents::blob(uri, "image/png", RED_POINT)),
        "test://watched-resource" => Ok(text("Watched.")),
        _ => {
            let id = template().ok_or_else(|| McpError::resource_not_found(uri))?;
            let data = json!({
                "id": id,
                "templateTest": true,
                "data": format!("Data for ID: {id}"),
            });
            Ok(ResourceContents::text(uri, "application/json", data.to_string()))
        }
    }
}
