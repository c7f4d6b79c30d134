//! What changes in a message on its way to another server and back; all else stays byte for byte,
//! so that members nobody here knows of survive.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::edits::Edits;
use super::error::McpError;
use super::log_level::LogLevel;
use super::message::{text_of, write_text};
use super::tool::ToolCallParams;

/// What every member of `_meta` that is for the next server alone begins with.
const OF_ONE_HOP: &str = "io.modelcontextprotocol/";
const PROGRESS_TOKEN: &str = "progressToken";
/// How many members most objects on the way have at most.
const MEMBERS_USUAL: usize = 6;
const NAMED_TWICE: &str = "a member is named twice";

/// `params` for a server with a handshake: `_meta` says nothing of the client that was said by
/// `initialize`, and progress is asked for under `progress_token`, if the client asked for it.
///
/// # Errors
/// −32602 if `_meta` is no object that names its members once.
pub fn params_for_handshake(
    params: &RawValue,
    progress_token: u64,
) -> Result<Cow<'_, RawValue>, McpError> {
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow, default, rename = "_meta")]
        meta: Option<&'a RawValue>,
    }
    let text = params.get();
    // A name may hide behind escapes.
    if !text.contains("_meta") && !text.contains('\\') {
        return Ok(Cow::Borrowed(params));
    }
    let wrong = || McpError::invalid_params("params._meta is one object, its members named once");
    let Params { meta } = serde_json::from_str(text).map_err(|_| wrong())?;
    let Some(meta) = meta else { return Ok(Cow::Borrowed(params)) };
    let Members(members) = serde_json::from_str(meta.get()).map_err(|_| wrong())?;
    let changes = |name: &str| name.starts_with(OF_ONE_HOP) || name == PROGRESS_TOKEN;
    if !members.iter().any(|(name, _)| changes(name)) {
        return Ok(Cow::Borrowed(params));
    }
    let mut rewritten = Object::begin();
    rewritten.add_meta(&members, progress_token);
    let mut edits = Edits::of(params);
    edits.replace(meta, rewritten.end());
    edits.finish().map(Cow::Owned).ok_or_else(wrong)
}

/// What a request of 2026-07-28 says beside what its client wants.
#[derive(Debug, Clone, Copy)]
pub struct StatelessWords<'a> {
    /// Which revision it is written in.
    pub protocol_version: &'static str,
    /// What the client can do: an object.
    pub client_capabilities: &'a RawValue,
    /// What the one who asks is called: the text of an object.
    pub client_info: &'a str,
    /// From which level on log messages are wanted.
    pub log_level: Option<LogLevel>,
    /// What progress is reported under, if the client asked for it.
    pub progress_token: u64,
    /// What the server asked for in its last answer: an object of answers by their names.
    pub input_responses: Option<&'a RawValue>,
    /// What the server wanted to have back.
    pub request_state: Option<&'a RawValue>,
}

/// `params` by their members, each named once, and `_meta` by its own.
#[derive(Debug, Default)]
pub struct ParamMembers<'a> {
    members: Members<'a>,
    meta: Option<Members<'a>>,
}

impl<'a> ParamMembers<'a> {
    /// Reads `params`; none are an object without members.
    ///
    /// # Errors
    /// −32602 if it is no object that names its members once, or its `_meta` is none.
    pub fn read(params: Option<&'a RawValue>) -> Result<Self, McpError> {
        let Some(params) = params else { return Ok(Self::default()) };
        serde_json::from_str(params.get()).map_err(|_| {
            McpError::invalid_params("params and params._meta are objects without doubles")
        })
    }

