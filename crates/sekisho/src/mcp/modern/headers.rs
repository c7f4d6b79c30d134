//! The headers that repeat what the body says, so that others can route without reading bodies.
//! Missing or saying something else, they make a request invalid: else two parts of one network
//! would see two requests.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use sekisho_protocol::mcp::{
    HEADER_MISMATCH, Json, McpError, ParamsOutline, Request, unwrap_header_value,
};

use crate::mcp::era::{METHOD, NAME, PROTOCOL_VERSION};
use crate::mcp::service::{Context, McpService};

/// What headers may repeat of a call.
#[derive(Debug)]
pub(super) struct Repeated<'a> {
    name: Option<Cow<'a, str>>,
    arguments: Option<Json<'a>>,
}

/// Holds `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` against the body; answers what a call of a tool
/// repeats beside them.
pub(super) fn check<'a>(
    headers: &HeaderMap,
    request: &Request<'_>,
    version: &str,
    outline: &ParamsOutline<'a>,
) -> Result<Option<Repeated<'a>>, McpError> {
    let only = |name: &HeaderName, spelling| only(headers, name, spelling);
    if only(&PROTOCOL_VERSION, "MCP-Protocol-Version")?.trim_ascii() != version.as_bytes() {
        return Err(mismatch("MCP-Protocol-Version", "params._meta"));
    }
    if only(&METHOD, "Mcp-Method")?.trim_ascii() != request.method.as_bytes() {
        return Err(mismatch("Mcp-Method", "method"));
    }
    let (member, name) = match request.method.as_ref() {
        "tools/call" | "prompts/get" => ("params.name", outline.name()?),
        "resources/read" => ("params.uri", outline.uri()?),
        _ => return Ok(None),
    };
    let header = only(&NAME, "Mcp-Name")?;
    let header = unwrap_header_value(header).map_err(|error| {
        McpError::new(HEADER_MISMATCH, format!("the header Mcp-Name cannot be read: {error}"))
    })?;
    // A body without a name is not valid either, but that is for whoever reads it next.
    if name.as_ref().is_some_and(|name| **name != *header) {
        return Err(mismatch("Mcp-Name", member));
    }
    let is_call = request.method == "tools/call";
    Ok(is_call.then_some(Repeated { name, arguments: outline.arguments }))
}

impl Repeated<'_> {
    /// Holds `Mcp-Param-*` against the arguments of a tool that declares them.
    pub(super) async fn check_mirrored(
        &self,
        headers: &HeaderMap,
        service: &dyn McpService,
        context: &Context,
    ) -> Result<(), McpError> {
        let Some(name) = &self.name else { return Ok(()) };
        let mirrored = service.mirrored_params(name, context).await?;
        if mirrored.is_empty() {
            return Ok(());
        }
        let arguments: Option<serde_json::Value> =
            self.arguments.and_then(|arguments| serde_json::from_str(arguments.get()).ok());
        for param in mirrored.iter() {
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
    name: &HeaderName,
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
