//! Lists that come on one page: `tools/list` and its like, where there are few things to list.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::McpError;

/// −32602 for a `cursor`: who lists all at once gave none out.
pub fn require_first_page(params: Option<&RawValue>) -> Result<(), McpError> {
    #[derive(Deserialize)]
    struct Paged<'a> {
        #[serde(borrow, default)]
        cursor: Option<&'a RawValue>,
    }
    let Some(params) = params.filter(|params| may_have_cursor(params.get())) else {
        return Ok(());
    };
    match serde_json::from_str::<Paged<'_>>(params.get()) {
        Ok(Paged { cursor: None }) => Ok(()),
        Ok(Paged { cursor: Some(_) }) | Err(_) => {
            Err(McpError::invalid_params("the cursor is not known: the list is one page"))
        }
    }
}

/// Most requests for a list have no parameters at all. A name may hide behind escapes.
fn may_have_cursor(params: &str) -> bool {
    params.contains("cursor") || params.contains('\\')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_list_of_one_page_knows_no_cursor() {
        let rows = [
            (r"{}", true, "the first page"),
            (r#"{"_meta":{"progressToken":"cursor"}}"#, true, "no member of that name"),
            (r#"{"cursor":null}"#, true, "some clients write null"),
            (r#"{"cursor":"2"}"#, false, "a second page"),
            (r#"{"\u0063ursor":"2"}"#, false, "in disguise"),
            (r#"{"cursor":7}"#, false, "no text either"),
            (r#"{"cursor":null,"cursor":"2"}"#, false, "twice"),
        ];
        for (params, accepted, reason) in rows {
            let params: &RawValue = serde_json::from_str(params).unwrap();
            assert_eq!(require_first_page(Some(params)).is_ok(), accepted, "{params}: {reason}");
        }
        assert!(require_first_page(None).is_ok());
    }
}
