//! What changes in messages where several servers are one: the names of tools and prompts and the
//! URIs of resources, and nothing else. Parameters are read strictly, so that nobody behind reads
//! another name out of the same text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::edits::Edits;
use super::error::McpError;
use super::json::Json;
use super::member_name::{MemberName, TOOL_NAME_CHARS_MAX, owner_of_name, owner_of_uri};
use super::tool::ToolCallParams;

/// Longest cursor of one server that leads on.
pub const MEMBER_CURSOR_BYTES_MAX: usize = 2 * 1024;
/// Longest cursor of ours that is read: those of some dozen servers.
pub const CURSOR_BYTES_MAX: usize = 128 * 1024;

/// A request for one thing, as its owner gets it.
#[derive(Debug)]
pub struct Addressed {
    /// Whose it is, by its name; perhaps nobody's.
    pub member: String,
    /// The parameters as they came, but for the name.
    pub params: Box<RawValue>,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Tool(String),
    Prompt(String),
    Resource(String),
}

impl Addressed {
    /// Reads a request; nothing if its method is about no single thing.
    ///
    /// # Errors
    /// −32602 when the parameters do not name one thing once, or one that can be nobody's.
    pub fn read(method: &str, params: Option<&RawValue>) -> Result<Option<Self>, McpError> {
        let Some((place, asked)) = asked(method, params)? else { return Ok(None) };
        let owner = match &asked {
            Asked::Tool(name) if name.chars().count() > TOOL_NAME_CHARS_MAX => None,
            Asked::Tool(name) | Asked::Prompt(name) => owner_of_name(name),
            Asked::Resource(uri) => owner_of_uri(uri),
        };
        let Some((member, own)) = owner else { return Err(asked.not_there()) };
        let (Some(params), Ok(own)) = (params, to_raw_value(own)) else {
            return Err(McpError::internal());
        };
        let mut edits = Edits::of(params);
        edits.replace(place, own.get());
        let params = edits.finish().ok_or_else(McpError::internal)?;
        Ok(Some(Self { member: member.to_owned(), params, asked }))
    }

    /// The answer if there is no such member.
    pub fn not_there(&self) -> McpError {
        self.asked.not_there()
    }
}

impl Asked {
    fn not_there(&self) -> McpError {
        match self {
            Self::Tool(name) => McpError::no_such_tool(name),
            Self::Prompt(name) => McpError::no_such_prompt(name),
            Self::Resource(uri) => McpError::resource_not_found(uri),
        }
    }
}

/// What a request names, and where.
fn asked<'a>(
    method: &str,
    params: Option<&'a RawValue>,
) -> Result<Option<(&'a RawValue, Asked)>, McpError> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: &'a RawValue,
    }
    #[derive(Deserialize)]
    struct Located<'a> {
        #[serde(borrow)]
        uri: &'a RawValue,
    }
    let text = |raw: &RawValue| Json::from(raw).as_text().map(Cow::into_owned);
    let named = |wrong: McpError| {
        let Named { name } = object(params).ok_or_else(|| wrong.clone())?;
        Ok::<_, McpError>((name, text(name).ok_or(wrong)?))
    };
    Ok(Some(match method {
        "tools/call" => {
            ToolCallParams::parse(params)?;
            let (place, name) = named(McpError::invalid_params("a tool has one name"))?;
            (place, Asked::Tool(name))
        }
        "prompts/get" => {
            let wrong = McpError::invalid_params("prompts/get needs params with one name");
            // The same members of the same kinds.
            ToolCallParams::parse(params).map_err(|_| wrong.clone())?;
            let (place, name) = named(wrong)?;
            (place, Asked::Prompt(name))
        }
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            let wrong = || McpError::invalid_params("params need one uri");
            let Located { uri: place } = object(params).ok_or_else(wrong)?;
            (place, Asked::Resource(text(place).ok_or_else(wrong)?))
        }
        "completion/complete" => {
            let wrong = || McpError::invalid_params("params.ref names one prompt or one resource");
            referred(params).ok_or_else(wrong)?
        }
        _ => return Ok(None),
    }))
}

fn referred(params: Option<&RawValue>) -> Option<(&RawValue, Asked)> {
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
        name: Option<&'a RawValue>,
        #[serde(borrow, default)]
        uri: Option<&'a RawValue>,
    }
    let Params { reference } = object(params)?;
    let Reference { kind, name, uri } = object(Some(reference))?;
    let text = |raw: &RawValue| Json::from(raw).as_text().map(Cow::into_owned);
    match kind.as_ref() {
        "ref/prompt" => Some((name?, Asked::Prompt(text(name?)?))),
        "ref/resource" => Some((uri?, Asked::Resource(text(uri?)?))),
        _ => None,
    }
}

