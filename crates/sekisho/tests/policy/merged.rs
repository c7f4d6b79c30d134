//! Rules where several servers are one: what a rule says of a server holds through every other that is
//! made of it.

use std::sync::Arc;

use sekisho::gateway::Merged;
use sekisho::mcp::McpService;
use sekisho::policy::{Reach, Ruled, Rules};
use sekisho::protocol::mcp::MemberName;
use serde_json::json;

use crate::rig::{
    FILES, PEOPLE, PROMPTS, Reports, Site, TOOLS, allow, context, deny, house_rules, raw,
    resources, ruled, tools, with_scope,
};

/// The reporting server with its rules beside one that is open to everybody.
fn merged() -> (Arc<Merged>, Arc<Reports>, Arc<Reports>) {
    let (with_rules, reports) = ruled(house_rules());
    let open = Arc::new(Reports::default());
    let name = |text| MemberName::parse(text).unwrap();
    let members: Vec<(MemberName, Arc<dyn McpService>)> =
        vec![(name("reports"), Arc::new(with_rules)), (name("open"), Arc::clone(&open) as _)];
    (Arc::new(Merged::new("all", members).unwrap()), reports, open)
}

/// Everybody and everything: the same yes or no, and the same bytes reach the server.
#[tokio::test]
async fn what_a_member_refuses_is_refused_through_the_merged_server() {
    let (direct, seen_direct) = ruled(house_rules());
    let (all, seen_through, open) = merged();
    let mut wishes: Vec<(&str, String, String)> = Vec::new();
    let mut wish = |method, params: &dyn Fn(&str) -> String, own: &str, through: &str| {
        wishes.push((method, params(own), params(through)));
    };
    for tool in TOOLS.into_iter().chain(["nobody"]) {
        for arguments in [r#"{"table":"salaries"}"#, r#"{"ids":[1]}"#, "{}", "[1]"] {
            let call = |name: &str| format!(r#"{{"name":"{name}","arguments":{arguments}}}"#);
            wish("tools/call", &call, tool, &format!("reports_{tool}"));
        }
        let twice = |name: &str| format!(r#"{{"name":"{name}","name":"reports_report_list"}}"#);
        wish("tools/call", &twice, tool, &format!("reports_{tool}"));
    }
    for prompt in PROMPTS {
        let get = |name: &str| format!(r#"{{"name":"{name}"}}"#);
        wish("prompts/get", &get, prompt, &format!("reports_{prompt}"));
    }
    for file in FILES.into_iter().chain(["file:///pub/../other/d", "file:///pub/%2e%2e/other/d"]) {
        let read = |uri: &str| format!(r#"{{"uri":"{uri}"}}"#);
        wish("resources/read", &read, file, &format!("reports+{file}"));
        let complete = |uri: &str| format!(r#"{{"ref":{{"type":"ref/resource","uri":"{uri}"}}}}"#);
        wish("completion/complete", &complete, file, &format!("reports+{file}"));
    }
    let mut allowed = 0;
    for who in PEOPLE {
        for (method, own, through) in &wishes {
            let there = direct.call(method, Some(&raw(own)), &context(who)).await;
            let here = all.call(method, Some(&raw(through)), &context(who)).await;
            assert_eq!(there.is_ok(), here.is_ok(), "{who} {method} {own}: {here:?}");
            assert_eq!(seen_direct.reached(), seen_through.reached(), "{who} {method} {own}");
            allowed += usize::from(here.is_ok());
        }
    }
    assert!(allowed > 30, "something is allowed: {allowed}");
    assert_eq!(open.reached(), [], "nothing of it came to another");
}

#[tokio::test]
async fn a_list_of_all_shows_of_each_member_what_one_may_use_there() {
    let (all, reports, _) = merged();
    let site = Site::of(all, reports).await;
    let open = TOOLS.map(|name| format!("open_{name}"));
    let rows: [(&str, &[&str]); 2] = [
        ("analyst", &["reports_report_list", "reports_query", "reports_report_run"]),
        ("stranger", &["reports_report_list"]),
    ];
    for (who, expected) in rows {
        let old = site.session("2025-11-25", who).await.request("tools/list", json!({})).await;
        let new = site.client(who).stateless("tools/list", json!({})).await.result();
        for list in [&old.result(), &new] {
            let tools = list["tools"].as_array().unwrap();
            let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
            let expected: Vec<_> =
                expected.iter().copied().chain(open.iter().map(String::as_str)).collect();
            assert_eq!(names, expected, "{who}");
        }
        assert_eq!(new["cacheScope"], "private");
    }
}

#[tokio::test]
async fn a_scope_that_a_member_wants_is_asked_for_through_the_merged_server() {
    let (all, reports, _) = merged();
    let site = Site::of(all, reports).await;
    let rows = [
        ("tools/call", json!({ "name": "reports_report_run" }), "mcp reports:run"),
        ("resources/read", json!({ "uri": "reports+file:///admin/c" }), "mcp admin"),
        ("resources/subscribe", json!({ "uri": "reports+file:///admin/c" }), "mcp admin"),
    ];
    for (method, params, scopes) in rows {
        let mut session = site.session("2025-11-25", "analyst").await;
        let answer = session.request(method, params).await;
        assert_eq!(answer.status, 403, "{method}: {}", answer.text);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains(&format!("scope=\"{scopes}\"")), "{method}: {challenge}");
    }
    assert_eq!(site.reports.reached(), []);
    let mut runner = site.session("2025-11-25", "runner").await;
    let answer = runner.call_tool("reports_report_run", json!({})).await;
    assert_eq!(answer.tool_text(), "done");
}

/// What both want is asked for at once, and nothing where one of them says no.
#[tokio::test]
async fn scopes_of_the_merged_server_and_of_its_member_are_asked_for_together() {
    let (all, reports, _) = merged();
    let own = vec![
        with_scope("reports-at-all", tools(&["reports_*"]), "all:reports", "true"),
        allow("the-rest", resources(&["reports+*"]), "true"),
        deny("no-files-for-strangers", resources(&["*"]), "user.subject == 'stranger'"),
    ];
    let ruled = Ruled::new(all, Arc::new(Rules::new("all", own)));
    let site = Site::of(Arc::new(ruled), reports).await;
    let run = ("tools/call", json!({ "name": "reports_report_run" }));
    let file = ("resources/read", json!({ "uri": "reports+file:///admin/c" }));
    let rows = [
        ("analyst", &run, Some("mcp all:reports reports:run"), "both"),
        (
            "runner",
            &run,
            Some("mcp reports:run all:reports"),
            "its own alone, beside what there is",
        ),
        ("analyst", &file, Some("mcp admin"), "the member's alone"),
        ("stranger", &file, None, "nothing leads there"),
    ];
    for (who, (method, params), scopes, reason) in rows {
        let mut session = site.session("2025-11-25", who).await;
        let answer = session.request(method, params.clone()).await;
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        match scopes {
            Some(scopes) => {
                let expected = format!("scope=\"{scopes}\"");
                assert!(challenge.contains(&expected), "{reason}: {challenge}: {}", answer.text);
            }
            None => assert_eq!(answer.error_code(), Some(-32002), "{reason}: {}", answer.text),
        }
    }
    assert_eq!(site.reports.reached(), []);
}

#[tokio::test]
async fn a_merged_server_may_have_rules_of_its_own_which_open_nothing_at_its_members() {
    let (all, reports, open) = merged();
    let own = vec![
        allow("everything", Reach::default(), "true"),
        deny("nothing-open", tools(&["open_*"]), "true"),
    ];
    let ruled = Ruled::new(all, Arc::new(Rules::new("all", own)));
    let analyst = context("analyst");
    let call = async |name: &str| {
        let params = raw(&format!(r#"{{"name":"{name}"}}"#));
        ruled.call("tools/call", Some(&params), &analyst).await.is_ok()
    };
    let rows = [
        ("reports_report_list", true, "both say yes"),
        ("reports_secret", false, "the member says no"),
        ("open_report_list", false, "the merged server says no"),
    ];
    for (name, expected, reason) in rows {
        assert_eq!(call(name).await, expected, "{name}: {reason}");
    }
    assert_eq!((reports.reached().len(), open.reached().len()), (1, 0));
}
