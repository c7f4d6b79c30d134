//! What comes of several rules, row by row; and that no call gets past them that is not well formed.

use sekisho::mcp::McpService as _;
use sekisho::policy::{Decision, Reach, Rule, Rules, Says, Wish};
use sekisho::protocol::oauth::ScopeSet;
use serde_json::json;

use crate::rig::{
    allow, condition, context, deny, house_rules, principal, prompts, raw, resources, ruled, tools,
    with_scope,
};

/// `yes`, `no`, or what is missing; then by which rule.
fn said(decision: &Decision<'_>) -> String {
    match decision {
        Decision::Allowed { by } => format!("yes by {by}"),
        Decision::Lacks { by, scopes } => format!("{scopes} by {by}"),
        Decision::Denied { by: Some(by) } => format!("no by {by}"),
        Decision::Denied { by: None } => "no".to_owned(),
    }
}

#[test]
fn one_rule_that_allows_is_enough_and_one_that_denies_ends_it() {
    let everything = Reach::default;
    let rows: Vec<(Vec<Rule>, Wish<'_>, &str, &str)> = vec![
        (vec![], Wish::Tool("a"), "no", "no rule allows it"),
        (vec![allow("r", everything(), "true")], Wish::Tool("a"), "yes by r", "everything"),
        (vec![allow("r", everything(), "false")], Wish::Tool("a"), "no", "for nobody"),
        (vec![allow("r", tools(&["a"]), "true")], Wish::Tool("b"), "no", "another tool"),
        (vec![allow("r", tools(&["*"]), "true")], Wish::Prompt("a"), "no", "no tool"),
        (vec![allow("r", tools(&["*"]), "true")], Wish::Resource("a:b"), "no", "no tool either"),
        (vec![allow("r", prompts(&["a"]), "true")], Wish::Prompt("a"), "yes by r", "a prompt"),
        (
            vec![allow("r", resources(&["a:*"]), "true")],
            Wish::Resource("a:b"),
            "yes by r",
            "a resource",
        ),
        (
            vec![allow("r", everything(), "true")],
            Wish::Resource("file:///pub/../secret"),
            "no",
            "a way around is no way, whatever is allowed",
        ),
        (
            vec![allow("r", everything(), "true"), deny("d", tools(&["a"]), "true")],
            Wish::Tool("a"),
            "no by d",
            "a denial comes first, wherever it is written",
        ),
        (
            vec![deny("d", tools(&["a"]), "true"), allow("r", everything(), "true")],
            Wish::Tool("b"),
            "yes by r",
            "and ends nothing else",
        ),
        (
            vec![allow("r", everything(), "true"), deny("d", everything(), "user.claims.x == 1")],
            Wish::Tool("a"),
            "no by d",
            "a denial that cannot be decided denies",
        ),
        (
            vec![allow("e", everything(), "user.claims.x == 1")],
            Wish::Tool("a"),
            "no",
            "an allowance that cannot be decided allows nothing",
        ),
        (
            vec![allow("e", everything(), "user.claims.x == 1"), allow("r", everything(), "true")],
            Wish::Tool("a"),
            "yes by r",
            "and takes nothing from another",
        ),
        (
            vec![with_scope("s", everything(), "x y", "true")],
            Wish::Tool("a"),
            "x y by s",
            "all scopes of it at once",
        ),
        (
            vec![with_scope("s", everything(), "mcp", "true")],
            Wish::Tool("a"),
            "yes by s",
            "a scope that is there",
        ),
        (
            vec![with_scope("s", everything(), "x", "false")],
            Wish::Tool("a"),
            "no",
            "no scope helps whom the condition leaves out",
        ),
        (
            vec![with_scope("s", everything(), "x", "true"), allow("r", everything(), "true")],
            Wish::Tool("a"),
            "yes by r",
            "nothing is asked for that is not needed",
        ),
        (
            vec![with_scope("s", everything(), "x", "true"), deny("d", everything(), "true")],
            Wish::Tool("a"),
            "no by d",
            "no scope helps against a denial",
        ),
        (
            vec![Rule::new(
                "r",
                everything(),
                Says::Allow { scopes: ScopeSet::of(["mcp"]), condition: None },
            )],
            Wish::Tool("a"),
            "yes by r",
            "a scope alone",
        ),
    ];
    let caller = principal("analyst").unwrap();
    for (rules, wish, expected, reason) in rows {
        let rules = Rules::new("s", rules);
        let explained = rules.explain(wish, Some("{}"), &caller).unwrap();
        assert_eq!(said(&explained.decision), expected, "{wish}: {reason}");
    }
}

