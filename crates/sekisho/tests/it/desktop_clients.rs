//! What desktop and hosted clients are known to send, from registration to the first call. Each row
//! names where its facts are written down in public; a port, an id or a host is whatever it is.

use sekisho::clock::Clock as _;
use serde_json::{Value, json};
use testkit::world::{ISSUER, VERIFIER, authorize_url, tokens};
use testkit::{Browser, ClientKey, DocumentHost, RegisteredClient, World};

/// A client that registers itself.
struct Registering {
    name: &'static str,
    source: &'static str,
    body: Value,
    /// Where it has answers sent in fact, which may be another port than it registered.
    answers: &'static [&'static str],
    /// The name it has for the server.
    resource: &'static str,
}

const MCP: &str = "http://localhost:8000/mcp";

/// What nearly all send, with one address.
fn usual(name: &str, redirect_uri: &str) -> Value {
    json!({
        "client_name": name,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

/// Clients whose answers go to their makers' servers.
fn hosted() -> Vec<Registering> {
    let claude = "https://claude.ai/api/mcp/auth_callback";
    vec![
        Registering {
            name: "Claude, hosted",
            source: "anthropics/claude-ai-mcp#1043 (client_secret_post), #313 (callback)",
            body: with(
                usual("Claude", claude),
                "token_endpoint_auth_method",
                json!("client_secret_post"),
            ),
            answers: &["https://claude.ai/api/mcp/auth_callback"],
            resource: MCP,
        },
        Registering {
            name: "Claude, hosted, in 2025, with a scope that nobody here knows",
            source: "modelcontextprotocol/modelcontextprotocol#653",
            body: with(usual("claudeai", claude), "scope", json!("claudeai")),
            answers: &["https://claude.ai/api/mcp/auth_callback"],
            resource: MCP,
        },
        Registering {
            name: "ChatGPT, a connector with an address of its own",
            source: "BasedHardware/omi#8824, makeplane/plane-mcp-server#165",
            body: usual("ChatGPT", "https://chatgpt.com/connector/oauth/OUbdUMlL15Ct"),
            answers: &["https://chatgpt.com/connector/oauth/OUbdUMlL15Ct"],
            resource: MCP,
        },
        Registering {
            name: "ChatGPT, the address for servers that send iss",
            source: "danielealbano/android-remote-control-mcp#166",
            body: usual("ChatGPT", "https://chatgpt.com/connector_platform_oauth_redirect"),
            answers: &["https://chatgpt.com/connector_platform_oauth_redirect"],
            resource: MCP,
        },
    ]
}

/// Clients that run beside the person's browser.
fn local() -> Vec<Registering> {
    let cursor = [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "http://localhost:8787/callback",
    ];
    vec![
        Registering {
            name: "Claude Code",
            source: "anthropics/claude-code#10439 (callback), #4540 (no scope)",
            body: usual("Claude Code (fortune)", "http://localhost:56648/callback"),
            answers: &["http://localhost:56648/callback", "http://localhost:8080/callback"],
            resource: MCP,
        },
        Registering {
            name: "Cursor, three addresses at once",
            source: "erp-mafia/accounted#2225, soflyy/agent-connector-for-wp#111, \
                     different-ai/openwork#3059 (none)",
            body: with(usual("Cursor", ""), "redirect_uris", json!(cursor)),
            answers: &[
                "cursor://anysphere.cursor-mcp/oauth/callback",
                "https://www.cursor.com/agents/mcp/oauth/callback",
                "http://localhost:8787/callback",
            ],
            resource: MCP,
        },
        Registering {
            name: "VS Code, whose port may be taken",
            source: "microsoft/vscode src/vs/base/common/oauth.ts, microsoft/vscode#278512",
            body: json!({
                "client_name": "Visual Studio Code",
                "client_uri": "https://code.visualstudio.com",
                "grant_types": [
                    "authorization_code",
                    "refresh_token",
                    "urn:ietf:params:oauth:grant-type:device_code",
                ],
                "response_types": ["code"],
                "redirect_uris": [
                    "https://insiders.vscode.dev/redirect",
                    "https://vscode.dev/redirect",
                    "http://127.0.0.1/",
                    "http://127.0.0.1:33418/",
                ],
                "token_endpoint_auth_method": "none",
                "application_type": "native",
            }),
            answers: &[
                "http://127.0.0.1:33418/",
                "http://127.0.0.1:59656/",
                "https://vscode.dev/redirect",
            ],
            resource: MCP,
        },
        Registering {
            name: "Codex, with an id of the server in its callback",
            source: "openai/codex#30460, openai/codex#28585",
            body: with(
                usual("Codex", "http://127.0.0.1:33418/callback/3q2-7wAAAAAA"),
                "application_type",
                json!("native"),
            ),
            answers: &["http://127.0.0.1:33418/callback/3q2-7wAAAAAA"],
            resource: MCP,
        },
        Registering {
            name: "mcp-remote, which names a server by its origin and a slash",
            source: "anthropics/claude-code#24870",
            body: usual("MCP CLI Proxy", "http://localhost:35535/oauth/callback"),
            answers: &["http://localhost:35535/oauth/callback"],
            resource: "http://localhost:8000/",
        },
        Registering {
            name: "MCP Inspector",
            source: "measured by e2e/cases/compatibility.mjs",
            body: usual("MCP Inspector", "http://localhost:6274/oauth/callback"),
            answers: &["http://localhost:6274/oauth/callback"],
            resource: "http://localhost:8000/sse",
        },
        Registering {
            name: "Gemini CLI",
            source: "Zuora product documentation, \"Redirect URIs by MCP client\"",
            body: usual("Gemini CLI", "http://localhost:7777/oauth/callback"),
            answers: &["http://localhost:7777/oauth/callback"],
            resource: MCP,
        },
    ]
}

#[tokio::test]
async fn what_clients_in_the_field_register_leads_to_a_call() {
    let world = World::new().await;
    for Registering { name, source, body, answers, resource } in hosted().into_iter().chain(local())
    {
        let row = format!("{name} ({source})");
        let registered = world.register(&body).await;
        assert_eq!(registered.status, 201, "{row}: {}", registered.body);
        let told = registered.json();
        assert_eq!(told["redirect_uris"], body["redirect_uris"], "{row}");
        assert_eq!(told["token_endpoint_auth_method"], body["token_endpoint_auth_method"], "{row}");
        assert_eq!(told["scope"], "fortune", "{row}: what it may ask for");
        for redirect_uri in answers {
            let client = RegisteredClient {
                id: told["client_id"].as_str().unwrap().to_owned(),
                secret: told["client_secret"].as_str().map(str::to_owned),
                redirect_uri: (*redirect_uri).to_owned(),
            };
            let row = format!("{row} at {redirect_uri}");
            let code = arrive(&world, &client, resource, &row).await;
            let answer = world.redeem(&client, &code, VERIFIER).await;
            assert_eq!(answer.status, 200, "{row}: {}", answer.body);
            let tokens = tokens(&answer);
            assert_eq!(world.call("/mcp", &tokens.access).await.status, 200, "{row}");
            let renewed = world.refresh(&client, &tokens.refresh).await;
            assert_eq!(renewed.status, 200, "{row}: {}", renewed.body);
        }
    }
}

/// A client that is known by a document.
struct Published {
    id: &'static str,
    source: &'static str,
    document: Value,
    answers: &'static [&'static str],
    signs: bool,
}

fn published() -> Vec<Published> {
    let public = |name: &str, redirect_uris: &[&str]| {
        json!({
            "client_name": name,
            "redirect_uris": redirect_uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        })
    };
    let mut claude = public("Claude", &["https://claude.ai/api/mcp/auth_callback"]);
    claude["client_uri"] = json!("https://claude.ai");
    claude["grant_types"] = json!([
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
    ]);
    let mut chatgpt = public("ChatGPT", &["https://chatgpt.com/connector_platform_oauth_redirect"]);
    chatgpt["client_uri"] = json!("https://chatgpt.com/");
    chatgpt["logo_uri"] = json!("https://persistent.oaistatic.com/logo.png");
    chatgpt["token_endpoint_auth_method"] = json!("private_key_jwt");
    chatgpt["token_endpoint_auth_methods_supported"] = json!(["none", "private_key_jwt"]);
    chatgpt["jwks_uri"] = json!("https://chatgpt.com/oauth/jwks.json");
    let mut codex = public("Codex", &["http://127.0.0.1/callback", "http://localhost/callback"]);
    codex["application_type"] = json!("native");
    codex["token_endpoint_auth_methods_supported"] = json!(["none"]);
    let mut code =
        public("Visual Studio Code", &["http://127.0.0.1:33418/", "https://vscode.dev/redirect"]);
    code["client_uri"] = json!("https://vscode.dev/product");
    code["logo_uri"] = json!("https://code.visualstudio.com/assets/branding/code-stable.png");
    code["application_type"] = json!("native");
    vec![
        Published {
            id: "https://claude.ai/oauth/mcp-oauth-client-metadata",
            source: "anthropics/claude-ai-mcp#487 (a grant type more), #215",
            document: claude,
            answers: &["https://claude.ai/api/mcp/auth_callback"],
            signs: false,
        },
        Published {
            id: "https://claude.ai/oauth/claude-code-client-metadata",
            source: "anthropics/claude-code#42301, #37767, BuilderIO/agent-native#2532",
            document: public(
                "Claude Code",
                &["http://localhost/callback", "http://127.0.0.1/callback"],
            ),
            answers: &["http://localhost:3118/callback", "http://127.0.0.1:58135/callback"],
            signs: false,
        },
        Published {
            id: "https://chatgpt.com/oauth/client.json",
            source: "Altinity/altinity-mcp#119, superdesigndev/treg#66",
            document: chatgpt,
            answers: &["https://chatgpt.com/connector_platform_oauth_redirect"],
            signs: true,
        },
        Published {
            id: "https://chatgpt.com/oauth/codex/client.json",
            source: "openai/codex, its documentation of --oauth-client-registration",
            document: codex,
            answers: &["http://127.0.0.1:57585/callback", "http://localhost:57585/callback"],
            signs: false,
        },
        Published {
            id: "https://vscode.dev/oauth/client-metadata.json",
            source: "the document itself; microsoft/vscode#278512 (another port)",
            document: code,
            answers: &[
                "http://127.0.0.1:33418/",
                "http://127.0.0.1:59656/",
                "https://vscode.dev/redirect",
            ],
            signs: false,
        },
    ]
}

#[tokio::test]
async fn what_clients_in_the_field_publish_leads_to_a_call() {
    let host = DocumentHost::start().await;
    let key = ClientKey::generate("k1");
    host.publish("/oauth/jwks.json", &key.jwks());
    let mut builder = World::builder();
    let address = host.address();
    builder.settings.reach = host.reach_by(move |_| vec![address]);
    let world = builder.build().await;
    for Published { id, source, mut document, answers, signs } in published() {
        document["client_id"] = json!(id);
        let path = id.splitn(4, '/').last().unwrap();
        host.publish(&format!("/{path}"), &document);
        for redirect_uri in answers {
            let client = RegisteredClient {
                id: id.to_owned(),
                secret: None,
                redirect_uri: (*redirect_uri).to_owned(),
            };
            let row = format!("{id} at {redirect_uri} ({source})");
            let code = arrive(&world, &client, MCP, &row).await;
            let now = world.clock.now().unix_seconds();
            let claims =
                json!({ "iss": id, "sub": id, "aud": ISSUER, "jti": "1", "exp": now + 60 });
            let assertion = key.sign(&claims);
            let mut form = vec![
                ("grant_type", "authorization_code"),
                ("code", &code),
                ("redirect_uri", redirect_uri),
                ("code_verifier", VERIFIER),
                ("resource", MCP),
            ];
            if signs {
                let how = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form.extend([("client_assertion_type", how), ("client_assertion", &assertion)]);
            }
            let answer = world.post_as(&client, "/token", &form).await;
            assert_eq!(answer.status, 200, "{row}: {}", answer.body);
            let called = world.call("/mcp", &tokens(&answer).access).await;
            assert_eq!(called.json()["client_id"], id, "{row}");
        }
    }
}

/// The code that a person brings back, with what every client wants to find beside it.
async fn arrive(world: &World, client: &RegisteredClient, resource: &str, row: &str) -> String {
    // VS Code's state has characters that have to survive.
    let state = "ey/lnTwSm9FUcQN/Qds+w==";
    let asked = [("resource", resource), ("state", state), ("scope", "fortune")];
    let mut browser = Browser::default();
    let back = world.log_in(&mut browser, "alice", &authorize_url(client, &asked)).await;
    let location =
        back.location().unwrap_or_else(|| panic!("{row}: {} {}", back.status, back.body));
    assert!(location.starts_with(&client.redirect_uri), "{row}: {location}");
    assert_eq!(back.parameter("state").as_deref(), Some(state), "{row}");
    assert_eq!(back.parameter("iss").as_deref(), Some(ISSUER), "{row}");
    back.parameter("code").unwrap()
}
