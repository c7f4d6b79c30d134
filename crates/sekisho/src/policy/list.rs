//! A list without what somebody may not have. Every other byte of it stays as it came, the cursor to
//! the next page too; a page may become empty.

use std::borrow::Cow;

use sekisho_protocol::mcp::{Edits, McpError};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::rule::Wish;

/// Whatever a list of MCP lists, and whether it may be kept for others.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lists<'a> {
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    resources: Option<&'a RawValue>,
    #[serde(borrow, default)]
    resource_templates: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_scope: Option<&'a RawValue>,
}

/// What names an entry, in whichever list it stands.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uri: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    uri_template: Option<Cow<'a, str>>,
}

/// `result` with those entries alone that `stays` wants, for one caller's own cache. An entry without
/// a name goes.
///
/// # Errors
/// −32603 when the result is no object that names its lists once.
pub(super) fn shortened(
    result: Box<RawValue>,
    stays: impl Fn(Wish<'_>) -> bool,
) -> Result<Box<RawValue>, McpError> {
    let lists: Lists<'_> = object(&result).ok_or_else(unreadable)?;
    let mut edits = Edits::of(&result);
    let mut shorten = |list: Option<&RawValue>, is_wanted: &dyn Fn(&Entry<'_>) -> bool| {
        let Some(list) = list else { return Ok(()) };
        if let Some(rest) = without(list, is_wanted)? {
            edits.replace(list, rest);
        }
        Ok(())
    };
    shorten(lists.tools, &|entry| {
        entry.name.as_deref().is_some_and(|name| stays(Wish::Tool(name)))
    })?;
    shorten(lists.prompts, &|entry| {
        entry.name.as_deref().is_some_and(|name| stays(Wish::Prompt(name)))
    })?;
    shorten(lists.resources, &|entry| {
        entry.uri.as_deref().is_some_and(|uri| stays(Wish::Resource(uri)))
    })?;
    shorten(lists.resource_templates, &|entry| {
        entry.uri_template.as_deref().is_some_and(|template| stays(Wish::Template(template)))
    })?;
    make_private(lists.cache_scope, &mut edits);
    let changed = changed(edits)?;
    Ok(changed.unwrap_or(result))
}

/// `result`, not to be shown to anybody else out of a cache.
///
/// # Errors
/// −32603 when the result is no object that names its members once.
pub(super) fn private(result: Box<RawValue>) -> Result<Box<RawValue>, McpError> {
    let Lists { cache_scope, .. } = object(&result).ok_or_else(unreadable)?;
    let mut edits = Edits::of(&result);
    make_private(cache_scope, &mut edits);
    let changed = changed(edits)?;
    Ok(changed.unwrap_or(result))
}

fn make_private(scope: Option<&RawValue>, edits: &mut Edits<'_>) {
    const PRIVATE: &str = "\"private\"";
    if let Some(scope) = scope.filter(|scope| scope.get() != PRIVATE) {
        edits.replace(scope, PRIVATE);
    }
}

/// The array of what stays; nothing if all of it does.
fn without(
    list: &RawValue,
    is_wanted: &dyn Fn(&Entry<'_>) -> bool,
) -> Result<Option<String>, McpError> {
    let entries: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|_| unreadable())?;
    let stays =
        |entry: &&&RawValue| object(entry).is_some_and(|entry: Entry<'_>| is_wanted(&entry));
    let rest: Vec<&str> = entries.iter().filter(stays).map(|entry| entry.get()).collect();
    Ok((rest.len() < entries.len()).then(|| format!("[{}]", rest.join(","))))
}

/// An object that names once what is read of it. An array is none, though it could be read as one.
fn object<'a, T: Deserialize<'a>>(text: &'a RawValue) -> Option<T> {
    let text = Some(text.get()).filter(|text| text.starts_with('{'));
    serde_json::from_str(text?).ok()
}

/// What comes of changes, if there are any.
fn changed(edits: Edits<'_>) -> Result<Option<Box<RawValue>>, McpError> {
    if edits.is_empty() {
        return Ok(None);
    }
    edits.finish().map(Some).ok_or_else(unreadable)
}

fn unreadable() -> McpError {
    tracing::error!("a list of the service cannot be read: nobody sees it");
    McpError::internal()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn a_list_loses_what_is_hidden_and_no_other_byte() {
        let stays = |wish: Wish<'_>| match wish {
            Wish::Tool(name) | Wish::Prompt(name) => name != "hidden",
            Wish::Resource(uri) | Wish::Template(uri) => !uri.contains("hidden"),
        };
        let rows = [
            (
                r#"{ "tools" : [ {"name":"a", "x":1.0e2}, {"name":"b"} ], "y" : 1 }"#,
                r#"{ "tools" : [ {"name":"a", "x":1.0e2}, {"name":"b"} ], "y" : 1 }"#,
                "nothing is hidden: nothing changes",
            ),
            (
                r#"{"z":"\u0041","tools":[{"name":"a", "x" : 1.0e2},{"name":"hidden"}, {"name":"b"}],"nextCursor":"c"}"#,
                r#"{"z":"\u0041","tools":[{"name":"a", "x" : 1.0e2},{"name":"b"}],"nextCursor":"c"}"#,
                "what stays is as it came, and the cursor too",
            ),
            (
                r#"{"tools":[{"name":"hidd\u0065n"}],"nextCursor":"c"}"#,
                r#"{"tools":[],"nextCursor":"c"}"#,
                "a name behind escapes; a page may become empty",
            ),
            (
                r#"{"tools":[{"title":"a"},{"name":"a","name":"b"},7,["a"],{"name":1},{"name":"c"}]}"#,
                r#"{"tools":[{"name":"c"}]}"#,
                "what has not one name goes",
            ),
            (
                r#"{"prompts":[{"name":"hidden"},{"name":"a"}]}"#,
                r#"{"prompts":[{"name":"a"}]}"#,
                "prompts",
            ),
            (
                r#"{"resources":[{"uri":"a:hidden","name":"a"},{"uri":"a:b","name":"hidden"}]}"#,
                r#"{"resources":[{"uri":"a:b","name":"hidden"}]}"#,
                "resources, by what they are read by",
            ),
            (
                r#"{"resourceTemplates":[{"uriTemplate":"hidden:{a}"},{"uriTemplate":"b:{a}"}]}"#,
                r#"{"resourceTemplates":[{"uriTemplate":"b:{a}"}]}"#,
                "templates",
            ),
            (
                r#"{"cacheScope" : "public","tools":[{"name":"hidden"}],"ttlMs":5}"#,
                r#"{"cacheScope" : "private","tools":[],"ttlMs":5}"#,
                "nobody else's cache may show it",
            ),
            (
                r#"{"tools":[{"name":"a"}],"cacheScope":"public"}"#,
                r#"{"tools":[{"name":"a"}],"cacheScope":"private"}"#,
                "not even where nothing was hidden from this one",
            ),
        ];
        for (result, expected, reason) in rows {
            let shortened = shortened(raw(result), stays).unwrap();
            assert_eq!(shortened.get(), expected, "{reason}");
        }
        for (result, reason) in [
            (r#"{"tools":[],"tools":[{"name":"hidden"}]}"#, "two lists"),
            (r#"{"tools":{"name":"hidden"}}"#, "no list"),
            ("[]", "no object"),
        ] {
            assert!(shortened(raw(result), stays).is_err(), "{result}: {reason}");
        }
    }

    #[test]
    fn what_one_may_read_is_kept_from_others_caches() {
        let kept = private(raw(r#"{"contents":[],"cacheScope":"public"}"#)).unwrap();
        assert_eq!(kept.get(), r#"{"contents":[],"cacheScope":"private"}"#);
        let plain = r#"{"contents" : []}"#;
        assert_eq!(private(raw(plain)).unwrap().get(), plain);
    }
}
