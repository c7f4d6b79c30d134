//! From a method and its parameters to what somebody wants. What cannot be read strictly is refused
//! here, so that no rule is asked about one thing and the server about another.

use std::borrow::Cow;

use sekisho_protocol::mcp::{McpError, ToolCallParams};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::rule::Wish;

/// What a request asks for.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    /// What everybody may ask who may come in.
    Open,
    /// What there is: the answer is shortened.
    List,
    /// One thing, with what is passed along.
    One(Named<'a>, Option<&'a RawValue>),
    /// What one thing could be completed to: for whom it is listed.
    Completion(Named<'a>),
    /// A method that nobody here knows, which may do anything.
    Unknown,
}

/// One thing by name.
#[derive(Debug)]
pub(super) enum Named<'a> {
    Tool(Cow<'a, str>),
    Resource(Cow<'a, str>),
    Template(Cow<'a, str>),
    Prompt(Cow<'a, str>),
}

impl<'a> Asked<'a> {
    /// Reads a request.
    ///
    /// # Errors
    /// −32602 when the parameters do not name one thing once.
    pub(super) fn read(method: &str, params: Option<&'a RawValue>) -> Result<Self, McpError> {
        match method {
            "logging/setLevel" => Ok(Self::Open),
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
                Ok(Self::List)
            }
            "tools/call" => {
                let ToolCallParams { name, arguments } = ToolCallParams::parse(params)?;
                Ok(Self::One(Named::Tool(name), arguments))
            }
            "prompts/get" => {
                // The same members of the same kinds.
                let ToolCallParams { name, arguments } = ToolCallParams::parse(params)
                    .map_err(|_| wrong("prompts/get needs params with one name and arguments"))?;
                Ok(Self::One(Named::Prompt(name), arguments))
            }
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                #[derive(Deserialize)]
                struct Params<'a> {
                    #[serde(borrow)]
                    uri: Cow<'a, str>,
                }
                let Params { uri } = read(params).ok_or_else(|| wrong("params need one uri"))?;
                Ok(Self::One(Named::Resource(uri), None))
            }
            "completion/complete" => Ok(Self::Completion(referred(params)?)),
            _ => Ok(Self::Unknown),
        }
    }
}

fn referred(params: Option<&RawValue>) -> Result<Named<'_>, McpError> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, rename = "ref")]
        reference: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Reference<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        name: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        uri: Option<Cow<'a, str>>,
    }
    let refused = || wrong("params.ref names one prompt or one resource");
    let Params { reference } = read(params).ok_or_else(refused)?;
    let reference: Reference<'_> = read(Some(reference)).ok_or_else(refused)?;
    match (reference.kind.as_ref(), reference.name, reference.uri) {
        ("ref/prompt", Some(name), _) => Ok(Named::Prompt(name)),
        ("ref/resource", _, Some(uri)) => Ok(Named::Template(uri)),
        _ => Err(refused()),
    }
}

/// An object that names once what is read of it. An array is none, though it could be read as one.
fn read<'a, T: Deserialize<'a>>(params: Option<&'a RawValue>) -> Option<T> {
    let text = params.map(RawValue::get).filter(|text| text.starts_with('{'));
    serde_json::from_str(text?).ok()
}

fn wrong(message: &'static str) -> McpError {
    McpError::invalid_params(message)
}

impl Named<'_> {
    pub(super) fn wish(&self) -> Wish<'_> {
        match self {
            Self::Tool(name) => Wish::Tool(name),
            Self::Resource(uri) => Wish::Resource(uri),
            Self::Template(uri) => Wish::Template(uri),
            Self::Prompt(name) => Wish::Prompt(name),
        }
    }

    /// The answer that whoever asks for what is not there gets.
    pub(super) fn not_there(&self) -> McpError {
        match self {
            Self::Tool(name) => McpError::no_such_tool(name),
            Self::Prompt(name) => McpError::no_such_prompt(name),
            Self::Resource(uri) | Self::Template(uri) => McpError::resource_not_found(uri),
        }
    }
}