    /// The member that is called so, as it came; never `_meta`.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        let Members(members) = &self.members;
        members.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// The text in the member that is called so; `null` is as good as nothing.
    ///
    /// # Errors
    /// −32602 if it is no text.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, McpError> {
        let Some(value) = self.get(name).filter(|value| value.get() != "null") else {
            return Ok(None);
        };
        let text = text_of(value);
        text.map(Some).ok_or_else(|| McpError::invalid_params(format!("params.{name} is a text")))
    }

    /// Whether they are those of `tools/call`, as [`ToolCallParams`] has it.
    ///
    /// # Errors
    /// −32602 without a name, or when the arguments are no object.
    pub fn require_tool_call(&self) -> Result<(), McpError> {
        let has_name = self.get("name").and_then(text_of).is_some();
        let arguments = self.get("arguments").map_or("{}", RawValue::get);
        let is_one = has_name && (arguments.starts_with('{') || arguments == "null");
        if is_one { Ok(()) } else { Err(ToolCallParams::wrong()) }
    }

    /// The text of them for a server without a handshake: all it was told by one stands in `_meta`. What a
    /// client of this revision wrote there for us stays here.
    pub fn for_stateless(&self, words: &StatelessWords<'_>) -> String {
        let Self { members: Members(members), meta } = self;
        let mut out = Object::begin();
        for (name, value) in members {
            if !matches!(&**name, "inputResponses" | "requestState") {
                out.add(name, value.get());
            }
        }
        if let Some(responses) = words.input_responses {
            out.add("inputResponses", responses.get());
        }
        if let Some(state) = words.request_state {
            out.add("requestState", state.get());
        }
        let mut inside = out.open("_meta");
        inside.add_text("io.modelcontextprotocol/protocolVersion", words.protocol_version);
        let capabilities = words.client_capabilities.get();
        inside.add_ours("io.modelcontextprotocol/clientCapabilities", capabilities);
        inside.add_ours("io.modelcontextprotocol/clientInfo", words.client_info);
        if let Some(level) = words.log_level {
            inside.add_text("io.modelcontextprotocol/logLevel", level.as_str());
        }
        if let Some(Members(meta)) = meta {
            inside.add_meta(meta, words.progress_token);
        }
        inside.close().end()
    }
}

/// A result of 2026-07-28 for a client with a handshake, which knows nothing of what that revision
/// adds.
pub fn result_for_handshake(result: &RawValue) -> Cow<'_, RawValue> {
    const ADDED: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];
    without(result, &ADDED, |meta| {
        let Members(members) = serde_json::from_str(meta.get()).ok()?;
        let is_ours = |name: &str| !name.starts_with(OF_ONE_HOP);
        if members.iter().all(|(name, _)| is_ours(name)) {
            return None;
        }
        let mut kept = Object::begin();
        for (name, value) in members.iter().filter(|(name, _)| is_ours(name)) {
            kept.add(name, value.get());
        }
        Some(kept.end())
    })
}

/// A result of 2026-07-28 that says nothing of who may keep it: that depends on who may ask.
pub fn result_without_cache_scope(result: &RawValue) -> Cow<'_, RawValue> {
    // A name may hide behind escapes.
    if !result.get().contains("cacheScope") && !result.get().contains('\\') {
        return Cow::Borrowed(result);
    }
    without(result, &["cacheScope"], |_| None)
}

/// The result of `tools/list` without the tools that `stays` does not want; nothing if all of them stay,
/// or if it is no such result.
pub fn result_with_tools(
    result: &RawValue,
    mut stays: impl FnMut(&RawValue) -> bool,
) -> Option<Box<RawValue>> {
    let Members(members) = serde_json::from_str(result.get()).ok()?;
    let (_, list) = members.iter().find(|(name, _)| name == "tools")?;
    let tools: Vec<&RawValue> = serde_json::from_str(list.get()).ok()?;
    let kept: Vec<&str> = tools.iter().filter(|tool| stays(tool)).map(|tool| tool.get()).collect();
    if kept.len() == tools.len() {
        return None;
    }
    let mut edits = Edits::of(result);
    edits.replace(list, format!("[{}]", kept.join(",")));
    edits.finish()
}

