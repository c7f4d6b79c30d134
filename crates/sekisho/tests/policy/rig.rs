//! People, rules and a guarded server that writes down what reaches it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use sekisho::clock::{Clock as _, Timestamp};
use sekisho::grant::GrantId;
use sekisho::mcp::{
    CacheHint, CallError, Changes, Context, McpEndpoints, McpService, ServerInfo, Settings,
    Subscription,
};
use sekisho::policy::{Expression, Pattern, Reach, Rule, Ruled, Rules, Says, Scope};
use sekisho::principal::{Claims, Identity, Principal};
use sekisho::protocol::Secret;
use sekisho::protocol::mcp::{McpError, MirroredParam, ProtocolVersion};
use sekisho::protocol::oauth::{ClientId, ScopeSet};
use sekisho::resource_server::{GuardLayer, TokenVerifier, VerifyError};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use testkit::{ManualClock, McpClient, SseClient};
use tokio_util::sync::CancellationToken;

/// Everybody there is; each is their own token.
pub(crate) const PEOPLE: [&str; 6] = ["analyst", "admin", "intern", "stranger", "robot", "runner"];

pub(crate) fn principal(token: &str) -> Option<Principal> {
    let (groups, scopes, client): (&[&str], &[&str], &str) = match token {
        "analyst" => (&["analysts"], &["mcp"], "https://app.example/client.json"),
        "admin" => (&["admins", "analysts"], &["mcp", "admin"], "inspector"),
        "intern" => (&["interns", "analysts"], &["mcp"], "inspector"),
        "stranger" => (&[], &["mcp"], "inspector"),
        "runner" => (&["analysts"], &["mcp", "reports:run"], "inspector"),
        "robot" => (&[], &["mcp", "reports:run"], "robot"),
        _ => return None,
    };
    let client_id = ClientId::new(client);
    let identity = if token == "robot" {
        Identity::of_machine(&client_id, None)
    } else {
        Identity {
            issuer: "https://idp.example".to_owned(),
            subject: token.to_owned(),
            name: Some(token.to_owned()),
            email: Some(format!("{token}@corp.example")),
            email_verified: token != "stranger",
            claims: [("groups".to_owned(), json!(groups))].into_iter().collect::<Claims>(),
        }
    };
    Some(Principal {
        identity,
        client_id,
        grant_id: GrantId::new(token),
        scopes: ScopeSet::of(scopes.iter().copied()),
        token: Secret::new(token).hash(),
        expires_at: Timestamp::from_unix_seconds(i64::MAX / 2),
    })
}

pub(crate) fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::parse(text).unwrap()).collect()
}

pub(crate) fn tools(texts: &[&str]) -> Reach {
    Reach { tools: patterns(texts), ..Reach::default() }
}

pub(crate) fn resources(texts: &[&str]) -> Reach {
    Reach { resources: patterns(texts), ..Reach::default() }
}

pub(crate) fn prompts(texts: &[&str]) -> Reach {
    Reach { prompts: patterns(texts), ..Reach::default() }
}

pub(crate) fn condition(text: &str) -> Expression {
    Expression::parse(text, Scope::Request).unwrap()
}

pub(crate) fn allow(name: &str, reach: Reach, text: &str) -> Rule {
    let condition = Some(condition(text));
    Rule::new(name, reach, Says::Allow { scopes: ScopeSet::default(), condition })
}

pub(crate) fn with_scope(name: &str, reach: Reach, scope: &str, text: &str) -> Rule {
    let (scopes, condition) = (ScopeSet::parse(scope).unwrap(), Some(condition(text)));
    Rule::new(name, reach, Says::Allow { scopes, condition })
}

pub(crate) fn deny(name: &str, reach: Reach, text: &str) -> Rule {
    Rule::new(name, reach, Says::Deny(condition(text)))
}

/// The rules of a reporting server, of every kind.
pub(crate) fn house_rules() -> Rules {
    Rules::new(
        "reports",
        vec![
            allow("anybody-looks", tools(&["report_list"]), "true"),
            allow("analysts-query", tools(&["query"]), "'analysts' in user.groups"),
            deny(
                "interns-no-salaries",
                tools(&["query"]),
                "'interns' in user.groups && args.table == 'salaries'",
            ),
            with_scope(
                "running-needs-a-scope",
                tools(&["report_run"]),
                "reports:run",
                "'analysts' in user.groups || user.is_machine",
            ),
            allow(
                "small-deletes",
                tools(&["delete_*"]),
                "'admins' in user.groups && size(args.ids) < 3",
            ),
            allow("public-files", resources(&["file:///pub/*"]), "true"),
            allow(
                "verified-files",
                resources(&["file:///corp/*"]),
                "user.email.endsWith('@corp.example')",
            ),
            with_scope("admins-files", resources(&["file:///admin/*"]), "admin", "true"),
            allow("known-app-prompts", prompts(&["*"]), "client.host == 'app.example'"),
            allow("broken", tools(&["broken"]), "user.claims.level > 3"),
        ],
    )
}

/// A server with a bit of everything; knows what reached it.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    pub(crate) calls: Mutex<Vec<(String, String)>>,
    changes: Changes,
}

pub(crate) const TOOLS: [&str; 7] =
    ["report_list", "query", "report_run", "delete_report", "delete_all", "broken", "secret"];
pub(crate) const FILES: [&str; 4] =
    ["file:///pub/a", "file:///corp/b", "file:///admin/c", "file:///other/d"];
