//! A result of 2026-07-28 that ends no call: the client supplies something and calls again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::Json;

/// What a server needs first.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InputRequiredResult<'a> {
    #[serde(borrow)]
    result_type: Cow<'a, str>,
    /// What to ask for, by the names that the answers have.
    #[serde(borrow, default)]
    pub input_requests: BTreeMap<Cow<'a, str>, InputRequestText<'a>>,
    /// What the server wants to have back, as it came.
    #[serde(borrow, default)]
    pub request_state: Option<&'a RawValue>,
}

/// One thing to ask for.
#[derive(Debug, Deserialize)]
pub struct InputRequestText<'a> {
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`; any text.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// As it came.
    #[serde(borrow, default)]
    pub params: Option<&'a RawValue>,
}

impl<'a> InputRequiredResult<'a> {
    /// Reads a result; nothing if it is another kind of result, or says this in no way we know.
    pub fn parse(result: &'a RawValue) -> Option<Self> {
        // Nearly all results are of another kind.
        if !Json::from(result).may_say("input_required") {
            return None;
        }
        let read: Self = serde_json::from_str(result.get()).ok()?;
        (read.result_type == "input_required").then_some(read)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_result_that_asks_is_told_from_one_that_answers() {
        let rows = [
            (r#"{"resultType":"input_required","requestState":"s"}"#, true, "a state alone"),
            (
                r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}}}"#,
                true,
                "a question",
            ),
            (r#"{"resultType":"input\u005frequired"}"#, true, "in other letters"),
            (r#"{"resultType":"complete","content":"input_required"}"#, false, "an answer"),
            (r#"{"content":["input_required"]}"#, false, "an answer of an older server"),
            (r#"{"resultType":"input_required","inputRequests":[]}"#, false, "no object"),
        ];
        for (text, expected, reason) in rows {
            let raw: &RawValue = serde_json::from_str(text).unwrap();
            assert_eq!(InputRequiredResult::parse(raw).is_some(), expected, "{text}: {reason}");
        }
    }
}
