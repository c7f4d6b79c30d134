//! What is said to a server of 2026-07-28: each request all by itself, its headers made from its
//! body and never taken over from a client's request.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use sekisho_protocol::mcp::{
    Json, LogLevel, McpError, ParamMembers, ProtocolVersion, StatelessWords, wrap_header_value,
    write_request,
};
use serde_json::value::RawValue;

use super::remote::HEADERS_USUAL;
use super::tools::KnownTools;
use super::{CLIENT_NAME, capabilities_for_upstream};
use crate::mcp::{Context, METHOD, NAME, PROTOCOL_VERSION};

/// The words of one revision, and what headers its tools want.
#[derive(Debug)]
pub(super) struct Stateless {
    version: ProtocolVersion,
    beside: Beside,
    tools: Arc<KnownTools>,
}

/// What goes beside a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Headers that say once more what it says.
    Headers,
    /// Nothing: it is a line.
    Nothing,
}

/// What a client supplies in the next round of a call.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::gateway) struct Supplied<'a> {
    /// Its answers by their names: an object.
    pub(in crate::gateway) responses: Option<&'a RawValue>,
    /// What the server wants to have back.
    pub(in crate::gateway) state: Option<&'a RawValue>,
}

/// For whom something is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum For<'a> {
    /// This client.
    Client(&'a Context),
    /// All who share the conversation: clients that can do this.
    All { capabilities: &'a RawValue },
}

impl Stateless {
    pub(super) fn new(version: ProtocolVersion, beside: Beside, tools: Arc<KnownTools>) -> Self {
        Self { version, beside, tools }
    }

    /// Whether what headers cannot say cannot be said to it at all.
    pub(super) fn needs_headers(&self) -> bool {
        self.beside == Beside::Headers
    }

    /// A request, and what goes beside it.
    pub(super) fn request(
        &self,
        id: u64,
        method: &str,
        params: Option<&RawValue>,
        whom: For<'_>,
        supplied: Supplied<'_>,
    ) -> Result<(Vec<u8>, HeaderMap), McpError> {
        let (capabilities, log_level): (_, Option<LogLevel>) = match whom {
            For::Client(context) => (capabilities_for_upstream(context), context.log_level()),
            For::All { capabilities } => (Cow::Borrowed(capabilities), None),
        };
        let words = StatelessWords {
            protocol_version: self.version.as_str(),
            client_capabilities: Json::from(&*capabilities),
            client_info: CLIENT_NAME,
            log_level,
            progress_token: id,
            input_responses: supplied.responses.map(Json::from),
            request_state: supplied.state.map(Json::from),
        };
        let members = ParamMembers::read(params)?;
        if method == "tools/call" {
            members.require_tool_call()?;
        }
        let headers = match self.beside {
            Beside::Headers => self.headers(method, &members)?,
            Beside::Nothing => HeaderMap::new(),
        };
        Ok((write_request(id, method, Some(&members.for_stateless(&words))), headers))
    }

    /// What the body says, once more.
    fn headers(&self, method: &str, params: &ParamMembers<'_>) -> Result<HeaderMap, McpError> {
        let wrong = || McpError::invalid_params("what names the request cannot be a header");
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| wrong());
        let mut headers = HeaderMap::with_capacity(HEADERS_USUAL);
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(self.version.as_str()));
        headers.insert(METHOD, value(method)?);
        let name = match method {
            "tools/call" | "prompts/get" => params.text("name")?,
            "resources/read" => params.text("uri")?,
            _ => None,
        };
        let Some(name) = name else { return Ok(headers) };
        headers.insert(NAME, value(&wrap_header_value(&name))?);
        if method == "tools/call" {
            let repeated = self.tools.repeated(&name).unwrap_or_default();
            let arguments: Option<serde_json::Value> = match params.get("arguments") {
                Some(arguments) if !repeated.is_empty() => {
                    serde_json::from_str(arguments.get()).ok()
                }
                Some(_) | None => None,
            };
            for param in repeated.iter() {
                let header: HeaderName = param.header.parse().map_err(|_| wrong())?;
                if let Some(said) = param.value_in(arguments.as_ref()) {
                    headers.insert(header, value(&said)?);
                }
            }
        }
        Ok(headers)
    }
}

/// Shared by whoever asks something of this kind.
pub(super) type Words = Option<Arc<Stateless>>;
