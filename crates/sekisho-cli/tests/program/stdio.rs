//! `sekisho stdio`: the same tool, a message a line, no OAuth.

use serde_json::{Value, json};

use crate::harness::Folder;

#[tokio::test]
async fn the_tool_answers_over_standard_input_and_output() {
    let folder = Folder::new();
    let messages = [
        json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "a test", "version": "1" },
        } }),
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
            "name": "fortune", "arguments": {},
        } }),
    ];
    let lines: Vec<_> = messages.iter().map(Value::to_string).collect();
    let done = folder.run(&["stdio"], &(lines.join("\n") + "\n")).await;
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let answers: Vec<Value> =
        done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(answers[0]["result"]["serverInfo"]["name"], "fortune");
    let told = answers[1]["result"]["content"][0]["text"].as_str().unwrap();
    assert!(told.starts_with("今日の運勢は: "), "{told}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it keeps nothing");
}