/// An object that names once what is read of it. An array is none, though it could be read as one.
fn object<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    let text = raw.map(RawValue::get).filter(|text| text.starts_with('{'));
    serde_json::from_str(text?).ok()
}

/// A result of `member` for whoever asked all of them: the URIs in it lead back to it. Texts,
/// structured content and `_meta` stay as they came, and so does what cannot be read.
pub fn result_of_member<'a>(
    method: &str,
    member: &MemberName,
    result: &'a RawValue,
) -> Cow<'a, RawValue> {
    #[derive(Deserialize)]
    struct Result<'a> {
        #[serde(borrow, default)]
        content: Option<&'a RawValue>,
        #[serde(borrow, default)]
        contents: Option<&'a RawValue>,
        #[serde(borrow, default)]
        messages: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let is_concerned = matches!(method, "tools/call" | "prompts/get" | "resources/read");
    if !is_concerned || !result.get().contains("\"uri\"") {
        return Cow::Borrowed(result);
    }
    let Some(Result { content, contents, messages }) = object(Some(result)) else {
        return Cow::Borrowed(result);
    };
    let mut edits = Edits::of(result);
    for message in messages.into_iter().flat_map(elements) {
        let content = object(Some(message)).map(|Message { content }| content);
        content.into_iter().flat_map(elements).for_each(|it| lead_back(it, member, &mut edits));
    }
    for part in [content, contents].into_iter().flatten().flat_map(elements) {
        lead_back(part, member, &mut edits);
    }
    if edits.is_empty() {
        return Cow::Borrowed(result);
    }
    edits.finish().map_or(Cow::Borrowed(result), Cow::Owned)
}

/// The elements of an array; what is none stands for itself.
fn elements(raw: &RawValue) -> Vec<&RawValue> {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| vec![raw])
}

/// Puts the owner before the URI of a resource, a link to one, or one put in whole.
fn lead_back(part: &RawValue, member: &MemberName, edits: &mut Edits<'_>) {
    #[derive(Deserialize)]
    struct Part<'a> {
        #[serde(borrow, default)]
        uri: Option<&'a RawValue>,
        #[serde(borrow, default)]
        resource: Option<&'a RawValue>,
    }
    let nothing_if_unreadable = |edits: &mut Edits<'_>| {
        // Said twice, readers would differ about whose it is.
        if part.get().starts_with('{') {
            edits.replace(part, NO_PART);
        }
    };
    let Some(Part { uri, resource }) = object(Some(part)) else {
        return nothing_if_unreadable(edits);
    };
    let is_object = |raw: &&RawValue| raw.get().starts_with('{');
    let inner = match resource.filter(is_object).map(|inner| object::<Part<'_>>(Some(inner))) {
        Some(None) => return nothing_if_unreadable(edits),
        inner => inner.flatten(),
    };
    for uri in [uri, inner.and_then(|Part { uri, .. }| uri)].into_iter().flatten() {
        let words = Json::from(uri).as_text().and_then(|own| to_raw_value(&member.uri(&own)).ok());
        if let Some(words) = words {
            edits.replace(uri, words.get());
        }
    }
}

/// What stands for a part of an answer that says twice whose it is.
const NO_PART: &str = r#"{"type":"text","text":""}"#;

/// A kind of list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
}

impl List {
    /// What a method lists, if it lists anything.
    pub fn of(method: &str) -> Option<Self> {
        [Self::Tools, Self::Prompts, Self::Resources, Self::Templates]
            .into_iter()
            .find(|list| list.method() == method)
    }

    /// How it is asked for.
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// What a server declares that has such a list.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }
}

/// One page of a member's list, under the names that things have where several servers are one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Entries as JSON, with commas between them.
    entries: String,
    /// Where the next page begins.
    next: Option<String>,
    /// Names of tools that are left out, since clients would refuse the longer ones.
    pub left_out: Vec<String>,
}