pub(crate) const PROMPTS: [&str; 2] = ["summary", "letter"];

impl Reports {
    pub(crate) fn reached(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

#[async_trait]
impl McpService for Reports {
    async fn info(&self, _: &Context) -> Result<Arc<ServerInfo>, McpError> {
        let raw = |value| to_raw_value(&value).unwrap();
        Ok(Arc::new(ServerInfo {
            capabilities: raw(json!({
                "tools": {}, "prompts": {}, "resources": { "subscribe": true }, "completions": {},
            })),
            server_info: raw(json!({ "name": "reports", "version": "1" })),
            instructions: None,
        }))
    }

    async fn call(
        &self,
        method: &str,
        params: Option<&RawValue>,
        _: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        let text = params.map_or("", RawValue::get).to_owned();
        self.calls.lock().unwrap().push((method.to_owned(), text));
        let all = |names: &[&str], member: &str| -> Vec<_> {
            names.iter().map(|name| json!({ member: name, "name": name, "x": 1 })).collect()
        };
        Ok(to_raw_value(&match method {
            "tools/list" => json!({
                "tools": all(&TOOLS, "name"), "nextCursor": "2", "cacheScope": "public", "ttlMs": 9,
            }),
            "prompts/list" => json!({ "prompts": all(&PROMPTS, "name") }),
            "resources/list" => json!({ "resources": all(&FILES, "uri") }),
            "resources/templates/list" => json!({
                "resourceTemplates": all(&["file:///pub/{name}", "file:///other/{name}"], "uriTemplate"),
            }),
            "resources/read" => json!({ "contents": [], "cacheScope": "public" }),
            "prompts/get" => json!({ "messages": [] }),
            "completion/complete" => json!({ "completion": { "values": ["x"] } }),
            _ => json!({ "content": [{ "type": "text", "text": "done" }] }),
        })
        .unwrap())
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn subscribe(&self, uri: &str, _: &Context) -> Result<Subscription, McpError> {
        self.calls.lock().unwrap().push(("subscribe".to_owned(), uri.to_owned()));
        Ok(Subscription::plain())
    }

    /// Whoever may not have a tool must not make anybody ask about it.
    async fn mirrored_params(
        &self,
        tool: &str,
        _: &Context,
    ) -> Result<Arc<[MirroredParam]>, McpError> {
        if tool == "secret" {
            self.calls.lock().unwrap().push(("mirrored".to_owned(), tool.to_owned()));
        }
        Ok(Arc::default())
    }

    fn cache_hint(&self, _: &str, _: &Context) -> CacheHint {
        CacheHint { ttl_ms: 9, is_public: true }
    }
}

/// The rules in front of the server, without a wire.
pub(crate) fn ruled(rules: Rules) -> (Ruled, Arc<Reports>) {
    let reports = Arc::new(Reports::default());
    (Ruled::new(Arc::clone(&reports) as _, Arc::new(rules)), reports)
}

pub(crate) fn context(token: &str) -> Context {
    Context::new(principal(token).map(Arc::new), ProtocolVersion::V2025_11_25)
}

pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[derive(Debug)]
struct EachIsTheirToken;

#[async_trait]
impl TokenVerifier for EachIsTheirToken {
    async fn verify(&self, token: &Secret) -> Result<Arc<Principal>, VerifyError> {
        principal(token.reveal()).map(Arc::new).ok_or(VerifyError::Invalid)
    }

    async fn is_live(&self, _: &Principal) -> bool {
        true
    }
}

/// A guarded server on a port of its own.
pub(crate) struct Site {
    pub(crate) url: String,
    pub(crate) reports: Arc<Reports>,
}

pub(crate) const METADATA: &str = "https://mcp.example/.well-known/oauth-protected-resource/mcp";

impl Site {
    pub(crate) async fn open() -> Self {
        let (ruled, reports) = ruled(house_rules());
        Self::of(Arc::new(ruled), reports).await
    }

    /// This service, behind which the server is somewhere.
    pub(crate) async fn of(service: Arc<dyn McpService>, reports: Arc<Reports>) -> Self {
        let clock = Arc::new(ManualClock::default());
        assert!(clock.now() < Timestamp::from_unix_seconds(i64::MAX / 2));
        let mut settings = Settings::new("/messages");
        settings.liveness_poll = Duration::from_millis(10);
        let endpoints = McpEndpoints::new(
            service,
            settings,
            Some(Arc::new(EachIsTheirToken)),
            CancellationToken::new(),
            clock,
        );
        let guard =
            GuardLayer::new(Arc::new(EachIsTheirToken), ScopeSet::of(["mcp"]), METADATA).unwrap();
        let app = Router::new()
            .route("/mcp", endpoints.mcp().layer(guard.clone()))
            .route("/sse", endpoints.sse().layer(guard.clone()))
            .route("/messages", endpoints.messages().layer(guard));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, reports }
    }

    pub(crate) fn client(&self, token: &str) -> McpClient {
        McpClient::new(format!("{}/mcp", self.url)).with_token(token)
    }

    pub(crate) async fn session(&self, version: &str, token: &str) -> McpClient {
        let mut client = self.client(token);
        client.initialize(version).await;
        client
    }

    pub(crate) async fn sse(&self, token: &str) -> SseClient {
        let mut client = SseClient::open(&format!("{}/sse", self.url), Some(token)).await;
        client.initialize("2024-11-05").await;
        client
    }
}
