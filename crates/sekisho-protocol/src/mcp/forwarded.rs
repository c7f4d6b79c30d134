//! What changes in a message on its way to another server and back; all else stays byte for byte,
//! so that members nobody here knows of survive.

use std::borrow::Cow;
use std::collections::HashSet;

use serde_json::value::RawValue;

use super::edits::Edits;
use super::error::McpError;
use super::json::{Json, Member};
use super::log_level::LogLevel;
use super::message::write_text;
use super::request_meta::text_in;
use super::tool::ToolCallParams;

/// What every member of `_meta` that is for the next server alone begins with.
const OF_ONE_HOP: &str = "io.modelcontextprotocol/";
const PROGRESS_TOKEN: &str = "progressToken";
/// How many members most objects on the way have at most: so many are held against each other one by one.
const MEMBERS_USUAL: usize = 8;

/// `params` for a server with a handshake: `_meta` says nothing of the client that was said by
/// `initialize`, and progress is asked for under `progress_token`, if the client asked for it.
///
/// # Errors
/// −32602 if `_meta` is no object that names its members once.
pub fn params_for_handshake(
    params: &RawValue,
    progress_token: u64,
) -> Result<Cow<'_, RawValue>, McpError> {
    if !Json::from(params).may_say("_meta") {
        return Ok(Cow::Borrowed(params));
    }
    let wrong = || McpError::invalid_params("params._meta is one object, its members named once");
    let [meta] = Json::from(params).named(["_meta"]).ok_or_else(wrong)?;
    let Some(meta) = meta else { return Ok(Cow::Borrowed(params)) };
    let Members(members) = Members::read(meta).ok_or_else(wrong)?;
    let changes = |name: &str| name.starts_with(OF_ONE_HOP) || name == PROGRESS_TOKEN;
    if !members.iter().any(|member| changes(&member.name)) {
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
    pub client_capabilities: Json<'a>,
    /// What the one who asks is called: the text of an object.
    pub client_info: &'a str,
    /// From which level on log messages are wanted.
    pub log_level: Option<LogLevel>,
    /// What progress is reported under, if the client asked for it.
    pub progress_token: u64,
    /// What the server asked for in its last answer: an object of answers by their names.
    pub input_responses: Option<Json<'a>>,
    /// What the server wanted to have back.
    pub request_state: Option<Json<'a>>,
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
        let read = || {
            let Members(mut members) = Members::read(params.into())?;
            let place = members.iter().position(|member| member.name == "_meta");
            let meta = place.map(|place| members.remove(place)).map(|member| member.value);
            let meta = match meta.and_then(Json::unless_null) {
                Some(meta) => Some(Members::read(meta)?),
                None => None,
            };
            Some(Self { members: Members(members), meta })
        };
        read().ok_or_else(|| {
            McpError::invalid_params("params and params._meta are objects without doubles")
        })
    }

    /// The member that is called so; never `_meta`, and nothing if it is `null`.
    pub fn get(&self, name: &str) -> Option<Json<'a>> {
        let Members(members) = &self.members;
        members.iter().find(|member| member.name == name)?.value.unless_null()
    }

    /// The text in the member that is called so.
    ///
    /// # Errors
    /// −32602 if it is no text.
    pub fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, McpError> {
        text_in(self.get(name), name)
    }

    /// Whether they are those of `tools/call`, as [`ToolCallParams`] has it.
    ///
    /// # Errors
    /// −32602 without a name, or when the arguments are no object.
    pub fn require_tool_call(&self) -> Result<(), McpError> {
        let has_name = self.get("name").and_then(Json::as_text).is_some();
        let is_one = has_name && self.get("arguments").is_none_or(Json::is_object);
        if is_one { Ok(()) } else { Err(ToolCallParams::wrong()) }
    }

    /// The text of them for a server without a handshake: all it was told by one stands in `_meta`. What a
    /// client of this revision wrote there for us stays here.
    pub fn for_stateless(&self, words: &StatelessWords<'_>) -> String {
        let Self { members: Members(members), meta } = self;
        let mut out = Object::begin();
        for member in members {
            if !matches!(&*member.name, "inputResponses" | "requestState") {
                out.add(member);
            }
        }
        if let Some(responses) = words.input_responses {
            out.add_ours("inputResponses", responses.get());
        }
        if let Some(state) = words.request_state {
            out.add_ours("requestState", state.get());
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
        let Members(members) = Members::read(meta)?;
        let is_ours = |member: &&Member<'_>| !member.name.starts_with(OF_ONE_HOP);
        if members.iter().all(|member| is_ours(&member)) {
            return None;
        }
        let mut kept = Object::begin();
        members.iter().filter(is_ours).for_each(|member| kept.add(member));
        Some(kept.end())
    })
}

