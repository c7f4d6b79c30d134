//! Conditions: which are refused when they are written, and in which words.

use sekisho::policy::{Expression, Scope};

#[test]
fn a_condition_that_asks_for_what_there_is_not_is_refused_when_it_is_written() {
    let rows = [
        ("'staff' in user.groups", None, "a group"),
        ("user['email'] == 'a@b.example'", None, "the other way to write a member"),
        ("has(user.claims.tenant) && user.claims.tenant == 'a'", None, "a claim, if it is there"),
        ("user.claims['https://x.example/role'] == 'a'", None, "a claim that is a URL"),
        ("args.ids.all(id, id < 10)", None, "a macro gives names of its own"),
        ("tool.startsWith('get_') || server == 'a'", None, "functions and operators"),
        ("tool.matches('^get_[a-z]+$')", None, "a regular expression"),
        ("client.host == 'claude.ai' && method == 'tools/call'", None, "the rest"),
        ("true", None, "everybody"),
        ("user.groups contains 'staff'", Some("it is no condition, at column"), "no CEL"),
        ("", Some("it is no condition"), "nothing"),
        ("users.groups", Some("there is no \"users\" to ask about"), "a slip"),
        ("user.grups == []", Some("user has no \"grups\": it has claims, email"), "a slip below"),
        (
            "client.name == 'x'",
            Some("client has no \"name\": it has host, id"),
            "claims of clients",
        ),
        ("user == client", Some("user is asked by what it has"), "whole"),
        ("user.claims == {}", Some("a claim is named where it is asked for"), "all claims"),
        ("user.claims[tool] == 1", Some("a claim is named where it is asked for"), "any claim"),
        ("user['claims'][tool] == 1", Some("a claim is named where it is asked for"), "hidden"),
        ("lower(tool) == 'a'", Some("there is no function \"lower\""), "no such function"),
        ("tool.startswith('a')", Some("there is no function \"startswith\""), "case counts"),
        ("user.groups", Some("it says neither yes nor no"), "no condition"),
        ("tool", Some("it says neither yes nor no"), "a text"),
        (
            "user.email.size() + 'a' == 'b'",
            Some("it cannot be asked of anybody"),
            "kinds that do not fit",
        ),
        ("user.groups.startsWith('a')", Some("it cannot be asked of anybody"), "a list is no text"),
    ];
    for (text, expected, reason) in rows {
        let problem = Expression::parse(text, Scope::Request).err().map(|error| error.to_string());
        match (&problem, expected) {
            (None, None) => {}
            (Some(problem), Some(words)) => {
                assert!(problem.contains(words), "{text}: {reason}: {problem}");
                assert!(!problem.contains('\n'), "one sentence: {problem}");
            }
            _ => panic!("{text}: {reason}: {problem:?}"),
        }
    }
}

#[test]
fn a_condition_that_nobody_can_read_is_refused_and_costs_no_stack() {
    let rows = [
        (format!("{}true{}", "(".repeat(500), ")".repeat(500)), "brackets"),
        (format!("1{}==1", "+1".repeat(900)), "a sum without end"),
        (format!("{}true", "true?true:".repeat(180)), "choices in choices"),
        (format!("user{}", ".name".repeat(350)), "members of members"),
        (format!("tool == '{}'", "a".repeat(9000)), "length"),
    ];
    for (text, reason) in rows {
        assert!(Expression::parse(&text, Scope::Request).is_err(), "{reason}");
    }
    // What is long and flat can be read, and asked: it was.
    for text in [format!("{}true", "!".repeat(2000)), format!("true{}", "&&true".repeat(300))] {
        let _ = Expression::parse(&text, Scope::Request);
    }
}

#[test]
fn whoever_logs_in_wants_no_tool_yet() {
    let parse = |text| Expression::parse(text, Scope::Login);
    assert!(parse("user.email.endsWith('@corp.example')").is_ok());
    for text in ["tool == 'a'", "args.x == 1", "client.host == 'a'", "server == 'a'"] {
        let problem = parse(text).unwrap_err().to_string();
        assert!(problem.contains("to ask about: there are user"), "{problem}");
    }
}

#[test]
fn a_condition_says_which_claims_are_to_be_kept() {
    let text = "'a' in user.groups || user.claims.tenant == 'b' || user.claims['x.y'] == 1";
    let condition = Expression::parse(text, Scope::Request).unwrap();
    let mut claims: Vec<_> = condition.claims().collect();
    claims.sort_unstable();
    assert_eq!(claims, ["groups", "tenant", "x.y"]);
}
