//! For whatever rules and names: lists show what calls may do, and nothing passes that is malformed.

use proptest::prelude::*;
use sekisho::mcp::McpService as _;
use sekisho::policy::{Reach, Rule, Rules};

use crate::rig::{PEOPLE, TOOLS, allow, context, deny, principal, raw, ruled, tools, with_scope};

/// Conditions of every kind, those that need arguments and those that break among them.
const CONDITIONS: [&str; 8] = [
    "true",
    "false",
    "'analysts' in user.groups",
    "args.n > 1",
    "args.n > 1 && 'admins' in user.groups",
    "'interns' in user.groups || args.n == 0",
    "user.claims.level > 3",
    "tool.startsWith('report_')",
];

const PATTERNS: [&str; 6] = ["*", "report_*", "query", "*_all", "delete_*", "nothing"];

fn rule() -> impl Strategy<Value = (u8, usize, usize, bool)> {
    (0_u8..3, 0..PATTERNS.len(), 0..CONDITIONS.len(), any::<bool>())
}

fn built(plan: &[(u8, usize, usize, bool)]) -> Rules {
    let rules = plan.iter().enumerate().map(|(number, (kind, pattern, condition, is_wide))| {
        let reach = if *is_wide { Reach::default() } else { tools(&[PATTERNS[*pattern]]) };
        let (name, text) = (number.to_string(), CONDITIONS[*condition]);
        let rule: Rule = match kind {
            0 => allow(&name, reach, text),
            1 => with_scope(&name, reach, "reports:run", text),
            _ => deny(&name, reach, text),
        };
        rule
    });
    Rules::new("s", rules.collect())
}

fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_may_be_called_is_listed_and_what_is_not_listed_may_not(
        plan in proptest::collection::vec(rule(), 0..6),
        who in 0..PEOPLE.len(),
        number in 0_i64..4,
    ) {
        let (service, reports) = ruled(built(&plan));
        let asks_about_arguments = plan.iter().any(|(_, _, text, _)| CONDITIONS[*text].contains("args"));
        let (who, caller) = (PEOPLE[who], principal(PEOPLE[who]).unwrap());
        let list = block(service.call("tools/list", None, &context(who))).unwrap();
        let list: serde_json::Value = serde_json::from_str(list.get()).unwrap();
        let listed: Vec<&str> =
            list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        for tool in TOOLS {
            let params = raw(&format!(r#"{{"name":"{tool}","arguments":{{"n":{number}}}}}"#));
            let missing = service.missing_scopes("tools/call", Some(&params), &caller);
            reports.reached();
            let called = block(service.call("tools/call", Some(&params), &context(who))).is_ok();
            let is_open = called || missing.is_some();
            prop_assert!(!(called && missing.is_some()), "{tool}: nothing is missing");
            prop_assert_eq!(reports.reached().len(), usize::from(called), "{}", tool);
            prop_assert!(!is_open || listed.contains(&tool), "{tool} may be called: {plan:?}");
            if !asks_about_arguments {
                prop_assert_eq!(is_open, listed.contains(&tool), "{}: {:?}", tool, plan);
            }
        }
    }

    #[test]
    fn no_text_but_a_well_formed_call_reaches_the_server(
        plan in proptest::collection::vec(rule(), 1..4),
        name in "[a-z_\\\\u0-9\"]{0,8}",
        arguments in prop_oneof![
            Just("{}"), Just("[]"), Just("1"), Just("null"), Just(r#"{"n":1,"n":2}"#), Just("\"x\""),
        ],
        doubled in any::<bool>(),
    ) {
        let (service, reports) = ruled(built(&plan));
        let again = if doubled { r#","n\u0061me":"query""# } else { "" };
        let text = format!(r#"{{"name":"{name}","arguments":{arguments}{again}}}"#);
        let Ok(params) = serde_json::value::RawValue::from_string(text.clone()) else {
            return Ok(());
        };
        let called = block(service.call("tools/call", Some(&params), &context("admin"))).is_ok();
        let is_object = matches!(arguments, "{}" | "null" | r#"{"n":1,"n":2}"#);
        prop_assert!(!called || (is_object && !doubled), "{text}");
        prop_assert_eq!(reports.reached().len(), usize::from(called));
    }
}