/// A result of 2026-07-28 that says nothing of who may keep it: that depends on who may ask.
pub fn result_without_cache_scope(result: &RawValue) -> Cow<'_, RawValue> {
    if !Json::from(result).may_say("cacheScope") {
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
    let Members(members) = Members::read(result.into())?;
    let list = members.iter().find(|member| member.name == "tools")?.value;
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
    rewrite: impl Fn(Json<'a>) -> Option<String>,
) -> Cow<'a, RawValue> {
    let Some(Members(members)) = Members::read(result.into()) else {
        return Cow::Borrowed(result);
    };
    let meta = members.iter().find(|member| member.name == "_meta");
    let rewritten = meta.and_then(|meta| rewrite(meta.value));
    let goes = |name: &str| names.contains(&name);
    if rewritten.is_none() && !members.iter().any(|member| goes(&member.name)) {
        return Cow::Borrowed(result);
    }
    let mut kept = Object::begin();
    for member in members.iter().filter(|member| !goes(&member.name)) {
        match &rewritten {
            // There was something in it, and all of it goes.
            Some(rewritten) if member.name == "_meta" && rewritten == "{}" => {}
            Some(rewritten) if member.name == "_meta" => kept.add_ours("_meta", rewritten),
            Some(_) | None => kept.add(member),
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

    /// A member as it came.
    fn add(&mut self, Member { written, value, .. }: &Member<'_>) {
        self.next();
        self.text.extend_from_slice(written.as_bytes());
        self.text.push(b':');
        self.text.extend_from_slice(value.get().as_bytes());
    }

    /// A text under a name of ours.
    fn add_text(&mut self, name: &'static str, value: &str) {
        self.name(name);
        write_text(value, &mut self.text);
    }

    /// What a client's `_meta` says for whoever is behind the next server too, with progress under this token,
    /// if it asked for any.
    fn add_meta(&mut self, meta: &[Member<'_>], progress_token: u64) {
        for member in meta.iter().filter(|member| !member.name.starts_with(OF_ONE_HOP)) {
            if member.name == PROGRESS_TOKEN && member.value.unless_null().is_some() {
                self.add_ours(PROGRESS_TOKEN, &progress_token.to_string());
            } else {
                self.add(member);
            }
        }
    }

    /// The object that the member called so is.
    fn open(mut self, name: &'static str) -> Self {
        self.name(name);
        Self::within(self.text)
    }

    /// A value as it came under a name of ours.
    fn add_ours(&mut self, name: &'static str, value: &str) {
        self.name(name);
        self.text.extend_from_slice(value.as_bytes());
    }

    /// A name of ours, in which nothing is to be escaped.
    fn name(&mut self, name: &'static str) {
        self.next();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\":");
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
    token_of_progress(params)?.get().parse().ok()
}

/// `params` of `notifications/progress` under the token that the client chose.
pub fn progress_under(params: &RawValue, token: &RawValue) -> Option<Box<RawValue>> {
    let mut edits = Edits::of(params);
    edits.replace(token_of_progress(params)?, token.get());
    edits.finish()
}

fn token_of_progress(params: &RawValue) -> Option<Json<'_>> {
    let [token] = Json::from(params).named([PROGRESS_TOKEN])?;
    token
}

/// Which request to listen a notification belongs to (2026-07-28), if its id is one of ours. Some
/// servers write it as a text.
pub fn subscription_id_in(params: &RawValue) -> Option<u64> {
    let [meta] = Json::from(params).named(["_meta"])?;
    let [id] = meta?.named(["io.modelcontextprotocol/subscriptionId"])?;
    id?.get().trim_matches('"').parse().ok()
}

/// The members of an object in their order, each named once.
#[derive(Debug, Default)]
struct Members<'a>(Vec<Member<'a>>);

impl<'a> Members<'a> {
    fn read(object: Json<'a>) -> Option<Self> {
        let mut members = Vec::with_capacity(MEMBERS_USUAL);
        for member in object.members()? {
            members.push(member?);
        }
        (!names_one_twice(&members)).then_some(Self(members))
    }
}

fn names_one_twice(members: &[Member<'_>]) -> bool {
    let mut names = members.iter().map(|member| &*member.name);
    if members.len() <= MEMBERS_USUAL {
        return (1..)
            .zip(names)
            .any(|(behind, name)| members.iter().skip(behind).any(|other| other.name == name));
    }
    // Somebody may write half a million of them.
    let mut seen = HashSet::with_capacity(members.len());
    !names.all(|name| seen.insert(name))
}

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
    fn a_member_named_twice_is_found_among_few_and_among_very_many() {
        for count in [2, MEMBERS_USUAL, MEMBERS_USUAL + 1, 200_000] {
            let member = |number: usize| format!(r#""{number}":0"#);
            let mut members: Vec<String> = (0..count).map(member).collect();
            let object = raw(&format!("{{{}}}", members.join(",")));
            assert!(ParamMembers::read(Some(&object)).is_ok(), "{count} names");
            members.push(member(count - 1));
            let object = raw(&format!("{{{}}}", members.join(",")));
            assert!(ParamMembers::read(Some(&object)).is_err(), "{count} names, the last twice");
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
            client_capabilities: Json::from(&*none),
            client_info: r#"{"name":"s"}"#,
            log_level: None,
            progress_token: 7,
            input_responses: None,
            request_state: None,
        };
        let logging = StatelessWords { log_level: Some(LogLevel::Warning), ..first };
        let again = StatelessWords {
            input_responses: Some(Json::from(&*given)),
            request_state: Some(Json::from(&*state)),
            ..first
        };
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
