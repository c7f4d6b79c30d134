//! Everybody and everything, in one table that is read by people: `matrix.txt` beside this file.
//!
//! `call`: listed, and may be called. A scope: listed, and would be asked for. `args`: listed, but
//! not to be called without arguments. `-`: not there.

use std::fmt::Write as _;

use sekisho::mcp::McpService as _;
use serde_json::json;

use crate::rig::{FILES, PEOPLE, PROMPTS, TOOLS, context, house_rules, principal, raw, ruled};

#[tokio::test]
async fn everybody_may_do_what_the_reviewed_table_says() {
    let mut table = format!("{:18}", "");
    for person in PEOPLE {
        write!(table, "{person:13}").unwrap();
    }
    let kinds: [(&str, &str, &str, &[&str]); 3] = [
        ("tools/list", "tools/call", "name", &TOOLS),
        ("resources/list", "resources/read", "uri", &FILES),
        ("prompts/list", "prompts/get", "name", &PROMPTS),
    ];
    for (list, call, member, names) in kinds {
        for name in names {
            write!(table, "\n{name:18}").unwrap();
            for person in PEOPLE {
                let cell = cell(person, list, call, member, name).await;
                write!(table, "{cell:13}").unwrap();
            }
        }
    }
    let lines: Vec<_> = table.lines().map(str::trim_end).collect();
    let table = lines.join("\n");
    assert_eq!(
        table,
        include_str!("matrix.txt").trim_end(),
        "the rights have changed: if this is meant, put the table into tests/policy/matrix.txt:\n{table}"
    );
}

async fn cell(person: &str, list: &str, call: &str, member: &str, name: &str) -> String {
    let (service, _) = ruled(house_rules());
    let params = raw(&json!({ member: name }).to_string());
    let all = service.call(list, None, &context(person)).await.unwrap();
    let is_listed = all.get().contains(&format!("\"{name}\""));
    let is_called = service.call(call, Some(&params), &context(person)).await.is_ok();
    let missing = service.missing_scopes(call, Some(&params), &principal(person).unwrap());
    match (is_listed, is_called, missing) {
        (true, true, None) => "call".to_owned(),
        (true, false, Some(scopes)) => scopes.to_string(),
        (true, false, None) => "args".to_owned(),
        (false, false, None) => "-".to_owned(),
        other => panic!("{person} {name}: list and call disagree: {other:?}"),
    }
}