#[test]
fn a_condition_sees_who_asks_with_what_for_what() {
    let rows = [
        ("admin", "user.subject == 'admin' && user.name == 'admin'", true, "a person"),
        ("admin", "user.issuer == 'https://idp.example'", true, "by whom they are known"),
        ("admin", "user.email == 'admin@corp.example' && user.email_verified", true, "an address"),
        ("stranger", "user.email.endsWith('@corp.example')", false, "which somebody verified"),
        ("stranger", "user.email != ''", false, "another one is not there at all"),
        ("robot", "user.is_machine && user.subject == 'robot'", true, "a machine"),
        ("admin", "user.is_machine", false, "which a person is not"),
        ("analyst", "client.host == 'app.example'", true, "a client by its document"),
        ("admin", "client.host == ''", true, "others have no host"),
        ("admin", "client.id == 'inspector'", true, "and an id"),
        ("admin", "server == 's' && method == 'tools/call' && tool == 'a'", true, "what for"),
        ("admin", "resource == '' && prompt == ''", true, "and nothing else"),
        ("admin", "args.n == 5 && args.n < 6 && args.f == 1.5", true, "numbers"),
        ("admin", "args.list.exists(x, x == 'b') && size(args.list) == 2", true, "lists"),
        ("admin", "args.deep.er == '関'", true, "what is inside"),
        ("admin", "has(args.n) && !has(args.m)", true, "whether something is there"),
        ("admin", "args.m == 1", false, "what is not there decides nothing"),
        ("admin", "args.list.exists(user, user == 'b')", true, "a name of ours may be given again"),
        ("admin", "tool.matches('^[a-z]$')", true, "a regular expression"),
        ("admin", "args.n == '5'", false, "a number is no text"),
    ];
    let args = r#"{"n":5,"f":1.5,"list":["a","b"],"deep":{"er":"関"}}"#;
    for (who, text, expected, reason) in rows {
        let rules = Rules::new("s", vec![allow("r", Reach::default(), text)]);
        let caller = principal(who).unwrap();
        let explained = rules.explain(Wish::Tool("a"), Some(args), &caller).unwrap();
        let is_allowed = matches!(explained.decision, Decision::Allowed { .. });
        assert_eq!(is_allowed, expected, "{who}: {text}: {reason}: {:?}", explained.verdicts);
    }
}

