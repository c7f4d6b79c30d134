//! How long one decision of the rules takes: `cargo run --release -p benches --example deciding`. A
//! tool call of somebody with three groups, with as many rules as none of which holds but the last.

#![expect(clippy::print_stdout, reason = "what was measured is said")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use sekisho::clock::{Clock, SystemClock};
use sekisho::grant::GrantId;
use sekisho::mcp::{CallError, Context, McpService, ServerInfo};
use sekisho::policy::{Expression, Reach, Rule, Ruled, Rules, Says, Scope};
use sekisho::principal::{Claims, Identity, Principal};
use sekisho::protocol::Secret;
use sekisho::protocol::mcp::McpError;
use sekisho::protocol::oauth::{ClientId, ScopeSet};
use serde_json::json;
use serde_json::value::RawValue;

/// Decisions that are counted together.
const ROUNDS: u32 = 2_000;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let caller = caller();
    let params = RawValue::from_string(r#"{"name":"run","arguments":{"n":1}}"#.to_owned())?;
    println!("rules  asked about  one decision");
    for count in [1, 10, 100] {
        for (label, condition) in
            [("groups", "'staff' in user.groups"), ("arguments", "args.n == 1 && user.name == 'a'")]
        {
            let ruled = Ruled::new(Arc::new(Nothing), Arc::new(rules(count, condition)?));
            let begun = Instant::now();
            for _ in 0..ROUNDS {
                black_box(ruled.missing_scopes("tools/call", Some(&params), &caller));
            }
            println!("{count:5}  {label:11}  {:?}", begun.elapsed() / ROUNDS);
        }
    }
    Ok(())
}

/// The last of them is the one that decides.
fn rules(count: usize, condition: &str) -> Result<Rules> {
    let rules = (1..=count).map(|number| {
        let text = if number == count { condition } else { "'nobody' in user.groups" };
        let condition = Some(Expression::parse(text, Scope::Request)?);
        let scopes = ScopeSet::of(["run"]);
        let says = Says::Allow { scopes, condition };
        Ok(Rule::new(&number.to_string(), Reach::default(), says))
    });
    Ok(Rules::new("bench", rules.collect::<Result<Vec<_>>>()?))
}

fn caller() -> Principal {
    let groups = ("groups".to_owned(), json!(["staff", "analysts", "editors"]));
    Principal {
        identity: Identity {
            issuer: "https://idp.example".to_owned(),
            subject: "1".to_owned(),
            name: Some("a".to_owned()),
            email: Some("a@corp.example".to_owned()),
            email_verified: true,
            claims: Claims::from_iter([groups]),
        },
        client_id: ClientId::new("inspector"),
        grant_id: GrantId::new("1"),
        scopes: ScopeSet::of(["run"]),
        token: Secret::new("t").hash(),
        expires_at: SystemClock.now(),
    }
}

/// Nobody calls it.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl McpService for Nothing {
    async fn info(&self, _: &Context) -> std::result::Result<Arc<ServerInfo>, McpError> {
        Ok(Arc::new(ServerInfo::with_tools("nothing", "1")))
    }

    async fn call(
        &self,
        method: &str,
        _: Option<&RawValue>,
        _: &Context,
    ) -> std::result::Result<Box<RawValue>, CallError> {
        Err(McpError::method_not_found(method).into())
    }
}
