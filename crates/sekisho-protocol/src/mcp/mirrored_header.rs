//! What 2026-07-28 has clients say twice: in the body, and in a header for whoever routes requests
//! without reading bodies (`Mcp-Method`, `Mcp-Name`, `Mcp-Param-*`). A server that reads the body
//! holds one against the other, or the two of them see two requests.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const WRAPPED_BEGIN: &str = "=?base64?";
const WRAPPED_END: &str = "?=";

/// The largest integer a header may carry: beyond it JavaScript counts in steps of two.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;
/// How many levels of `properties` an annotation may be below the schema's root.
const DEPTH_MAX: usize = 32;

/// Why a header's value stands for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderValueError {
    /// Something else than visible ASCII, spaces and tabs.
    #[error("it holds characters that belong into Base64")]
    NotPlain,
    /// `=?base64?…?=` around something that is no Base64 of UTF-8.
    #[error("what stands between =?base64? and ?= is not Base64 of UTF-8")]
    NotBase64,
}

/// The text that a mirrored header's value stands for.
///
/// The wrapping is recognised only if begin and end are both there, to the letter; anything else
/// is itself.
pub fn unwrap_header_value(value: &[u8]) -> Result<Cow<'_, str>, HeaderValueError> {
    let plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    if !value.iter().all(plain) {
        return Err(HeaderValueError::NotPlain);
    }
    let text = std::str::from_utf8(value).map_err(|_| HeaderValueError::NotPlain)?;
    let text = text.trim_matches([' ', '\t']);
    let wrapped = text.strip_prefix(WRAPPED_BEGIN).and_then(|rest| rest.strip_suffix(WRAPPED_END));
    let Some(wrapped) = wrapped else { return Ok(Cow::Borrowed(text)) };
    let bytes = STANDARD.decode(wrapped).map_err(|_| HeaderValueError::NotBase64)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| HeaderValueError::NotBase64)
}

/// A text as a mirrored header's value: itself, or wrapped if a header cannot hold it as it is, or if
/// it would be taken for wrapped.
pub fn wrap_header_value(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        && text.trim_matches([' ', '\t']) == text
        && !text.starts_with(WRAPPED_BEGIN);
    if is_plain {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{WRAPPED_BEGIN}{}{WRAPPED_END}", STANDARD.encode(text)))
}

/// An argument of a tool that clients repeat in the header `Mcp-Param-{name}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirroredParam {
    /// The whole header name, in lower case.
    pub header: String,
    path: Vec<String>,
}

/// The annotations `x-mcp-header` in a tool's `inputSchema`; why it is no valid definition
/// otherwise.
pub fn mirrored_params(input_schema: &Value) -> Result<Vec<MirroredParam>, &'static str> {
    let mut found = Vec::new();
    let mut names = HashSet::new();
    collect(input_schema, &mut Vec::new(), &mut found, &mut names)?;
    if count_annotations(input_schema) != found.len() {
        return Err("x-mcp-header belongs to what a chain of properties leads to, nothing else");
    }
    Ok(found)
}

fn collect(
    schema: &Value,
    path: &mut Vec<String>,
    found: &mut Vec<MirroredParam>,
    names: &mut HashSet<String>,
) -> Result<(), &'static str> {
    if path.len() > DEPTH_MAX {
        return Err("the schema is nested too deep");
    }
    if let Some(name) = schema.get("x-mcp-header")
        && !path.is_empty()
    {
        let name = name.as_str().ok_or("x-mcp-header is a text")?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err("x-mcp-header is the rest of a header's name");
        }
        if !matches!(
            schema.get("type").and_then(Value::as_str),
            Some("string" | "integer" | "boolean")
        ) {
            return Err("only a string, an integer or a boolean can be repeated in a header");
        }
        let header = format!("mcp-param-{}", name.to_ascii_lowercase());
        if !names.insert(header.clone()) {
            return Err("two parameters cannot share one header");
        }
        found.push(MirroredParam { header, path: path.clone() });
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, property) in properties {
            path.push(name.clone());
            collect(property, path, found, names)?;
            path.pop();
        }
    }
    Ok(())
}

