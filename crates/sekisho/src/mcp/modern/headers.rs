//! The headers that repeat what the body says, so that others can route without reading bodies.
//! Missing or saying something else, they make a request invalid: else two parts of one network
//! would see two requests.

use http::HeaderMap;
use sekisho_protocol::mcp::{
    HEADER_MISMATCH, McpError, Request, ToolCallParams, unwrap_header_value,
};
use serde::Deserialize;

use crate::mcp::era::PROTOCOL_VERSION;
use crate::mcp::service::McpService;

/// Holds `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` against the body.
pub(super) fn check(
    headers: &HeaderMap,
    request: &Request<'_>,
    version: &str,
) -> Result<(), McpError> {
    let only = |name: &str, spelling| only(headers, name, spelling);
    if only(PROTOCOL_VERSION.as_str(), "MCP-Protocol-Version")?.trim_ascii() != version.as_bytes() {
        return Err(mismatch("MCP-Protocol-Version", "params._meta"));
    }
    if only("mcp-method", "Mcp-Method")?.trim_ascii() != request.method.as_bytes() {
        return Err(mismatch("Mcp-Method", "method"));
    }
    let Some((member, name)) = name_in(request) else { return Ok(()) };
    let header = only("mcp-name", "Mcp-Name")?;
    let header = unwrap_header_value(header).map_err(|error| {
        McpError::new(HEADER_MISMATCH, format!("the header Mcp-Name cannot be read: {error}"))
    })?;
    // A body without a name is not valid either, but that is for whoever reads it.
    if name.is_some_and(|name| name != header) {
        return Err(mismatch("Mcp-Name", member));
    }
    Ok(())
}

/// Holds `Mcp-Param-*` against the arguments of a tool that declares them.
pub(super) fn check_mirrored(
    headers: &HeaderMap,
    request: &Request<'_>,
    service: &dyn McpService,
) -> Result<(), McpError> {
    let Ok(call) = ToolCallParams::parse(request.params) else { return Ok(()) };
    let mirrored = service.mirrored_params(&call.name);
    if mirrored.is_empty() {
        return Ok(());
    }
    let arguments: Option<serde_json::Value> =
        call.arguments.and_then(|arguments| serde_json::from_str(arguments.get()).ok());
    for param in mirrored {
        let mut values = headers.get_all(&param.header).iter();
        let value = values.next().map(http::HeaderValue::as_bytes);
        if values.next().is_some() || !param.agrees(value, arguments.as_ref()) {
            return Err(McpError::new(
                HEADER_MISMATCH,
                format!("the header {} does not say what the arguments say", param.header),
            ));
        }
    }
    Ok(())
}

/// The member that `Mcp-Name` repeats, and what it says.
fn name_in(request: &Request<'_>) -> Option<(&'static str, Option<String>)> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Named {
        name: Option<String>,
        uri: Option<String>,
    }
    let (member, of): (_, fn(Named) -> Option<String>) = match request.method.as_ref() {
        "tools/call" | "prompts/get" => ("params.name", |named| named.name),
        "resources/read" => ("params.uri", |named| named.uri),
        _ => return None,
    };
    let named = request.params.and_then(|params| serde_json::from_str(params.get()).ok());
    Some((member, named.and_then(of)))
}

/// The one value of a header that must be there.
fn only<'a>(
    headers: &'a HeaderMap,
    name: &str,
    spelling: &'static str,
) -> Result<&'a [u8], McpError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes()),
        (None, _) => {
            Err(McpError::new(HEADER_MISMATCH, format!("the header {spelling} is missing")))
        }
        (Some(_), Some(_)) => {
            Err(McpError::new(HEADER_MISMATCH, format!("the header {spelling} came twice")))
        }
    }
}

fn mismatch(header: &str, member: &str) -> McpError {
    McpError::new(HEADER_MISMATCH, format!("the header {header} does not say what {member} says"))
}