impl Page {
    /// Reads a page of `member`; nothing if it is none. An entry without one name goes.
    pub fn read(list: List, member: &MemberName, result: &RawValue) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry<'a> {
            #[serde(borrow, default)]
            name: Option<&'a RawValue>,
            #[serde(borrow, default)]
            uri: Option<&'a RawValue>,
            #[serde(borrow, default)]
            uri_template: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Result<'a> {
            #[serde(borrow, default)]
            tools: Option<Vec<&'a RawValue>>,
            #[serde(borrow, default)]
            prompts: Option<Vec<&'a RawValue>>,
            #[serde(borrow, default)]
            resources: Option<Vec<&'a RawValue>>,
            #[serde(borrow, default)]
            resource_templates: Option<Vec<&'a RawValue>>,
            #[serde(default)]
            next_cursor: Option<String>,
        }
        let read: Result<'_> = object(Some(result))?;
        let entries = match list {
            List::Tools => read.tools,
            List::Prompts => read.prompts,
            List::Resources => read.resources,
            List::Templates => read.resource_templates,
        };
        let mut page = Self { next: read.next_cursor, ..Self::default() };
        for text in entries? {
            let Some(entry) = object::<Entry<'_>>(Some(text)) else { continue };
            let place = match list {
                List::Tools | List::Prompts => entry.name,
                List::Resources => entry.uri,
                List::Templates => entry.uri_template,
            };
            let Some((place, own)) =
                place.and_then(|place| Some((place, Json::from(place).as_text()?)))
            else {
                continue;
            };
            let called = match list {
                List::Tools => member.tool_name(&own),
                List::Prompts => Some(member.name(&own)),
                List::Resources | List::Templates => Some(member.uri(&own)),
            };
            let Some(called) = called else {
                page.left_out.push(own.into_owned());
                continue;
            };
            let mut edits = Edits::of(text);
            edits.replace(place, to_raw_value(&called).ok()?.get());
            if !page.entries.is_empty() {
                page.entries.push(',');
            }
            page.entries.push_str(edits.finish()?.get());
        }
        Some(page)
    }

    /// Lets the list end here where it leads on by a cursor that is too long to be kept; whether it
    /// did.
    pub fn end_at_long_cursor(&mut self) -> bool {
        self.next.take_if(|next| next.len() > MEMBER_CURSOR_BYTES_MAX).is_some()
    }
}

/// One page of all members, in their order.
pub fn page_of_all<'a>(
    list: List,
    pages: impl IntoIterator<Item = (&'a MemberName, &'a Page)>,
) -> Result<Box<RawValue>, McpError> {
    let mut out = format!("{{\"{}\":[", list.member());
    let mut next = BTreeMap::new();
    let start = out.len();
    for (member, page) in pages {
        if !page.entries.is_empty() {
            if out.len() > start {
                out.push(',');
            }
            out.push_str(&page.entries);
        }
        if let Some(cursor) = &page.next {
            next.insert(member.as_str(), cursor.as_str());
        }
    }
    out.push(']');
    if !next.is_empty() {
        // Base64 needs no escapes.
        out.push_str(",\"nextCursor\":\"");
        out.push_str(&Cursor { list: list.method(), next }.write()?);
        out.push('"');
    }
    out.push('}');
    RawValue::from_string(out).map_err(|_| McpError::internal())
}

/// Where the next page of several lists begins. It holds nothing that its client could not say to each
/// of the servers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cursor<T, M> {
    list: T,
    next: M,
}

impl Cursor<&str, BTreeMap<&str, &str>> {
    fn write(&self) -> Result<String, McpError> {
        let text = serde_json::to_vec(self).map_err(|_| McpError::internal())?;
        Ok(URL_SAFE_NO_PAD.encode(text))
    }
}

/// A request for a page of all members.
#[derive(Debug, PartialEq, Eq)]
pub enum PageAsked {
    /// The first of each.
    First,
    /// These: each member's cursor by its name.
    Next(BTreeMap<String, String>),
}

impl PageAsked {
    /// Reads a request.
    ///
    /// # Errors
    /// −32602 for a cursor that was given out by nobody, or for another list.
    pub fn read(list: List, params: Option<&RawValue>) -> Result<Self, McpError> {
        let Some(place) = cursor_in(params)? else { return Ok(Self::First) };
        let text = Json::from(place).as_text().filter(|text| text.len() <= CURSOR_BYTES_MAX);
        let json = text.and_then(|text| URL_SAFE_NO_PAD.decode(text.as_bytes()).ok());
        let cursor: Option<Cursor<String, BTreeMap<String, String>>> =
            json.and_then(|json| serde_json::from_slice(&json).ok());
        match cursor {
            Some(Cursor { list: of, next }) if of == list.method() && !next.is_empty() => {
                Ok(Self::Next(next))
            }
            Some(_) | None => Err(wrong_cursor()),
        }
    }
}

/// The same parameters with the cursor of one member.
pub fn params_with_cursor(params: Option<&RawValue>, cursor: &str) -> Option<Box<RawValue>> {
    let (place, params) = (cursor_in(params).ok()??, params?);
    let mut edits = Edits::of(params);
    edits.replace(place, to_raw_value(cursor).ok()?.get());
    edits.finish()
}

/// The cursor of a request.
fn cursor_in(params: Option<&RawValue>) -> Result<Option<&RawValue>, McpError> {
    #[derive(Deserialize)]
    struct Paged<'a> {
        #[serde(borrow, default)]
        cursor: Option<&'a RawValue>,
    }
    let Some(params) = params else { return Ok(None) };
    let Paged { cursor } = object(Some(params)).ok_or_else(wrong_cursor)?;
    Ok(cursor.filter(|cursor| cursor.get() != "null"))
}

fn wrong_cursor() -> McpError {
    McpError::invalid_params("the cursor is none of this list: begin it anew")
}

#[cfg(test)]
mod tests;