/// `result` without these members, and with what `rewrite` makes of its `_meta`. One that cannot be
/// read stays as it is, for whoever understands it.
fn without<'a>(
    result: &'a RawValue,
    names: &[&str],
    rewrite: impl Fn(&RawValue) -> Option<String>,
) -> Cow<'a, RawValue> {
    let Ok(Members(members)) = serde_json::from_str(result.get()) else {
        return Cow::Borrowed(result);
    };
    let meta = members.iter().find(|(name, _)| name == "_meta");
    let rewritten = meta.and_then(|(_, meta)| rewrite(meta));
    let goes = |name: &str| names.contains(&name);
    if rewritten.is_none() && !members.iter().any(|(name, _)| goes(name)) {
        return Cow::Borrowed(result);
    }
    let mut kept = Object::begin();
    for (name, value) in members.iter().filter(|(name, _)| !goes(name)) {
        match &rewritten {
            // There was something in it, and all of it goes.
            Some(rewritten) if name == "_meta" && rewritten == "{}" => {}
            Some(rewritten) if name == "_meta" => kept.add(name, rewritten),
            Some(_) | None => kept.add(name, value.get()),
        }
    }
    RawValue::from_string(kept.end()).map_or(Cow::Borrowed(result), Cow::Owned)
}

/// An object being written, its values as they came.
struct Object {
    text: Vec<u8>,
    is_empty: bool,
}

impl Object {
    fn begin() -> Self {
        Self::within(Vec::with_capacity(512))
    }

    /// One that begins where `text` ends.
    fn within(mut text: Vec<u8>) -> Self {
        text.push(b'{');
        Self { text, is_empty: true }
    }

    fn add(&mut self, name: &str, value: &str) {
        self.name(name);
        self.text.extend_from_slice(value.as_bytes());
    }

    fn add_text(&mut self, name: &str, value: &str) {
        self.name(name);
        write_text(value, &mut self.text);
    }

    /// What a client's `_meta` says for whoever is behind the next server too, with progress under this token,
    /// if it asked for any.
    fn add_meta(&mut self, meta: &[(Cow<'_, str>, &RawValue)], progress_token: u64) {
        for (name, value) in meta.iter().filter(|(name, _)| !name.starts_with(OF_ONE_HOP)) {
            if name == PROGRESS_TOKEN && value.get() != "null" {
                self.add(name, &progress_token.to_string());
            } else {
                self.add(name, value.get());
            }
        }
    }

    /// The object that the member called so is.
    fn open(mut self, name: &str) -> Self {
        self.name(name);
        Self::within(self.text)
    }

    /// A member with a name of ours, in which nothing is to be escaped.
    fn add_ours(&mut self, name: &'static str, value: &str) {
        self.next();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
        self.text.extend_from_slice(value.as_bytes());
    }

    fn name(&mut self, name: &str) {
        self.next();
        write_text(name, &mut self.text);
        self.text.push(b':');
    }

    fn next(&mut self) {
        if !std::mem::take(&mut self.is_empty) {
            self.text.push(b',');
        }
    }

    /// The object around this one, which is its last member.
    fn close(mut self) -> Self {
        self.text.push(b'}');
        Self { is_empty: false, ..self }
    }

    fn end(self) -> String {
        String::from_utf8(self.close().text).unwrap_or_default()
    }
}

/// Which request `notifications/progress` is about, if its token is one of ours.
pub fn progress_token_in(params: &RawValue) -> Option<u64> {
    Progress::read(params)?.token.get().parse().ok()
}

/// `params` of `notifications/progress` under the token that the client chose.
pub fn progress_under(params: &RawValue, token: &RawValue) -> Option<Box<RawValue>> {
    let mut edits = Edits::of(params);
    edits.replace(Progress::read(params)?.token, token.get());
    edits.finish()
}

/// Which request to listen a notification belongs to (2026-07-28), if its id is one of ours. Some
/// servers write it as a text.
pub fn subscription_id_in(params: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    struct Told<'a> {
        #[serde(borrow, rename = "_meta")]
        meta: Meta<'a>,
    }
    #[derive(Deserialize)]
    struct Meta<'a> {
        #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
        id: &'a RawValue,
    }
    let Told { meta: Meta { id } } = serde_json::from_str(params.get()).ok()?;
    id.get().trim_matches('"').parse().ok()
}