#[tokio::test]
async fn a_malformed_request_passes_no_rule() {
    let anything = || Rules::new("s", vec![allow("r", Reach::default(), "size(args) < 100")]);
    let rows = [
        ("tools/call", r#"{"name":"query","arguments":[1]}"#, "an array has no names"),
        ("tools/call", r#"{"name":"query","arguments":"x"}"#, "text has none either"),
        ("tools/call", r#"{"name":"a","name":"b"}"#, "two names"),
        ("tools/call", r#"{"name":"a","na\u006de":"b"}"#, "two names, one in disguise"),
        ("tools/call", r#"{"name":"a","arguments":{},"arguments":{}}"#, "two sets of arguments"),
        ("tools/call", r#"{"name":"a","arguments":{"t":1,"t":2}}"#, "an argument twice"),
        ("tools/call", r#"{"name":"a","arguments":{"x":[{"t":1,"\u0074":2}]}}"#, "deep inside"),
        ("tools/call", r#"["query",{}]"#, "no object, though its items fit"),
        ("tools/call", r#"{"name":["query"]}"#, "a name is text"),
        ("tools/call", "{}", "no name"),
        ("resources/read", r#"{"uri":"file:///pub/a","uri":"file:///other/d"}"#, "two URIs"),
        ("resources/read", r#"{"uri":["file:///pub/a"]}"#, "a URI is text"),
        ("resources/read", r#"["file:///pub/a"]"#, "no object"),
        ("resources/read", r#"{"uri":"file:///pub/../other/d"}"#, "a way around"),
        ("resources/read", r#"{"uri":"file:///pub/%2e%2e/other/d"}"#, "the same in disguise"),
        ("prompts/get", r#"{"name":"summary","name":"letter"}"#, "two prompts"),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"a","name":"b"}}"#, "two"),
        ("completion/complete", r#"{"ref":["ref/prompt","a"]}"#, "no object"),
        ("completion/complete", r#"{"ref":{"type":"ref/tool","name":"a"}}"#, "no such kind"),
        ("tools/delete", "{}", "a method that nobody knows"),
        ("initialize", "{}", "one that is not for services"),
    ];
    for (method, params, reason) in rows {
        let (service, reports) = ruled(anything());
        let answer = service.call(method, Some(&raw(params)), &context("admin")).await;
        assert!(answer.is_err(), "{method} {params}: {reason}");
        assert_eq!(reports.reached(), [], "{method} {params}: {reason}");
    }
    let (service, reports) = ruled(anything());
    assert!(service.call("tools/call", None, &context("admin")).await.is_err(), "nothing at all");
    let nobody = service.call("tools/call", Some(&raw(r#"{"name":"a"}"#)), &context("")).await;
    assert!(nobody.is_err(), "nobody is allowed anything");
    assert_eq!(reports.reached(), []);
}

#[tokio::test]
async fn what_was_judged_is_what_is_passed_on_byte_for_byte() {
    let (service, reports) = ruled(house_rules());
    let rows = [
        ("tools/call", r#"{ "name" : "qu\u0065ry", "arguments":{"table" : "a","n":1.0e2}, "x":1}"#),
        ("resources/read", r#"{"uri" : "file:\/\/\/pub/a","y":[ ]}"#),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/resource","uri":"file:///pub/{name}"} , "argument":{}}"#,
        ),
    ];
    for (method, params) in rows {
        service.call(method, Some(&raw(params)), &context("analyst")).await.unwrap();
        assert_eq!(reports.reached(), [(method.to_owned(), params.to_owned())]);
    }
}

#[tokio::test]
async fn what_is_hidden_is_answered_as_what_is_not_there() {
    let (service, reports) = ruled(house_rules());
    let rows = [
        ("tools/call", json!({ "name": "secret" }), json!({ "name": "nothing" })),
        ("resources/read", json!({ "uri": "file:///other/d" }), json!({ "uri": "file:///none/d" })),
        ("prompts/get", json!({ "name": "letter" }), json!({ "name": "nothing" })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "letter" }, "argument": {} }),
            json!({ "ref": { "type": "ref/prompt", "name": "nothing" }, "argument": {} }),
        ),
    ];
    for (method, hidden, unknown) in rows {
        let mut answers = Vec::new();
        for params in [&hidden, &unknown] {
            let (params, context) = (raw(&params.to_string()), context("stranger"));
            let refused = service.call(method, Some(&params), &context).await;
            let refused = refused.unwrap_err().to_string();
            answers.push(
                ["letter", "secret", "other/d", "none/d", "nothing"]
                    .iter()
                    .fold(refused, |text, name| text.replace(name, "NAME")),
            );
        }
        assert_eq!(answers[0], answers[1], "{method}");
    }
    let refused = service.subscribe("file:///other/d", &context("stranger")).await;
    assert!(refused.is_err(), "nor can it be followed");
    assert_eq!(reports.reached(), []);
    service.subscribe("file:///pub/a", &context("stranger")).await.unwrap();
    assert_eq!(reports.reached().len(), 1);
}

#[test]
fn a_scope_without_a_condition_and_claims_are_told_to_whoever_sets_up_the_rest() {
    let rules = house_rules();
    assert_eq!(rules.scopes().to_string(), "reports:run admin");
    let mut claims: Vec<_> = rules.claims().collect();
    claims.sort_unstable();
    claims.dedup();
    assert_eq!(claims, ["groups", "level"]);
    assert_eq!(condition("true").to_string(), "true");
}