/// Annotations anywhere in a schema, also where none belong. Names of properties are no keywords.
fn count_annotations(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| match (name.as_str(), member) {
                ("x-mcp-header", _) => 1,
                ("properties", Value::Object(properties)) => {
                    properties.values().map(count_annotations).sum()
                }
                ("const" | "default" | "enum" | "examples", _) => 0,
                (_, member) => count_annotations(member),
            })
            .sum(),
        Value::Array(elements) => elements.iter().map(count_annotations).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// A character of a header's name (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

impl MirroredParam {
    /// What the header has to say of these arguments; nothing if they do not give the value, or
    /// none that a header can carry.
    pub fn value_in(&self, arguments: Option<&Value>) -> Option<String> {
        match self.find(arguments)? {
            Value::String(text) => Some(wrap_header_value(text).into_owned()),
            Value::Bool(said) => Some(said.to_string()),
            Value::Number(said) => whole(said).map(|number| number.to_string()),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn find<'a>(&self, arguments: Option<&'a Value>) -> Option<&'a Value> {
        let found = self.path.iter().try_fold(arguments?, |value, name| value.get(name))?;
        (!found.is_null()).then_some(found)
    }

    /// Whether a header says what the arguments say: both nothing, or both the same. An integer is
    /// compared as a number.
    pub fn agrees(&self, header: Option<&[u8]>, arguments: Option<&Value>) -> bool {
        let Some(value) = self.find(arguments) else { return header.is_none() };
        let Some(Ok(text)) = header.map(unwrap_header_value) else { return false };
        match value {
            Value::String(said) => *said == text,
            Value::Bool(said) => text == if *said { "true" } else { "false" },
            Value::Number(said) => {
                let said = whole(said);
                said.is_some() && said == text.parse().ok()
            }
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

/// The integer that a JSON number is, also when it is written `7.0`; none that some readers would round.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
        (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_991.0).then_some(float as i64)
    });
    whole.filter(|whole| whole.unsigned_abs() <= SAFE_INTEGER_MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_wrapped_stands_for_the_same_text() {
        for (text, is_plain, reason) in [
            ("us-west1", true, "plain"),
            ("a b", true, "a space within"),
            ("", true, "nothing"),
            (" padded", false, "a space before"),
            ("世界", false, "beyond ASCII"),
            ("a\r\nX-Evil: 1", false, "the end of a line"),
            ("=?base64?SGk=?=", false, "as if wrapped"),
        ] {
            let wrapped = wrap_header_value(text);
            assert_eq!(wrapped == text, is_plain, "{text:?}: {reason}");
            assert_eq!(unwrap_header_value(wrapped.as_bytes()).unwrap(), text, "{reason}");
        }
        let schema = json!({ "properties": { "n": { "type": "integer", "x-mcp-header": "N" } } });
        let param = mirrored_params(&schema).unwrap().remove(0);
        for arguments in [json!({ "n": 7 }), json!({ "n": 7.0 }), json!({ "n": null }), json!({})] {
            let value = param.value_in(Some(&arguments));
            let header = value.as_ref().map(String::as_bytes);
            assert!(param.agrees(header, Some(&arguments)), "{arguments}: {value:?}");
        }
        let large = json!({ "n": 1_i64 << 60 });
        assert_eq!(param.value_in(Some(&large)), None, "nobody would take it for the same");
    }

    #[test]
    fn a_header_stands_for_itself_unless_it_is_wrapped() {
        let rows = [
            ("us-west1", Ok("us-west1"), "plain"),
            (" us-west1\t", Ok("us-west1"), "space around it belongs to HTTP"),
            ("=?base64?SGVsbG8sIOS4lueVjA==?=", Ok("Hello, 世界"), "beyond ASCII"),
            ("=?base64?IHBhZGRlZCA=?=", Ok(" padded "), "spaces of its own"),
            ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", Ok("=?base64?literal?="), "wrapped twice"),
            ("=?base64??=", Ok(""), "empty"),
            ("=?BASE64?SGk=?=", Ok("=?BASE64?SGk=?="), "capitals are another text"),
            ("=?base64?SGk=", Ok("=?base64?SGk="), "without its end"),
            ("SGk=?=", Ok("SGk=?="), "without its begin"),
            ("=?base64?SGk?=", Err(HeaderValueError::NotBase64), "padding is missing"),
            ("=?base64?S*k=?=", Err(HeaderValueError::NotBase64), "another alphabet"),
            ("=?base64?//8=?=", Err(HeaderValueError::NotBase64), "no UTF-8"),
            ("é", Err(HeaderValueError::NotPlain), "beyond ASCII, not wrapped"),
            ("a\u{1}b", Err(HeaderValueError::NotPlain), "a control character"),
        ];
        for (value, expected, reason) in rows {
            let text = unwrap_header_value(value.as_bytes());
            assert_eq!(text.as_deref(), expected.as_ref().map(|text| *text), "{value:?}: {reason}");
        }
    }

    #[test]
    fn annotations_stand_where_a_chain_of_properties_leads() {
        let rows = [
            (
                json!({"properties": {"a": {"type": "string", "x-mcp-header": "Region"}}}),
                Some(1),
                "plain",
            ),
            (
                json!({"properties": {"o": {"properties": {"a": {"type": "integer", "x-mcp-header": "N"}}}}}),
                Some(1),
                "nested",
            ),
            (json!({"type": "object"}), Some(0), "none"),
            (
                json!({"properties": {"x-mcp-header": {"type": "string"}}}),
                Some(0),
                "a property of that name",
            ),
            (
                json!({"properties": {"a": {"type": "string", "default": {"x-mcp-header": 1}}}}),
                Some(0),
                "a value",
            ),
            (
                json!({"properties": {"a": {"type": "number", "x-mcp-header": "N"}}}),
                None,
                "fractions",
            ),
            (
                json!({"properties": {"a": {"type": "object", "x-mcp-header": "N"}}}),
                None,
                "an object",
            ),
            (json!({"properties": {"a": {"type": "string", "x-mcp-header": ""}}}), None, "no name"),
            (
                json!({"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}}),
                None,
                "no header name",
            ),
            (json!({"properties": {"a": {"type": "string", "x-mcp-header": 1}}}), None, "no text"),
            (
                json!({"properties": {"a": {"type": "string", "x-mcp-header": "N"}, "b": {"type": "string", "x-mcp-header": "n"}}}),
                None,
                "twice",
            ),
            (
                json!({"properties": {"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "N"}}}}),
                None,
                "in an array",
            ),
            (
                json!({"anyOf": [{"properties": {"a": {"type": "string", "x-mcp-header": "N"}}}]}),
                None,
                "in a choice",
            ),
        ];
        for (schema, expected, reason) in rows {
            let found = mirrored_params(&schema).ok().map(|found| found.len());
            assert_eq!(found, expected, "{schema}: {reason}");
        }
    }

    #[test]
    fn a_header_says_what_the_arguments_say() {
        let schema = json!({"properties": {"o": {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}}});
        let param = mirrored_params(&schema).unwrap().pop().unwrap();
        assert_eq!(param.header, "mcp-param-a");
        let rows = [
            (Some("x"), json!("x"), true, "the same"),
            (Some("=?base64?eA==?="), json!("x"), true, "the same, wrapped"),
            (Some("X"), json!("x"), false, "values are case-sensitive"),
            (None, json!("x"), false, "left out"),
            (Some("x"), json!(null), false, "a header for nothing"),
            (None, json!(null), true, "neither"),
            (Some("42"), json!(42), true, "an integer"),
            (Some("42"), json!(42.0), true, "the same integer in another writing"),
            (Some("042"), json!(42), true, "the same number"),
            (Some("42.5"), json!(42.5), false, "a fraction"),
            (Some("9007199254740993"), json!(9_007_199_254_740_993_i64), false, "not safe"),
            (Some("true"), json!(true), true, "a boolean"),
            (Some("True"), json!(true), false, "capital"),
            (Some("[]"), json!([]), false, "an array"),
        ];
        for (header, value, expected, reason) in rows {
            let arguments = json!({"o": {"a": value}});
            let agrees = param.agrees(header.map(str::as_bytes), Some(&arguments));
            assert_eq!(agrees, expected, "{header:?} {value}: {reason}");
        }
        assert!(param.agrees(None, None), "no arguments, no header");
        assert!(!param.agrees(Some(b"x"), None), "no arguments, but a header");
    }
}
