//! Header values that stand for texts (2026-07-28), and the challenges that we write. Three lines: a text, a
//! schema with `x-mcp-header` in it, arguments.
#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use sekisho_protocol::mcp::{mirrored_params, unwrap_header_value, wrap_header_value};
use sekisho_protocol::oauth::{ChallengeReason, ScopeSet, challenge};
use serde_json::Value;

fuzz_target!(|input: &str| {
    let mut lines = input.splitn(3, '\n');
    let [text, schema, arguments] = std::array::from_fn(|_| lines.next().unwrap_or_default());

    let _ = unwrap_header_value(text.as_bytes());
    let wrapped = wrap_header_value(text);
    assert!(HeaderValue::from_str(&wrapped).is_ok(), "{text:?}");
    assert_eq!(unwrap_header_value(wrapped.as_bytes()).as_deref(), Ok(text));

    if let Ok(scopes) = ScopeSet::parse(text) {
        let said = challenge(ChallengeReason::InsufficientScope, "https://mcp.example/m", &scopes);
        assert!(HeaderValue::from_str(&said).is_ok(), "{said}");
        let quotes = said.matches('"').count();
        assert_eq!(quotes, if scopes.is_empty() { 6 } else { 8 }, "{said}");
        assert!(!said.contains('\\'), "{said}");
    }

    let (Ok(schema), arguments) =
        (serde_json::from_str::<Value>(schema), serde_json::from_str::<Value>(arguments).ok())
    else {
        return;
    };
    for param in mirrored_params(&schema).unwrap_or_default() {
        match param.value_in(arguments.as_ref()) {
            Some(said) => {
                assert!(HeaderValue::from_str(&said).is_ok(), "{said:?}");
                assert!(param.agrees(Some(said.as_bytes()), arguments.as_ref()), "{said:?}");
            }
            None => {
                let _ = param.agrees(Some(text.as_bytes()), arguments.as_ref());
            }
        }
    }
});
