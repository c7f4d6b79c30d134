//! The headers that repeat what the body says, so that others can route without reading bodies.
//! Missing or saying something else, they make a request invalid: else two parts of one network
//! would see two requests.

use std::borrow::Cow;

use http::HeaderMap;
use sekisho_protocol::mcp::{HEADER_MISMATCH, McpError, Request, unwrap_header_value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mcp::era::PROTOCOL_VERSION;
use crate::mcp::service::McpService;

/// What headers may repeat of a request's parameters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Repeated<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uri: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// Holds `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` against the body.
pub(super) fn check<'a>(
    headers: &HeaderMap,
    request: &Request<'a>,
    version: &str,
) -> Result<Repeated<'a>, McpError> {
    let only = |name: &str, spelling| only(headers, name, spelling);
    if only(PROTOCOL_VERSION.as_str(), "MCP-Protocol-Version")?.trim_ascii() != version.as_bytes() {
        return Err(mismatch("MCP-Protocol-Version", "params._meta"));
    }
    if only("mcp-method", "Mcp-Method")?.trim_ascii() != request.method.as_bytes() {
        return Err(mismatch("Mcp-Method", "method"));
    }
    let by_uri = match request.method.as_ref() {
        "tools/call" | "prompts/get" => false,
        "resources/read" => true,
        _ => return Ok(Repeated::default()),
    };
    // A body that cannot be read has no name, which is not valid either, but that is for whoever
    // reads it next.
    let read = request.params.and_then(|params| serde_json::from_str(params.get()).ok());
    let repeated: Repeated<'a> = read.unwrap_or_default();
    let (member, name) =
        if by_uri { ("params.uri", &repeated.uri) } else { ("params.name", &repeated.name) };
    let header = only("mcp-name", "Mcp-Name")?;
    let header = unwrap_header_value(header).map_err(|error| {
        McpError::new(HEADER_MISMATCH, format!("the header Mcp-Name cannot be read: {error}"))
    })?;
    if name.as_ref().is_some_and(|name| **name != *header) {
        return Err(mismatch("Mcp-Name", member));
    }
    Ok(repeated)
}

impl Repeated<'_> {
    /// Holds `Mcp-Param-*` against the arguments of a tool that declares them.
    pub(super) fn check_mirrored(
        &self,
        headers: &HeaderMap,
        service: &dyn McpService,
    ) -> Result<(), McpError> {
        let Some(name) = &self.name else { return Ok(()) };
        let mirrored = service.mirrored_params(name);
        if mirrored.is_empty() {
            return Ok(());
        }
        let arguments: Option<serde_json::Value> =
            self.arguments.and_then(|arguments| serde_json::from_str(arguments.get()).ok());
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