#[derive(Deserialize)]
struct Progress<'a> {
    #[serde(borrow, rename = "progressToken")]
    token: &'a RawValue,
}

impl<'a> Progress<'a> {
    fn read(params: &'a RawValue) -> Option<Self> {
        serde_json::from_str(params.get()).ok()
    }
}

/// The members of an object in their order, each named once.
#[derive(Debug, Default)]
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// `false` if there is one that is called so.
    fn add(&mut self, name: Cow<'a, str>, value: &'a RawValue) -> bool {
        let is_new = self.0.iter().all(|(known, _)| *known != name);
        self.0.push((name, value));
        is_new
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members(Vec::with_capacity(MEMBERS_USUAL));
                while let Some((Name(name), value)) = map.next_entry()? {
                    if !members.add(name, value) {
                        return Err(A::Error::custom(NAMED_TWICE));
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for ParamMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Params;
        impl<'de> Visitor<'de> for Params {
            type Value = ParamMembers<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Members(Vec::with_capacity(MEMBERS_USUAL));
                // There, but nothing: named all the same.
                let mut meta: Option<Option<Members<'de>>> = None;
                while let Some(Name(name)) = map.next_key()? {
                    let is_new = if name == "_meta" {
                        meta.replace(map.next_value()?).is_none()
                    } else {
                        members.add(name, map.next_value()?)
                    };
                    if !is_new {
                        return Err(A::Error::custom(NAMED_TWICE));
                    }
                }
                Ok(ParamMembers { members, meta: meta.flatten() })
            }
        }
        deserializer.deserialize_map(Params)
    }
}

