//! The headers that repeat what the body says, so that others can route without reading bodies.
//! Missing or saying something else, they make a request invalid: else two parts of one network
//! would see two requests.

use std::borrow::Cow;

use http::HeaderMap;
use sekisho_protocol::mcp::{HEADER_MISMATCH, McpError, Request, unwrap_header_value};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mcp::era::PROTOCOL_VERSION;
use crate::mcp::service::{Context, McpService};

/// What headers may repeat of a call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Repeated<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
}

/// What headers may repeat of a request for a resource.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ByUri<'a> {
    #[serde(borrow)]
    uri: Option<Cow<'a, str>>,
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
    let (member, name, repeated) = if by_uri {
        let ByUri { uri } = read(request.params)?;
        ("params.uri", uri, Repeated::default())
    } else {
        let repeated: Repeated<'a> = read(request.params)?;
        ("params.name", repeated.name.clone(), repeated)
    };
    let header = only("mcp-name", "Mcp-Name")?;
    let header = unwrap_header_value(header).map_err(|error| {
        McpError::new(HEADER_MISMATCH, format!("the header Mcp-Name cannot be read: {error}"))
    })?;
    // A body without a name is not valid either, but that is for whoever reads it next.
    if name.is_some_and(|name| *name != *header) {
        return Err(mismatch("Mcp-Name", member));
    }
    Ok(repeated)
}

/// Reads what headers repeat. What could be read in two ways is refused: a router that went by the
/// header must not be told otherwise by whoever serves the body.
fn read<'a, T: Default + Deserialize<'a>>(params: Option<&'a RawValue>) -> Result<T, McpError> {
    let Some(params) = params else { return Ok(T::default()) };
    serde_json::from_str(params.get()).map_err(|_| {
        McpError::invalid_params("params are one object that names name or uri once, as a text")
    })
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
