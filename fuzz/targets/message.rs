//! Messages of MCP, and all that is read out of one on its way through a gateway. What nobody here knows of
//! stays in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho_protocol::mcp::{
    Addressed, Incoming, InitializeParams, InputRequiredResult, Json, List, Message, PageAsked,
    ParamMembers, ParamsOutline, Request, StatelessWords, ToolCallParams, params_for_handshake,
    params_with_cursor, progress_token_in, progress_under, result_for_handshake, result_with_tools,
    result_without_cache_scope, subscription_id_in, write_request, write_result,
};
use serde_json::Value;
use serde_json::value::RawValue;

fuzz_target!(|body: &[u8]| {
    match Incoming::parse(body) {
        Ok(Incoming::Single(message)) => read(&message),
        Ok(Incoming::Batch(messages)) => {
            for message in messages {
                match message {
                    Ok(message) => read(&message),
                    Err(error) => drop(error.to_mcp_error()),
                }
            }
        }
        Err(error) => drop(error.to_mcp_error()),
    }
});

fn read(message: &Message<'_>) {
    match message {
        Message::Request(request) => read_request(request),
        Message::Notification(notification) => {
            if let Some(params) = notification.params {
                let _ = progress_token_in(params);
                let _ = subscription_id_in(params);
                let token = RawValue::from_string("7".to_owned()).expect("a number");
                let _ = progress_under(params, &token);
            }
        }
        Message::Response(response) => {
            let (Ok(result) | Err(result)) = response.outcome;
            let _ = InputRequiredResult::parse(result);
            let _ = result_with_tools(result, |tool| tool.get().len() % 2 == 0);
            for rewritten in [result_for_handshake(result), result_without_cache_scope(result)] {
                // Members are taken out, and none is changed.
                if let (Value::Object(before), Value::Object(after)) =
                    (value(result), value(&rewritten))
                {
                    for (name, value) in &after {
                        assert!(name == "_meta" || before.get(name) == Some(value), "{name}");
                    }
                }
            }
            if let Some(id) = &response.id {
                let written = write_result(id, result.get());
                assert!(Incoming::parse(&written).is_ok(), "what is written can be read");
            }
        }
    }
}

fn read_request(request: &Request<'_>) {
    let (method, params) = (request.method.as_ref(), request.params);
    let _ = ToolCallParams::parse(params);
    let _ = InitializeParams::parse(params);
    if let Ok(ParamsOutline { meta, .. }) = ParamsOutline::parse(params) {
        let _ = (meta.required(), meta.log_level(), meta.progress_token());
    }
    if let Ok(Some(addressed)) = Addressed::read(method, params) {
        drop(addressed.not_there());
    }
    if let Some(list) = List::of(method) {
        let _ = PageAsked::read(list, params);
    }
    let _ = params_with_cursor(params, "next");
    is_written_as_read(method, params);
    if let Some(params) = params
        && let Ok(rewritten) = params_for_handshake(params, 7)
    {
        stays(params, &rewritten);
        is_written_as_read(method, Some(&rewritten));
    }
    let none = RawValue::from_string("{}".to_owned()).expect("an object");
    let words = StatelessWords {
        protocol_version: "2026-07-28",
        client_capabilities: Json::from(&*none),
        client_info: none.get(),
        log_level: None,
        progress_token: 7,
        input_responses: None,
        request_state: None,
    };
    if let Ok(members) = ParamMembers::read(params) {
        let _ = (members.text("cursor"), members.text("name"), members.require_tool_call());
        let rewritten =
            RawValue::from_string(members.for_stateless(&words)).expect("an object of our own");
        if let Some(params) = params {
            stays(params, &rewritten);
        }
        let outline = ParamsOutline::parse(Some(&rewritten)).expect("_meta of our own");
        let meta = outline.meta;
        assert!(meta.required().is_ok());
        is_written_as_read(method, Some(&rewritten));
    }
}

fn is_written_as_read(method: &str, params: Option<&RawValue>) {
    let written = write_request(7, method, params.map(RawValue::get));
    let Ok(Incoming::Single(Message::Request(again))) = Incoming::parse(&written) else {
        // It may be too deep by the one level that is around it.
        return;
    };
    assert_eq!(again.method, method);
    assert_eq!(again.params.map(RawValue::get), params.map(RawValue::get));
}

/// Whatever no rule is about, is in it still.
fn stays(before: &RawValue, after: &RawValue) {
    let (Value::Object(before), Value::Object(after)) = (value(before), value(after)) else {
        panic!("parameters are objects");
    };
    let is_ours = |name: &str| ["_meta", "inputResponses", "requestState"].contains(&name);
    for (name, value) in before.iter().filter(|(name, _)| !is_ours(name)) {
        assert_eq!(after.get(name), Some(value), "{name}");
    }
}

fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}