/// A name, borrowed unless something in it is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_call_of_a_tool_is_one_for_every_server_behind_us_or_for_none() {
        let rows = [
            (r#"{"name":"a"}"#, true, "no arguments"),
            (r#"{"name":"a","arguments":null}"#, true, "none either"),
            (r#"{"n\u0061me":"a","arguments":{}}"#, true, "a name written with escapes"),
            (r#"{"arguments":{}}"#, false, "no name"),
            (r#"{"name":null}"#, false, "none either"),
            (r#"{"name":7}"#, false, "a number"),
            (r#"{"name":"a","arguments":[]}"#, false, "an array"),
            (r#"{"name":"a","arguments":"{}"}"#, false, "a text"),
            (r#"{"name":"a","n\u0061me":"b"}"#, false, "two names"),
            (r#"{"name":"a","arguments":{},"arguments":{}}"#, false, "two of arguments"),
            (r#"["a",{}]"#, false, "members without names"),
        ];
        for (params, expected, reason) in rows {
            let params = raw(params);
            let members = ParamMembers::read(Some(&params));
            let read = members.and_then(|members| members.require_tool_call());
            assert_eq!(read.is_ok(), expected, "{params}: {reason}");
            let read = ToolCallParams::parse(Some(&params));
            assert_eq!(read.is_ok(), expected, "{params}: {reason}");
        }
    }

    #[test]
    fn only_what_is_for_us_is_taken_out_of_params() {
        let rows = [
            (r#"{"name":"a","x" : 1.0e2}"#, r#"{"name":"a","x" : 1.0e2}"#, "nothing to change"),
            (r#"{"a":"\u0041"}"#, r#"{"a":"\u0041"}"#, "escapes, but no _meta"),
            (r#"{"_meta":{"traceparent":"00-1"}}"#, r#"{"_meta":{"traceparent":"00-1"}}"#, "kept"),
            (
                r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent" : "t", "io.modelcontextprotocol/logLevel":"debug"},"b":2}"#,
                r#"{"_meta":{"traceparent":"t"},"b":2}"#,
                "what a handshake says is not said again",
            ),
            (
                r#"{"b":2, "_meta": {"progressToken":"mine","x":{"y" : 1}} }"#,
                r#"{"b":2, "_meta": {"progressToken":7,"x":{"y" : 1}} }"#,
                "progress under our number",
            ),
            (
                r#"{"\u005fmeta":{"io.modelcontextprotocol\/clientInfo":{}}}"#,
                r#"{"\u005fmeta":{}}"#,
                "names behind escapes",
            ),
            (r#"{"_meta":{"progressToken":null}}"#, r#"{"_meta":{"progressToken":null}}"#, "none"),
        ];
        for (params, expected, reason) in rows {
            let params = raw(params);
            let forwarded = params_for_handshake(&params, 7).unwrap();
            assert_eq!(forwarded.get(), expected, "{params}: {reason}");
        }
        for (params, reason) in [
            (r#"{"_meta":1}"#, "no object"),
            (r#"{"_meta":{},"_meta":{}}"#, "two of them"),
            (r#"{"_meta":{"a":1,"\u0061":2}}"#, "a member twice, once in disguise"),
        ] {
            assert!(params_for_handshake(&raw(params), 7).is_err(), "{params}: {reason}");
        }
    }

    #[test]
    fn a_request_without_a_handshake_says_all_that_one_would_have_said() {
        const OWN: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"s"}"#;
        let (none, given) = (raw("{}"), raw(r#"{"k":{"a" : 1}}"#));
        let state = raw(r#""theirs""#);
        let first = StatelessWords {
            protocol_version: "2026-07-28",
            client_capabilities: &none,
            client_info: r#"{"name":"s"}"#,
            log_level: None,
            progress_token: 7,
            input_responses: None,
            request_state: None,
        };
        let logging = StatelessWords { log_level: Some(LogLevel::Warning), ..first };
        let again =
            StatelessWords { input_responses: Some(&given), request_state: Some(&state), ..first };
        let rows = [
            (None, first, format!(r#"{{"_meta":{{{OWN}}}}}"#), "no params at all"),
            (
                Some(r#"{"name":"n","x" : 1.0e2}"#),
                first,
                format!(r#"{{"name":"n","x":1.0e2,"_meta":{{{OWN}}}}}"#),
                "values as they came",
            ),
            (
                Some(r#"{"_meta":{"progressToken":"mine","traceparent":"t"},"a":1}"#),
                first,
                format!(r#"{{"a":1,"_meta":{{{OWN},"progressToken":7,"traceparent":"t"}}}}"#),
                "progress under our number, the rest kept",
            ),
            (
                Some(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"x"}}"#),
                logging,
                format!(r#"{{"_meta":{{{OWN},"io.modelcontextprotocol/logLevel":"warning"}}}}"#),
                "what the client says of itself stays here",
            ),
            (
                Some(r#"{"inputResponses":{},"requestState":"ours","a":1}"#),
                again,
                format!(
                    r#"{{"a":1,"inputResponses":{{"k":{{"a" : 1}}}},"requestState":"theirs","_meta":{{{OWN}}}}}"#
                ),
                "the server's own state comes back, never ours",
            ),
        ];
        for (params, words, expected, reason) in rows {
            let params = params.map(raw);
            let members = ParamMembers::read(params.as_deref()).unwrap();
            assert_eq!(members.for_stateless(&words), expected, "{reason}");
        }
        for (wrong, reason) in [
            ("[]", "members without names"),
            (r#"{"a":1,"\u0061":2}"#, "one named twice"),
            (r#"{"_meta":1}"#, "no object"),
            (r#"{"_meta":{},"_meta":{}}"#, "two of them"),
            (r#"{"_meta":null,"_meta":{}}"#, "two of them, one of which is nothing"),
            (r#"{"_meta":{"a":1,"a":2}}"#, "one named twice in it"),
        ] {
            assert!(ParamMembers::read(Some(&raw(wrong))).is_err(), "{wrong}: {reason}");
        }
    }

    #[test]
    fn what_a_revision_adds_to_results_is_taken_out_for_older_clients() {
        let rows = [
            (r#"{"content":[ 1.0e2 ]}"#, r#"{"content":[ 1.0e2 ]}"#, "nothing added"),
            (
                r#"{"resultType":"complete","ttlMs":5,"cacheScope":"public","tools" : []}"#,
                r#"{"tools":[]}"#,
                "all of it",
            ),
            (
                r#"{"a":1,"_meta":{"io.modelcontextprotocol/serverInfo":{},"x":{ }}}"#,
                r#"{"a":1,"_meta":{"x":{ }}}"#,
                "in _meta too",
            ),
            (
                r#"{"a":1,"_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#,
                r#"{"a":1}"#,
                "nothing left of it",
            ),
            (r#"{"a":1,"a":2,"ttlMs":1}"#, r#"{"a":1,"a":2,"ttlMs":1}"#, "not to be read"),
        ];
        for (result, expected, reason) in rows {
            assert_eq!(result_for_handshake(&raw(result)).get(), expected, "{reason}");
        }
        let kept = raw(r#"{"cacheScope":"public","ttlMs":5,"resultType":"complete"}"#);
        let expected = r#"{"ttlMs":5,"resultType":"complete"}"#;
        assert_eq!(result_without_cache_scope(&kept).get(), expected);
    }

    #[test]
    fn a_list_of_tools_loses_what_does_not_stay_and_no_other_byte() {
        let rows = [
            (
                r#"{ "tools" : [{"name":"a", "x":1.0e2}, {"name":"no"}],"y" : "\u0041" }"#,
                Some(r#"{ "tools" : [{"name":"a", "x":1.0e2}],"y" : "\u0041" }"#),
                "one goes",
            ),
            (r#"{"tools":[{"name":"no"}]}"#, Some(r#"{"tools":[]}"#), "the only one goes"),
            (r#"{"tools":[{"name":"a"}]}"#, None, "all stay"),
            (r#"{"tools":[]}"#, None, "there are none"),
            (r#"{"tools":{"name":"no"}}"#, None, "no list"),
            (r#"{"x":[{"name":"no"}]}"#, None, "another list"),
            (r#"{"tools":[],"tools":[{"name":"no"}]}"#, None, "two lists are for nobody to read"),
        ];
        for (result, expected, reason) in rows {
            let rest = result_with_tools(&raw(result), |tool| !tool.get().contains("no"));
            assert_eq!(rest.as_deref().map(RawValue::get), expected, "{result}: {reason}");
        }
    }

    #[test]
    fn what_is_told_of_changes_names_the_request_to_listen() {
        let of = |id: &str| {
            let meta = format!(r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#);
            subscription_id_in(&raw(&meta))
        };
        assert_eq!([of("7"), of(r#""7""#)], [Some(7), Some(7)]);
        assert_eq!([of("-1"), of("7.0"), of(r#""x""#), of("null")], [None; 4]);
        assert_eq!(subscription_id_in(&raw("{}")), None);
    }

    #[test]
    fn progress_comes_back_under_the_clients_token() {
        let params = raw(r#"{"progress":1 ,"progressToken": 12,"message":"half"}"#);
        assert_eq!(progress_token_in(&params), Some(12));
        let under = progress_under(&params, &raw(r#""mine""#)).unwrap();
        assert_eq!(under.get(), r#"{"progress":1 ,"progressToken": "mine","message":"half"}"#);
        for foreign in [r#"{"progressToken":"12"}"#, r#"{"progressToken":-1}"#, "{}", "[]"] {
            assert_eq!(progress_token_in(&raw(foreign)), None, "{foreign} is none of ours");
        }
    }
}
